//! Deduplication within the watermark: of append-only rows, the first row of each id.
//!
//! ```text
//! row ─▶ below the watermark: late
//!    └─▶ its id is stored: dropped
//!    └─▶ emitted; its id is stored until the watermark has passed its event time by the retention
//! ```
//!
//! Decided by the ids stored at the epoch's watermark, so that a replayed epoch emits the same rows.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, UInt32Array},
    compute::take,
    datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit},
};
use datafusion::physical_expr::PhysicalExpr;

use super::{
    TimeColumn,
    grouping::{evaluate, split_late},
    input_buffer::{Buffered, InputBuffer},
};
use crate::{
    changes::{Changes, batch_of, rows_at},
    error::{Error, Result},
    exec::{Collector, Evaluated, Operator, StepOutput},
    state::{Close, Compaction, Durable, JoinState, Saved},
    time::{Micros, Tick, event_times},
};

/// The key columns of an id, and how long an id is stored.
#[derive(Debug, Clone)]
pub struct DedupSpec {
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// When a row is late, by its event time.
    pub late: Close,
    /// When an id expires, by the event time of its first row.
    pub forget: Close,
    /// Whether its input is another operator: see [`Tick::closed`].
    pub derived: bool,
    /// The schema of its rows, which are emitted unchanged.
    pub rows: SchemaRef,
}

/// Drops rows whose id is stored.
#[derive(Debug)]
pub struct Dedup {
    spec: Arc<DedupSpec>,
    seen: DedupState,
}

/// The stored ids: key, and event time of the first row.
#[derive(Debug)]
struct DedupState {
    side: JoinState,
    key_columns: usize,
}

impl Dedup {
    pub fn new(spec: DedupSpec) -> Result<Self> {
        Dedup::of(Arc::new(spec))
    }

    fn of(spec: Arc<DedupSpec>) -> Result<Self> {
        let field = |(n, key): (usize, &Arc<dyn PhysicalExpr>)| -> Result<Field> {
            Ok(Field::new(n.to_string(), key.data_type(&spec.rows)?, true))
        };
        let keys: Vec<Field> = spec.keys.iter().enumerate().map(field).collect::<Result<_>>()?;
        let mut fields = keys.clone();
        fields.push(Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false));
        let forget = Close { column: keys.len(), field: None, offset_us: spec.forget.offset_us };
        let side = JoinState::new(&Arc::new(Schema::new(fields)), &Fields::from(keys), false, Some(forget))?;
        let seen = DedupState { side, key_columns: spec.keys.len() };
        Ok(Dedup { spec, seen })
    }

    /// The rows of a batch whose ids are new, in order; their ids are stored.
    fn first(&mut self, rows: &RecordBatch, keys: &[ArrayRef]) -> Result<RecordBatch> {
        let side = &mut self.seen.side;
        let encoded = side.encode(keys)?;
        let mut among = HashSet::new();
        let is_new = |row: &u32| {
            let key = encoded.row(*row as usize);
            side.members(key.as_ref()).is_empty() && among.insert(key.as_ref().to_vec())
        };
        let new: UInt32Array = (0..rows.num_rows() as u32).filter(is_new).collect();
        if new.is_empty() {
            return Ok(RecordBatch::new_empty(rows.schema()));
        }
        let first = rows_at(rows, &new)?;
        let mut columns = keys.iter().map(|key| take(key, &new, None)).collect::<Result<Vec<_>, _>>()?;
        let encoded = side.encode(&columns)?;
        let times = event_times(first.column(self.spec.late.column))
            .ok_or_else(|| Error::internal("rows are the same by no event time"))?;
        columns.push(arrow::compute::cast(&times, &DataType::Timestamp(TimeUnit::Microsecond, None))?);
        let seen = batch_of(side.schema(), columns, new.len())?;
        side.add(&seen, &encoded, |_| false, &vec![1; new.len()], &vec![0; new.len()])?;
        Ok(first)
    }
}

/// The rows of its input: with the keys of each.
struct DedupInput(Arc<DedupSpec>);

impl Buffered for DedupInput {
    type Rows = (RecordBatch, Vec<ArrayRef>);

    fn evaluate(&self, batch: RecordBatch, tick: &Tick) -> Result<Evaluated> {
        let (close, watermark) = (self.0.late, tick.closed(self.0.derived));
        let (batch, late) = split_late(batch, Some(TimeColumn::of(close)), Some(close), watermark)?;
        let keys = self.0.keys.iter().map(|key| evaluate(key, &batch)).collect::<Result<_>>()?;
        Ok(Evaluated { keys, late, ..Evaluated::plain(batch) })
    }

    fn keep(&self, rows: Evaluated) -> Result<(RecordBatch, Vec<ArrayRef>)> {
        Ok((rows.batch, rows.keys))
    }
}

impl Operator for Dedup {
    fn schema(&self) -> SchemaRef {
        self.spec.rows.clone()
    }

    fn collector(&self, _: usize, tick: &Tick) -> Result<Box<dyn Collector>> {
        Ok(InputBuffer::collector(DedupInput(self.spec.clone()), tick))
    }

    fn step(&mut self, collected: Vec<Box<dyn Collector>>, tick: &Tick) -> Result<StepOutput> {
        let forgotten = self.seen.side.expired(tick.closed(self.spec.derived));
        self.seen.side.forget(&forgotten);
        let (batches, late) = InputBuffer::<DedupInput>::drain(collected)?;
        let mut shown = Vec::new();
        for (rows, keys) in batches {
            let first = self.first(&rows, &keys)?;
            shown.push(Changes::insert(batch_of(&self.spec.rows, first.columns().to_vec(), first.num_rows())?));
        }
        Ok(StepOutput { changes: Changes::concat(&self.spec.rows, &shown)?, late })
    }

    fn fresh(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Dedup::of(self.spec.clone())?))
    }

    fn state(&mut self) -> &mut dyn Durable {
        &mut self.seen
    }

    fn state_version(&self) -> u16 {
        1
    }

    fn restored(&mut self, _: Option<Micros>) {}

    fn is_due(&self, watermark: Option<Micros>, _: Micros) -> bool {
        // Emits nothing, but otherwise expired ids would stay in memory until the next rows.
        self.seen.side.is_due(watermark)
    }
}

impl Durable for DedupState {
    fn save(&mut self, full: bool) -> Result<Saved> {
        Ok(Saved { rows: self.side.save("id", full)? })
    }

    fn load(&mut self, saved: &RecordBatch) -> Result<()> {
        let Some(rows) = self.side.saved_rows(saved)? else {
            self.side.load_removed(saved);
            return Ok(());
        };
        let keys = self.side.encode(&rows.columns()[..self.key_columns])?;
        self.side.load_rows(saved, &rows, &keys, |_| false)
    }

    fn set_compaction(&mut self, to: Compaction) {
        self.side.set_compaction(to);
    }

    fn len(&self) -> usize {
        self.side.len()
    }

    fn bytes(&self) -> usize {
        self.side.bytes()
    }
}
