//! Aggregates over append-only rows: new rows are merged into the stored partial state of the touched groups.
//!
//! A group's state is DataFusion's own intermediate state, one row of Arrow columns. An epoch interns its keys once,
//! feeds its rows to fresh accumulators, merges the touched groups' old state into the same accumulators, and writes
//! the state back. So every aggregate works, at the cost of the touched groups.

use std::{any::Any, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int8Array, Int64Array, RecordBatch, UInt32Array},
    compute::{take, take_record_batch},
    datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef},
};
use datafusion::{
    logical_expr::{EmitTo, GroupsAccumulator},
    physical_plan::aggregates::{
        group_values::{GroupValues, new_group_values},
        order::GroupOrdering,
    },
};

use super::{
    AggregateCall, Grouping,
    grouping::{Emission, differing},
    input_buffer::taken,
};
use crate::{
    changes::Changes,
    error::Result,
    exec::{Collector, Evaluated, Late, Operator, StepOutput},
    state::{Durable, Id, KeyRows, KeyedLog, StateShape, Windowed},
    time::{Micros, Tick},
};

/// `GROUP BY` with functions whose states can be merged (and, for retractions, subtracted).
#[derive(Debug)]
pub struct Aggregate {
    grouping: Grouping,
    functions: Arc<[AggregateCall]>,
    /// The function that sums a group's diffs: at 0 the group is removed. `None` for append-only input.
    presence: Option<usize>,
    /// The schema of its input rows.
    input: SchemaRef,
    state_schema: SchemaRef,
    /// Number of state columns of each function.
    widths: Arc<[usize]>,
    groups: Windowed<KeyedLog>,
}

impl Aggregate {
    /// `input` is the schema of its input rows.
    pub fn new(
        grouping: Grouping,
        functions: Arc<[AggregateCall]>,
        presence: Option<usize>,
        input: &SchemaRef,
    ) -> Result<Self> {
        let (mut values, mut widths) = (Vec::new(), Vec::new());
        for (n, function) in functions.iter().enumerate() {
            let fields = function.aggregate.state_fields()?;
            widths.push(fields.len());
            for field in fields {
                let name = format!("{n}.{}", field.name());
                values.push(Field::new(name, field.data_type().clone(), true));
            }
        }
        if values.is_empty() {
            // DISTINCT has no functions, but Arrow needs a column to count rows.
            values.push(Field::new("present", DataType::Int8, true));
        }
        let values = Fields::from(values);
        let shape = StateShape { keys: grouping.state_fields("key"), values: values.clone(), order: Vec::new() };
        let groups = Windowed::new(grouping.close, shape, |shape| KeyedLog::new(&shape.keys, &shape.values));
        let state_schema = Arc::new(Schema::new(values));
        let (widths, input) = (widths.into(), input.clone());
        Ok(Aggregate { grouping, functions, presence, input, state_schema, widths, groups })
    }

    fn accumulators(&self) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
        self.functions.iter().map(AggregateCall::accumulator).collect()
    }

    /// Evaluates the functions on the state rows of groups.
    fn answers(&self, state: &RecordBatch) -> Result<Vec<ArrayRef>> {
        if state.num_rows() == 0 {
            // Some accumulators fail on zero groups.
            let nothing = |f: &AggregateCall| arrow::array::new_empty_array(f.aggregate.field().data_type());
            return Ok(self.functions.iter().map(nothing).collect());
        }
        let groups: Vec<usize> = (0..state.num_rows()).collect();
        let mut accumulators = self.accumulators()?;
        merge(&mut accumulators, &self.widths, state, &groups, groups.len())?;
        accumulators.iter_mut().map(|a| Ok(a.evaluate(EmitTo::All)?)).collect()
    }

    /// Merges the stored state of the touched groups into the accumulators; gives, per window, which groups were
    /// stored.
    fn merge_stored(
        &mut self,
        all: &[ArrayRef],
        accumulators: &mut [Box<dyn GroupsAccumulator>],
    ) -> Result<Vec<Touched>> {
        let total = all.first().map_or(0, |k| k.len());
        let mut windows = Vec::new();
        for (moment, rows) in self.groups.split(all)? {
            let keys = match rows.len() == total {
                true => all.to_vec(),
                false => all.iter().map(|k| take(k, &rows, None)).collect::<Result<_, _>>()?,
            };
            let log = self.groups.window(moment)?;
            let encoded = log.encode(&keys)?;
            let found = log.find(&encoded);
            let there: Vec<Id> = found.iter().flatten().copied().collect();
            let before = log.gather(&there)?;
            let positions: Vec<usize> =
                found.iter().zip(rows.values()).filter(|(id, _)| id.is_some()).map(|(_, row)| *row as usize).collect();
            merge(accumulators, &self.widths, &before, &positions, total)?;
            windows.push(Touched { moment, rows, keys, encoded, found, before });
        }
        Ok(windows)
    }

    /// Writes the merged states back; gives the resulting retractions and insertions.
    fn write_back(&mut self, windows: Vec<Touched>, state: &RecordBatch) -> Result<Vec<Changes>> {
        let mut changes = Vec::new();
        for window in windows {
            let state = match window.rows.len() == state.num_rows() {
                true => state.clone(),
                false => take_record_batch(state, &window.rows)?,
            };
            let gone = self.gone(&state);
            if self.grouping.emission != Emission::OnClose {
                changes.push(self.difference(&window, &state, &gone)?);
            }
            self.store(window, state, &gone)?;
        }
        Ok(changes)
    }

    /// Per group: whether no rows are left.
    fn gone(&self, state: &RecordBatch) -> Vec<bool> {
        let Some(presence) = self.presence.filter(|_| !self.grouping.is_global()) else {
            return vec![false; state.num_rows()];
        };
        let rows = state.column(self.widths[..presence].iter().sum()).as_primitive::<Int64Type>();
        rows.iter().map(|rows| rows.unwrap_or(0) == 0).collect()
    }

    fn store(&mut self, window: Touched, state: RecordBatch, gone: &[bool]) -> Result<()> {
        let log = self.groups.window(window.moment)?;
        if !gone.contains(&true) {
            return log.upsert(&window.encoded, &window.found, &state);
        }
        for (id, _) in window.found.iter().zip(gone).filter(|(_, gone)| **gone) {
            id.iter().for_each(|id| log.remove(*id));
        }
        let left: UInt32Array = (0..gone.len() as u32).filter(|row| !gone[*row as usize]).collect();
        let keys: Vec<ArrayRef> = window.keys.iter().map(|k| take(k, &left, None)).collect::<Result<_, _>>()?;
        let found: Vec<Option<Id>> = left.values().iter().map(|row| window.found[*row as usize]).collect();
        log.upsert(&log.encode(&keys)?, &found, &take_record_batch(&state, &left)?)
    }

    /// Retractions of the old answers, and insertions of the new ones, of the groups whose answer differs.
    fn difference(&self, window: &Touched, state: &RecordBatch, gone: &[bool]) -> Result<Changes> {
        let after = self.answers(state)?;
        let there: Vec<u32> = (0..window.found.len() as u32).filter(|r| window.found[*r as usize].is_some()).collect();
        let before = self.answers(&window.before)?;
        let at: UInt32Array = there.clone().into();
        // The presence count is not part of the answer.
        let shown = |n: &usize| Some(*n) != self.presence;
        let was: Vec<ArrayRef> = (0..before.len()).filter(shown).map(|n| before[n].clone()).collect();
        let is = (0..after.len()).filter(shown).map(|n| take(&after[n], &at, None));
        let is: Vec<ArrayRef> = is.collect::<Result<_, _>>()?;
        let differs = match is.is_empty() {
            true => vec![false; there.len()],
            false => differing(&was, &is)?,
        };
        // Positions: of old rows in `before`, of new rows in `state`.
        let mut withdrawn = Vec::new();
        let mut added: Vec<bool> = gone.iter().map(|gone| !gone).collect();
        for (place, row) in there.iter().enumerate() {
            let gone = gone[*row as usize];
            if differs[place] || gone {
                withdrawn.push((place as u32, *row));
            } else {
                added[*row as usize] = false;
            }
        }
        let added: UInt32Array = (0..added.len() as u32).filter(|row| added[*row as usize]).collect();
        let old_rows: UInt32Array = withdrawn.iter().map(|(_, row)| *row).collect();
        let old_places: UInt32Array = withdrawn.iter().map(|(place, _)| *place).collect();
        let old = self.rows_at(&window.keys, &old_rows, &before, &old_places)?;
        let new = self.rows_at(&window.keys, &added, &after, &added)?;
        let minus = Changes::new(old, Int64Array::from_value(-1, old_rows.len()));
        Changes::concat(&self.grouping.output, &[minus, Changes::insert(new)])
    }

    fn rows_at(
        &self,
        keys: &[ArrayRef],
        rows: &UInt32Array,
        answers: &[ArrayRef],
        at: &UInt32Array,
    ) -> Result<RecordBatch> {
        let keys: Vec<ArrayRef> = keys.iter().map(|k| take(k, rows, None)).collect::<Result<_, _>>()?;
        let answers = answers.iter().map(|a| take(a, at, None)).collect::<Result<_, _>>()?;
        self.grouping.rows(&keys, answers)
    }

    /// Removes the windows that the watermark closes; gives their final rows if they are emitted on close.
    fn close(&mut self, watermark: Option<Micros>) -> Result<Vec<Changes>> {
        let closed = self.groups.close(self.grouping.closing(watermark));
        if self.grouping.emission != Emission::OnClose {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        for window in closed.iter().filter(|w| !w.is_empty()) {
            let (keys, state) = window.all()?;
            changes.push(Changes::insert(self.grouping.rows(&keys, self.answers(&state)?)?));
        }
        Ok(changes)
    }
}

/// The touched groups of one window.
struct Touched {
    moment: Micros,
    /// Their positions among all groups of the epoch.
    rows: UInt32Array,
    keys: Vec<ArrayRef>,
    encoded: KeyRows,
    found: Vec<Option<Id>>,
    /// The stored states of the groups in `found`, in order.
    before: RecordBatch,
}

/// Merges rows of intermediate state into accumulators, each function its own columns.
fn merge(
    accumulators: &mut [Box<dyn GroupsAccumulator>],
    widths: &[usize],
    state: &RecordBatch,
    groups: &[usize],
    total: usize,
) -> Result<()> {
    let mut columns = state.columns();
    for (accumulator, width) in accumulators.iter_mut().zip(widths) {
        let (own, rest) = columns.split_at(*width);
        accumulator.merge_batch(own, groups, total)?;
        columns = rest;
    }
    Ok(())
}

/// The groups of one partition in one epoch (later merged over all partitions): interned keys and fresh accumulators.
struct Gathered {
    grouping: Grouping,
    functions: Arc<[AggregateCall]>,
    widths: Arc<[usize]>,
    tick: Tick,
    groups: Option<Box<dyn GroupValues>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    ids: Vec<usize>,
    late: Late,
    /// Whether any row came. Accumulators assume that each group had a row, unless they are given a filter.
    any: bool,
}

impl Gathered {
    fn total(&self) -> usize {
        self.groups.as_ref().map_or(1, |g| g.len())
    }

    /// Adds the one group of a query without `GROUP BY` that had no rows.
    fn without_rows(&mut self, input: &SchemaRef) -> Result<()> {
        let nothing = RecordBatch::new_empty(input.clone());
        let filter = BooleanArray::from(Vec::<bool>::new());
        for (function, accumulator) in self.functions.iter().zip(&mut self.accumulators) {
            accumulator.update_batch(&function.arguments(&nothing)?, &[], Some(&filter), 1)?;
        }
        Ok(())
    }

    fn intern(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        self.ids.clear();
        match &mut self.groups {
            Some(groups) => groups.intern(keys, &mut self.ids)?,
            None => self.ids.resize(rows, 0),
        }
        Ok(())
    }

    fn keys(&mut self) -> Result<Vec<ArrayRef>> {
        match &mut self.groups {
            Some(groups) => Ok(groups.emit(EmitTo::All)?),
            None => Ok(vec![Arc::new(Int8Array::from_value(0, 1))]),
        }
    }

    fn take_state(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(schema.fields().len());
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        let rows = arrow::array::RecordBatchOptions::new().with_row_count(columns.first().map(|c| c.len()));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &rows)?)
    }

    /// Takes the states of the order-sensitive functions out: stored state must be merged before them.
    fn set_aside(&mut self) -> Result<Vec<(usize, Vec<ArrayRef>)>> {
        let mut aside = Vec::new();
        for (n, function) in self.functions.iter().enumerate().filter(|(_, function)| function.is_in_order()) {
            aside.push((n, self.accumulators[n].state(EmitTo::All)?));
            self.accumulators[n] = function.accumulator()?;
        }
        Ok(aside)
    }

    /// Gives folding functions the initial state of new groups, so that they can fold at once instead of storing rows.
    fn begin(&mut self, windows: &[Touched], total: usize) -> Result<()> {
        let new = |window: &Touched| -> Vec<usize> {
            let rows = window.found.iter().zip(window.rows.values());
            rows.filter(|(id, _)| id.is_none()).map(|(_, row)| *row as usize).collect()
        };
        let new: Vec<usize> = windows.iter().flat_map(new).collect();
        for (function, accumulator) in self.functions.iter().zip(&mut self.accumulators) {
            if let Some(first) = function.beginning(new.len())?.filter(|_| !new.is_empty()) {
                accumulator.merge_batch(&first, &new, total)?;
            }
        }
        Ok(())
    }

    /// Merges the states of [`Gathered::set_aside`] after the stored ones.
    fn add(&mut self, aside: Vec<(usize, Vec<ArrayRef>)>, total: usize) -> Result<()> {
        let groups: Vec<usize> = (0..total).collect();
        aside.into_iter().try_for_each(|(n, state)| Ok(self.accumulators[n].merge_batch(&state, &groups, total)?))
    }

    /// Merges the groups of another partition.
    fn absorb(&mut self, mut other: Gathered, schema: &SchemaRef) -> Result<()> {
        self.late.merge(std::mem::take(&mut other.late));
        if !other.any {
            return Ok(());
        }
        self.any = true;
        let keys = other.keys()?;
        let rows = keys[0].len();
        self.intern(&keys, rows)?;
        if self.functions.is_empty() {
            return Ok(());
        }
        let state = other.take_state(schema)?;
        let (ids, total) = (std::mem::take(&mut self.ids), self.total());
        merge(&mut self.accumulators, &self.widths, &state, &ids, total)
    }
}

impl Collector for Gathered {
    fn evaluate(&mut self, batch: RecordBatch) -> Result<Evaluated> {
        self.grouping.evaluate(&self.functions, batch, &self.tick)
    }

    fn push(&mut self, rows: Evaluated) -> Result<()> {
        let Evaluated { batch, keys, arguments, filters, late } = rows;
        self.late.add(late);
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.any = true;
        self.intern(&keys, batch.num_rows())?;
        let total = self.total();
        for ((accumulator, values), filter) in self.accumulators.iter_mut().zip(&arguments).zip(&filters) {
            accumulator.update_batch(values, &self.ids, filter.as_ref(), total)?;
        }
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

impl Operator for Aggregate {
    fn schema(&self) -> SchemaRef {
        self.grouping.output.clone()
    }

    fn collector(&self, _: usize, tick: &Tick) -> Result<Box<dyn Collector>> {
        let keys = Arc::new(Schema::new(self.grouping.key_fields.clone()));
        let groups = match self.grouping.is_global() {
            true => None,
            false => Some(new_group_values(keys, &GroupOrdering::None)?),
        };
        Ok(Box::new(Gathered {
            grouping: self.grouping.clone(),
            functions: self.functions.clone(),
            widths: self.widths.clone(),
            tick: *tick,
            groups,
            accumulators: self.accumulators()?,
            ids: Vec::new(),
            late: Late::default(),
            any: false,
        }))
    }

    fn step(&mut self, collected: Vec<Box<dyn Collector>>, tick: &Tick) -> Result<StepOutput> {
        let mut parts = collected.into_iter().map(taken::<Gathered>);
        let mut epoch = parts.next().unwrap_or_else(|| self.collector(0, tick).and_then(taken))?;
        for part in parts {
            epoch.absorb(part?, &self.state_schema)?;
        }
        let late = std::mem::take(&mut epoch.late);
        let mut changes = Vec::new();
        if !epoch.any && self.grouping.is_global() && self.groups.len() == 0 {
            // A global aggregate has an answer before any row.
            epoch.without_rows(&self.input)?;
            epoch.any = true;
        }
        if epoch.any {
            let keys = epoch.keys()?;
            let later = epoch.set_aside()?;
            let windows = self.merge_stored(&keys, &mut epoch.accumulators)?;
            epoch.begin(&windows, keys[0].len())?;
            epoch.add(later, keys[0].len())?;
            let state = match self.functions.is_empty() {
                true => placeholders(&self.state_schema, keys[0].len())?,
                false => epoch.take_state(&self.state_schema)?,
            };
            changes = self.write_back(windows, &state)?;
        }
        changes.extend(self.close(tick.watermark)?);
        Ok(StepOutput { changes: Changes::concat(&self.grouping.output, &changes)?, late })
    }

    fn fresh(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Aggregate::new(self.grouping.clone(), self.functions.clone(), self.presence, &self.input)?))
    }

    fn state(&mut self) -> &mut dyn Durable {
        &mut self.groups
    }

    fn state_version(&self) -> u16 {
        1
    }

    fn restored(&mut self, watermark: Option<Micros>) {
        self.groups.close(self.grouping.closing(watermark));
    }

    fn is_due(&self, watermark: Option<Micros>, _: Micros) -> bool {
        self.groups.is_due(self.grouping.closing(watermark))
    }
}

/// For `DISTINCT` without functions: a state batch of `rows` rows.
fn placeholders(schema: &SchemaRef, rows: usize) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(schema.clone(), vec![Arc::new(Int8Array::from_value(0, rows))])?)
}

#[cfg(test)]
mod tests;
