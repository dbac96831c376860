//! The rows of a writing statement, collected before the first one is written; their memory is reserved.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::{
    execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
    physical_plan::SendableRecordBatchStream,
};
use futures::TryStreamExt;

use crate::{
    changes::bytes_of,
    error::{Error, ErrorKind, Result},
};

/// Bytes held per byte of rows until they are written: batches as they came, one concatenated batch, and the log
/// record.
const TIMES: usize = 4;

/// Rows and their memory reservation.
#[derive(Debug)]
pub struct Collected {
    pub rows: Vec<RecordBatch>,
    room: MemoryReservation,
}

impl Collected {
    pub fn new(pool: &Arc<dyn MemoryPool>) -> Self {
        let room = MemoryConsumer::new("the rows of a statement that writes").register(pool);
        Collected { rows: Vec::new(), room }
    }

    /// Collects all rows of a stream. Fails if they do not fit into `pool`.
    pub async fn of(mut rows: SendableRecordBatchStream, pool: &Arc<dyn MemoryPool>) -> Result<Self> {
        let mut collected = Collected::new(pool);
        while let Some(batch) = rows.try_next().await? {
            collected.push(batch)?;
        }
        Ok(collected)
    }

    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let bytes = bytes_of(&batch).saturating_mul(TIMES);
        self.room.try_grow(bytes).map_err(|_| {
            let bytes = self.room.size().saturating_add(bytes);
            Error::new(ErrorKind::OutOfMemory, format!("out of memory: writing these rows would hold {bytes} bytes"))
                .hint("Write fewer rows with each statement, or raise query.memory_limit.")
        })?;
        self.rows.push(batch);
        Ok(())
    }
}
