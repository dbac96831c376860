//! Changes of a relation as input streams of a plan.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    catalog::TableProvider,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};

use futures::{TryStreamExt, stream};

use crate::{
    changes::{Changes, has_diff, with_diff},
    error::{Error, Result},
    relations::{ChangelogSlice, Store},
    sql::incremental::PlannedInput,
};

/// The projection of an input's changes: columns, and the diff column if the input has retractions.
#[derive(Debug, Clone)]
struct ReadAhead {
    schema: SchemaRef,
    columns: Vec<usize>,
    diff: bool,
}

impl ReadAhead {
    fn of(input: &PlannedInput) -> Result<ReadAhead> {
        let whole = input.table.schema();
        let columns: Vec<usize> = input.projection.clone().unwrap_or_else(|| (0..whole.fields().len()).collect());
        let (schema, diff) = (Arc::new(whole.project(&columns)?), input.table.withdraws());
        Ok(ReadAhead { schema: if diff { with_diff(&schema) } else { schema }, columns, diff })
    }

    fn batch(&self, changes: &Changes) -> Result<RecordBatch> {
        let rows = changes.rows().project(&self.columns)?;
        let changes = match changes.diffs() {
            Some(diffs) => Changes::new(rows, diffs.clone()),
            None => Changes::insert(rows),
        };
        let batch = changes.into_batch(self.diff)?;
        debug_assert_eq!(has_diff(&batch.schema()), self.diff);
        Ok(batch)
    }
}

/// An input stream of batches in memory.
#[derive(Debug)]
pub struct BatchReader {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl BatchReader {
    pub fn new(changes: &[Changes], input: &PlannedInput) -> Result<Self> {
        let reading = ReadAhead::of(input)?;
        let batches = changes.iter().map(|changes| reading.batch(changes)).collect::<Result<_>>()?;
        Ok(BatchReader { schema: reading.schema, batches })
    }
}

impl PartitionStream for BatchReader {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = self.batches.clone().into_iter().map(Ok);
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream::iter(batches)))
    }
}

/// An input stream of changes that are at least partly in files.
#[derive(Debug)]
pub struct FiledBatches {
    reading: ReadAhead,
    slice: ChangelogSlice,
    store: Store,
}

impl FiledBatches {
    pub fn new(slice: ChangelogSlice, store: Store, input: &PlannedInput) -> Result<Self> {
        Ok(FiledBatches { reading: ReadAhead::of(input)?, slice, store })
    }
}

impl PartitionStream for FiledBatches {
    fn schema(&self) -> &SchemaRef {
        &self.reading.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (reading, slice, store) = (self.reading.clone(), self.slice.clone(), self.store.clone());
        let read = move || -> Result<Vec<RecordBatch>> {
            slice.read(&store)?.iter().map(|changes| reading.batch(changes)).collect()
        };
        let read = async move {
            let read = tokio::task::spawn_blocking(read).await;
            let batches = read.map_err(|e| Error::internal(format!("reading a changelog died: {e}")))??;
            Ok::<_, DataFusionError>(stream::iter(batches.into_iter().map(Ok)))
        };
        Box::pin(RecordBatchStreamAdapter::new(self.reading.schema.clone(), stream::once(read).try_flatten()))
    }
}
