//! The new rows of one side of a join in one epoch.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch},
    buffer::NullBuffer,
    compute::{concat_batches, filter, filter_record_batch, take, take_record_batch},
};

use super::spec::{JoinSpec, SideOutput, constant};
use crate::{
    changes::Changes,
    error::Result,
    exec::Evaluated,
    operators::{
        grouping::split_late,
        input_buffer::{Buffered, concat_columns},
    },
    state::{JoinState, KeyRows},
    time::Tick,
};

/// Rows, the join key columns of each and, if there may be retractions, its diff.
pub(super) type KeyedBatch = (RecordBatch, Vec<ArrayRef>, Option<Int64Array>);

/// The rows of one partition of one side in one epoch.
pub(super) struct JoinInput {
    pub spec: Arc<JoinSpec>,
    pub side: usize,
}

impl Buffered for JoinInput {
    type Rows = KeyedBatch;

    fn evaluate(&self, batch: RecordBatch, tick: &Tick) -> Result<Evaluated> {
        let side = &self.spec.sides[self.side];
        let (batch, late) = split_late(batch, side.timed, side.late, tick.closed(side.fed_by_operator))?;
        Ok(Evaluated { keys: side.keys_of(&batch)?, late, ..Evaluated::plain(batch) })
    }

    fn keep(&self, rows: Evaluated) -> Result<KeyedBatch> {
        let count = rows.batch.num_rows();
        let changes = Changes::from_batch(rows.batch)?;
        let mut columns = changes.rows().columns().to_vec();
        if columns.is_empty() {
            columns.push(constant(count));
        }
        let batch = RecordBatch::try_new(self.spec.sides[self.side].stored_schema(), columns)?;
        Ok((batch, rows.keys, changes.diffs().cloned()))
    }
}

/// The new rows of one side; consolidated to distinct rows if it has retractions.
pub(super) struct Delta {
    pub rows: RecordBatch,
    pub keys: KeyRows,
    pub diffs: Vec<i64>,
    /// Null for rows with a NULL key, which match nothing.
    null_keys: Option<NullBuffer>,
}

impl Delta {
    /// `None` if there are no changes.
    pub fn new(spec: &JoinSpec, n: usize, side: &JoinState, batches: Vec<KeyedBatch>) -> Result<Option<Delta>> {
        if batches.is_empty() {
            return Ok(None);
        }
        let mut keys = concat_columns(batches.iter().map(|(_, keys, _)| &keys[..]))?;
        let mut rows = concat_batches(&spec.sides[n].stored_schema(), batches.iter().map(|(rows, ..)| rows))?;
        let mut diffs = Int64Array::from_iter_values(batches.iter().flat_map(each_diff));
        if spec.sides[n].output == SideOutput::None
            && let Some(null_keys) = null_keys(spec, &keys)
        {
            // A row with a NULL key matches nothing and need not be stored.
            let meets = BooleanArray::new(null_keys.inner().clone(), None);
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
        Ok(Some(Delta { keys: side.encode(&keys)?, rows, diffs, null_keys: null_keys(spec, &keys) }))
    }

    pub fn len(&self) -> usize {
        self.diffs.len()
    }

    /// Whether a row has a NULL key: such a row matches nothing.
    pub fn has_null_key(&self, row: usize) -> bool {
        self.null_keys.as_ref().is_some_and(|keys| keys.is_null(row))
    }
}

/// The diff of each row of a batch: +1 if it has no diff column.
fn each_diff((rows, _, diffs): &KeyedBatch) -> Vec<i64> {
    match diffs {
        Some(diffs) => diffs.values().to_vec(),
        None => vec![1; rows.num_rows()],
    }
}

/// Null for rows with a NULL among their keys, unless NULL equals NULL in this join.
pub(super) fn null_keys(spec: &JoinSpec, keys: &[ArrayRef]) -> Option<NullBuffer> {
    if spec.null_equals_null {
        return None;
    }
    keys.iter().fold(None, |all, key| NullBuffer::union(all.as_ref(), key.logical_nulls().as_ref()))
}
