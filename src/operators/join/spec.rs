//! The plan of a join: its sides, filter and output.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, Int8Array, RecordBatch, new_null_array},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};
use datafusion::physical_expr::PhysicalExpr;

use crate::{
    changes::batch_of,
    error::Result,
    operators::{TimeColumn, grouping::evaluate},
    state::Close,
};

/// A join as planned.
#[derive(Debug)]
pub struct JoinSpec {
    pub sides: [SideSpec; 2],
    /// Filter over pairs, on the columns of `combined`.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The columns of the left side, then of the right side.
    pub combined: SchemaRef,
    /// Whether pairs are emitted; otherwise only rows of one side (semi, anti, mark).
    pub pairs: bool,
    /// Whether NULL equals NULL among keys.
    pub null_equals_null: bool,
    /// Whether rows without a match are emitted only once no match is possible, and never retracted.
    pub deferred: bool,
    pub output: SchemaRef,
    /// Pairs evaluated at a time.
    pub pairs_max: usize,
    /// Limit of the bytes of an epoch's pairs.
    pub pairs_bytes_max: usize,
}

/// One side of a join, as planned.
#[derive(Debug)]
pub struct SideSpec {
    /// Its schema, without the diff.
    pub schema: SchemaRef,
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Whether it has retractions.
    pub withdraws: bool,
    pub output: SideOutput,
    /// When a row can have no new match and is dropped.
    pub close: Option<Close>,
    /// When a row is late: the other side may have dropped its matches.
    pub late: Option<Close>,
    /// The event time that may not be NULL, if the output is append-only.
    pub timed: Option<TimeColumn>,
    /// Whether its input is another operator: its rows are complete at *this* epoch's watermark, see
    /// [`Tick::closed`](crate::time::Tick::closed).
    pub fed_by_operator: bool,
}

/// What a row of a side emits by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideOutput {
    None,
    /// The row, if it has no match.
    Anti,
    /// The row, if it has a match.
    Semi,
    /// The row, and whether it has a match.
    Mark,
}

impl SideSpec {
    /// The schema of stored rows; a placeholder column if there are none, since Arrow counts rows by columns.
    pub(super) fn stored_schema(&self) -> SchemaRef {
        match self.schema.fields().is_empty() {
            true => counted(),
            false => self.schema.clone(),
        }
    }

    pub(super) fn key_fields(&self) -> Result<Fields> {
        let field = |(n, key): (usize, &Arc<dyn PhysicalExpr>)| -> Result<Field> {
            Ok(Field::new(n.to_string(), key.data_type(&self.schema)?, true))
        };
        if self.keys.is_empty() {
            return Ok(counted().fields().clone());
        }
        self.keys.iter().enumerate().map(field).collect()
    }

    /// The key columns of rows; a constant for a join without keys.
    pub(super) fn keys_of(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        match self.keys.is_empty() {
            true => Ok(vec![constant(rows.num_rows())]),
            false => self.keys.iter().map(|key| evaluate(key, rows)).collect(),
        }
    }
}

impl JoinSpec {
    /// The own output of rows of side `n`: NULLs for the other side, or the mark column.
    pub(super) fn side_output(&self, n: usize, rows: &RecordBatch, mark: bool) -> Result<RecordBatch> {
        let own = rows.columns()[..self.sides[n].schema.fields().len()].iter().cloned();
        let mut columns: Vec<ArrayRef> = own.collect();
        if self.pairs {
            let of_other = self.sides[1 - n].schema.fields();
            let nothing = of_other.iter().map(|field| new_null_array(field.data_type(), rows.num_rows()));
            match n {
                0 => columns.extend(nothing),
                _ => columns.splice(0..0, nothing).for_each(drop),
            }
        } else if self.sides[n].output == SideOutput::Mark {
            columns.push(Arc::new(BooleanArray::from(vec![mark; rows.num_rows()])));
        }
        batch_of(&self.output, columns, rows.num_rows())
    }
}

/// The stored schema of rows without columns.
fn counted() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("row", DataType::Int8, true)]))
}

pub(super) fn constant(rows: usize) -> ArrayRef {
    Arc::new(Int8Array::from_value(0, rows))
}
