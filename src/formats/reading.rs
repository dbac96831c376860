//! The interface of readers: the request, and the rows, bad records or damage that they return.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};

use super::positions::Positions;

/// A request to read a file.
#[derive(Debug, Clone)]
pub struct Request {
    /// The declared columns of the source.
    pub schema: SchemaRef,
    /// The indexes of the columns to decode, in order; empty to only count rows.
    pub projection: Vec<usize>,
    /// Maximum rows of a record batch, at least 1.
    pub batch_rows: usize,
}

impl Request {
    /// The schema of the batches.
    pub fn output(&self) -> SchemaRef {
        let fields: Vec<_> = self.projection.iter().map(|i| self.schema.fields()[*i].clone()).collect();
        Arc::new(Schema::new(fields))
    }
}

/// One record that did not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// The line, or the row of a Parquet file, from 1.
    pub position: i64,
    pub raw: Vec<u8>,
    pub reason: String,
}

/// The reason why (the rest of) a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage(pub String);

impl<E: std::error::Error> From<E> for Damage {
    fn from(error: E) -> Self {
        Damage(error.to_string())
    }
}

/// Receives bad records.
pub type BadSink = Box<dyn FnMut(Bad) + Send>;

/// Some rows of a file.
#[derive(Debug, Clone)]
pub struct DecodedRows {
    pub batch: RecordBatch,
    /// Counted as in [`Bad`].
    pub positions: Positions,
}

impl DecodedRows {
    /// No rows.
    pub(super) fn none(request: &Request) -> DecodedRows {
        DecodedRows { batch: RecordBatch::new_empty(request.output()), positions: Positions::From(1) }
    }
}

/// The rows of a part. An error is the last item. An empty batch is a point where reading can be cancelled.
pub type BatchIterator = Box<dyn Iterator<Item = Result<DecodedRows, Damage>> + Send>;
