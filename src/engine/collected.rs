//! The rows of a statement that writes: all of them are there before the first one is written, so each is asked for.

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

/// How often a row is there until it is written: as it came, as one batch with all others, and in the log.
const TIMES: usize = 4;

/// Rows, and their room.
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

    /// All rows of a stream.
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
