//! Where the leaves of a plan find rows that are put there for them, rather than read.

use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;

use crate::sync::locked;

/// Where a plan finds the rows that it is run over.
pub type GroupInput = Arc<Mutex<Option<RecordBatch>>>;

/// Where the batches of a leaf are put for the steps above it, by partition.
#[derive(Debug)]
pub(super) struct BatchSlots(Vec<Mutex<Option<RecordBatch>>>);

impl BatchSlots {
    pub fn new(partitions: usize) -> Arc<Self> {
        Arc::new(BatchSlots((0..partitions).map(|_| Mutex::default()).collect()))
    }

    pub fn put(&self, partition: usize, batch: RecordBatch) {
        *locked(&self.0[partition]) = Some(batch);
    }

    pub fn take(&self, partition: usize) -> Option<RecordBatch> {
        locked(&self.0[partition]).take()
    }
}
