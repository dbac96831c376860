//! Leaves of a plan whose rows are set before each run, instead of read from a source.

use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;

use crate::sync::locked;

/// The rows that the next run of a plan reads.
pub type GroupInput = Arc<Mutex<Option<RecordBatch>>>;

/// Per partition the batch that a leaf passes to the nodes above it.
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
