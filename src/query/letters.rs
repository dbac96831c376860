//! Rows that did not make it into an answer: dead letters and late rows.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{
    checkpoint::{DeadLetter, LateRow},
    connectors::{BadRecords, LetterId, ReplayMarks},
    metrics::{Family, MetricProducer, MetricsSnapshot},
    time::Micros,
};

/// Rows that did not make it into an answer, for all queries: the newest of them, up to the limits of each kind.
#[derive(Debug)]
pub struct RejectedRows {
    kept: Mutex<Queues>,
    /// Shared from before a commit is appended until its letters are in `kept`; held alone while a log file is closed.
    recording: RwLock<()>,
    dead_max: QueueLimit,
    late_max: QueueLimit,
    /// Of the dead letters of one epoch and input, and of each kind of them.
    epoch_max: QueueLimit,
}

/// How many letters of a kind are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimit {
    pub rows: usize,
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Queues {
    dead: Queue<DeadLetter>,
    late: Queue<LateRow>,
    /// What tells the letters in `dead` apart.
    known: HashSet<u64>,
    /// The number of the newest.
    last_id: i64,
}

/// Letters in the order in which they came, and what they take.
#[derive(Debug)]
struct Queue<T> {
    letters: VecDeque<T>,
    bytes: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { letters: VecDeque::new(), bytes: 0 }
    }
}

/// What a letter takes in memory.
trait RetainedBytes {
    fn bytes(&self) -> u64;
}

impl RetainedBytes for DeadLetter {
    fn bytes(&self) -> u64 {
        let texts = self.source.len() + self.query.len() + self.origin.len() + self.reason.len();
        (size_of::<Self>() + texts + self.raw.len()) as u64
    }
}

impl RetainedBytes for LateRow {
    fn bytes(&self) -> u64 {
        (size_of::<Self>() + self.query.len() + self.row.len()) as u64
    }
}

impl<T: RetainedBytes> Queue<T> {
    fn push(&mut self, letter: T) {
        self.bytes += letter.bytes();
        self.letters.push_back(letter);
    }

    /// The oldest letter, where there are too many.
    fn pop_beyond(&mut self, max: QueueLimit) -> Option<T> {
        if self.letters.len() <= max.rows && self.bytes <= max.bytes {
            return None;
        }
        let oldest = self.letters.pop_front()?;
        self.bytes -= oldest.bytes();
        Some(oldest)
    }
}

impl RejectedRows {
    pub fn new(dead_max: QueueLimit, late_max: QueueLimit, epoch_max: QueueLimit) -> Self {
        RejectedRows { kept: Mutex::default(), recording: RwLock::default(), dead_max, late_max, epoch_max }
    }

    /// What collects the bad records of one input in one epoch.
    pub fn collector(&self) -> BadRecords {
        BadRecords::new(self.epoch_max.rows, usize::try_from(self.epoch_max.bytes).unwrap_or(usize::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while something is appended to the log and then taken over into memory, so that whoever closes a log file
    /// finds in memory what is in it.
    pub async fn recording(&self) -> RwLockReadGuard<'_, ()> {
        self.recording.read().await
    }

    /// Waits until nothing is between the log and memory, and keeps it so.
    pub async fn standstill(&self) -> RwLockWriteGuard<'_, ()> {
        self.recording.write().await
    }

    /// Takes in what one epoch found. A record that is there already is not taken twice: many queries may read one
    /// source. Nor are the rows of an epoch: it may be told of again in a recovery.
    pub fn add(&self, dead: &[DeadLetter], late: &[LateRow]) {
        if dead.is_empty() && late.is_empty() {
            return;
        }
        let mut kept = self.lock();
        let row = |letter: &&DeadLetter| letter.epoch.is_some();
        let told = |letter: &DeadLetter| {
            let same =
                |other: &DeadLetter| (other.epoch, other.at, &other.query) == (letter.epoch, letter.at, &letter.query);
            kept.dead.letters.iter().rev().any(same)
        };
        let told = dead.iter().find(row).is_some_and(told);
        for letter in dead {
            let new = if row(&letter) { !told } else { kept.known.insert(identity(letter)) };
            if new {
                kept.last_id += 1;
                let id = kept.last_id;
                kept.dead.push(DeadLetter { id, ..letter.clone() });
            }
        }
        let told = |row: &LateRow| {
            let same = |other: &LateRow| (other.epoch, other.at) == (row.epoch, row.at) && other.query == row.query;
            kept.late.letters.iter().rev().any(same)
        };
        if !late.first().is_some_and(told) {
            late.iter().for_each(|row| kept.late.push(row.clone()));
        }
        while let Some(oldest) = kept.dead.pop_beyond(self.dead_max) {
            kept.known.remove(&identity(&oldest));
        }
        while kept.late.pop_beyond(self.late_max).is_some() {}
    }

    /// The dead letters of some numbers; `None` where one is not there.
    pub fn by_id(&self, ids: &[i64]) -> Vec<Option<DeadLetter>> {
        let kept = self.lock();
        let all = &kept.dead.letters;
        // They are in the order of their numbers.
        ids.iter().map(|id| all.binary_search_by_key(id, |letter| letter.id).ok().map(|at| all[at].clone())).collect()
    }

    /// Marks dead letters by their numbers.
    pub fn replayed(&self, ids: &[i64], at: Micros) {
        let mut kept = self.lock();
        for id in ids {
            if let Ok(place) = kept.dead.letters.binary_search_by_key(id, |letter| letter.id) {
                kept.dead.letters[place].replayed = Some(at);
            }
        }
    }

    /// Marks dead letters of a source by what its replays say.
    pub fn mark(&self, source: &str, marks: &[ReplayMarks]) {
        let told =
            |marks: &'_ ReplayMarks| marks.letters.iter().map(|letter| (letter.clone(), marks.at)).collect::<Vec<_>>();
        let marks: BTreeMap<LetterId, Micros> = marks.iter().flat_map(told).collect();
        if marks.is_empty() {
            return;
        }
        for letter in self.lock().dead.letters.iter_mut().filter(|l| l.source == source && l.epoch.is_none()) {
            letter.replayed = letter.replayed.or_else(|| marks.get(&letter_id(letter)).copied());
        }
    }

    /// Drops the dead letters of a source that is gone: another of its name has its own.
    pub fn forget(&self, source: &str) {
        let mut kept = self.lock();
        let letters = std::mem::take(&mut kept.dead).letters;
        for letter in letters {
            match letter.source == source {
                true => drop(kept.known.remove(&identity(&letter))),
                false => kept.dead.push(letter),
            }
        }
    }

    pub fn dead(&self) -> Vec<DeadLetter> {
        self.lock().dead.letters.iter().cloned().collect()
    }

    pub fn late(&self) -> Vec<LateRow> {
        self.lock().late.letters.iter().cloned().collect()
    }
}

const DEAD: Family = Family::new("tidemark_dead_letters_kept_rows", "Rows of tidemark.dead_letters.");
const DEAD_BYTES: Family = Family::new("tidemark_dead_letters_kept_bytes", "Memory of tidemark.dead_letters.");
const LATE: Family = Family::new("tidemark_late_rows_kept_rows", "Rows of tidemark.late_rows.");
const LATE_BYTES: Family = Family::new("tidemark_late_rows_kept_bytes", "Memory of tidemark.late_rows.");

impl MetricProducer for RejectedRows {
    fn produce(&self, snapshot: &mut MetricsSnapshot) {
        let kept = self.lock();
        snapshot.gauge(DEAD, Some(kept.dead.letters.len() as f64));
        snapshot.gauge(DEAD_BYTES, Some(kept.dead.bytes as f64));
        snapshot.gauge(LATE, Some(kept.late.letters.len() as f64));
        snapshot.gauge(LATE_BYTES, Some(kept.late.bytes as f64));
    }
}

/// What tells a dead letter of a source from its others, for good.
pub fn letter_id(letter: &DeadLetter) -> LetterId {
    LetterId { origin: letter.origin.clone(), position: letter.position, crc32: crc32fast::hash(&letter.raw) }
}

/// Where a record stood and what it was.
fn identity(letter: &DeadLetter) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&letter.source, &letter.origin, letter.position, &letter.raw).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkpoint::LateCause, time::Epoch};

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
            id: 0,
        }
    }

    fn late(epoch: u64) -> LateRow {
        let cause = LateCause::BehindWatermark;
        LateRow { query: "q".into(), epoch: Epoch(epoch), cause, watermark: None, row: "{}".into(), at: 0 }
    }

    #[test]
    fn each_is_taken_once_and_the_oldest_go() {
        let max = QueueLimit { rows: 3, bytes: 1 << 20 };
        let letters = RejectedRows::new(max, max, max);
        letters.add(&[dead(1), dead(2), dead(1)], &[late(1), late(1)]);
        letters.add(&[dead(2), dead(3)], &[late(1), late(1)]);
        let positions = |letters: &RejectedRows| letters.dead().iter().filter_map(|l| l.position).collect::<Vec<_>>();
        assert_eq!(positions(&letters), [1, 2, 3]);
        assert_eq!(letters.late().len(), 2, "two equal rows of one epoch are two rows");
        letters.add(&[dead(4)], &[late(2), late(2)]);
        assert_eq!(positions(&letters), [2, 3, 4]);
        assert_eq!(letters.late().iter().map(|row| row.epoch.0).collect::<Vec<_>>(), [1, 2, 2]);
        letters.add(&[dead(1)], &[]);
        assert_eq!(positions(&letters), [3, 4, 1], "what is no longer known is new");
    }

    #[test]
    fn equal_rows_of_an_epoch_are_several_and_told_once() {
        let max = QueueLimit { rows: 100, bytes: 1 << 20 };
        let letters = RejectedRows::new(max, max, max);
        let row = |epoch| DeadLetter { epoch: Some(Epoch(epoch)), position: None, ..dead(0) };
        letters.add(&[dead(1), row(1), row(1)], &[]);
        letters.add(&[dead(1), row(1), row(1)], &[]);
        letters.add(&[row(2)], &[]);
        let epochs: Vec<_> = letters.dead().iter().map(|letter| letter.epoch.map(|epoch| epoch.0)).collect();
        assert_eq!(epochs, [None, Some(1), Some(1), Some(2)]);
    }

    #[test]
    fn replayed_ones_stay_and_are_marked() {
        let max = QueueLimit { rows: 3, bytes: 1 << 20 };
        let letters = RejectedRows::new(max, max, max);
        let of = |source: &str, n| DeadLetter { source: source.to_string(), ..dead(n) };
        letters.add(&[of("a", 1), of("b", 1), of("a", 2), of("a", 3)], &[]);
        let ids: Vec<_> = letters.dead().iter().map(|letter| letter.id).collect();
        assert_eq!(ids, [2, 3, 4]);
        let found: Vec<_> = letters.by_id(&[1, 4, 2]).into_iter().map(|l| Some(l?.source)).collect();
        assert_eq!(found, [None, Some("a".to_string()), Some("b".to_string())]);
        letters.replayed(&[1, 3], 7);
        letters.mark("a", &[ReplayMarks { letters: vec![letter_id(&of("a", 3)), letter_id(&of("b", 1))], at: 8 }]);
        letters.add(&[of("a", 2)], &[]);
        let marks = |letters: &RejectedRows| letters.dead().iter().map(|l| (l.id, l.replayed)).collect::<Vec<_>>();
        assert_eq!(marks(&letters), [(2, None), (3, Some(7)), (4, Some(8))]);
        letters.forget("a");
        letters.add(&[of("a", 2), of("b", 1)], &[]);
        assert_eq!(marks(&letters), [(2, None), (5, None)]);
    }

    #[test]
    fn long_ones_are_fewer() {
        let max = QueueLimit { rows: 1_000, bytes: 10_000 };
        let letters = RejectedRows::new(max, max, max);
        for n in 0..100 {
            let long = DeadLetter { raw: vec![b'x'; 3_000], ..dead(n) };
            letters.add(&[long], &[LateRow { row: "x".repeat(3_000), ..late(n as u64) }]);
        }
        assert_eq!(letters.dead().iter().filter_map(|l| l.position).collect::<Vec<_>>(), [97, 98, 99]);
        assert_eq!(letters.late().iter().map(|row| row.epoch.0).collect::<Vec<_>>(), [97, 98, 99]);
        let huge = DeadLetter { raw: vec![b'x'; 20_000], ..dead(100) };
        letters.add(&[huge], &[]);
        assert!(letters.dead().is_empty());
        letters.add(&[dead(101)], &[]);
        assert_eq!(letters.dead().len(), 1);
    }
}
