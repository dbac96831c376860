//! The inputs of a query as DataFusion sees them: a source or a relation under a name.

use std::{any::Any, collections::HashMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    datasource::TableType,
    error::Result as DfResult,
    logical_expr::Expr,
    physical_plan::{ExecutionPlan, streaming::StreamingTableExec},
};

use crate::{
    connectors::{BadRecords, Offsets, ReadLimit, Readers, ScanHints, Source, Span},
    relations::{Identity, Shared, Snapshot},
};

/// Something that a standing query can follow.
#[derive(Debug, Clone)]
pub enum Input {
    Source(Arc<dyn Source>),
    Relation(Arc<Shared>),
}

/// An input by name. Scanned as a batch it gives all that it holds now.
#[derive(Debug, Clone)]
pub struct InputTable {
    pub id: u64,
    pub name: String,
    pub input: Input,
    /// `CREATE EXTERNAL TABLE`: read as a whole wherever it is used, never followed.
    pub fixed: bool,
    /// Of a relation: what a batch query sees.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The most that one epoch takes of it.
    pub limit: ReadLimit,
    pub readers: Arc<Readers>,
    /// Of a table: what a column is where an INSERT does not say.
    pub defaults: Arc<HashMap<String, Expr>>,
}

impl InputTable {
    pub fn of(provider: &dyn TableProvider) -> Option<&InputTable> {
        (provider as &dyn Any).downcast_ref()
    }

    /// Whether its rows may come in more than one partition.
    pub fn is_partitioned(&self) -> bool {
        match &self.input {
            Input::Source(source) => source.is_partitioned(),
            Input::Relation(_) => false,
        }
    }

    /// Whether its rows may be withdrawn.
    pub fn withdraws(&self) -> bool {
        match &self.input {
            Input::Source(_) => false,
            Input::Relation(shared) => *shared.lock().identity() != Identity::AppendOnly,
        }
    }

    /// The columns that tell its rows apart, where a relation is known by some.
    pub fn key(&self) -> Option<Vec<usize>> {
        let Input::Relation(shared) = &self.input else { return None };
        match shared.lock().identity() {
            Identity::Key(key) => Some(key.clone()),
            _ => None,
        }
    }
}

/// The rows of a record batch where nobody says otherwise: DataFusion's own default.
pub const BATCH_ROWS: usize = 8192;

#[async_trait]
impl TableProvider for InputTable {
    fn schema(&self) -> SchemaRef {
        match &self.input {
            Input::Source(source) => source.schema(),
            Input::Relation(_) => self
                .snapshot
                .as_ref()
                .map_or_else(|| Arc::new(arrow::datatypes::Schema::empty()), |snapshot| snapshot.columns().clone()),
        }
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.defaults.get(column)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        if let Some(snapshot) = &self.snapshot {
            if let Some(error) = snapshot.refusal() {
                return Err(error.context(format!("\"{}\" has not recovered", self.name)).into());
            }
            return snapshot.scan(state, projection, filters, limit).await;
        }
        let Input::Source(source) = &self.input else {
            return Err(crate::error::Error::internal("a relation was scanned without a snapshot").into());
        };
        let ahead = source.ahead(&Offsets::default(), &ReadLimit::default()).await?;
        let span = Span { from: Offsets::default(), to: ahead.to };
        let schema = match projection {
            Some(columns) => Arc::new(source.schema().project(columns)?),
            None => source.schema(),
        };
        let hints = ScanHints {
            projection: projection.cloned(),
            partitions: state.config().target_partitions(),
            batch_rows: state.config().batch_size(),
            bad: BadRecords::default(),
        };
        let streams = source.scan(&span, &hints)?.into_iter().map(|stream| stream.rows).collect();
        Ok(Arc::new(StreamingTableExec::try_new(schema, streams, None, [], false, limit)?))
    }
}
