//! Group recompute: a group's input rows are stored; for each touched group the batch functions run again and the
//! difference is emitted. Slow and always right. If all functions depend on one row (`min`, `first_value`, …), only
//! that row is read.

mod last_answers;
mod parts;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array},
    compute::{SortColumn, lexsort_to_indices, take},
    datatypes::{FieldRef, Int64Type, SchemaRef},
};
use datafusion::logical_expr::EmitTo;

use self::{
    last_answers::{LastAnswers, SAVED_AS},
    parts::{ArgumentColumns, TimePart, parts},
};
use super::{
    AggregateCall, Grouping,
    grouping::{Emission, differing, distinct_keys, state_keys},
    input_buffer::{Buffered, InputBuffer, concat_columns},
};
use crate::{
    changes::{Changes, has_diff},
    error::{Error, ErrorKind, Result},
    exec::{Collector, Evaluated, Operator, StepOutput},
    state::{Compaction, Durable, Multiset, NEVER, Saved, StateShape, Windowed},
    time::{Micros, Tick},
};

/// `GROUP BY` with any functions, over input with retractions.
#[derive(Debug)]
pub struct AggregateByRecompute {
    grouping: Grouping,
    functions: Arc<[AggregateCall]>,
    fed: ArgumentColumns,
    /// Whether the input is append-only: rows after the first of a group never matter and are not stored.
    appends: bool,
    kept: RecomputeState,
}

/// The stored rows of each part (all parts have the same groups), and last answers.
#[derive(Debug)]
struct RecomputeState {
    parts: Vec<(TimePart, Windowed<Multiset>)>,
    last_answers: Option<LastAnswers>,
}

/// Gathered rows of some groups: per part its columns, and the group of each row.
type GatheredGroups = Vec<(Vec<ArrayRef>, Vec<usize>)>;

impl AggregateByRecompute {
    /// `input` is the schema of its input rows.
    pub fn new(grouping: Grouping, functions: Vec<AggregateCall>, input: &SchemaRef) -> Result<Self> {
        let mut fed = ArgumentColumns::new();
        for function in &functions {
            let order = function.order_by.iter().map(|sort| sort.expr.clone());
            let arguments: Vec<_> = function.aggregate.expressions().into_iter().chain(order).collect();
            let columns = arguments.iter().chain(&function.filter).map(|column| column.data_type(input));
            fed.push(columns.collect::<Result<_, _>>()?, arguments.len());
        }
        Ok(AggregateByRecompute::keeping(grouping, functions.into(), fed, !has_diff(input)))
    }

    fn keeping(grouping: Grouping, functions: Arc<[AggregateCall]>, fed: ArgumentColumns, appends: bool) -> Self {
        let kept = parts(&functions, &fed).into_iter().enumerate().map(|(n, part)| {
            let (keys, values) = (grouping.state_fields(&n.to_string()), part.fields(&fed));
            let shape = StateShape { keys, values, order: part.order.clone() };
            let groups = Windowed::new(grouping.close, shape, Multiset::new);
            (part, groups)
        });
        let kept = RecomputeState { parts: kept.collect(), last_answers: LastAnswers::new(&grouping, &functions) };
        AggregateByRecompute { grouping, functions, fed, appends, kept }
    }

    /// The answers of groups over their gathered rows, and which groups have rows.
    fn answers(&self, gathered: &GatheredGroups, total: usize) -> Result<(Vec<ArrayRef>, Vec<bool>)> {
        let mut present = vec![self.grouping.is_global(); total];
        gathered.iter().take(1).flat_map(|(_, groups)| groups).for_each(|group| present[*group] = true);
        let mut answers: Vec<Option<ArrayRef>> = vec![None; self.functions.len()];
        for ((part, _), (rows, groups)) in self.kept.parts.iter().zip(gathered) {
            for n in &part.functions {
                let function = &self.functions[*n];
                let columns = self.fed.columns(*n);
                let filter = function.filter.as_ref().map(|_| columns.end);
                let own = columns.clone().chain(filter).filter_map(|column| part.place(column));
                let own: Vec<ArrayRef> = own.map(|place| rows[place].clone()).collect();
                answers[*n] = Some(answer(function, &own, columns.len(), groups, total)?);
            }
        }
        Ok((answers.into_iter().flatten().collect(), present))
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

    /// Gathered rows of an empty input.
    fn no_rows(&self) -> GatheredGroups {
        let nothing = |field: &FieldRef| arrow::array::new_empty_array(field.data_type());
        let of = |(part, _): &(TimePart, _)| (part.fields(&self.fed).iter().map(nothing).collect(), Vec::new());
        self.kept.parts.iter().map(of).collect()
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
        let closing = self.grouping.closing(watermark);
        let closed: Vec<Vec<Multiset>> = self.kept.parts.iter_mut().map(|(_, groups)| groups.close(closing)).collect();
        self.kept.last_answers.iter_mut().for_each(|last_answers| last_answers.close(closing));
        if self.grouping.emission != Emission::OnClose {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        for window in 0..closed[0].len() {
            if closed[0][window].is_empty() {
                continue;
            }
            let keys = closed[0][window].all_keys()?;
            let gathered = self.kept.parts.iter().zip(&closed);
            let gathered = gathered.map(|((part, _), windows)| windows[window].gather(&keys, part.first()));
            let (answers, present) = self.answers(&gathered.collect::<Result<_>>()?, keys[0].len())?;
            let there = (0..present.len() as u32).filter(|row| present[*row as usize]).collect();
            changes.push(Changes::insert(self.rows_at(&keys, &answers, &there)?));
        }
        Ok(changes)
    }

    fn fold(&mut self, rows: &KeyedRows) -> Result<Vec<Changes>> {
        let mut changes = Vec::new();
        for (moment, part) in self.kept.parts[0].1.split(&rows.keys)? {
            let at = |columns: &[ArrayRef]| -> Result<Vec<ArrayRef>> {
                Ok(columns.iter().map(|c| take(c, &part, None)).collect::<Result<_, _>>()?)
            };
            let (keys, columns) = (at(&rows.keys)?, at(&rows.columns)?);
            let diffs = take(&rows.diffs, &part, None)?.as_primitive::<Int64Type>().clone();
            let touched = distinct_keys(&keys)?;
            let total = touched[0].len();
            let shows = self.grouping.emission != Emission::OnClose;
            let before = shows.then(|| self.kept.gather(moment, &touched)).transpose()?;
            let mut before = before.map(|before| self.answers(&before, total)).transpose()?;
            if let (Some((answers, _)), Some(last_answers)) = (&mut before, &mut self.kept.last_answers) {
                last_answers.recall(moment, &touched, answers)?;
            }
            self.kept.apply(moment, &keys, &columns, &diffs)?;
            if self.appends {
                self.kept.keep_first(moment, &touched)?;
            }
            let Some(before) = before else { continue };
            let after = self.kept.gather(moment, &touched)?;
            let after = self.answers(&after, total)?;
            if let Some(last_answers) = &mut self.kept.last_answers {
                last_answers.record(moment, &touched, &after.0, &after.1)?;
            }
            changes.push(self.difference(&touched, before, after)?);
        }
        Ok(changes)
    }
}

impl RecomputeState {
    fn gather(&mut self, moment: Micros, keys: &[ArrayRef]) -> Result<GatheredGroups> {
        self.parts.iter_mut().map(|(part, groups)| groups.window(moment)?.gather(keys, part.first())).collect()
    }

    fn apply(&mut self, moment: Micros, keys: &[ArrayRef], columns: &[ArrayRef], diffs: &Int64Array) -> Result<()> {
        for (part, groups) in &mut self.parts {
            let own: Vec<ArrayRef> = part.columns.iter().map(|column| columns[*column].clone()).collect();
            groups.window(moment)?.apply(keys, &own, diffs)?;
        }
        Ok(())
    }

    fn keep_first(&mut self, moment: Micros, keys: &[ArrayRef]) -> Result<()> {
        for (part, groups) in &mut self.parts {
            if let Some(first) = part.first() {
                groups.window(moment)?.keep_first(keys, first)?;
            }
        }
        Ok(())
    }
}

impl Durable for RecomputeState {
    fn save(&mut self, full: bool) -> Result<Saved> {
        let mut rows = Vec::new();
        for (_, groups) in &mut self.parts {
            rows.extend(groups.save(full)?.rows);
        }
        if let Some(last_answers) = &mut self.last_answers {
            rows.extend(last_answers.save(full)?.rows);
        }
        Ok(Saved { rows })
    }

    fn load(&mut self, rows: &RecordBatch) -> Result<()> {
        let schema = rows.schema();
        let name = schema.field(0).name();
        if let Some(last_answers) = self.last_answers.as_mut().filter(|_| name == SAVED_AS) {
            return last_answers.load(rows);
        }
        let part = name.parse::<usize>().ok();
        match part.and_then(|part| self.parts.get_mut(part)) {
            Some((_, groups)) => groups.load(rows),
            None => Err(Error::new(
                ErrorKind::DataCorrupted,
                "rows that were saved of an aggregate are of none of its parts",
            )),
        }
    }

    fn set_compaction(&mut self, to: Compaction) {
        self.parts.iter_mut().for_each(|(_, groups)| groups.set_compaction(to));
        if let Some(last_answers) = &mut self.last_answers {
            last_answers.set_compaction(to);
        }
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|(_, groups)| groups.len()).sum::<usize>()
            + self.last_answers.as_ref().map_or(0, LastAnswers::len)
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, groups)| groups.bytes()).sum::<usize>()
            + self.last_answers.as_ref().map_or(0, LastAnswers::bytes)
    }
}

/// Evaluates one function over the rows of many groups.
fn answer(
    function: &AggregateCall,
    columns: &[ArrayRef],
    width: usize,
    groups: &[usize],
    total: usize,
) -> Result<ArrayRef> {
    let mut accumulator = function.accumulator()?;
    let (mut values, mut groups) = (columns[..width].to_vec(), groups.to_vec());
    let mut filter: Option<BooleanArray> = columns.get(width).map(|f| f.as_boolean().clone());
    if !function.order_by.is_empty() {
        let first = width - function.order_by.len();
        let mut sort: Vec<SortColumn> = (function.order_by.iter().enumerate())
            .map(|(n, by)| SortColumn { values: values[first + n].clone(), options: Some(by.options) })
            .collect();
        // Stable: ties stay in stored order, whatever other groups are touched.
        let places = UInt32Array::from_iter_values(0..groups.len() as u32);
        sort.push(SortColumn { values: Arc::new(places), options: None });
        let order = lexsort_to_indices(&sort, None)?;
        values = values.iter().map(|v| take(v, &order, None)).collect::<Result<_, _>>()?;
        groups = order.values().iter().map(|row| groups[*row as usize]).collect();
        filter = filter.map(|f| Ok::<_, Error>(take(&f, &order, None)?.as_boolean().clone())).transpose()?;
    }
    // Accumulators assume that every group has rows, unless given a filter.
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

/// The rows of one partition in one epoch.
struct RecomputeInput {
    grouping: Grouping,
    functions: Arc<[AggregateCall]>,
}

/// Per row: its group key, the function arguments, and its diff.
struct KeyedRows {
    keys: Vec<ArrayRef>,
    columns: Vec<ArrayRef>,
    diffs: ArrayRef,
}

impl Buffered for RecomputeInput {
    type Rows = KeyedRows;

    fn evaluate(&self, batch: RecordBatch, tick: &Tick) -> Result<Evaluated> {
        self.grouping.evaluate(&self.functions, batch, tick)
    }

    fn keep(&self, rows: Evaluated) -> Result<KeyedRows> {
        let Evaluated { batch, keys, arguments, filters, .. } = rows;
        let mut columns = Vec::new();
        for (arguments, filter) in arguments.into_iter().zip(filters) {
            columns.extend(arguments);
            columns.extend(filter.map(|f| Arc::new(f) as ArrayRef));
        }
        let keys = state_keys(keys, batch.num_rows());
        Ok(KeyedRows { keys, columns, diffs: Arc::new(Changes::from_batch(batch)?.diff_column()) })
    }
}

impl KeyedRows {
    /// Concatenates batches; `None` if there are none.
    fn concat(batches: &[KeyedRows]) -> Result<Option<KeyedRows>> {
        let keys = concat_columns(batches.iter().map(|rows| &rows.keys[..]))?;
        let columns = concat_columns(batches.iter().map(|rows| &rows.columns[..]))?;
        let diffs = concat_columns(batches.iter().map(|rows| std::slice::from_ref(&rows.diffs)))?.pop();
        Ok(diffs.map(|diffs| KeyedRows { keys, columns, diffs }))
    }
}

impl Operator for AggregateByRecompute {
    fn schema(&self) -> SchemaRef {
        self.grouping.output.clone()
    }

    fn collector(&self, _: usize, tick: &Tick) -> Result<Box<dyn Collector>> {
        let (grouping, functions) = (self.grouping.clone(), self.functions.clone());
        Ok(InputBuffer::collector(RecomputeInput { grouping, functions }, tick))
    }

    fn step(&mut self, collected: Vec<Box<dyn Collector>>, tick: &Tick) -> Result<StepOutput> {
        let (batches, late) = InputBuffer::<RecomputeInput>::drain(collected)?;
        let mut changes = Vec::new();
        if self.grouping.is_global() && tick.epoch.0 == 1 {
            // A global aggregate emits an answer before the first row.
            let (answers, present) = self.answers(&self.no_rows(), 1)?;
            if let Some(last_answers) = &mut self.kept.last_answers {
                last_answers.record(NEVER, &state_keys(Vec::new(), 1), &answers, &present)?;
            }
            changes.push(Changes::insert(self.grouping.rows(&[], answers)?));
        }
        if let Some(rows) = KeyedRows::concat(&batches)? {
            changes.extend(self.fold(&rows)?);
        }
        changes.extend(self.close(tick.watermark)?);
        Ok(StepOutput { changes: Changes::concat(&self.grouping.output, &changes)?, late })
    }

    fn fresh(&self) -> Result<Box<dyn Operator>> {
        let (grouping, functions) = (self.grouping.clone(), self.functions.clone());
        Ok(Box::new(AggregateByRecompute::keeping(grouping, functions, self.fed.clone(), self.appends)))
    }

    fn state(&mut self) -> &mut dyn Durable {
        &mut self.kept
    }

    fn state_version(&self) -> u16 {
        1
    }

    fn restored(&mut self, watermark: Option<Micros>) {
        let closing = self.grouping.closing(watermark);
        self.kept.parts.iter_mut().for_each(|(_, groups)| drop(groups.close(closing)));
        self.kept.last_answers.iter_mut().for_each(|last_answers| last_answers.close(closing));
    }

    fn is_due(&self, watermark: Option<Micros>, _: Micros) -> bool {
        self.kept.parts[0].1.is_due(self.grouping.closing(watermark))
    }
}
