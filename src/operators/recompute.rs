//! Group recompute: keep a group's input rows; for each touched group run the batch functions again and emit the
//! difference. Slow and always right: what every faster way is tested against.

use std::{any::Any, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int8Array, Int64Array, RecordBatch, UInt32Array},
    compute::{SortColumn, concat, lexsort_to_indices, take},
    datatypes::{DataType, Field, Fields, Int64Type, SchemaRef},
};
use datafusion::logical_expr::EmitTo;

use super::{
    Collector, Evaluated, Function, Grouping, Late, Operator, Step,
    grouping::{Emission, differing, distinct_keys},
    taken,
};
use crate::{
    changes::Changes,
    error::{Error, Result},
    state::{Durable, Multiset, Shape, Windowed},
    time::{Micros, Tick},
};

/// `GROUP BY` with any functions at all, over rows that come and go.
#[derive(Debug)]
pub struct Recompute {
    grouping: Grouping,
    functions: Arc<[Function]>,
    /// Per function how many of the kept columns are its arguments, and whether a filter follows them.
    widths: Vec<(usize, bool)>,
    kept: Fields,
    groups: Windowed<Multiset>,
}

fn keys_of(grouping: &Grouping) -> Fields {
    match grouping.is_global() {
        true => Fields::from(vec![Field::new("all", DataType::Int8, false)]),
        false => grouping.key_fields.clone(),
    }
}

impl Recompute {
    /// `input` is the schema of the rows that it is fed.
    pub fn new(grouping: Grouping, functions: Vec<Function>, input: &SchemaRef) -> Result<Self> {
        let (mut columns, mut widths) = (Vec::new(), Vec::new());
        for function in &functions {
            let order = function.order_by.iter().map(|sort| sort.expr.clone());
            let arguments: Vec<_> = function.aggregate.expressions().into_iter().chain(order).collect();
            widths.push((arguments.len(), function.filter.is_some()));
            for argument in arguments.iter().chain(&function.filter) {
                columns.push(Field::new(format!("{}", columns.len()), argument.data_type(input)?, true));
            }
        }
        // `count(*)` has a constant for its argument; a DISTINCT has none, and its rows still count.
        columns.push(Field::new("row", DataType::Int8, true));
        Recompute::keeping(grouping, functions.into(), widths, Fields::from(columns))
    }

    fn keeping(
        grouping: Grouping,
        functions: Arc<[Function]>,
        widths: Vec<(usize, bool)>,
        kept: Fields,
    ) -> Result<Self> {
        let shape = Shape { keys: keys_of(&grouping), values: kept.clone(), order: Vec::new() };
        let groups = Windowed::new(grouping.close, shape, Multiset::new);
        Ok(Recompute { grouping, functions, widths, kept, groups })
    }

    /// The answers of groups from the rows kept of them, and which groups have any.
    fn answers(&self, rows: &[ArrayRef], groups: &[usize], total: usize) -> Result<(Vec<ArrayRef>, Vec<bool>)> {
        let mut present = vec![self.grouping.is_global(); total];
        groups.iter().for_each(|group| present[*group] = true);
        let mut columns = rows;
        let mut answers = Vec::new();
        for (function, (width, filtered)) in self.functions.iter().zip(&self.widths) {
            let (own, rest) = columns.split_at(width + usize::from(*filtered));
            columns = rest;
            answers.push(answer(function, own, *width, groups, total)?);
        }
        Ok((answers, present))
    }

    fn difference(
        &self,
        keys: &[ArrayRef],
        before: (Vec<ArrayRef>, Vec<bool>),
        after: (Vec<ArrayRef>, Vec<bool>),
    ) -> Result<Changes> {
        let ((old, was), (new, is)) = (before, after);
        let differs = differing(&old, &new)?;
        let changed = |row: &u32| {
            let row = *row as usize;
            differs.get(row).copied().unwrap_or(false) || was[row] != is[row]
        };
        let of = |present: &[bool]| -> UInt32Array {
            (0..present.len() as u32).filter(|r| present[*r as usize]).filter(changed).collect()
        };
        let minus = of(&was);
        let plus = of(&is);
        let old = self.rows_at(keys, &old, &minus)?;
        let new = self.rows_at(keys, &new, &plus)?;
        let withdrawn = Changes::new(old, Int64Array::from_value(-1, minus.len()));
        Changes::concat(&self.grouping.output, &[withdrawn, Changes::insert(new)])
    }

    /// The kept columns of no rows.
    fn no_rows(&self) -> Result<Vec<ArrayRef>> {
        let nothing = |f: &Arc<Field>| arrow::array::new_empty_array(f.data_type());
        Ok(self.kept.iter().map(nothing).collect())
    }

    fn rows_at(&self, keys: &[ArrayRef], answers: &[ArrayRef], rows: &UInt32Array) -> Result<RecordBatch> {
        let at = |columns: &[ArrayRef]| -> Result<Vec<ArrayRef>> {
            Ok(columns.iter().map(|c| take(c, rows, None)).collect::<Result<_, _>>()?)
        };
        if self.grouping.output.fields().is_empty() {
            return self.grouping.rows(&[], Vec::new());
        }
        self.grouping.rows(&at(keys)?, at(answers)?)
    }

    fn close(&mut self, watermark: Option<Micros>) -> Result<Vec<Changes>> {
        let closed = self.groups.close(self.grouping.closing(watermark));
        if self.grouping.emission != Emission::OnClose {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        for window in closed.iter().filter(|w| !w.is_empty()) {
            let keys = window.all_keys()?;
            let (rows, groups) = window.gather(&keys, None)?;
            let (answers, present) = self.answers(&rows, &groups, keys[0].len())?;
            let there = (0..present.len() as u32).filter(|row| present[*row as usize]).collect();
            changes.push(Changes::insert(self.rows_at(&keys, &answers, &there)?));
        }
        Ok(changes)
    }

    fn fold(&mut self, rows: Rows) -> Result<Vec<Changes>> {
        let mut changes = Vec::new();
        for (moment, part) in self.groups.split(&rows.keys)? {
            let at = |columns: &[ArrayRef]| -> Result<Vec<ArrayRef>> {
                Ok(columns.iter().map(|c| take(c, &part, None)).collect::<Result<_, _>>()?)
            };
            let (keys, columns) = (at(&rows.keys)?, at(&rows.columns)?);
            let diffs = take(&rows.diffs, &part, None)?.as_primitive::<Int64Type>().clone();
            let touched = distinct_keys(&keys)?;
            let total = touched[0].len();
            let shows = self.grouping.emission != Emission::OnClose;
            let before = self.groups.window(moment)?.gather(&touched, None)?;
            let before = shows.then(|| self.answers(&before.0, &before.1, total)).transpose()?;
            let window = self.groups.window(moment)?;
            window.apply(&keys, &columns, &diffs)?;
            let Some(before) = before else { continue };
            let (rows, groups) = window.gather(&touched, None)?;
            let after = self.answers(&rows, &groups, total)?;
            changes.push(self.difference(&touched, before, after)?);
        }
        Ok(changes)
    }
}

/// One function over the rows of many groups.
fn answer(function: &Function, columns: &[ArrayRef], width: usize, groups: &[usize], total: usize) -> Result<ArrayRef> {
    let mut accumulator = function.accumulator()?;
    let (mut values, mut groups) = (columns[..width].to_vec(), groups.to_vec());
    let mut filter: Option<BooleanArray> = columns.get(width).map(|f| f.as_boolean().clone());
    if !function.order_by.is_empty() {
        let first = width - function.order_by.len();
        let sort: Vec<SortColumn> = (function.order_by.iter().enumerate())
            .map(|(n, by)| SortColumn { values: values[first + n].clone(), options: Some(by.options) })
            .collect();
        let order = lexsort_to_indices(&sort, None)?;
        values = values.iter().map(|v| take(v, &order, None)).collect::<Result<_, _>>()?;
        groups = order.values().iter().map(|row| groups[*row as usize]).collect();
        filter = filter.map(|f| Ok::<_, Error>(take(&f, &order, None)?.as_boolean().clone())).transpose()?;
    }
    // An accumulator takes it that every group has rows, unless a filter may have taken them out.
    let filter = filter.or_else(|| (!has_rows(&groups, total)).then(|| BooleanArray::from(vec![true; groups.len()])));
    accumulator.update_batch(&values, &groups, filter.as_ref(), total)?;
    Ok(accumulator.evaluate(EmitTo::All)?)
}

/// Whether each of `total` groups occurs.
fn has_rows(groups: &[usize], total: usize) -> bool {
    let mut seen = vec![false; total];
    groups.iter().for_each(|group| seen[*group] = true);
    !seen.contains(&false)
}

/// Rows of one partition as the operator keeps them.
struct Kept {
    grouping: Grouping,
    functions: Arc<[Function]>,
    tick: Tick,
    batches: Vec<Rows>,
    late: Late,
}

struct Rows {
    keys: Vec<ArrayRef>,
    columns: Vec<ArrayRef>,
    diffs: ArrayRef,
}

impl Collector for Kept {
    fn evaluate(&mut self, batch: RecordBatch) -> Result<Evaluated> {
        self.grouping.evaluate(&self.functions, batch, &self.tick)
    }

    fn push(&mut self, rows: Evaluated) -> Result<()> {
        let Evaluated { batch, mut keys, arguments, filters, late } = rows;
        late.iter().for_each(|late| self.late.add(late));
        let count = batch.num_rows();
        if count == 0 {
            return Ok(());
        }
        if keys.is_empty() {
            keys.push(Arc::new(Int8Array::from_value(0, count)));
        }
        let mut columns = Vec::new();
        for (arguments, filter) in arguments.into_iter().zip(filters) {
            columns.extend(arguments);
            columns.extend(filter.map(|f| Arc::new(f) as ArrayRef));
        }
        columns.push(Arc::new(Int8Array::from_value(0, count)));
        let diffs = Arc::new(Changes::from_batch(batch)?.diff_column());
        self.batches.push(Rows { keys, columns, diffs });
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

impl Rows {
    fn concat(batches: &[Rows]) -> Result<Option<Rows>> {
        let Some(first) = batches.first() else { return Ok(None) };
        let joined = |column: &dyn Fn(&Rows) -> ArrayRef| -> Result<ArrayRef> {
            let parts: Vec<ArrayRef> = batches.iter().map(column).collect();
            Ok(concat(&parts.iter().map(|p| p.as_ref()).collect::<Vec<_>>())?)
        };
        let keys = (0..first.keys.len()).map(|n| joined(&|r| r.keys[n].clone())).collect::<Result<_>>()?;
        let columns = (0..first.columns.len()).map(|n| joined(&|r| r.columns[n].clone())).collect::<Result<_>>()?;
        Ok(Some(Rows { keys, columns, diffs: joined(&|r| r.diffs.clone())? }))
    }
}

impl Operator for Recompute {
    fn schema(&self) -> SchemaRef {
        self.grouping.output.clone()
    }

    fn collector(&self, _: usize, tick: &Tick) -> Result<Box<dyn Collector>> {
        let (grouping, functions) = (self.grouping.clone(), self.functions.clone());
        Ok(Box::new(Kept { grouping, functions, tick: *tick, batches: Vec::new(), late: Late::default() }))
    }

    fn step(&mut self, collected: Vec<Box<dyn Collector>>, tick: &Tick) -> Result<Step> {
        let (mut batches, mut late) = (Vec::new(), Late::default());
        for part in collected {
            let part: Kept = taken(part)?;
            batches.extend(part.batches);
            late.merge(part.late);
        }
        let mut changes = Vec::new();
        if self.grouping.is_global() && tick.epoch.0 == 1 {
            // The answer over no rows is there before any row is.
            let (answers, _) = self.answers(&self.no_rows()?, &[], 1)?;
            changes.push(Changes::insert(self.grouping.rows(&[], answers)?));
        }
        if let Some(rows) = Rows::concat(&batches)? {
            changes.extend(self.fold(rows)?);
        }
        changes.extend(self.close(tick.watermark)?);
        Ok(Step { changes: Changes::concat(&self.grouping.output, &changes)?, late })
    }

    fn fresh(&self) -> Result<Box<dyn Operator>> {
        let (grouping, functions) = (self.grouping.clone(), self.functions.clone());
        Ok(Box::new(Recompute::keeping(grouping, functions, self.widths.clone(), self.kept.clone())?))
    }

    fn state(&mut self) -> &mut dyn Durable {
        &mut self.groups
    }

    fn restored(&mut self, watermark: Option<Micros>) {
        self.groups.close(self.grouping.closing(watermark));
    }

    fn is_due(&self, watermark: Option<Micros>, _: Micros) -> bool {
        self.groups.is_due(self.grouping.closing(watermark))
    }
}
