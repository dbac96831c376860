//! What a reader asks of a file, and what it is given: rows, bad records, or why there are no more of either.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};

use super::positions::Positions;

/// What a reader wants of a file.
#[derive(Debug, Clone)]
pub struct Request {
    /// The columns that the source declares.
    pub schema: SchemaRef,
    /// Which of them to decode, in this order; none to only count rows.
    pub projection: Vec<usize>,
    /// The rows of a record batch, from 1.
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

/// Why (the rest of) a file cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage(pub String);

impl<E: std::error::Error> From<E> for Damage {
    fn from(error: E) -> Self {
        Damage(error.to_string())
    }
}

/// Where bad records go.
pub type BadSink = Box<dyn FnMut(Bad) + Send>;

/// Some rows of a file.
#[derive(Debug, Clone)]
pub struct DecodedRows {
    pub batch: RecordBatch,
    /// As those of [`Bad`] are counted.
    pub positions: Positions,
}

impl DecodedRows {
    /// None.
    pub(super) fn none(request: &Request) -> DecodedRows {
        DecodedRows { batch: RecordBatch::new_empty(request.output()), positions: Positions::From(1) }
    }
}

/// The rows of a part. An error is the last item. One without rows says that reading goes on, and may be left.
pub type BatchIterator = Box<dyn Iterator<Item = Result<DecodedRows, Damage>> + Send>;
