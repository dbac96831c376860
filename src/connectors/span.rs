//! How far an input was read: offsets, and the span between two of them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

/// Per partition, the number of the next unread unit (a file's number, a record's offset, an epoch). A partition that
/// is missing was not begun. What a unit is, the source decides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offsets(pub BTreeMap<String, u64>);

impl Offsets {
    /// The name of the partition of an input that has but one.
    pub const ONLY: &str = "0";

    /// The offsets of an input that has but one partition.
    pub fn single(at: u64) -> Self {
        Offsets(BTreeMap::from([(Self::ONLY.to_string(), at)]))
    }

    /// The offset of the only partition; 0 where it was not begun.
    pub fn only(&self) -> u64 {
        self.get(Self::ONLY)
    }

    pub fn get(&self, partition: &str) -> u64 {
        self.0.get(partition).copied().unwrap_or(0)
    }

    /// Whether everything before `other` was read too.
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

/// Who reads an input, and up to where each of them will never ask again.
#[derive(Debug, Default)]
pub struct Readers(Mutex<BTreeMap<u64, Offsets>>);

/// A reader that is no object's: while a server starts it holds what readers may still ask for who are not there yet.
pub const START: u64 = 0;

impl Readers {
    /// A new reader, who has read nothing; one that is there keeps its place.
    pub fn join(&self, reader: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(reader).or_default();
    }

    pub fn has(&self, reader: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&reader)
    }

    /// Notes that `reader` has read, and checkpointed, up to `offsets`. Gives what all readers are past.
    pub fn advance(&self, reader: u64, offsets: &Offsets) -> Offsets {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.insert(reader, offsets.clone());
        least(&readers)
    }

    /// `reader` is gone. Gives what the others are past; `None` where there are none.
    pub fn leave(&self, reader: u64) -> Option<Offsets> {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.remove(&reader);
        (!readers.is_empty()).then(|| least(&readers))
    }
}

/// Per partition the least offset; a partition that somebody has not begun is at 0.
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
