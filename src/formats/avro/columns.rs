//! The columns of an Avro schema: which have an SQL type, and which schemas are safe to read.

use std::sync::Arc;

use arrow::{
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
    error::ArrowError,
};

use crate::formats::infer::plain;

/// The columns with SQL types; `None` if one of them has none.
pub(super) fn sql_columns(columns: &Schema) -> Option<SchemaRef> {
    let column = |field: &FieldRef| {
        let data_type = plain(field.data_type());
        has_word(&data_type).then(|| Field::new(field.name(), data_type, true))
    };
    let fields: Option<Vec<_>> = columns.fields().iter().map(column).collect();
    fields.map(|fields| Arc::new(Schema::new(fields)) as SchemaRef)
}

fn has_word(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) | DataType::Union(..) => false,
        DataType::List(item) => has_word(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|f| has_word(f.data_type())),
        _ => true,
    }
}

/// Reads at least one column, if there is one, so that rows can be counted.
pub(super) fn at_least_one(read: Vec<usize>, columns: &Schema) -> Vec<usize> {
    if read.is_empty() && !columns.fields().is_empty() { vec![0] } else { read }
}

/// Fails for schemas by which a few bytes can encode an unlimited number of values.
pub(super) fn bounded(columns: &Schema) -> Result<(), ArrowError> {
    match columns.fields().iter().find(|column| has_endless(column.data_type())) {
        None => Ok(()),
        Some(column) => {
            Err(ArrowError::SchemaError(format!("column \"{}\" has an array of what takes no bytes", column.name())))
        }
    }
}

fn has_endless(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) => is_empty(item.data_type()) || has_endless(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_endless(field.data_type())),
        DataType::Map(entries, _) => has_endless(entries.data_type()),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| has_endless(field.data_type())),
        _ => false,
    }
}

/// Whether values of a type take no bytes.
fn is_empty(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null | DataType::FixedSizeBinary(0) => true,
        DataType::Struct(fields) => fields.iter().all(|field| is_empty(field.data_type())),
        _ => false,
    }
}
