//! The immutable contents of a relation at an epoch, as a table that DataFusion can scan.

use std::{any::Any, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider, memory::MemorySourceConfig},
    datasource::{TableType, source::DataSourceExec},
    error::Result as DfResult,
    logical_expr::Expr,
    physical_plan::ExecutionPlan,
};

use crate::{
    error::{Error, Result},
    state::Live,
    time::Epoch,
};

/// Rows at an epoch. Cheap to clone and to keep; compaction of the relation does not touch it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    schema: SchemaRef,
    epoch: Epoch,
    chunks: Arc<Vec<Live>>,
    rows: usize,
    refusal: Option<Error>,
}

impl Snapshot {
    pub fn new(schema: SchemaRef, epoch: Epoch, chunks: Vec<Live>, rows: usize) -> Self {
        Snapshot { schema, epoch, chunks: Arc::new(chunks), rows, refusal: None }
    }

    /// One that answers everybody with an error.
    pub fn refused(&self, error: Error) -> Snapshot {
        Snapshot { refusal: Some(error), ..self.clone() }
    }

    /// Why it has no rows to give, where that is so.
    pub fn refusal(&self) -> Option<Error> {
        self.refusal.clone()
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows of one of the pieces that it is kept in; `None` past the last.
    pub fn piece(&self, n: usize) -> Option<Result<RecordBatch>> {
        self.chunks.get(n).map(|chunk| chunk.project(None))
    }

    /// The rows, of all columns or of some.
    pub fn batches(&self, projection: Option<&[usize]>) -> Result<Vec<RecordBatch>> {
        self.chunks.iter().map(|chunk| chunk.project(projection)).collect()
    }
}

#[async_trait]
impl TableProvider for Snapshot {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let batches = self.batches(projection.map(Vec::as_slice))?;
        // Enough rows for a second partition to pay; fewer stay together.
        let wanted = state.config().target_partitions().min(1 + self.rows / 50_000).max(1);
        let mut partitions = vec![Vec::new(); wanted];
        for (n, batch) in batches.into_iter().enumerate() {
            partitions[n % wanted].push(batch);
        }
        let source = MemorySourceConfig::try_new(&partitions, schema, None)?.with_limit(limit);
        Ok(DataSourceExec::from_data_source(source))
    }
}

/// Downcasts for the planner.
impl Snapshot {
    pub fn of(provider: &dyn TableProvider) -> Option<&Snapshot> {
        (provider as &dyn Any).downcast_ref()
    }
}
