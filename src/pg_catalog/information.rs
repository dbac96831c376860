//! `information_schema`: the same catalog in the form of the SQL standard.

use std::sync::Arc;

use arrow::{
    array::{Int32Array, RecordBatch},
    datatypes::{DataType, Field},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{MemTable, SchemaProvider, TableProvider},
    error::Result as DfResult,
};

use super::{
    objects::{self, SCHEMAS, SessionCatalog},
    tables::TableBuilder,
    types,
};
use crate::{
    catalog::{ObjectKind, RelationDef},
    error::Result,
};

const NAMES: &[&str] = &[
    "tables",
    "columns",
    "schemata",
    "views",
    "table_constraints",
    "key_column_usage",
    "referential_constraints",
    "routines",
    "character_sets",
];

/// One session's `information_schema`.
pub(super) fn schema(session_catalog: Arc<SessionCatalog>) -> Arc<dyn SchemaProvider> {
    Arc::new(Information { session_catalog })
}

#[derive(Debug)]
struct Information {
    session_catalog: Arc<SessionCatalog>,
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        NAMES.iter().map(ToString::to_string).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let Some(batch) = table(&self.session_catalog, name)? else { return Ok(None) };
        Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        NAMES.contains(&name)
    }
}

fn table(session_catalog: &SessionCatalog, name: &str) -> Result<Option<RecordBatch>> {
    Ok(Some(match name {
        "tables" => tables(session_catalog),
        "columns" => columns(session_catalog),
        "schemata" => schemata(session_catalog),
        "views" => views(session_catalog),
        "table_constraints" => table_constraints(session_catalog),
        "key_column_usage" => key_column_usage(session_catalog),
        "referential_constraints" => referential_constraints(),
        "routines" => TableBuilder::default()
            .text("routine_catalog", [""; 0])
            .text("routine_schema", [""; 0])
            .text("routine_name", [""; 0])
            .text("routine_type", [""; 0])
            .build(),
        "character_sets" => TableBuilder::default()
            .none("character_set_catalog", 1)
            .none("character_set_schema", 1)
            .text("character_set_name", ["UTF8"])
            .build(),
        _ => return Ok(None),
    }?))
}

fn tables(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let rows = session_catalog.relations();
    let n = rows.len();
    let kind = |r: &RelationDef| match r.kind {
        ObjectKind::Table | ObjectKind::System => "BASE TABLE",
        ObjectKind::Source | ObjectKind::Sink => "FOREIGN",
        ObjectKind::Stream => "STREAM",
        ObjectKind::MaterializedView => "MATERIALIZED VIEW",
        ObjectKind::View => "VIEW",
    };
    named(TableBuilder::default(), "table", session_catalog, &rows)
        .text("table_type", rows.iter().map(kind))
        .none("self_referencing_column_name", n)
        .none("reference_generation", n)
        .none("user_defined_type_catalog", n)
        .none("user_defined_type_schema", n)
        .none("user_defined_type_name", n)
        .text("is_insertable_into", rows.iter().map(|r| yes(r.kind == ObjectKind::Table)))
        .text("is_typed", vec!["NO"; n])
        .none("commit_action", n)
        .build()
}

fn yes(is: bool) -> &'static str {
    if is { "YES" } else { "NO" }
}

/// The three columns that name a relation.
fn named(columns: TableBuilder, of: &str, session_catalog: &SessionCatalog, rows: &[RelationDef]) -> TableBuilder {
    columns
        .text(&format!("{of}_catalog"), vec![session_catalog.session_info.database.clone(); rows.len()])
        .text(&format!("{of}_schema"), rows.iter().map(|r| r.schema.clone()))
        .text(&format!("{of}_name"), rows.iter().map(|r| r.name.clone()))
}

fn columns(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let (mut owners, mut fields, mut positions, mut not_null) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for r in session_catalog.relations() {
        for (i, field) in r.columns.fields().iter().enumerate() {
            owners.push(r.clone());
            fields.push(field.clone());
            positions.push(i as i32 + 1);
            not_null.push(!field.is_nullable() || r.primary_key.contains(&i));
        }
    }
    let n = fields.len();
    let kinds: Vec<_> = fields.iter().map(types::of_field).collect();
    let decimal = |f: &Arc<Field>| match f.data_type() {
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => Some((i32::from(*p), i32::from(*s))),
        DataType::Int16 => Some((16, 0)),
        DataType::Int32 => Some((32, 0)),
        DataType::Int64 => Some((64, 0)),
        _ => None,
    };
    let number = |name: &str, values: Vec<Option<i32>>| {
        (Field::new(name, DataType::Int32, true), Arc::new(Int32Array::from(values)))
    };
    let (precision, precisions) = number("numeric_precision", fields.iter().map(|f| decimal(f).map(|d| d.0)).collect());
    let (scale, scales) = number("numeric_scale", fields.iter().map(|f| decimal(f).map(|d| d.1)).collect());
    let (length, lengths) = number("character_maximum_length", vec![None; n]);
    named(TableBuilder::default(), "table", session_catalog, &owners)
        .text("column_name", fields.iter().map(|f| f.name().clone()))
        .int("ordinal_position", positions)
        .none("column_default", n)
        .text("is_nullable", not_null.iter().map(|not_null| yes(!not_null)))
        .text(
            "data_type",
            kinds.iter().map(|ty| match ty.name().starts_with('_') {
                true => "ARRAY".to_string(),
                false => types::sql_name(ty.oid(), -1),
            }),
        )
        .add(length, lengths)
        .add(precision, precisions)
        .add(scale, scales)
        .none("datetime_precision", n)
        .text("udt_catalog", vec![session_catalog.session_info.database.clone(); n])
        .text("udt_schema", vec!["pg_catalog"; n])
        .text("udt_name", kinds.iter().map(|ty| ty.name().to_string()))
        .text("is_identity", vec!["NO"; n])
        .text("is_generated", vec!["NEVER"; n])
        .text("is_updatable", owners.iter().map(|r| yes(r.kind == ObjectKind::Table)))
        .build()
}

fn schemata(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let n = SCHEMAS.len();
    TableBuilder::default()
        .text("catalog_name", vec![session_catalog.session_info.database.clone(); n])
        .text("schema_name", SCHEMAS.iter().map(|(name, _)| *name))
        .text("schema_owner", vec![session_catalog.session_info.subject.user.clone(); n])
        .none("default_character_set_name", n)
        .none("sql_path", n)
        .build()
}

fn views(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let rows: Vec<RelationDef> =
        session_catalog.relations().into_iter().filter(|r| r.kind == ObjectKind::View).collect();
    let n = rows.len();
    named(TableBuilder::default(), "table", session_catalog, &rows)
        .text("view_definition", rows.iter().map(|r| r.definition.clone()))
        .text("check_option", vec!["NONE"; n])
        .text("is_updatable", vec!["NO"; n])
        .text("is_insertable_into", vec!["NO"; n])
        .build()
}

fn keyed(session_catalog: &SessionCatalog) -> Vec<RelationDef> {
    session_catalog.relations().into_iter().filter(|r| !r.primary_key.is_empty()).collect()
}

fn table_constraints(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let rows = keyed(session_catalog);
    let n = rows.len();
    let columns = TableBuilder::default()
        .text("constraint_catalog", vec![session_catalog.session_info.database.clone(); n])
        .text("constraint_schema", rows.iter().map(|r| r.schema.clone()))
        .text("constraint_name", rows.iter().map(objects::index_name));
    named(columns, "table", session_catalog, &rows)
        .text("constraint_type", vec!["PRIMARY KEY"; n])
        .text("is_deferrable", vec!["NO"; n])
        .text("initially_deferred", vec!["NO"; n])
        .text("enforced", vec!["YES"; n])
        .build()
}

fn key_column_usage(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let (mut owners, mut names, mut positions) = (Vec::new(), Vec::new(), Vec::new());
    for r in keyed(session_catalog) {
        for (i, column) in r.primary_key.iter().enumerate() {
            let Some(field) = r.columns.fields().get(*column) else { continue };
            owners.push(r.clone());
            names.push(field.name().clone());
            positions.push(i as i32 + 1);
        }
    }
    let n = owners.len();
    let columns = TableBuilder::default()
        .text("constraint_catalog", vec![session_catalog.session_info.database.clone(); n])
        .text("constraint_schema", owners.iter().map(|r| r.schema.clone()))
        .text("constraint_name", owners.iter().map(objects::index_name));
    named(columns, "table", session_catalog, &owners)
        .text("column_name", names)
        .int("ordinal_position", positions)
        .add(Field::new("position_in_unique_constraint", DataType::Int32, true), Arc::new(Int32Array::new_null(n)))
        .build()
}

fn referential_constraints() -> Result<RecordBatch> {
    let names = ["constraint_catalog", "constraint_schema", "constraint_name", "unique_constraint_catalog"];
    let more = ["unique_constraint_schema", "unique_constraint_name", "match_option", "update_rule", "delete_rule"];
    names.iter().chain(&more).fold(TableBuilder::default(), |columns, name| columns.none(name, 0)).build()
}
