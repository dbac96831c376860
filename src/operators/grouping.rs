//! Shared by grouped operators: keys, functions, and which rows are late.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int8Array, RecordBatch},
    compute::{filter_record_batch, kernels::cmp::distinct},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};
use datafusion::{
    logical_expr::{AggregateUDF, EmitTo, GroupsAccumulator},
    physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr, PhysicalSortExpr, aggregate::AggregateFunctionExpr},
    physical_plan::aggregates::{group_values::new_group_values, order::GroupOrdering},
};

use super::Fold;
use crate::{
    changes::batch_of,
    checkpoint::LateCause,
    error::Result,
    exec::{Evaluated, LateRows},
    state::{Close, differing_values},
    time::{Micros, Tick, event_times},
};

/// When a grouped operator emits its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Emission {
    /// Once, when the watermark closes the group; the group is then dropped.
    OnClose,
    /// Whenever the group changes; dropped when the watermark closes it.
    OnUpdate,
    /// Whenever the group changes; no row is late and no group is dropped.
    Complete,
}

/// Group keys, and when groups close.
#[derive(Debug, Clone)]
pub struct Grouping {
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    pub key_fields: Fields,
    pub close: Option<Close>,
    /// Key columns with event times that may not be NULL, if groups are emitted on close only.
    pub timed: Vec<TimeColumn>,
    /// Whether the input is another operator: see [`Tick::closed`].
    pub derived: bool,
    pub emission: Emission,
    /// Keys and functions, in that order.
    pub output: SchemaRef,
}

/// One aggregate function with its filter and ORDER BY.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    pub aggregate: Arc<AggregateFunctionExpr>,
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    pub order_by: Vec<PhysicalSortExpr>,
}

/// Functions whose answer depends on the order of their rows.
const IN_ORDER: [&str; 6] = ["any_value", "array_agg", "first_value", "last_value", "nth_value", "string_agg"];

/// Whether the answer of a function depends on the order of its rows.
pub fn is_in_order(function: &AggregateUDF) -> bool {
    IN_ORDER.contains(&function.name()) || Fold::behind(function.inner().as_ref()).is_some()
}

/// Functions whose answer over DISTINCT values is independent of hash table order.
const SETTLED_IF_DISTINCT: [&str; 13] = [
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bool_and",
    "bool_or",
    "count",
    "max",
    "median",
    "min",
    "percentile_cont",
    "string_agg",
    "sum",
];

/// Whether the answer over DISTINCT values (with ORDER BY if `has_order`) is determined by the values.
pub fn is_settled(function: &AggregateUDF, has_order: bool) -> bool {
    (has_order || !is_in_order(function)) && SETTLED_IF_DISTINCT.contains(&function.name())
}

/// Functions whose answer depends on one row: the first in some order.
const OF_ONE_ROW: [&str; 6] = ["bool_and", "bool_or", "first_value", "last_value", "max", "min"];

/// Whether the answer depends only on the first row, in the function's ORDER BY or the order of its argument.
pub fn is_of_one_row(function: &AggregateUDF) -> bool {
    OF_ONE_ROW.contains(&function.name()) && Fold::behind(function.inner().as_ref()).is_none()
}

impl AggregateCall {
    /// Whether its answer depends on the order in which states are merged.
    pub fn is_in_order(&self) -> bool {
        is_in_order(self.aggregate.fun())
    }

    /// Whether its answer is determined by a group's rows and their order. Otherwise the emitted answer is stored, so
    /// that it can be retracted as it was.
    pub fn is_settled(&self) -> bool {
        !self.aggregate.is_distinct() || is_settled(self.aggregate.fun(), !self.order_by.is_empty())
    }

    /// The initial state of `groups` new groups, for functions (folds) that need one; `None` for others.
    pub fn beginning(&self, groups: usize) -> Result<Option<Vec<ArrayRef>>> {
        match Fold::behind(self.aggregate.fun().inner().as_ref()) {
            Some(fold) => fold.beginning(groups),
            None => Ok(None),
        }
    }

    pub fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.aggregate.groups_accumulator_supported() {
            return Ok(self.aggregate.create_groups_accumulator()?);
        }
        let aggregate = self.aggregate.clone();
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
    }

    /// The accumulator's arguments of a batch.
    pub fn arguments(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let order = self.order_by.iter().map(|sort| sort.expr.clone());
        self.aggregate.expressions().into_iter().chain(order).map(|e| evaluate(&e, batch)).collect()
    }

    pub fn filter(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let Some(filter) = &self.filter else { return Ok(None) };
        Ok(Some(evaluate(filter, batch)?.as_boolean().clone()))
    }
}

pub fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    Ok(expr.evaluate(batch)?.into_array(batch.num_rows())?)
}

impl Grouping {
    /// Splits off the late rows of a batch and evaluates keys and arguments of the others.
    pub fn evaluate(&self, functions: &[AggregateCall], batch: RecordBatch, tick: &Tick) -> Result<Evaluated> {
        let (mut keys, mut late) = (self.keys_of(&batch)?, Vec::new());
        let batch = retain_on_time(batch, have_times(&self.timed, &keys), LateCause::NoEventTime, &mut late)?;
        if !late.is_empty() {
            keys = self.keys_of(&batch)?;
        }
        let (on_time, before) = (self.on_time(&keys, tick.closed(self.derived))?, late.len());
        let batch = retain_on_time(batch, on_time, LateCause::BehindWatermark, &mut late)?;
        if late.len() > before {
            keys = self.keys_of(&batch)?;
        }
        let arguments = functions.iter().map(|function| function.arguments(&batch)).collect::<Result<_>>()?;
        let filters = functions.iter().map(|function| function.filter(&batch)).collect::<Result<_>>()?;
        Ok(Evaluated { batch, keys, arguments, filters, late })
    }

    pub(super) fn keys_of(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.keys.iter().map(|key| evaluate(key, batch)).collect()
    }

    /// Which rows are not late; `None` if none is.
    fn on_time(&self, keys: &[ArrayRef], watermark: Option<Micros>) -> Result<Option<BooleanArray>> {
        let (Some(close), Some(watermark)) = (&self.close, watermark) else { return Ok(None) };
        if self.emission == Emission::Complete {
            return Ok(None);
        }
        in_time(close, keys, watermark)
    }

    /// The watermark that closes groups; `None` if groups are never closed.
    pub fn closing(&self, watermark: Option<Micros>) -> Option<Micros> {
        match self.emission {
            Emission::Complete => None,
            _ => watermark.filter(|_| self.close.is_some()),
        }
    }

    pub fn rows(&self, keys: &[ArrayRef], functions: Vec<ArrayRef>) -> Result<RecordBatch> {
        let keys = keys[..self.key_fields.len()].to_vec();
        let columns: Vec<ArrayRef> = keys.into_iter().chain(functions).collect();
        // Without columns there is one group of all rows.
        let rows = columns.first().map_or(1, |column| column.len());
        batch_of(&self.output, columns, rows)
    }

    pub fn is_global(&self) -> bool {
        self.key_fields.is_empty()
    }

    /// The key fields of stored state, all called `name` (which tells saved structures apart). A query without `GROUP
    /// BY` has one group with a constant key: see [`state_keys`].
    pub fn state_fields(&self, name: &str) -> Fields {
        match self.is_global() {
            true => Fields::from(vec![Field::new(name, DataType::Int8, false)]),
            false => self.key_fields.iter().map(|f| f.as_ref().clone().with_name(name)).collect(),
        }
    }
}

/// The key columns of rows, or the constant if there are none.
pub fn state_keys(keys: Vec<ArrayRef>, rows: usize) -> Vec<ArrayRef> {
    match keys.is_empty() {
        true => vec![Arc::new(Int8Array::from_value(0, rows))],
        false => keys,
    }
}

/// Which rows are in groups still open at a watermark; `None` if all are.
fn in_time(close: &Close, columns: &[ArrayRef], watermark: Micros) -> Result<Option<BooleanArray>> {
    let moments = close.moments(columns)?;
    if moments.values().iter().all(|m| *m > watermark) {
        return Ok(None);
    }
    Ok(Some(BooleanArray::from_unary(&moments, |m| m > watermark)))
}

/// A column of event times, or an event time field of a struct column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeColumn {
    pub column: usize,
    pub field: Option<usize>,
}

impl TimeColumn {
    /// The event time column that closes groups.
    pub fn of(close: Close) -> Self {
        TimeColumn { column: close.column, field: close.field }
    }
}

/// Which rows have event times in all of `timed`; `None` if all rows do. Infinity is not an event time: see
/// [`event_times`].
fn have_times(timed: &[TimeColumn], columns: &[ArrayRef]) -> Option<BooleanArray> {
    let mut missing: Option<Vec<bool>> = None;
    for TimeColumn { column, field } in timed {
        let column = match field {
            Some(field) => columns[*column].as_struct().column(*field),
            None => &columns[*column],
        };
        let Some(times) = event_times(column).filter(|times| times.null_count() > 0) else { continue };
        let missing = missing.get_or_insert_with(|| vec![false; times.len()]);
        missing.iter_mut().enumerate().for_each(|(row, missing)| *missing |= times.is_null(row));
    }
    missing.map(|missing| missing.into_iter().map(|missing| Some(!missing)).collect())
}

/// Splits a batch: returns the rows on time, adds the others to `late`.
fn retain_on_time(
    batch: RecordBatch,
    on_time: Option<BooleanArray>,
    cause: LateCause,
    late: &mut LateRows,
) -> Result<RecordBatch> {
    let Some(on_time) = on_time else { return Ok(batch) };
    late.push((cause, filter_record_batch(&batch, &arrow::compute::not(&on_time)?)?));
    Ok(filter_record_batch(&batch, &on_time)?)
}

/// Splits rows into those on time and late ones. On time is a row that has the event time it must have, in a group
/// that the watermark has not closed.
pub fn split_late(
    batch: RecordBatch,
    timed: Option<TimeColumn>,
    close: Option<Close>,
    watermark: Option<Micros>,
) -> Result<(RecordBatch, LateRows)> {
    let mut late = Vec::new();
    let has_time = timed.and_then(|column| have_times(&[column], batch.columns()));
    let batch = retain_on_time(batch, has_time, LateCause::NoEventTime, &mut late)?;
    let on_time = match (&close, watermark) {
        (Some(close), Some(watermark)) => in_time(close, batch.columns(), watermark)?,
        _ => None,
    };
    Ok((retain_on_time(batch, on_time, LateCause::BehindWatermark, &mut late)?, late))
}

/// Row by row: whether two equally long lists of rows differ.
pub fn differing(before: &[ArrayRef], after: &[ArrayRef]) -> Result<Vec<bool>> {
    let mut differ = vec![false; before.first().map_or(0, |c| c.len())];
    for (before, after) in before.iter().zip(after) {
        match distinct(before, after) {
            Ok(distinct) => differ.iter_mut().zip(distinct.values()).for_each(|(differ, this)| *differ |= this),
            // Lists and structs, which `distinct` does not support.
            Err(_) => {
                differ.iter_mut().zip(differing_values(before, after)?).for_each(|(differ, this)| *differ |= this)
            }
        }
    }
    Ok(differ)
}

/// The distinct keys, in the order of their first occurrence.
pub fn distinct_keys(keys: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let fields: Vec<_> =
        keys.iter().enumerate().map(|(n, k)| Field::new(n.to_string(), k.data_type().clone(), true)).collect();
    let mut groups = new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)?;
    groups.intern(keys, &mut Vec::new())?;
    Ok(groups.emit(EmitTo::All)?)
}
