//! The schema `pg_catalog`: which tables it has, and where each comes from.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int32Type,
};
use async_trait::async_trait;
use datafusion::{
    catalog::{MemTable, SchemaProvider, TableProvider},
    error::Result as DfResult,
};
use datafusion_pg_catalog::pg_catalog::{
    PG_CATALOG_TABLES, PgCatalogSchemaProvider, PgCatalogStaticTables, PgCatalogTable, catalog_info::CatalogInfo,
    context::EmptyContextProvider,
};

use super::{empty_tables, objects::SessionCatalog, routines, static_tables::normalize, tables};

/// What is the same in every Postgres. Read once, at the first question.
static STATIC: LazyLock<DfResult<Arc<PgCatalogStaticTables>>> =
    LazyLock::new(|| PgCatalogStaticTables::try_new().map(Arc::new));

/// Oids that drivers know by heart.
const KNOWN_OIDS: &[(&str, i32)] = &[
    ("pg_type", 1247),
    ("pg_attribute", 1249),
    ("pg_proc", 1255),
    ("pg_class", 1259),
    ("pg_attrdef", 2604),
    ("pg_constraint", 2606),
    ("pg_index", 2610),
    ("pg_namespace", 2615),
    ("pg_rewrite", 2618),
    ("pg_trigger", 2620),
    ("pg_database", 1262),
    ("pg_authid", 1260),
    ("pg_tablespace", 1213),
    ("pg_extension", 3079),
    ("pg_foreign_server", 1417),
];
/// The others have theirs from here on, in the order of their list.
const OTHER_OIDS: i32 = 12000;

/// The oid of a table of `pg_catalog` itself.
pub(super) fn oid_of(name: &str) -> Option<i32> {
    if let Some((_, oid)) = KNOWN_OIDS.iter().find(|(known, _)| *known == name) {
        return Some(*oid);
    }
    all().position(|known| known == name).map(|at| OTHER_OIDS + at as i32)
}

pub(super) fn name_of(oid: i32) -> Option<&'static str> {
    if let Some((name, _)) = KNOWN_OIDS.iter().find(|(_, known)| *known == oid) {
        return Some(name);
    }
    usize::try_from(oid - OTHER_OIDS).ok().and_then(|at| all().nth(at))
}

/// Every table and view of the schema.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let ours =
        tables::NAMES.iter().copied().chain(empty_tables::names()).filter(|name| !PG_CATALOG_TABLES.contains(name));
    PG_CATALOG_TABLES.iter().copied().chain(ours)
}

/// One session's `pg_catalog`.
#[derive(Debug)]
pub(super) struct PgCatalog {
    scene: Arc<SessionCatalog>,
}

impl PgCatalog {
    pub fn new(scene: Arc<SessionCatalog>) -> PgCatalog {
        PgCatalog { scene }
    }
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        all().map(str::to_string).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        if let Some(batch) = tables::table(&self.scene, name)? {
            return Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)));
        }
        let mut batches = match (empty_tables::table(name), fixed(name)?) {
            (Some(none), _) => vec![none],
            (None, Some(PgCatalogTable::Static(table))) => {
                // Some of the exports have columns and nothing else.
                let none = [RecordBatch::new_empty(table.schema())];
                let data = if table.data().is_empty() { &none[..] } else { table.data() };
                data.iter().map(normalize).collect::<Result<Vec<_>, _>>()?
            }
            (None, Some(other)) => return other.try_into_table_provider().map(Some),
            (None, None) => return Ok(None),
        };
        let Some(first) = batches.first().cloned() else { return Ok(None) };
        if name == "pg_proc" {
            batches.extend(routines::rows(&self.scene, &first.schema())?);
        }
        Ok(Some(Arc::new(MemTable::try_new(first.schema(), vec![batches])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        all().any(|known| known == name)
    }
}

/// The numbers of the functions that every Postgres has, by name; of several the first.
pub(super) fn functions() -> HashMap<String, i32> {
    let mut all = HashMap::new();
    let Ok(Some(PgCatalogTable::Static(functions))) = fixed("pg_proc") else { return all };
    for batch in functions.data() {
        let names = batch.column_by_name("proname").and_then(|c| c.as_string_opt::<i32>());
        let oids = batch.column_by_name("oid").and_then(|c| c.as_primitive_opt::<Int32Type>());
        let (Some(names), Some(oids)) = (names, oids) else { continue };
        for (name, oid) in names.iter().zip(oids).filter_map(|(name, oid)| name.zip(oid)) {
            all.entry(name.to_string()).or_insert(oid);
        }
    }
    all
}

/// A table that is the same everywhere.
fn fixed(name: &str) -> DfResult<Option<PgCatalogTable>> {
    let tables = STATIC.as_ref().map_err(|e| datafusion::error::DataFusionError::External(e.to_string().into()))?;
    PgCatalogSchemaProvider::try_new(Nothing, tables.clone(), EmptyContextProvider)?.build_table_by_name(name)
}

/// The exports' own idea of what exists: nothing, as all that can differ is ours.
#[derive(Debug, Clone)]
struct Nothing;

#[async_trait]
impl CatalogInfo for Nothing {
    async fn catalog_names(&self) -> DfResult<Vec<String>> {
        Ok(Vec::new())
    }
    async fn schema_names(&self, _: &str) -> DfResult<Option<Vec<String>>> {
        Ok(None)
    }
    async fn table_names(&self, _: &str, _: &str) -> DfResult<Option<Vec<String>>> {
        Ok(None)
    }
    async fn table_schema(&self, _: &str, _: &str, _: &str) -> DfResult<Option<arrow::datatypes::SchemaRef>> {
        Ok(None)
    }
    async fn table_type(&self, _: &str, _: &str, _: &str) -> DfResult<Option<datafusion::datasource::TableType>> {
        Ok(None)
    }
}

/// The keywords' table function, and whatever else is static.
pub(super) fn exports() -> Option<&'static Arc<PgCatalogStaticTables>> {
    STATIC.as_ref().ok()
}
