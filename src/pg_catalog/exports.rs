//! Catalog contents that are the same in every Postgres, from the exports of datafusion-pg-catalog.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use arrow::{array::AsArray, datatypes::Int32Type};
use async_trait::async_trait;
use datafusion::error::Result as DfResult;
use datafusion_pg_catalog::pg_catalog::{
    PgCatalogSchemaProvider, PgCatalogStaticTables, PgCatalogTable, catalog_info::CatalogInfo,
    context::EmptyContextProvider,
};

/// The exported tables. Loaded at the first use.
static STATIC: LazyLock<DfResult<Arc<PgCatalogStaticTables>>> =
    LazyLock::new(|| PgCatalogStaticTables::try_new().map(Arc::new));

/// The oids of built-in functions by name; for an overloaded name that of the first.
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

/// The exported table of a name; `None` if it has none.
pub(super) fn fixed(name: &str) -> DfResult<Option<PgCatalogTable>> {
    let tables = STATIC.as_ref().map_err(|e| datafusion::error::DataFusionError::External(e.to_string().into()))?;
    PgCatalogSchemaProvider::try_new(Nothing, tables.clone(), EmptyContextProvider)?.build_table_by_name(name)
}

/// The list of objects passed to the exports: empty, since this crate makes the tables that depend on it.
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

/// All exported tables and table functions.
pub(super) fn exports() -> Option<&'static Arc<PgCatalogStaticTables>> {
    STATIC.as_ref().ok()
}
