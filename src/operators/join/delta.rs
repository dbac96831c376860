//! The new rows of one side of a join in one epoch.

use std::{any::Any, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch},
    buffer::NullBuffer,
    compute::{concat_batches, filter, filter_record_batch, take, take_record_batch},
    row::Rows,
};

use super::spec::{JoinSpec, SideOutput, constant};
use crate::{
    changes::Changes,
    checkpoint::LateCause,
    error::Result,
    operators::{
        Collector, Evaluated, Late,
        grouping::{apart, have_times, in_time},
    },
    state::JoinState,
    time::Tick,
};

/// Batches of rows, each with key columns and, if the side has retractions, diffs.
pub(super) type KeyedBatches = Vec<(RecordBatch, Vec<ArrayRef>, Option<Int64Array>)>;

/// The rows of one partition of one side in one epoch.
pub(super) struct JoinInput {
    spec: Arc<JoinSpec>,
    pub side: usize,
    tick: Tick,
    pub batches: KeyedBatches,
    pub late: Late,
}

impl JoinInput {
    pub fn new(spec: Arc<JoinSpec>, side: usize, tick: &Tick) -> Self {
        JoinInput { spec, side, tick: *tick, batches: Vec::new(), late: Late::default() }
    }

    /// Which rows are not late; `None` if none is.
    fn on_time(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let side = &self.spec.sides[self.side];
        let (Some(late), Some(watermark)) = (side.late, self.tick.closed(side.fed_by_operator)) else {
            return Ok(None);
        };
        in_time(&late, batch.columns(), watermark)
    }
}

impl Collector for JoinInput {
    fn evaluate(&mut self, batch: RecordBatch) -> Result<Evaluated> {
        let (timed, mut late) = (self.spec.sides[self.side].timed, Vec::new());
        let has_time = timed.and_then(|column| have_times(&[column], batch.columns()));
        let batch = apart(batch, has_time, LateCause::NoEventTime, &mut late)?;
        let on_time = self.on_time(&batch)?;
        let batch = apart(batch, on_time, LateCause::BehindWatermark, &mut late)?;
        let keys = self.spec.sides[self.side].keys_of(&batch)?;
        Ok(Evaluated { keys, late, ..Evaluated::plain(batch) })
    }

    fn push(&mut self, rows: Evaluated) -> Result<()> {
        let Evaluated { batch, keys, late, .. } = rows;
        self.late.add(late);
        let count = batch.num_rows();
        if count == 0 {
            return Ok(());
        }
        let changes = Changes::from_batch(batch)?;
        let mut columns = changes.rows().columns().to_vec();
        if columns.is_empty() {
            columns.push(constant(count));
        }
        let rows = RecordBatch::try_new(self.spec.sides[self.side].kept(), columns)?;
        self.batches.push((rows, keys, changes.diffs().cloned()));
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// The new rows of one side; consolidated to distinct rows if it has retractions.
pub(super) struct Delta {
    pub rows: RecordBatch,
    pub keys: Rows,
    pub diffs: Vec<i64>,
    /// Null for rows with a NULL key, which match nothing.
    alone: Option<NullBuffer>,
}

impl Delta {
    /// `None` if nothing changes.
    pub fn new(spec: &JoinSpec, n: usize, side: &JoinState, batches: KeyedBatches) -> Result<Option<Delta>> {
        let Some((_, first, _)) = batches.first() else { return Ok(None) };
        let mut keys = Vec::new();
        for key in 0..first.len() {
            let parts: Vec<&dyn Array> = batches.iter().map(|(_, keys, _)| keys[key].as_ref()).collect();
            keys.push(arrow::compute::concat(&parts)?);
        }
        let mut rows = concat_batches(&spec.sides[n].kept(), batches.iter().map(|(rows, ..)| rows))?;
        let mut diffs = Int64Array::from_iter_values(batches.iter().flat_map(each_diff));
        if spec.sides[n].output == SideOutput::None
            && let Some(alone) = alone(spec, &keys)
        {
            // A row with a NULL key matches nothing and need not be stored.
            let meets = BooleanArray::new(alone.inner().clone(), None);
            rows = filter_record_batch(&rows, &meets)?;
            keys = keys.iter().map(|key| filter(key, &meets)).collect::<Result<_, _>>()?;
            diffs = filter(&diffs, &meets)?.as_primitive().clone();
        }
        let diffs = match side.net(&rows, &diffs)? {
            None => diffs.values().to_vec(),
            Some((first, net)) => {
                rows = take_record_batch(&rows, &first)?;
                keys = keys.iter().map(|key| take(key, &first, None)).collect::<Result<_, _>>()?;
                net
            }
        };
        if diffs.is_empty() {
            return Ok(None);
        }
        Ok(Some(Delta { keys: side.encode(&keys)?, rows, diffs, alone: alone(spec, &keys) }))
    }

    pub fn len(&self) -> usize {
        self.diffs.len()
    }

    /// Whether a row has a NULL key, which matches nothing.
    pub fn is_alone(&self, row: usize) -> bool {
        self.alone.as_ref().is_some_and(|alone| alone.is_null(row))
    }
}

/// The diff of each row of a batch.
fn each_diff((rows, _, diffs): &(RecordBatch, Vec<ArrayRef>, Option<Int64Array>)) -> Vec<i64> {
    match diffs {
        Some(diffs) => diffs.values().to_vec(),
        None => vec![1; rows.num_rows()],
    }
}

/// Null for rows with a NULL among their keys, unless NULL equals NULL in this join.
pub(super) fn alone(spec: &JoinSpec, keys: &[ArrayRef]) -> Option<NullBuffer> {
    if spec.null_equals_null {
        return None;
    }
    keys.iter().fold(None, |all, key| NullBuffer::union(all.as_ref(), key.logical_nulls().as_ref()))
}
