//! The memory limit of an epoch's changes.

use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use datafusion::{
    error::Result as DfResult,
    execution::{TaskContext, memory_pool::MemoryLimit},
};

use crate::{
    changes::bytes_of,
    error::{Error, ErrorKind},
};

/// Counts the bytes of an epoch's changes, which may be many more than it reads.
pub(super) struct ChangesMemory {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl ChangesMemory {
    pub fn within(context: &TaskContext) -> ChangesMemory {
        let bytes_max = match context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            _ => usize::MAX,
        };
        ChangesMemory { bytes: AtomicUsize::new(0), bytes_max }
    }

    /// Reserves room for a batch, twice: itself, and its copy in the concatenated changes. Fails with
    /// `ConfigurationLimit`.
    pub fn ask(&self, batch: &RecordBatch) -> DfResult<()> {
        let bytes = 2 * bytes_of(batch);
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.bytes_max {
            return Ok(());
        }
        let message = "the changes of one epoch would hold more than epoch.memory_limit";
        Err(Error::new(ErrorKind::ConfigurationLimit, message)
            .hint(
                "Raise epoch.memory_limit, then ALTER … RESUME; or make another one with fewer columns, or sources that read \
                 less at a time (max_rows_per_trigger).",
            )
            .into())
    }
}
