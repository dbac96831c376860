//! Sinks: where the changes of a standing query go. One file or folder per kind; the list of kinds is in `options.rs`.

mod blackhole;
mod console;
#[cfg(test)]
pub mod memory;
mod mode;
mod options;

use std::{any::Any, collections::HashMap, fmt};

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
};
use async_trait::async_trait;

pub use mode::Mode;
pub use options::{SinkOptions, SinkSchema, open_sink};

use crate::{
    changes::{Changes, canonical},
    connectors::Fence,
    error::Result,
    state::keys_of,
    time::Epoch,
};

/// An outside system that takes the changes of a standing query, epoch by epoch.
///
/// ```text
/// open ─▶ write(5) ─▶ write(6) ─▶ …        after a crash in 6: open says 5 or 6, and 6 is written again only after 5
/// ```
///
/// An epoch that is written again has the same rows, if in another order. One that changed nothing is not written.
#[async_trait]
pub trait Sink: Send + fmt::Debug {
    /// What a reader of the outside system may rely on.
    fn delivery(&self) -> Delivery;

    /// Opens the outside system: fences former writers of the same identity; an unfinished write is undone or
    /// completed. Gives the last epoch that is completely written; 0 if there is none or it cannot be known.
    ///
    /// Called before the first write, and again after each write that failed: that one may have taken effect.
    async fn open(&mut self) -> Result<Epoch>;

    /// Writes an epoch with its number, atomically: on success all of it, on error all or nothing, which the next
    /// `open` tells. Epochs grow, and none that `open` has reported is written.
    ///
    /// A fault that may pass is of kind `Io` or `CannotConnectNow`; any other stops the sink until it is resumed.
    async fn write(&mut self, epoch: Epoch, rows: &Outgoing) -> Result<()>;
}

/// The options of a sink of one kind, checked without I/O and independent of its query.
pub trait SinkConfig: Any + Send + Sync + fmt::Debug {
    /// The modes it supports; the first that fits is the default.
    fn modes(&self) -> &'static [Mode];

    /// Restricts it to what the server's configuration allows.
    fn restrict(&mut self, _: &Fence) -> Result<()> {
        Ok(())
    }

    /// Whether rows go to the same destination in the same form as with `other`, so that the sink may continue. `other`
    /// is a [`SinkConfig`] of any kind.
    fn continues(&self, other: &dyn Any) -> bool;

    /// Creates the sink, without I/O.
    fn create(&self, def: SinkDef) -> Result<Box<dyn Sink>>;
}

/// What a sink promises through `kill -9`, restart and a fault of the outside system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Each row exactly once.
    ExactlyOnce,
    /// Each row once or, after a fault, more than once.
    AtLeastOnce,
    /// Rows are shown or discarded, not stored.
    BestEffort,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Delivery::ExactlyOnce => "exactly once",
            Delivery::AtLeastOnce => "at least once",
            Delivery::BestEffort => "best effort",
        })
    }
}

/// The rows of one epoch.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub changes: Changes,
    /// Whether the rows are the complete answer, replacing everything written before.
    pub whole: bool,
}

impl Outgoing {
    /// The changes as upserts and deletes by `key`.
    pub fn upserts(&self, key: &[usize]) -> Result<UpsertRows> {
        let pairs = self.pairs(Some(key))?;
        let of = |at: Vec<u32>| take_record_batch(self.changes.rows(), &UInt32Array::from(at));
        let gone = pairs.iter().filter(|pair| pair.came.is_none()).filter_map(|pair| pair.went).collect();
        Ok(UpsertRows { put: of(pairs.iter().filter_map(|pair| pair.came).collect())?, gone: of(gone)? })
    }

    /// Pairs of retraction and insertion (row positions) with the same key; without a key, each change alone. In order
    /// of the keys' first occurrence.
    pub fn pairs(&self, key: Option<&[usize]>) -> Result<Vec<Pair>> {
        let rows = self.changes.rows();
        let is_going = |row: u32| self.changes.diff(row as usize) < 0;
        let alone = |row| match is_going(row) {
            true => Pair { went: Some(row), came: None },
            false => Pair { went: None, came: Some(row) },
        };
        let all = 0..rows.num_rows() as u32;
        let Some(key) = key else { return Ok(all.map(alone).collect()) };
        let columns = key.iter().map(|column| canonical(rows.column(*column))).collect::<Result<Vec<_>>>()?;
        let keys = keys_of(&columns)?;
        let mut pairs: Vec<Pair> = Vec::new();
        let mut at: HashMap<Vec<u8>, usize> = HashMap::with_capacity(rows.num_rows());
        for row in all {
            let n = *at.entry(keys.row(row as usize).data().to_vec()).or_insert(pairs.len());
            match pairs.get_mut(n) {
                None => pairs.push(alone(row)),
                // If a key's row is retracted and inserted again, the insertion counts, in any order.
                Some(pair) if is_going(row) => pair.went = pair.went.or(Some(row)),
                Some(pair) => pair.came = Some(row),
            }
        }
        Ok(pairs)
    }
}

/// A retracted row and the one that replaces it: at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub went: Option<u32>,
    pub came: Option<u32>,
}

/// Upserts and deletes: each key in one of the two.
#[derive(Debug, Clone)]
pub struct UpsertRows {
    /// The new row of each key that has one.
    pub put: RecordBatch,
    /// The last row of each deleted key.
    pub gone: RecordBatch,
}

/// What every sink is opened with.
#[derive(Debug, Clone)]
pub struct SinkDef {
    pub name: String,
    /// A globally unique, permanent name of this sink, under which the outside system stores its epoch.
    pub identity: String,
    pub schema: SchemaRef,
    pub mode: Mode,
    /// The key columns, if there are any; always set for [`Mode::Upsert`].
    pub key: Option<Vec<usize>>,
    /// Whether there are no retractions.
    pub append_only: bool,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array};

    use super::*;

    #[test]
    fn upserts_put_the_newest_row_of_a_key_and_delete_retracted_keys() {
        let column = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let keys = column(&[1, 1, 2, 3, 4, 4, 5, 5]);
        let values = column(&[10, 11, 20, 30, 41, 40, 50, 51]);
        let rows = RecordBatch::try_from_iter([("k", keys), ("v", values)]).unwrap();
        let diffs = Int64Array::from(vec![-1, 1, -1, 1, 1, -1, 1, 1]);
        let UpsertRows { put, gone } =
            Outgoing { changes: Changes::new(rows, diffs), whole: false }.upserts(&[0]).unwrap();
        let of = |rows: &RecordBatch| rows.column(1).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
        assert_eq!((of(&put), of(&gone)), (vec![11, 30, 41, 51], vec![20]));
    }
}
