//! What a source persists: lives (creations) of its topics, start offsets of partitions, given up offsets. A journal in
//! the source's folder.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::place::{PartitionOffset, TopicPartition};
use crate::{
    error::{Error, ErrorKind, Result},
    storage::{Journal, Storage},
};

/// The version of the form of the journal's records: raised where an older release would misread them.
const RECORD_VERSION: u16 = 1;

/// One record of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// Partitions of a topic's current life, with their start offsets.
    Began { topic: String, starts: BTreeMap<i32, u64> },
    /// A topic was found, new or recreated.
    Life { topic: String, id: Option<String> },
    /// Readers of a partition behind `before` continue there; those beyond `end` start over.
    GivenUp { place: String, before: u64, end: u64 },
}

/// One life of a topic: from creation to deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Life {
    pub id: Option<String>,
    pub starts: BTreeMap<i32, u64>,
}

/// The state that the journal describes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LedgerEntry {
    /// By topic, the oldest first.
    pub lives: BTreeMap<String, Vec<Life>>,
    /// By partition: the greatest given up offset, and the last end.
    given_up: BTreeMap<String, (u64, u64)>,
}

impl LedgerEntry {
    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Life { topic, id } => {
                self.lives.entry(topic).or_default().push(Life { id, starts: BTreeMap::new() });
            }
            Entry::Began { topic, starts } => {
                if let Some(life) = self.lives.entry(topic).or_default().last_mut() {
                    life.starts.extend(starts);
                }
            }
            Entry::GivenUp { place, before, end } => {
                let at = self.given_up.entry(place).or_default();
                *at = (at.0.max(before), end);
            }
        }
    }

    /// The partitions of the topics' current lives with their start offsets, in order.
    pub fn partition_starts(&self) -> Vec<(PartitionOffset, u64)> {
        let mut places = Vec::new();
        for (topic, lives) in &self.lives {
            let Some(life) = lives.last() else { continue };
            let topic: Arc<str> = topic.as_str().into();
            for (number, start) in &life.starts {
                let partition = TopicPartition { topic: topic.clone(), number: *number };
                places.push((PartitionOffset { partition, life: lives.len() }, *start));
            }
        }
        places
    }

    /// The start offset of a partition.
    pub fn start(&self, place: &PartitionOffset) -> u64 {
        let lives = self.lives.get(place.partition.topic.as_ref());
        let life = lives.and_then(|lives| lives.get(place.life.checked_sub(1)?));
        life.and_then(|life| life.starts.get(&place.partition.number)).copied().unwrap_or(0)
    }

    /// Whether the topic was recreated since this life.
    pub fn is_over(&self, place: &PartitionOffset) -> bool {
        self.lives.get(place.partition.topic.as_ref()).is_none_or(|lives| lives.len() != place.life)
    }

    /// The offset up to which a partition was given up.
    pub fn given_up(&self, place: &PartitionOffset) -> u64 {
        self.given_up.get(&place.to_string()).map_or(0, |(before, _)| *before)
    }

    /// Whether a reader at `read` may start over, since the partition's shorter end was accepted.
    pub fn may_begin_anew(&self, place: &PartitionOffset, read: u64) -> bool {
        self.given_up.get(&place.to_string()).is_some_and(|(_, end)| read > *end)
    }
}

/// The journal and its state.
#[derive(Debug)]
pub(super) struct SinkLedger {
    journal: Journal,
    known: RwLock<LedgerEntry>,
}

impl SinkLedger {
    pub fn open(storage: Arc<dyn Storage>, folder: &str) -> Result<SinkLedger> {
        let (journal, records) = Journal::open(storage, folder, RECORD_VERSION)?;
        let mut known = LedgerEntry::default();
        for (_, record) in records {
            let entry = serde_json::from_slice(&record).map_err(|e| {
                Error::new(ErrorKind::DataCorrupted, format!("a record of journal \"{folder}\" cannot be read: {e}"))
            })?;
            known.apply(entry);
        }
        Ok(SinkLedger { journal, known: RwLock::new(known) })
    }

    pub fn known(&self) -> LedgerEntry {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the state.
    pub fn ask<T>(&self, what: impl FnOnce(&LedgerEntry) -> T) -> T {
        what(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Appends entries; durable before they take effect.
    pub fn add(&self, entries: Vec<Entry>) -> Result<()> {
        let encode = |entry| {
            let bytes = serde_json::to_vec(entry);
            bytes.map(Bytes::from).map_err(|e| Error::internal(format!("a record of a kafka source: {e}")))
        };
        self.journal.append(&entries.iter().map(encode).collect::<Result<Vec<_>>>()?)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        entries.into_iter().for_each(|entry| known.apply(entry));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn ledger_entries_are_restored_on_reopen() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let ledger = SinkLedger::open(storage.clone(), "sources/7").unwrap();
        let life = |id: &str| Entry::Life { topic: "t".into(), id: Some(id.into()) };
        let began =
            |starts: &[(i32, u64)]| Entry::Began { topic: "t".into(), starts: starts.iter().copied().collect() };
        ledger.add(vec![life("a"), began(&[(0, 5), (1, 6)])]).unwrap();
        ledger.add(vec![began(&[(2, 0)])]).unwrap();
        ledger.add(vec![life("b"), began(&[(0, 9)])]).unwrap();
        ledger.add(vec![Entry::GivenUp { place: "t/0#2".into(), before: 20, end: 30 }]).unwrap();
        let known = SinkLedger::open(storage, "sources/7").unwrap().known();
        assert_eq!(known, ledger.known());
        let place = |name: &str| PartitionOffset::parse(name).unwrap();
        assert_eq!(known.partition_starts(), [(place("t/0#2"), 9)]);
        assert_eq!((known.start(&place("t/1")), known.start(&place("t/2")), known.start(&place("u/0"))), (6, 0, 0));
        assert!(known.is_over(&place("t/0")) && !known.is_over(&place("t/0#2")));
        assert!(known.may_begin_anew(&place("t/0#2"), 31) && !known.may_begin_anew(&place("t/0#2"), 30));
        assert_eq!((known.given_up(&place("t/0#2")), known.given_up(&place("t/0"))), (20, 0));
    }
}
