//! Changes: the rows of one epoch, the one currency between rooms.
//!
//! A change is a row and a *diff*: +1 came, -1 went (a Z-set; Budiu et al., "DBSP", VLDB 2023). Inside a plan the diff
//! travels as a last column named [`DIFF`], so that DataFusion's own filters and projections carry it along; where
//! nothing can be withdrawn the column is absent and every row came.

mod floats;
mod hash;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::{concat_batches, take},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};

pub use floats::{canonical, canonical_columns, has_floats};
pub use hash::ChangesHash;

use crate::error::{Error, ErrorKind, Result};

/// The name of the diff column: how often a row is inserted (+) or retracted (-).
pub const DIFF: &str = "__diff";

/// The name of the column that says which partition of which input a row came from. A plan carries it, before the diff,
/// from its leaves up to the watermark that tells partitions apart.
pub const PARTITION: &str = "__partition";

/// The name of the column that says whether a row is to be set (+1) or removed (-1): in what is saved of keyed state,
/// and in a source of upserts, before an operator makes changes of them.
pub const OP: &str = "__op";

/// Fails on the names reserved for the columns that plans add ([`DIFF`], [`PARTITION`], [`OP`]).
pub fn check_column_name(name: &str) -> Result<()> {
    if [DIFF, PARTITION, OP].contains(&name) {
        return Err(Error::new(ErrorKind::ReservedName, format!("column name \"{name}\" is reserved"))
            .hint("Give the column another name."));
    }
    Ok(())
}

/// `schema` with the diff column at its end.
pub fn with_diff(schema: &Schema) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(DIFF, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

/// `schema` less the diff column, where it has one.
pub fn without_diff(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().filter(|f| f.name() != DIFF).cloned().collect::<Vec<_>>()))
}

pub fn has_diff(schema: &Schema) -> bool {
    schema.fields().last().is_some_and(|f| f.name() == DIFF)
}

/// A batch that may have no columns.
pub fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// The memory of the batch's rows in bytes; of a slice only its share of the buffers.
pub fn bytes_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| bytes_of_array(column.as_ref())).sum()
}

/// The same of one column.
pub fn bytes_of_array(array: &dyn Array) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or(0)
}

/// Some rows of a batch, in their order; it may have no columns.
pub fn rows_at(batch: &RecordBatch, rows: &UInt32Array) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| take(column, rows, None)).collect::<Result<_, _>>()?;
    batch_of(&batch.schema(), columns, rows.len())
}

/// The rows of one epoch of one relation.
///
/// Rows of one `Changes` have no order: the sum of the diffs per row is what counts.
#[derive(Debug, Clone)]
pub struct Changes {
    rows: RecordBatch,
    diffs: Option<Int64Array>,
}

impl Changes {
    /// Rows without a diff column: all are insertions.
    pub fn insert(rows: RecordBatch) -> Self {
        Changes { rows, diffs: None }
    }

    /// Rows with their diffs, of equal length.
    pub fn new(rows: RecordBatch, diffs: Int64Array) -> Self {
        assert_eq!(rows.num_rows(), diffs.len(), "one diff a row");
        Changes { rows, diffs: Some(diffs) }
    }

    pub fn empty(schema: SchemaRef) -> Self {
        Changes::insert(RecordBatch::new_empty(schema))
    }

    /// Takes a batch of a plan apart: its last column is the diff, if it is called so.
    pub fn from_batch(batch: RecordBatch) -> Result<Self> {
        if !has_diff(&batch.schema()) {
            return Ok(Changes::insert(batch));
        }
        let last = batch.num_columns() - 1;
        let diffs = batch.column(last).as_primitive::<Int64Type>().clone();
        let rows = batch.project(&(0..last).collect::<Vec<_>>())?;
        Ok(Changes { rows, diffs: Some(diffs) })
    }

    /// The form a plan carries: the diff as last column, present if `diff`.
    pub fn into_batch(self, diff: bool) -> Result<RecordBatch> {
        if !diff {
            debug_assert!(self.is_insert_only(), "a plan without diffs was given withdrawals");
            return Ok(self.rows);
        }
        let schema = with_diff(&self.rows.schema());
        let diffs = self.diff_column();
        let mut columns = self.rows.columns().to_vec();
        columns.push(Arc::new(diffs));
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    pub fn concat(schema: &SchemaRef, parts: &[Changes]) -> Result<Self> {
        let rows = concat_batches(schema, parts.iter().map(|p| &p.rows))?;
        if parts.iter().all(|p| p.diffs.is_none()) {
            return Ok(Changes::insert(rows));
        }
        let diffs: Int64Array = parts.iter().flat_map(|p| p.diff_column().values().to_vec()).collect::<Vec<_>>().into();
        Ok(Changes::new(rows, diffs))
    }

    /// Some of them, in their order.
    pub fn slice(&self, start: usize, rows: usize) -> Changes {
        let diffs = self.diffs.as_ref().map(|diffs| diffs.slice(start, rows));
        Changes { rows: self.rows.slice(start, rows), diffs }
    }

    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }
    /// What its rows take, and their diffs.
    pub fn bytes(&self) -> usize {
        bytes_of(&self.rows) + self.diffs.as_ref().map_or(0, |diffs| diffs.len() * size_of::<i64>())
    }

    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }
    pub fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0
    }
    pub fn diffs(&self) -> Option<&Int64Array> {
        self.diffs.as_ref()
    }
    pub fn diff_column(&self) -> Int64Array {
        self.diffs.clone().unwrap_or_else(|| Int64Array::from_value(1, self.rows.num_rows()))
    }
    pub fn diff(&self, row: usize) -> i64 {
        self.diffs.as_ref().map_or(1, |d| d.value(row))
    }
    /// Whether nothing is withdrawn here.
    pub fn is_insert_only(&self) -> bool {
        self.diffs.as_ref().is_none_or(|d| d.values().iter().all(|d| *d > 0))
    }
}
