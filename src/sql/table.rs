//! The inputs of a query as DataFusion tables: a named source or relation.

use std::{any::Any, collections::HashMap, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    datasource::TableType,
    error::Result as DfResult,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::Expr,
    physical_plan::{
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::{StreamExt, stream};

use super::incremental::TimeBounds;
use crate::{
    changes::OP,
    connectors::{BadRecords, BatchingPolicy, Offsets, OnError, ReadLimit, Readers, ScanHints, Source, Span},
    error::{ErrorKind, Result},
    exec::Plan,
    operators::Upsert,
    relations::{Identity, SharedRelation, Snapshot},
};

/// An input of a standing query.
#[derive(Debug, Clone)]
pub enum TableInput {
    /// A source, with its policy for bad records and row errors.
    Source(Arc<dyn Source>, OnError),
    Relation(Arc<SharedRelation>),
}

/// A named input. A batch scan returns its current rows.
#[derive(Debug, Clone)]
pub struct InputTable {
    pub id: u64,
    pub name: String,
    pub input: TableInput,
    /// `CREATE EXTERNAL TABLE`: each query reads all of it once, and does not wait for more.
    pub fixed: bool,
    /// For a relation: the snapshot of a batch query.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The read limit of an epoch.
    pub limit: ReadLimit,
    /// The minimum batch of an epoch.
    pub batching: Option<BatchingPolicy>,
    pub readers: Arc<Readers>,
    /// For a table: column defaults.
    pub defaults: Arc<HashMap<String, Expr>>,
    /// For an upsert source: the names of the key columns.
    pub upsert_key: Arc<[String]>,
    /// For a view: the time bounds of its columns.
    pub times: Arc<TimeBounds>,
    /// Whether a replay returns bit-identical rows: not for a view with `stddev`.
    pub reproducible: bool,
}

/// How an upsert source is scanned.
#[derive(Debug)]
pub struct ScanSpec {
    /// The source columns to read, in order: the projection, missing key columns, the operation.
    pub columns: Vec<usize>,
    /// Their schema.
    pub input: SchemaRef,
    /// The indexes of the key columns in `columns`.
    pub key: Vec<usize>,
}

impl InputTable {
    pub fn of(provider: &dyn TableProvider) -> Option<&InputTable> {
        (provider as &dyn Any).downcast_ref()
    }

    /// Whether its rows may come in more than one partition.
    pub fn is_partitioned(&self) -> bool {
        match &self.input {
            TableInput::Source(source, _) => source.is_partitioned(),
            TableInput::Relation(_) => false,
        }
    }

    /// Whether a standing query drops its rows with a row error.
    pub fn isolates_row_errors(&self) -> bool {
        matches!(self.input, TableInput::Source(_, OnError::DeadLetter | OnError::Skip))
    }

    /// Whether it has retractions.
    pub fn withdraws(&self) -> bool {
        match &self.input {
            TableInput::Source(..) => !self.upsert_key.is_empty(),
            TableInput::Relation(shared) => *shared.lock().identity() != Identity::AppendOnly,
        }
    }

    /// The key columns of a relation, if it has any.
    pub fn key(&self) -> Option<Vec<usize>> {
        let TableInput::Relation(shared) = &self.input else { return None };
        match shared.lock().identity() {
            Identity::Key(key) => Some(key.clone()),
            _ => None,
        }
    }
}

impl InputTable {
    /// The scan of an upsert source for a projection; `None` for other inputs.
    pub fn reading(&self, projection: Option<&[usize]>) -> Result<Option<ScanSpec>> {
        let TableInput::Source(source, _) = &self.input else { return Ok(None) };
        if self.upsert_key.is_empty() {
            return Ok(None);
        }
        let all = source.schema();
        let shown: Vec<usize> = (0..all.fields().len()).filter(|i| all.field(*i).name() != OP).collect();
        let mut columns: Vec<usize> = match projection {
            Some(projection) => projection.iter().map(|i| shown[*i]).collect(),
            None => shown,
        };
        let mut key = Vec::new();
        for name in self.upsert_key.iter() {
            let column = all.index_of(name)?;
            key.push(columns.iter().position(|c| *c == column).unwrap_or_else(|| {
                columns.push(column);
                columns.len() - 1
            }));
        }
        columns.push(all.index_of(OP)?);
        let input = Arc::new(all.project(&columns)?);
        Ok(Some(ScanSpec { columns, input, key }))
    }
}

/// Rows per record batch by default: DataFusion's own default.
pub const BATCH_ROWS: usize = 8192;

#[async_trait]
impl TableProvider for InputTable {
    fn schema(&self) -> SchemaRef {
        match &self.input {
            TableInput::Source(source, _) if self.upsert_key.is_empty() => source.schema(),
            TableInput::Source(source, _) => {
                let schema = source.schema();
                let shown = schema.fields().iter().filter(|field| field.name() != OP).cloned();
                Arc::new(Schema::new(shown.collect::<Vec<_>>()))
            }
            TableInput::Relation(_) => {
                self.snapshot.as_ref().map_or_else(|| Arc::new(Schema::empty()), |snapshot| snapshot.columns().clone())
            }
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
    ) -> DfResult<Plan> {
        if let Some(snapshot) = &self.snapshot {
            if let Some(error) = snapshot.refusal() {
                if error.kind() == ErrorKind::Recovering {
                    return Err(error.into());
                }
                return Err(error.context(format!("\"{}\" has not recovered", self.name)).into());
            }
            return snapshot.scan(state, projection, filters, limit).await;
        }
        let TableInput::Source(source, on_error) = &self.input else {
            return Err(crate::error::Error::internal("a relation was scanned without a snapshot").into());
        };
        let ahead = source.ahead(&Offsets::default(), &ReadLimit::default()).await?;
        let span = Span { from: Offsets::default(), to: ahead.to };
        let schema = match projection {
            Some(columns) => Arc::new(self.schema().project(columns)?),
            None => self.schema(),
        };
        let reading = self.reading(projection.map(Vec::as_slice))?;
        let bad = BadRecords::default();
        let hints = ScanHints {
            projection: reading.as_ref().map(|reading| reading.columns.clone()).or_else(|| projection.cloned()),
            partitions: state.config().target_partitions(),
            batch_rows: state.config().batch_size(),
            bad: bad.clone(),
            retain: false,
        };
        let streams = on_error.applied(&self.name, source.scan(&span, &hints)?, &bad);
        let mut streams: Vec<_> = streams.into_iter().map(|stream| stream.rows).collect();
        if let Some(ScanSpec { input, key, .. }) = reading {
            streams = vec![Arc::new(Current { streams, input, key, output: schema.clone() })];
        }
        Ok(Arc::new(StreamingTableExec::try_new(schema, streams, None, [], false, limit)?))
    }
}

/// The current rows of an upsert source, as a batch scan.
#[derive(Debug)]
struct Current {
    streams: Vec<Arc<dyn PartitionStream>>,
    input: SchemaRef,
    key: Vec<usize>,
    output: SchemaRef,
}

impl PartitionStream for Current {
    fn schema(&self) -> &SchemaRef {
        &self.output
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let streams: Vec<_> = self.streams.iter().map(|stream| stream.execute(context.clone())).collect();
        let upsert = Upsert::new(&self.input, self.output.clone(), self.key.clone());
        let work = async move {
            let mut upsert = upsert?;
            for mut rows in streams {
                while let Some(batch) = rows.next().await {
                    upsert.fold(&batch?)?;
                }
            }
            Ok(upsert.rows()?)
        };
        Box::pin(RecordBatchStreamAdapter::new(self.output.clone(), stream::once(work)))
    }
}
