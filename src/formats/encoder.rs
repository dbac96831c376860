//! The interface of message encoders.

use std::fmt::Debug;

use arrow::array::RecordBatch;
use bytes::Bytes;

use crate::error::Result;

/// Encodes rows as messages.
pub trait Encoder: Send + Debug {
    /// One record per row, in order; `None` is a record without a value.
    fn encode(&mut self, rows: &RecordBatch) -> Result<Vec<Option<Bytes>>>;
}
