//! Records of sources that do not decode, and rows on which an expression fails: `tidemark.dead_letters`.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Mutex,
};

use super::bounded_queue::{BoundedQueue, HeapBytes, QueueLimit};
use crate::{
    checkpoint::DeadLetter,
    connectors::{BadRecords, DeadLetterKey, ReplayMarks},
    metrics::{Family, MetricProducer, MetricsSnapshot},
    sync::locked,
    time::Micros,
};

/// The newest dead letters of all queries, up to a limit. Each has an id, which is its number in the queue: another start
/// of the server gives them others.
#[derive(Debug)]
pub struct DeadLetterQueue {
    contents: Mutex<QueueContents>,
    /// Of the dead letters of one epoch and input, and of each kind of them.
    epoch_limit: QueueLimit,
}

#[derive(Debug)]
struct QueueContents {
    queue: BoundedQueue<DeadLetter>,
    /// The fingerprints of the records in the queue.
    known: HashSet<u64>,
}

impl HeapBytes for DeadLetter {
    fn heap_bytes(&self) -> usize {
        self.source.len() + self.query.len() + self.origin.len() + self.reason.len() + self.raw.len()
    }
}

impl QueueContents {
    /// Whether the failed rows of the epoch that one is of were taken in already.
    fn has_epoch_of(&self, row: &DeadLetter) -> bool {
        let is_same = |other: &DeadLetter| (other.epoch, other.at, &other.query) == (row.epoch, row.at, &row.query);
        self.queue.iter().rev().any(is_same)
    }
}

impl DeadLetterQueue {
    pub fn new(limit: QueueLimit, epoch_limit: QueueLimit) -> Self {
        let contents = QueueContents { queue: BoundedQueue::new(limit), known: HashSet::new() };
        DeadLetterQueue { contents: Mutex::new(contents), epoch_limit }
    }

    /// What collects the bad records of one input in one epoch.
    pub fn collector(&self) -> BadRecords {
        BadRecords::new(self.epoch_limit.rows, usize::try_from(self.epoch_limit.bytes).unwrap_or(usize::MAX))
    }

    /// Takes in what one epoch found. A record that is there already is not taken twice: many queries may read one
    /// source. Nor are the rows of an epoch: it may be told of again in a recovery.
    pub fn add(&self, dead_letters: &[DeadLetter]) {
        if dead_letters.is_empty() {
            return;
        }
        let mut contents = locked(&self.contents);
        let first_row = dead_letters.iter().find(|dead_letter| dead_letter.epoch.is_some());
        let has_rows = first_row.is_some_and(|row| contents.has_epoch_of(row));
        for dead_letter in dead_letters {
            let is_new = match dead_letter.epoch {
                Some(_) => !has_rows,
                None => contents.known.insert(fingerprint(dead_letter)),
            };
            if is_new {
                contents.queue.push(dead_letter.clone());
            }
        }
        while let Some(oldest) = contents.queue.pop_excess() {
            contents.known.remove(&fingerprint(&oldest));
        }
    }

    /// The dead letters of some ids; `None` where one is not there.
    pub fn by_id(&self, ids: &[i64]) -> Vec<Option<DeadLetter>> {
        let contents = locked(&self.contents);
        ids.iter().map(|id| contents.queue.get(*id).cloned()).collect()
    }

    /// Marks dead letters by their ids.
    pub fn mark_replayed(&self, ids: &[i64], at: Micros) {
        let mut contents = locked(&self.contents);
        for id in ids {
            if let Some(dead_letter) = contents.queue.get_mut(*id) {
                dead_letter.replayed = Some(at);
            }
        }
    }

    /// Marks the dead letters of a source by what its journal of replays says.
    pub fn restore_marks(&self, source: &str, marks: &[ReplayMarks]) {
        let replayed = |marks: &'_ ReplayMarks| -> Vec<_> {
            marks.dead_letters.iter().map(|key| (key.clone(), marks.at)).collect()
        };
        let replayed: BTreeMap<DeadLetterKey, Micros> = marks.iter().flat_map(replayed).collect();
        if replayed.is_empty() {
            return;
        }
        let mut contents = locked(&self.contents);
        for record in contents.queue.iter_mut().filter(|record| record.source == source && record.epoch.is_none()) {
            record.replayed = record.replayed.or_else(|| replayed.get(&dead_letter_key(record)).copied());
        }
    }

    /// Drops the dead letters of a source that is gone: another of its name has its own.
    pub fn forget(&self, source: &str) {
        let mut contents = locked(&self.contents);
        for gone in contents.queue.remove_where(|dead_letter| dead_letter.source == source) {
            contents.known.remove(&fingerprint(&gone));
        }
    }

    /// All of them with their ids, the oldest first.
    pub fn all(&self) -> Vec<(i64, DeadLetter)> {
        let contents = locked(&self.contents);
        contents.queue.numbered().map(|(id, dead_letter)| (id, dead_letter.clone())).collect()
    }
}

const ROWS: Family = Family::new("tidemark_dead_letters_kept_rows", "Rows of tidemark.dead_letters.");
const BYTES: Family = Family::new("tidemark_dead_letters_kept_bytes", "Memory of tidemark.dead_letters.");

impl MetricProducer for DeadLetterQueue {
    fn produce(&self, snapshot: &mut MetricsSnapshot) {
        let QueueLimit { rows, bytes } = locked(&self.contents).queue.size();
        snapshot.gauge(ROWS, Some(rows as f64));
        snapshot.gauge(BYTES, Some(bytes as f64));
    }
}

/// What tells a dead letter of a source from its others, for good.
pub fn dead_letter_key(dead_letter: &DeadLetter) -> DeadLetterKey {
    DeadLetterKey {
        origin: dead_letter.origin.clone(),
        position: dead_letter.position,
        crc32: crc32fast::hash(&dead_letter.raw),
    }
}

/// A hash of where a record stood and what it was.
fn fingerprint(dead_letter: &DeadLetter) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&dead_letter.source, &dead_letter.origin, dead_letter.position, &dead_letter.raw).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{connectors::BadRecord, time::Epoch};

    fn dead(position: i64) -> DeadLetter {
        let text = String::new;
        let (position, raw) = (Some(position), vec![]);
        DeadLetter {
            source: text(),
            query: text(),
            epoch: None,
            origin: text(),
            position,
            raw,
            reason: text(),
            at: 0,
            replayed: None,
        }
    }

    fn queue(rows: usize, bytes: u64) -> DeadLetterQueue {
        let limit = QueueLimit { rows, bytes };
        DeadLetterQueue::new(limit, limit)
    }

    fn positions(queue: &DeadLetterQueue) -> Vec<i64> {
        queue.all().iter().filter_map(|(_, dead_letter)| dead_letter.position).collect()
    }

    #[test]
    fn dead_letter_queue_takes_a_record_once_and_the_oldest_go() {
        let queue = queue(3, 1 << 20);
        queue.add(&[dead(1), dead(2), dead(1)]);
        queue.add(&[dead(2), dead(3)]);
        assert_eq!(positions(&queue), [1, 2, 3]);
        queue.add(&[dead(4)]);
        assert_eq!(positions(&queue), [2, 3, 4]);
        queue.add(&[dead(1)]);
        assert_eq!(positions(&queue), [3, 4, 1], "what is no longer known is new");
    }

    #[test]
    fn dead_letter_queue_takes_equal_rows_of_an_epoch_once_with_the_epoch() {
        let queue = queue(100, 1 << 20);
        let row = |epoch| DeadLetter { epoch: Some(Epoch(epoch)), position: None, ..dead(0) };
        queue.add(&[dead(1), row(1), row(1)]);
        queue.add(&[dead(1), row(1), row(1)]);
        queue.add(&[row(2)]);
        let epochs: Vec<_> = queue.all().iter().map(|(_, letter)| letter.epoch.map(|epoch| epoch.0)).collect();
        assert_eq!(epochs, [None, Some(1), Some(1), Some(2)]);
    }

    #[test]
    fn dead_letter_queue_keeps_replayed_ones_and_their_marks() {
        let queue = queue(3, 1 << 20);
        let of = |source: &str, n| DeadLetter { source: source.to_string(), ..dead(n) };
        queue.add(&[of("a", 1), of("b", 1), of("a", 2), of("a", 3)]);
        let ids: Vec<_> = queue.all().iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [2, 3, 4]);
        let found: Vec<_> = queue.by_id(&[1, 4, 2]).into_iter().map(|found| Some(found?.source)).collect();
        assert_eq!(found, [None, Some("a".to_string()), Some("b".to_string())]);
        queue.mark_replayed(&[1, 3], 7);
        let dead_letters = vec![dead_letter_key(&of("a", 3)), dead_letter_key(&of("b", 1))];
        queue.restore_marks("a", &[ReplayMarks { dead_letters, at: 8 }]);
        queue.add(&[of("a", 2)]);
        let marks = |queue: &DeadLetterQueue| -> Vec<_> {
            queue.all().iter().map(|(id, dead_letter)| (*id, dead_letter.replayed)).collect()
        };
        assert_eq!(marks(&queue), [(2, None), (3, Some(7)), (4, Some(8))]);
        queue.forget("a");
        queue.add(&[of("a", 2), of("b", 1)]);
        assert_eq!(marks(&queue), [(2, None), (5, None)]);
    }

    #[test]
    fn dead_letter_queue_keeps_fewer_of_long_ones() {
        let queue = queue(1_000, 10_000);
        for n in 0..100 {
            queue.add(&[DeadLetter { raw: vec![b'x'; 3_000], ..dead(n) }]);
        }
        assert_eq!(positions(&queue), [97, 98, 99]);
        queue.add(&[DeadLetter { raw: vec![b'x'; 20_000], ..dead(100) }]);
        assert!(queue.all().is_empty());
        queue.add(&[dead(101)]);
        assert_eq!(queue.all().len(), 1);
    }

    #[test]
    fn dead_letter_queue_collector_keeps_as_many_as_an_epoch_may() {
        let limit = |rows| QueueLimit { rows, bytes: 1 << 20 };
        let bad = DeadLetterQueue::new(limit(100), limit(2)).collector();
        for position in 0..5 {
            let (origin, reason) = (String::new(), String::new());
            bad.push(BadRecord { origin, position: Some(position), raw: Vec::new(), reason });
        }
        let (kept, count) = bad.take();
        assert_eq!((kept.len(), count), (2, 5));
    }
}
