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

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, FieldRef},
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The id of a row or key, dense within its structure; freed ids are reused.
pub type Id = u32;

/// Thresholds of compaction. No result depends on them; tests lower them so that few rows reach them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Maximum of rows per chunk: bounds what a snapshot copies of a chunk's bitmap when a row of it is deleted.
    pub chunk_rows_max: usize,
    /// Dead rows tolerated, in addition to half the number of live rows.
    pub dead_rows_max: usize,
    /// Bytes of removed keys that are tolerated.
    pub dead_bytes_max: usize,
}

impl Default for Compaction {
    fn default() -> Self {
        Compaction { chunk_rows_max: 1 << 16, dead_rows_max: 1024, dead_bytes_max: 64 << 10 }
    }
}

/// One section of a checkpoint: what a state structure saves, as Arrow.
#[derive(Debug, Clone)]
pub struct Saved {
    /// Rows to apply, in the structure's own saved schema.
    pub rows: Vec<RecordBatch>,
}

/// Whose state a section of a checkpoint has, and the version of its saved form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateId {
    /// The operator's uid: its kind, its keys and its position in the query.
    pub uid: String,
    /// The version of the operator's saved form.
    pub version: u16,
}

/// A structure that can be saved and loaded. A save is full, or incremental since the last save; a load applies the
/// saves in the same order.
pub trait Durable {
    /// Saves everything (`full`), or the changes since the last call. Either way the next call starts from here.
    fn save(&mut self, full: bool) -> Result<Saved>;
    /// Applies saved rows.
    fn load(&mut self, rows: &RecordBatch) -> Result<()>;
    /// Sets the compaction thresholds from now on.
    fn set_compaction(&mut self, to: Compaction);
    /// Number of rows stored.
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes in memory, including garbage.
    fn bytes(&self) -> usize;
}

/// Columns that state saved before 0.1.0 has under another name: that name, the name of today, and the type.
const RENAMED: &[(&str, &str, DataType)] = &[("there", "present", DataType::Int8)];

/// Whether a saved column is an expected one, by name and type.
fn is_same_column(saved: &FieldRef, expected: &FieldRef) -> bool {
    let is_renamed = |(old, new, data_type): &(&str, &str, DataType)| {
        saved.name() == old && expected.name() == new && expected.data_type() == data_type
    };
    (saved.name() == expected.name() || RENAMED.iter().any(is_renamed))
        && saved.data_type().equals_datatype(expected.data_type())
}

/// An error unless saved columns are those of the loading structure, by name and type. Another plan of the query may
/// have as many columns of the same types with another meaning.
fn expect_columns<'a>(saved: &'a [FieldRef], expected: impl Iterator<Item = &'a FieldRef>) -> Result<()> {
    let expected: Vec<&FieldRef> = expected.collect();
    if saved.len() == expected.len() && saved.iter().zip(&expected).all(|(a, b)| is_same_column(a, b)) {
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
