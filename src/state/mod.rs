//! State of operators and relations: keyed Arrow, append-mostly.
//!
//! Rows are in immutable Arrow batches ([`Chunks`]); a key index ([`Index`], over `arrow-row` bytes, in memory only)
//! points to them. A replaced row is garbage until its chunk is compacted, a little at a time. An incremental
//! checkpoint is what changed since the last one.

mod chunks;
mod index;
mod join_state;
mod keyed;
mod keys;
mod multiset;
mod row_bytes;
#[cfg(test)]
mod tests;
mod windowed;

pub use chunks::{Chunks, LiveRows};
pub use index::Index;
pub use join_state::{JoinState, RowMeta};
pub use keyed::KeyedLog;
pub use keys::{EncodedKeys, KeyEncoder, KeyRows, consolidate, differing_values, keys_of, net};
pub use multiset::{Multiset, RankKind, TopN};
pub use windowed::{Close, NEVER, StateShape, Windowed};

use arrow::{array::RecordBatch, datatypes::FieldRef};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The id of a row or key, dense within its structure, used again once freed.
pub type Id = u32;

/// When state is put in order anew. No answer depends on it; few rows cross it in a test that makes it small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Rows of one chunk at the most: what a snapshot copies of a chunk's bitmap when a row of it goes stays small.
    pub chunk_rows_max: usize,
    /// Dead rows that are let be, beside half as many as live ones.
    pub dead_rows_max: usize,
    /// Bytes of keys that are gone which are let be.
    pub dead_bytes_max: usize,
}

impl Default for Compaction {
    fn default() -> Self {
        Compaction { chunk_rows_max: 1 << 16, dead_rows_max: 1024, dead_bytes_max: 64 << 10 }
    }
}

/// One part of a checkpoint: what a state structure has to save, as Arrow.
#[derive(Debug, Clone)]
pub struct Saved {
    /// Rows to apply, in the structure's own saved schema.
    pub rows: Vec<RecordBatch>,
}

/// Whose state a section of a checkpoint holds, and in what form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateId {
    /// The operator's uid: its kind, its keys and its place in the query.
    pub uid: String,
    /// The version of the form in which it saves its state.
    pub version: u16,
}

/// A structure that can be saved and loaded. Saving all, or what changed since the last save, in turn; loading applies
/// what was saved in the same order.
pub trait Durable {
    /// Everything (`full`), or what changed since the last call. Either way the next call starts from here.
    fn save(&mut self, full: bool) -> Result<Saved>;
    /// Applies saved rows.
    fn load(&mut self, rows: &RecordBatch) -> Result<()>;
    /// When it is put in order anew, from now on.
    fn set_compaction(&mut self, to: Compaction);
    /// Rows kept now.
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes held, garbage included.
    fn bytes(&self) -> usize;
}

/// An error unless saved columns are those of the structure that loads them, by name and type. Another plan of the query may
/// have as many of the same types and mean something else by them.
fn expect_columns<'a>(saved: &'a [FieldRef], expected: impl Iterator<Item = &'a FieldRef>) -> Result<()> {
    let expected: Vec<&FieldRef> = expected.collect();
    let same = |(a, b): (&FieldRef, &&FieldRef)| a.name() == b.name() && a.data_type().equals_datatype(b.data_type());
    if saved.len() == expected.len() && saved.iter().zip(&expected).all(same) {
        return Ok(());
    }
    let list = |fields: &mut dyn Iterator<Item = &'a FieldRef>| {
        fields.map(|field| format!("{} {}", field.name(), field.data_type())).collect::<Vec<_>>().join(", ")
    };
    let (saved, expected) = (list(&mut saved.iter()), list(&mut expected.into_iter()));
    Err(Error::new(
        ErrorKind::ObjectNotInState,
        "its state was saved by another release, which plans its query in another way",
    )
    .detail(format!("The columns of the state are {saved}; those of this plan are {expected}."))
    .hint("Start that release again; or create another view of the same query beside this one."))
}
