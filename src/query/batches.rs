//! A relation's rows, in memory, as a plan reads them.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    catalog::TableProvider,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};

use crate::{
    changes::{Changes, has_diff, with_diff},
    error::Result,
    sql::incremental::PlannedInput,
};

/// Batches in memory as an input's stream.
#[derive(Debug)]
pub struct Batches {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Batches {
    /// Changes as a plan reads them: the columns asked for, and the diff where rows may be withdrawn.
    pub fn new(changes: Vec<Changes>, input: &PlannedInput) -> Result<Self> {
        let whole = input.table.schema();
        let columns: Vec<usize> = input.projection.clone().unwrap_or_else(|| (0..whole.fields().len()).collect());
        let mut schema = Arc::new(whole.project(&columns)?);
        let diff = input.table.withdraws();
        if diff {
            schema = with_diff(&schema);
        }
        let mut batches = Vec::new();
        for changes in changes {
            let rows = changes.rows().project(&columns)?;
            let batch = match changes.diffs() {
                Some(diffs) => Changes::new(rows, diffs.clone()),
                None => Changes::insert(rows),
            };
            let batch = batch.into_batch(diff)?;
            debug_assert_eq!(has_diff(&batch.schema()), diff);
            batches.push(batch);
        }
        Ok(Batches { schema, batches })
    }
}

impl PartitionStream for Batches {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = self.batches.clone().into_iter().map(Ok);
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(batches)))
    }
}
