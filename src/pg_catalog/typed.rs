//! The types of arrays in catalog queries: integers in a catalog's array are reported as oids. Otherwise a driver that
//! looks up unknown array types would have to look up this one first.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::Query;
use datafusion_pg_catalog::pg_catalog::oid_field::{kind as alias, oid_field};

use super::rewrite::reads_catalog_only;

/// The columns of a query with the types reported to the client.
pub fn typed(columns: &SchemaRef, query: &Query) -> SchemaRef {
    if !columns.fields().iter().any(|f| is_numbers(f.data_type())) || !reads_catalog_only(query) {
        return columns.clone();
    }
    let fields = columns.fields().iter().map(|f| f.as_ref().clone().with_data_type(oids(f.data_type().clone())));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The parameters of a query with the types reported to the client.
pub fn typed_parameters(parameters: Vec<DataType>, query: &Query) -> Vec<DataType> {
    if !parameters.iter().any(is_numbers) || !reads_catalog_only(query) {
        return parameters;
    }
    parameters.into_iter().map(oids).collect()
}

fn is_numbers(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(item) if *item.data_type() == DataType::Int32)
}

fn oids(data_type: DataType) -> DataType {
    match is_numbers(&data_type) {
        true => DataType::List(Arc::new(oid_field("item", alias::OID, true))),
        false => data_type,
    }
}
