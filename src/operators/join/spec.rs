//! What a join is, as planned: its two sides, what must hold of a pair, and what is shown.

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

/// What a join is, as planned.
#[derive(Debug)]
pub struct JoinSpec {
    pub sides: [SideSpec; 2],
    /// What else must hold of a pair: over the columns of `combined`.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The columns of the left side, then those of the right one.
    pub combined: SchemaRef,
    /// Whether pairs are shown; else only rows of one side are.
    pub pairs: bool,
    /// Whether NULL equals NULL among keys.
    pub null_equals_null: bool,
    /// Rows that meet nothing are shown once it is certain, and never withdrawn.
    pub deferred: bool,
    pub output: SchemaRef,
    /// Pairs that are looked at together.
    pub pairs_max: usize,
    /// What the pairs of an epoch may hold.
    pub pairs_bytes_max: usize,
}

/// One side of a join, as planned.
#[derive(Debug)]
pub struct SideSpec {
    /// Its columns, without the diff.
    pub schema: SchemaRef,
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Whether its rows can be withdrawn.
    pub withdraws: bool,
    pub output: SideOutput,
    /// When a row can meet nothing new.
    pub close: Option<Close>,
    /// When a row comes too late: the other side may have forgotten what it would meet.
    pub late: Option<Close>,
    /// The event time that each row must have, where rows are shown once and for all.
    pub timed: Option<TimeColumn>,
    /// Whether it is fed by an operator, which gives rows in the epoch whose watermark completes them.
    pub fed_by_operator: bool,
}

/// What is shown of a side's row for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideOutput {
    None,
    /// It, where it meets nothing.
    Anti,
    /// It, where it meets something.
    Semi,
    /// It, and whether it meets something.
    Mark,
}

impl SideSpec {
    /// The columns that are kept: Arrow counts rows by columns.
    pub(super) fn kept(&self) -> SchemaRef {
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

    /// The keys of rows: of a join without any all rows have the same.
    pub(super) fn keys_of(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        match self.keys.is_empty() {
            true => Ok(vec![constant(rows.num_rows())]),
            false => self.keys.iter().map(|key| evaluate(key, rows)).collect(),
        }
    }
}

impl JoinSpec {
    /// Rows of one side as they are shown for themselves.
    pub(super) fn alone(&self, n: usize, rows: &RecordBatch, mark: bool) -> Result<RecordBatch> {
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

/// What is kept of rows without columns.
fn counted() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("row", DataType::Int8, true)]))
}

pub(super) fn constant(rows: usize) -> ArrayRef {
    Arc::new(Int8Array::from_value(0, rows))
}
