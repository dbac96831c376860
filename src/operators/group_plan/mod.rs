//! Group recompute with a whole plan, for what has no incremental operator (window functions, ORDER BY … LIMIT): a
//! group's rows are stored, the batch plan runs again over the touched groups, and the difference to their last answer
//! is emitted.
//!
//! ```text
//! rows ─▶ stored by group ─ all rows of the touched groups, with the group number ─▶ [ sort · window · filter … ]
//!                                                                                             │ DataFusion's
//! changes ◀─ diff ◀─ last answers, stored by group ◀──────────────────── answers by group number
//! ```
//!
//! Where an answer follows from the first rows of a group in some order (`ROW_NUMBER() … <= n`, `ORDER BY … LIMIT n`),
//! the rows are kept in that order and only the first ones run.

mod expiry;
mod order;
mod timeouts;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array},
    compute::{concat_batches, take},
    datatypes::{FieldRef, Fields, Int64Type, Schema, SchemaRef},
};

pub use self::order::TopNSpec;
use self::{
    expiry::{Answers, SessionExpiry},
    order::StorageLayout,
    timeouts::{SessionTimeouts, TIMEOUTS},
};
use super::{
    Grouping,
    grouping::{Emission, TimeColumn, distinct_keys, split_late, state_keys},
    input_buffer::{Buffered, InputBuffer, concat_columns},
};
use crate::{
    changes::{Changes, batch_of, rows_at},
    error::{Error, Result},
    exec::{Collector, Evaluated, Operator, RerunnablePlan, StepOutput},
    state::{Close, Compaction, Durable, Multiset, NEVER, Saved, StateShape, TopN, Windowed},
    time::{Micros, Tick},
};

/// A batch plan over the rows of groups.
#[derive(Debug, Clone)]
pub struct GroupPlanSpec {
    /// The last column of its output, and of its leaf, is the group number.
    pub plan: RerunnablePlan,
    /// The schema of the leaf; and without the group number.
    pub leaf: SchemaRef,
    pub input: SchemaRef,
    /// For session windows, whose answers have the session end as a hidden last column.
    pub sessions: Option<SessionSpec>,
    /// If the answer depends only on a group's first rows.
    pub first: Option<TopNSpec>,
}

/// Session windows of a group plan.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    /// The session end column.
    pub end: FieldRef,
    /// When a row is late; `None` if sessions are never closed.
    pub late: Option<Close>,
    /// The event time that may not be NULL, if sessions are emitted on close only.
    pub timed: Option<TimeColumn>,
    /// Processing-time timeout: microseconds after its last row that a session ends by the clock.
    pub timeout_us: Option<Micros>,
}

/// The operator that runs a plan over the rows of each touched group.
#[derive(Debug)]
pub struct GroupPlan {
    /// Its output is the schema of the plan without the group number.
    grouping: Grouping,
    plan: GroupPlanSpec,
    layout: StorageLayout,
    kept: GroupPlanState,
    /// The schema of stored answers.
    answered: SchemaRef,
}

impl Grouping {
    /// The group keys and the session end (last column) of new answers.
    fn came(&self, input: &SchemaRef, answers: &[ArrayRef], diffs: &Int64Array) -> Result<(Vec<ArrayRef>, ArrayRef)> {
        let came: UInt32Array = (0..diffs.len() as u32).filter(|row| diffs.value(*row as usize) > 0).collect();
        let columns = answers.iter().map(|column| take(column, &came, None)).collect::<Result<Vec<_>, _>>()?;
        let rows = batch_of(input, columns[..input.fields().len()].to_vec(), came.len())?;
        let last = columns.last().ok_or_else(|| Error::internal("answers have no end"))?.clone();
        Ok((state_keys(self.keys_of(&rows)?, came.len()), last))
    }
}

/// The stored rows and the last answers.
#[derive(Debug)]
struct GroupPlanState {
    rows: Windowed<Multiset>,
    answers: Windowed<Multiset>,
    ends: Option<SessionExpiry>,
    timeouts: Option<SessionTimeouts>,
}

const ROWS: &str = "rows";
const ANSWERS: &str = "answers";

impl GroupPlan {
    pub fn new(grouping: Grouping, plan: GroupPlanSpec) -> Result<Self> {
        let shape = |name: &str, values: &Fields, order: &[_]| StateShape {
            keys: grouping.state_fields(name),
            values: values.clone(),
            order: order.to_vec(),
        };
        let kept = |shape| Windowed::new(grouping.close, shape, Multiset::new);
        let layout = StorageLayout::new(&plan.input, plan.first.as_ref())?;
        let rows = kept(shape(ROWS, &layout.fields, &layout.order));
        let mut fields: Vec<FieldRef> = grouping.output.fields().iter().cloned().collect();
        fields.extend(plan.sessions.iter().map(|sessions| sessions.end.clone()));
        let answered = Arc::new(Schema::new(fields));
        let answers = kept(shape(ANSWERS, answered.fields(), &[]));
        let end = plan.sessions.as_ref().filter(|sessions| sessions.late.is_some());
        let ends = end.map(|_| SessionExpiry::new(answered.fields().len() - 1));
        let timeout = plan.sessions.as_ref().and_then(|sessions| Some((sessions.timeout_us?, &sessions.end)));
        let timeouts =
            timeout.map(|(us, end)| SessionTimeouts::new(us, &grouping.state_fields("key"), end)).transpose()?;
        Ok(GroupPlan { grouping, plan, layout, kept: GroupPlanState { rows, answers, ends, timeouts }, answered })
    }

    /// Runs the plan over the stored rows of some groups; returns answers and the group number of each.
    fn answers(&self, rows: &[ArrayRef], groups: &[usize]) -> Result<(RecordBatch, UInt32Array)> {
        let numbers = Int64Array::from_iter_values(groups.iter().map(|group| *group as i64));
        let mut columns = self.layout.to_input(rows);
        columns.push(Arc::new(numbers));
        let all = self.plan.plan.run(RecordBatch::try_new(self.plan.leaf.clone(), columns)?)?;
        let last = all.num_columns() - 1;
        let groups = all.column(last).as_primitive::<Int64Type>();
        let groups = groups.values().iter().map(|group| *group as u32).collect();
        let columns = all.columns()[..last].to_vec();
        Ok((batch_of(&self.answered, columns, all.num_rows())?, groups))
    }

    fn first(&self) -> Option<TopN> {
        self.plan.first.as_ref().map(|first| first.first)
    }

    fn fold(&mut self, batches: &[(RecordBatch, Vec<ArrayRef>, Int64Array)], now: Micros) -> Result<Vec<Changes>> {
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let rows = concat_batches(&self.plan.input, batches.iter().map(|(rows, ..)| rows))?;
        let keys = concat_columns(batches.iter().map(|(_, keys, _)| &keys[..]))?;
        let diffs: Int64Array = batches.iter().flat_map(|(_, _, diffs)| diffs.values().to_vec()).collect();
        let (first, only_comes) = (self.first(), self.plan.first.as_ref().is_some_and(|first| first.appends));
        let mut changes = Vec::new();
        for (moment, part) in self.kept.rows.split(&keys)? {
            let keys: Vec<ArrayRef> = keys.iter().map(|key| take(key, &part, None)).collect::<Result<_, _>>()?;
            let rows = rows_at(&rows, &part)?;
            let diffs = take(&diffs, &part, None)?.as_primitive::<Int64Type>().clone();
            let touched = distinct_keys(&keys)?;
            let window = self.kept.rows.window(moment)?;
            window.apply(&keys, &self.layout.to_storage(&rows)?, &diffs)?;
            if let Some(first) = first.filter(|_| only_comes) {
                window.keep_first(&touched, first)?;
            }
            let shows = self.grouping.emission != Emission::OnClose;
            if !shows && self.kept.ends.is_none() && self.kept.timeouts.is_none() {
                continue;
            }
            let (rows, groups) = window.gather(&touched, first)?;
            let (answers, groups) = self.answers(&rows, &groups)?;
            let window = self.kept.answers.window(moment)?;
            let (columns, diffs) = window.replace(&touched, answers.columns(), &groups)?;
            if let Some(ends) = &mut self.kept.ends {
                let keys: Vec<ArrayRef> =
                    touched.iter().map(|key| take(key, &groups, None)).collect::<Result<_, _>>()?;
                ends.schedule(answers.columns(), &keys, window)?;
            }
            if let Some(timeouts) = &mut self.kept.timeouts {
                let (keys, ends) = self.grouping.came(&self.plan.input, &columns, &diffs)?;
                timeouts.schedule(&keys, &ends, now)?;
            }
            if shows {
                changes.push(Changes::new(self.shown(&columns, diffs.len())?, diffs));
            }
        }
        Ok(changes)
    }

    /// Answers without the hidden session end column.
    fn shown(&self, columns: &[ArrayRef], rows: usize) -> Result<RecordBatch> {
        batch_of(&self.grouping.output, columns[..self.grouping.output.fields().len()].to_vec(), rows)
    }

    /// Removes sessions timed out by the clock; returns their answers if they are emitted on close.
    fn close_timed_out(&mut self, now: Micros) -> Result<Vec<Changes>> {
        let GroupPlanState { rows, answers, timeouts, .. } = &mut self.kept;
        let Some(timeouts) = timeouts else { return Ok(Vec::new()) };
        let closed = timeouts.close(now, rows.window(NEVER)?, answers.window(NEVER)?)?;
        let shown = closed.filter(|_| self.grouping.emission == Emission::OnClose);
        let shown = shown.map(|columns| self.shown(&columns, columns[0].len()));
        Ok(shown.transpose()?.map(Changes::insert).into_iter().collect())
    }

    /// Removes groups that the watermark closes; returns their answers if they are emitted on close.
    fn close(&mut self, watermark: Option<Micros>) -> Result<Vec<Changes>> {
        if self.kept.ends.is_some() || self.kept.timeouts.is_some() {
            let closed = self.kept.close(watermark)?;
            let shown = closed.filter(|_| self.grouping.emission == Emission::OnClose);
            let shown = shown.map(|columns| self.shown(&columns, columns[0].len()));
            return Ok(shown.transpose()?.map(Changes::insert).into_iter().collect());
        }
        let closing = self.grouping.closing(watermark);
        let closed = self.kept.rows.close(closing);
        self.kept.answers.close(closing);
        if self.grouping.emission != Emission::OnClose {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        for window in closed.iter().filter(|w| !w.is_empty()) {
            let (rows, groups) = window.gather(&window.all_keys()?, self.first())?;
            let answers = self.answers(&rows, &groups)?.0;
            changes.push(Changes::insert(self.shown(answers.columns(), answers.num_rows())?));
        }
        Ok(changes)
    }
}

/// The rows of one partition in one epoch.
struct GroupPlanInput {
    grouping: Grouping,
    input: SchemaRef,
    /// When a row is late, by its own columns.
    late_at: Option<Close>,
    /// The event time that may not be NULL.
    timed: Option<TimeColumn>,
}

impl Buffered for GroupPlanInput {
    type Rows = (RecordBatch, Vec<ArrayRef>, Int64Array);

    fn evaluate(&self, batch: RecordBatch, tick: &Tick) -> Result<Evaluated> {
        let closed = tick.closed(self.grouping.derived);
        let (batch, mut late) = split_late(batch, self.timed, self.late_at, closed)?;
        let mut evaluated = self.grouping.evaluate(&[], batch, tick)?;
        late.append(&mut evaluated.late);
        Ok(Evaluated { late, ..evaluated })
    }

    fn keep(&self, rows: Evaluated) -> Result<(RecordBatch, Vec<ArrayRef>, Int64Array)> {
        let count = rows.batch.num_rows();
        let changes = Changes::from_batch(rows.batch)?;
        let batch = batch_of(&self.input, changes.rows().columns().to_vec(), count)?;
        Ok((batch, state_keys(rows.keys, count), changes.diff_column()))
    }
}

impl Operator for GroupPlan {
    fn schema(&self) -> SchemaRef {
        self.grouping.output.clone()
    }

    fn collector(&self, _: usize, tick: &Tick) -> Result<Box<dyn Collector>> {
        let (grouping, input) = (self.grouping.clone(), self.plan.input.clone());
        let sessions = self.plan.sessions.as_ref();
        let (late_at, timed) = sessions.map_or((None, None), |sessions| (sessions.late, sessions.timed));
        Ok(InputBuffer::collector(GroupPlanInput { grouping, input, late_at, timed }, tick))
    }

    fn step(&mut self, collected: Vec<Box<dyn Collector>>, tick: &Tick) -> Result<StepOutput> {
        let (batches, late) = InputBuffer::<GroupPlanInput>::drain(collected)?;
        // Sessions timed out by the clock are closed before the new rows are added.
        let mut changes = self.close_timed_out(tick.now)?;
        changes.extend(self.fold(&batches, tick.now)?);
        changes.extend(self.close(tick.watermark)?);
        Ok(StepOutput { changes: Changes::concat(&self.grouping.output, &changes)?, late })
    }

    fn fresh(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(GroupPlan::new(self.grouping.clone(), self.plan.clone())?))
    }

    fn state(&mut self) -> &mut dyn Durable {
        &mut self.kept
    }

    fn state_version(&self) -> u16 {
        1
    }

    fn restored(&mut self, watermark: Option<Micros>) {
        let closing = self.grouping.closing(watermark);
        self.kept.rows.close(closing);
        self.kept.answers.close(closing);
        // Sessions are closed by the next step: their answers were emitted before the checkpoint.
    }

    fn is_due(&self, watermark: Option<Micros>, now: Micros) -> bool {
        if self.kept.timeouts.as_ref().is_some_and(|timeouts| timeouts.is_due(now)) {
            return true;
        }
        if let Some(ends) = &self.kept.ends {
            return ends.is_due(watermark);
        }
        self.kept.rows.is_due(self.grouping.closing(watermark))
    }
}

impl GroupPlanState {
    /// Removes the sessions that the watermark closes; returns their answers.
    fn close(&mut self, watermark: Option<Micros>) -> Result<Option<Vec<ArrayRef>>> {
        let closed = match (&mut self.ends, watermark) {
            (Some(ends), Some(watermark)) => {
                ends.close(watermark, self.rows.window(NEVER)?, self.answers.window(NEVER)?)?
            }
            _ => None,
        };
        // Updates the size totals.
        self.rows.close(None);
        self.answers.close(None);
        Ok(closed)
    }
}

impl Durable for GroupPlanState {
    fn save(&mut self, full: bool) -> Result<Saved> {
        let mut saved = self.rows.save(full)?;
        saved.rows.extend(self.answers.save(full)?.rows);
        if let Some(timeouts) = &mut self.timeouts {
            saved.rows.extend(timeouts.save(full)?.rows);
        }
        Ok(saved)
    }

    fn load(&mut self, rows: &RecordBatch) -> Result<()> {
        match rows.schema().field(0).name().as_str() {
            ROWS => self.rows.load(rows),
            TIMEOUTS => self.timeouts.as_mut().map_or(Ok(()), |timeouts| timeouts.load(rows)),
            _ => {
                self.answers.load(rows)?;
                let Some(ends) = &mut self.ends else { return Ok(()) };
                let keys = rows.num_columns() - 1 - self.answers.window(NEVER)?.row_columns();
                let columns = rows.columns();
                ends.schedule(&columns[keys..columns.len() - 1], &columns[..keys], self.answers.window(NEVER)?)
            }
        }
    }

    fn set_compaction(&mut self, to: Compaction) {
        self.rows.set_compaction(to);
        self.answers.set_compaction(to);
        if let Some(timeouts) = &mut self.timeouts {
            timeouts.set_compaction(to);
        }
    }

    fn len(&self) -> usize {
        self.rows.len() + self.answers.len() + self.timeouts.as_ref().map_or(0, SessionTimeouts::len)
    }

    fn bytes(&self) -> usize {
        self.rows.bytes() + self.answers.bytes() + self.timeouts.as_ref().map_or(0, SessionTimeouts::bytes)
    }
}
