//! Offsets, and the span between two of them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

/// Per partition, the number of the next unread unit (a file's number, a record's offset, an epoch), as the source
/// defines it. A missing partition was not started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offsets(pub BTreeMap<String, u64>);

impl Offsets {
    /// The partition name of a single-partition input.
    pub const ONLY: &str = "0";

    /// The offsets of a single-partition input.
    pub fn single(at: u64) -> Self {
        Offsets(BTreeMap::from([(Self::ONLY.to_string(), at)]))
    }

    /// The offset of a single-partition input; 0 if not started.
    pub fn only(&self) -> u64 {
        self.get(Self::ONLY)
    }

    pub fn get(&self, partition: &str) -> u64 {
        self.0.get(partition).copied().unwrap_or(0)
    }

    /// Whether all partitions are at or beyond `other`.
    pub fn reaches(&self, other: &Offsets) -> bool {
        other.0.iter().all(|(partition, at)| self.get(partition) >= *at)
    }
}

/// What one epoch reads of one input: per partition everything from `from` up to, not including, `to`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Span {
    pub from: Offsets,
    pub to: Offsets,
}

impl Span {
    pub fn is_empty(&self) -> bool {
        self.from.reaches(&self.to)
    }
}

/// The readers of an input, and the offsets that each has consumed durably.
#[derive(Debug, Default)]
pub struct Readers(Mutex<BTreeMap<u64, Offsets>>);

/// A reader id of no object: during a start it holds everything that readers not yet restored may need.
pub const START: u64 = 0;

impl Readers {
    /// Registers a reader at the start; a known one keeps its offsets.
    pub fn join(&self, reader: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(reader).or_default();
    }

    pub fn has(&self, reader: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&reader)
    }

    /// Notes that `reader` has checkpointed at `offsets`. Gives the minimum over all readers.
    pub fn advance(&self, reader: u64, offsets: &Offsets) -> Offsets {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.insert(reader, offsets.clone());
        least(&readers)
    }

    /// Unregisters `reader`. Gives the minimum over the others; `None` if there are none.
    pub fn leave(&self, reader: u64) -> Option<Offsets> {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.remove(&reader);
        (!readers.is_empty()).then(|| least(&readers))
    }
}

/// Per partition the minimum offset; 0 if some reader has not started it.
fn least(readers: &BTreeMap<u64, Offsets>) -> Offsets {
    let mut all = readers.values();
    let mut least = all.next().cloned().unwrap_or_default();
    for offsets in all {
        least.0.retain(|partition, at| {
            *at = (*at).min(offsets.get(partition));
            *at > 0
        });
    }
    least
}
