//! Where the changes of a standing query go. One file or folder a kind of sink; the list of kinds is in `options.rs`.

mod blackhole;
mod console;
#[cfg(test)]
pub mod memory;
mod mode;
mod options;

use std::{collections::HashMap, fmt};

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
    row::{RowConverter, SortField},
};
use async_trait::async_trait;

pub use mode::Mode;
pub use options::{SinkOptions, SinkSchema, open_sink};

use crate::{
    changes::{Changes, canonical},
    error::Result,
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

    /// Takes hold of the outside system: whoever held it before under the same identity can no longer write, and what
    /// was left half done is gone or finished. Gives the last epoch that is wholly there; 0 where there is none, or
    /// where nobody can tell.
    ///
    /// Called before the first write, and again after each write that failed: that one may have taken effect.
    async fn open(&mut self) -> Result<Epoch>;

    /// Writes an epoch: all of it is there when this returns, together with its number. Where it fails, all of it is
    /// there or nothing is, and the next `open` tells which. Epochs come in growing order, and never one that `open`
    /// said is there.
    ///
    /// A fault that may pass is of kind `Io` or `CannotConnectNow`; any other stops the sink until it is resumed.
    async fn write(&mut self, epoch: Epoch, rows: &Outgoing) -> Result<()>;
}

/// What a sink promises through `kill -9`, restart and a fault of the outside system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// A row is there once.
    ExactlyOnce,
    /// A row is there once or, after a fault, more than once.
    AtLeastOnce,
    /// Rows are shown or thrown away, not kept.
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
    /// Whether the rows are the whole answer and take the place of all that was written before.
    pub whole: bool,
}

impl Outgoing {
    /// What the rows mean to a store that keeps one row for each value of `key`.
    pub fn upserts(&self, key: &[usize]) -> Result<UpsertRows> {
        let pairs = self.pairs(Some(key))?;
        let of = |at: Vec<u32>| take_record_batch(self.changes.rows(), &UInt32Array::from(at));
        let gone = pairs.iter().filter(|pair| pair.came.is_none()).filter_map(|pair| pair.went).collect();
        Ok(UpsertRows { put: of(pairs.iter().filter_map(|pair| pair.came).collect())?, gone: of(gone)? })
    }

    /// The rows that went and came, by number: together where they have the same key; without a key each alone. In the
    /// order in which keys are first told.
    pub fn pairs(&self, key: Option<&[usize]>) -> Result<Vec<Pair>> {
        let rows = self.changes.rows();
        let is_going = |row: u32| self.changes.diff(row as usize) < 0;
        let alone = |row| match is_going(row) {
            true => Pair { went: Some(row), came: None },
            false => Pair { went: None, came: Some(row) },
        };
        let all = 0..rows.num_rows() as u32;
        let Some(key) = key else { return Ok(all.map(alone).collect()) };
        let fields = key.iter().map(|column| SortField::new(rows.column(*column).data_type().clone())).collect();
        let columns = key.iter().map(|column| canonical(rows.column(*column))).collect::<Result<Vec<_>>>()?;
        let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
        let mut pairs: Vec<Pair> = Vec::new();
        let mut at: HashMap<Vec<u8>, usize> = HashMap::with_capacity(rows.num_rows());
        for row in all {
            let n = *at.entry(keys.row(row as usize).data().to_vec()).or_insert(pairs.len());
            match pairs.get_mut(n) {
                None => pairs.push(alone(row)),
                // Of a key whose row goes and comes again, what came counts, in whatever order they are told.
                Some(pair) if is_going(row) => pair.went = pair.went.or(Some(row)),
                Some(pair) => pair.came = Some(row),
            }
        }
        Ok(pairs)
    }
}

/// A row that went and the one that came in its place: at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub went: Option<u32>,
    pub came: Option<u32>,
}

/// Changes by key: each key once, in one of the two.
#[derive(Debug, Clone)]
pub struct UpsertRows {
    /// The newest row of each key that has one now.
    pub put: RecordBatch,
    /// The last row of each key that has none any more.
    pub gone: RecordBatch,
}

/// What every sink is opened with.
#[derive(Debug, Clone)]
pub struct SinkDef {
    pub name: String,
    /// Names this sink, and no other of any server, for ever: what the outside system keeps for it stands under it.
    pub identity: String,
    pub schema: SchemaRef,
    pub mode: Mode,
    /// The columns that tell rows apart, where some are known to; always there for [`Mode::Upsert`].
    pub key: Option<Vec<usize>>,
    /// Whether rows only ever come.
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
