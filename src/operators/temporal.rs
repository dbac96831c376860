//! Temporal filter: each row is inserted when its time begins, by the clock, and retracted when it ends.
//!
//! ```text
//! row ─▶ waiting ── now >= from ──▶ inserted (+) ── now >= until ──▶ retracted (-)
//! ```
//!
//! The clock is that of the epoch's intent, so that a replayed epoch emits the same changes.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int8Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array},
    datatypes::{DataType, Field, FieldRef, Fields, Int8Type, Int64Type, Schema, SchemaRef, TimeUnit},
};
use datafusion::physical_expr::PhysicalExpr;

use super::{
    grouping::evaluate,
    input_buffer::{Buffered, InputBuffer},
};
use crate::{
    changes::{Changes, batch_of, rows_at},
    error::{Error, Result},
    exec::{Collector, Evaluated, Operator, StepOutput},
    state::{Close, Compaction, Durable, JoinState, NEVER, Saved},
    time::{Micros, Tick, event_times},
};

/// Times computed from a row: an expression, plus an offset in microseconds.
pub type PresenceBounds = Vec<(Arc<dyn PhysicalExpr>, Micros)>;

/// The time range in which a row is part of the output.
#[derive(Debug, Clone)]
pub struct Presence {
    /// From the maximum of these (inclusive).
    pub from: PresenceBounds,
    /// Until the minimum of these (exclusive).
    pub until: PresenceBounds,
    /// The schema of its input, without the diff.
    pub input: SchemaRef,
    /// Whether its input has retractions.
    pub withdraws: bool,
}

/// The temporal filter operator.
#[derive(Debug)]
pub struct Temporal {
    presence: Presence,
    /// The rows that wait or are inserted: their columns, end time, whether inserted, time of the next change.
    kept: TemporalState,
}

#[derive(Debug)]
struct TemporalState(JoinState);

const WAITS: i8 = 0;
const PRESENT: i8 = 1;

impl Temporal {
    pub fn new(presence: Presence) -> Result<Self> {
        let mut fields: Vec<FieldRef> = presence.input.fields().iter().cloned().collect();
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        fields.push(Arc::new(Field::new("until", time.clone(), false)));
        fields.push(Arc::new(Field::new("present", DataType::Int8, false)));
        fields.push(Arc::new(Field::new("next", time, false)));
        let close = Close { column: fields.len() - 1, field: None, offset_us: 0 };
        let keys = Fields::from(vec![Field::new("all", DataType::Int8, false)]);
        let side = JoinState::new(&Arc::new(Schema::new(fields)), &keys, presence.withdraws, Some(close))?;
        Ok(Temporal { presence, kept: TemporalState(side) })
    }

    /// Stores rows; their last columns are end time, whether inserted, and time of the next change.
    fn keep(&mut self, rows: &RecordBatch, diffs: &[i64]) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let side = &mut self.kept.0;
        let all: ArrayRef = Arc::new(Int8Array::from_value(0, rows.num_rows()));
        let keys = side.encode(&[all])?;
        // Equal rows are stored once with a count.
        let (rows, diffs) = match side.net(rows, &Int64Array::from(diffs.to_vec()))? {
            Some((first, net)) => (rows_at(rows, &first)?, net),
            None => (rows.clone(), diffs.to_vec()),
        };
        let ids = side.add(&rows, &keys, |_| true, &diffs, &vec![0; diffs.len()])?;
        side.purge_deleted(&ids.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
        Ok(())
    }

    /// Emits the changes of rows whose next change is due at `now`.
    fn pass(&mut self, now: Micros, out: &mut Vec<Changes>) -> Result<()> {
        let ids = self.kept.0.expired(Some(now));
        if ids.is_empty() {
            return Ok(());
        }
        let rows = self.kept.0.gather(&ids)?;
        let counts: Vec<i64> = ids.iter().map(|id| self.kept.0.meta(*id).count).collect();
        self.kept.0.forget(&ids);
        let own = self.presence.input.fields().len();
        let until = rows.column(own).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        let present = rows.column(own + 1).as_primitive::<Int8Type>();
        let all = 0..ids.len();
        let comes = |row: &usize| present.value(*row) == WAITS && until.value(*row) > now;
        let leaves = |row: &usize| present.value(*row) == PRESENT;
        out.push(self.shown(&rows, all.clone().filter(comes), &counts, 1)?);
        out.push(self.shown(&rows, all.clone().filter(leaves), &counts, -1)?);
        let stays: Vec<usize> = all.filter(comes).filter(|row| until.value(*row) != NEVER).collect();
        let at: UInt32Array = stays.iter().map(|row| *row as u32).collect();
        let counts: Vec<i64> = stays.iter().map(|row| counts[*row]).collect();
        let rows = rows_at(&rows, &at)?;
        let until = rows.column(own).clone();
        let mut columns = rows.columns()[..=own].to_vec();
        columns.push(Arc::new(Int8Array::from_value(PRESENT, counts.len())));
        columns.push(until);
        self.keep(&batch_of(&rows.schema(), columns, counts.len())?, &counts)
    }

    /// Stored rows as changes with diff `sign`, each repeated by its count.
    fn shown(
        &self,
        rows: &RecordBatch,
        which: impl Iterator<Item = usize>,
        counts: &[i64],
        sign: i64,
    ) -> Result<Changes> {
        let each = which.flat_map(|row| {
            let diff = counts[row] * sign;
            std::iter::repeat_n((row as u32, diff.signum()), diff.unsigned_abs() as usize)
        });
        let (at, diffs): (Vec<u32>, Vec<i64>) = each.unzip();
        let rows = rows_at(rows, &UInt32Array::from(at))?;
        let columns = rows.columns()[..self.presence.input.fields().len()].to_vec();
        let rows = batch_of(&self.presence.input, columns, diffs.len())?;
        Ok(match diffs.iter().all(|diff| *diff > 0) {
            true => Changes::insert(rows),
            false => Changes::new(rows, diffs.into()),
        })
    }

    /// Adds new rows.
    fn insert(&mut self, new: &New, now: Micros, out: &mut Vec<Changes>) -> Result<()> {
        let New { rows, from, until, diffs } = new;
        let all = 0..diffs.len();
        let ends = |row: usize| if until.is_null(row) { now } else { until.value(row) };
        let lives = |row: &usize| from.is_valid(*row) && ends(*row) > now;
        let present = |row: &usize| lives(row) && from.value(*row) <= now;
        let waits = |row: &usize| lives(row) && from.value(*row) > now && from.value(*row) < ends(*row);
        out.push(self.shown(rows, all.clone().filter(present), diffs, 1)?);
        // Once inserted, a row is stored only if it ends: to be retracted then.
        let kept: Vec<usize> = all.filter(|row| waits(row) || (present(row) && ends(*row) != NEVER)).collect();
        let at: UInt32Array = kept.iter().map(|row| *row as u32).collect();
        let mut columns = rows_at(rows, &at)?.columns().to_vec();
        let times = |of: &dyn Fn(usize) -> Micros| -> ArrayRef {
            Arc::new(kept.iter().map(|row| Some(of(*row))).collect::<TimestampMicrosecondArray>())
        };
        columns.push(times(&ends));
        columns.push(Arc::new(
            kept.iter().map(|row| Some(if present(row) { PRESENT } else { WAITS })).collect::<Int8Array>(),
        ));
        columns.push(times(&|row| if present(&row) { ends(row) } else { from.value(row) }));
        let diffs: Vec<i64> = kept.iter().map(|row| diffs[*row]).collect();
        let schema = self.kept.0.schema().clone();
        self.keep(&batch_of(&schema, columns, diffs.len())?, &diffs)
    }
}

/// New rows with start time, end time and diff.
struct New {
    rows: RecordBatch,
    from: Int64Array,
    until: Int64Array,
    diffs: Vec<i64>,
}

/// Per row the latest (`most`) or the earliest of some times; NULL if any is NULL.
fn moments(of: &PresenceBounds, batch: &RecordBatch, none: Micros, most: bool) -> Result<ArrayRef> {
    let mut all = Int64Array::from_value(none, batch.num_rows());
    for (time, plus) in of {
        let column = evaluate(time, batch)?;
        let times = event_times(&column).ok_or_else(|| Error::internal("now() is compared with no time"))?;
        let pick = |(a, b): (Option<Micros>, Option<Micros>)| {
            let (a, b) = (a?, b?.saturating_add(*plus));
            Some(if most { a.max(b) } else { a.min(b) })
        };
        all = all.iter().zip(times.iter()).map(pick).collect();
    }
    Ok(Arc::new(all))
}

/// The rows of its input.
struct TemporalInput(Presence);

impl Buffered for TemporalInput {
    type Rows = New;

    fn evaluate(&self, batch: RecordBatch, _: &Tick) -> Result<Evaluated> {
        let from = moments(&self.0.from, &batch, Micros::MIN, true)?;
        let until = moments(&self.0.until, &batch, NEVER, false)?;
        Ok(Evaluated { keys: vec![from, until], ..Evaluated::plain(batch) })
    }

    fn keep(&self, rows: Evaluated) -> Result<New> {
        let Evaluated { batch, keys, .. } = rows;
        let changes = Changes::from_batch(batch)?;
        let diffs = changes.diff_column().values().to_vec();
        let rows = batch_of(&self.0.input, changes.rows().columns().to_vec(), diffs.len())?;
        let times = |n: usize| keys[n].as_primitive::<Int64Type>().clone();
        Ok(New { rows, from: times(0), until: times(1), diffs })
    }
}

impl Operator for Temporal {
    fn schema(&self) -> SchemaRef {
        self.presence.input.clone()
    }

    fn collector(&self, _: usize, tick: &Tick) -> Result<Box<dyn Collector>> {
        Ok(InputBuffer::collector(TemporalInput(self.presence.clone()), tick))
    }

    fn step(&mut self, collected: Vec<Box<dyn Collector>>, tick: &Tick) -> Result<StepOutput> {
        let mut out = Vec::new();
        self.pass(tick.now, &mut out)?;
        let (batches, late) = InputBuffer::<TemporalInput>::drain(collected)?;
        batches.iter().try_for_each(|new| self.insert(new, tick.now, &mut out))?;
        Ok(StepOutput { changes: Changes::concat(&self.presence.input, &out)?, late })
    }

    fn fresh(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Temporal::new(self.presence.clone())?))
    }

    fn state(&mut self) -> &mut dyn Durable {
        &mut self.kept
    }

    fn state_version(&self) -> u16 {
        1
    }

    fn restored(&mut self, _: Option<Micros>) {}

    fn is_due(&self, _: Option<Micros>, now: Micros) -> bool {
        self.kept.0.is_due(Some(now))
    }
}

impl Durable for TemporalState {
    fn save(&mut self, full: bool) -> Result<Saved> {
        Ok(Saved { rows: self.0.save("id", full)? })
    }

    fn load(&mut self, saved: &RecordBatch) -> Result<()> {
        let Some(rows) = self.0.saved_rows(saved)? else {
            self.0.load_removed(saved);
            return Ok(());
        };
        let all: ArrayRef = Arc::new(Int8Array::from_value(0, rows.num_rows()));
        let keys = self.0.encode(&[all])?;
        self.0.load_rows(saved, &rows, &keys, |_| true)
    }

    fn set_compaction(&mut self, to: Compaction) {
        self.0.set_compaction(to);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
