//! The schema `pg_catalog`: which tables it has, and where each comes from.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::{
    catalog::{MemTable, SchemaProvider, TableProvider},
    error::Result as DfResult,
};
use datafusion_pg_catalog::pg_catalog::PgCatalogTable;

use super::{
    empty_tables, exports::fixed, objects::SessionCatalog, routines, static_tables::normalize, table_oids::all, tables,
};

/// One session's `pg_catalog`.
#[derive(Debug)]
pub(super) struct PgCatalog {
    session_catalog: Arc<SessionCatalog>,
}

impl PgCatalog {
    pub fn new(session_catalog: Arc<SessionCatalog>) -> PgCatalog {
        PgCatalog { session_catalog }
    }
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        all().map(str::to_string).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        if let Some(batch) = tables::table(&self.session_catalog, name)? {
            return Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)));
        }
        let mut batches = match (empty_tables::table(name), fixed(name)?) {
            (Some(none), _) => vec![none],
            (None, Some(PgCatalogTable::Static(table))) => {
                // Some exported tables have columns but no batch.
                let none = [RecordBatch::new_empty(table.schema())];
                let data = if table.data().is_empty() { &none[..] } else { table.data() };
                data.iter().map(normalize).collect::<Result<Vec<_>, _>>()?
            }
            (None, Some(other)) => return other.try_into_table_provider().map(Some),
            (None, None) => return Ok(None),
        };
        let Some(first) = batches.first().cloned() else { return Ok(None) };
        if name == "pg_proc" {
            batches.extend(routines::rows(&self.session_catalog, &first.schema())?);
        }
        Ok(Some(Arc::new(MemTable::try_new(first.schema(), vec![batches])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        all().any(|known| known == name)
    }
}
