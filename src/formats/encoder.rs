//! What every format of messages does with rows.

use std::fmt::Debug;

use arrow::array::RecordBatch;
use bytes::Bytes;

use crate::error::Result;

/// Makes messages of rows.
pub trait Encoder: Send + Debug {
    /// One record for each row, in order; `None` for a row without a value.
    fn encode(&mut self, rows: &RecordBatch) -> Result<Vec<Option<Bytes>>>;
}
