//! Rows that did not make it into an answer: dead letters and late rows.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use arrow::array::RecordBatch;

use super::Worker;
use crate::{
    changes::Changes,
    checkpoint::{DeadLetter, Intent, LateRow},
    connectors::{BadRecords, OnError},
    error::Result,
    operators::as_json,
    sql::table::Input,
};

/// Rows that did not make it into an answer, for all queries: the newest of them, up to the limits of each kind.
#[derive(Debug)]
pub struct Letters {
    kept: Mutex<Kept>,
    dead_max: LettersMax,
    late_max: LettersMax,
}

/// How many letters of a kind are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LettersMax {
    pub rows: usize,
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Kept {
    dead: Queue<DeadLetter>,
    late: Queue<LateRow>,
    /// What tells the letters in `dead` apart.
    known: HashSet<u64>,
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
trait Bytes {
    fn bytes(&self) -> u64;
}

impl Bytes for DeadLetter {
    fn bytes(&self) -> u64 {
        let texts = self.source.len() + self.query.len() + self.origin.len() + self.reason.len();
        (size_of::<Self>() + texts + self.raw.len()) as u64
    }
}

impl Bytes for LateRow {
    fn bytes(&self) -> u64 {
        (size_of::<Self>() + self.query.len() + self.row.len()) as u64
    }
}

impl<T: Bytes> Queue<T> {
    fn push(&mut self, letter: T) {
        self.bytes += letter.bytes();
        self.letters.push_back(letter);
    }

    /// The oldest letter, where there are too many.
    fn pop_beyond(&mut self, max: LettersMax) -> Option<T> {
        if self.letters.len() <= max.rows && self.bytes <= max.bytes {
            return None;
        }
        let oldest = self.letters.pop_front()?;
        self.bytes -= oldest.bytes();
        Some(oldest)
    }
}

/// What one epoch keeps of its late rows: they all go into one record of the log.
const LATE_BYTES_MAX: usize = 16 << 20;

impl Letters {
    pub fn new(dead_max: LettersMax, late_max: LettersMax) -> Self {
        Letters { kept: Mutex::default(), dead_max, late_max }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
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
                kept.dead.push(letter.clone());
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

    pub fn dead(&self) -> Vec<DeadLetter> {
        self.lock().dead.letters.iter().cloned().collect()
    }

    pub fn late(&self) -> Vec<LateRow> {
        self.lock().late.letters.iter().cloned().collect()
    }
}

/// Where a record stood and what it was.
fn identity(letter: &DeadLetter) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&letter.source, &letter.origin, letter.position, &letter.raw).hash(&mut hasher);
    hasher.finish()
}

impl Worker {
    /// The letters of an epoch: of each input the bad records, and the rows that an expression `failed` on. And how many
    /// of both there were, told or not.
    pub(super) fn dead_letters(
        &self,
        intent: &Intent,
        bad: &[BadRecords],
        failed: &[BadRecords],
    ) -> (Vec<DeadLetter>, u64) {
        let (mut letters, mut count) = (Vec::new(), 0);
        for (input, (bad, failed)) in self.inputs().iter().zip(bad.iter().zip(failed)) {
            for (records, epoch) in [(bad, None), (failed, Some(intent.epoch))] {
                let (records, all) = records.take();
                count += all;
                if matches!(input.table.input, Input::Source(_, OnError::Skip)) {
                    continue;
                }
                letters.extend(records.into_iter().map(|record| DeadLetter {
                    source: input.table.name.clone(),
                    query: self.setup.name.clone(),
                    epoch,
                    origin: record.origin,
                    position: record.position,
                    raw: record.raw,
                    reason: record.reason,
                    at: intent.now,
                }));
            }
        }
        (letters, count)
    }

    /// The late rows that an epoch kept.
    pub(super) fn late_rows(&self, intent: &Intent, kept: &[RecordBatch]) -> Result<Vec<LateRow>> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for batch in kept {
            let changes = Changes::from_batch(batch.clone())?;
            let text = as_json(changes.rows())?;
            for row in text.lines() {
                bytes += row.len();
                if bytes > LATE_BYTES_MAX {
                    return Ok(rows);
                }
                rows.push(LateRow {
                    query: self.setup.name.clone(),
                    epoch: intent.epoch,
                    watermark: intent.watermark,
                    row: row.to_string(),
                    at: intent.now,
                });
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Epoch;

    fn dead(position: i64) -> DeadLetter {
        let text = String::new;
        let (position, raw) = (Some(position), vec![]);
        DeadLetter { source: text(), query: text(), epoch: None, origin: text(), position, raw, reason: text(), at: 0 }
    }

    fn late(epoch: u64) -> LateRow {
        LateRow { query: "q".into(), epoch: Epoch(epoch), watermark: None, row: "{}".into(), at: 0 }
    }

    #[test]
    fn each_is_taken_once_and_the_oldest_go() {
        let max = LettersMax { rows: 3, bytes: 1 << 20 };
        let letters = Letters::new(max, max);
        letters.add(&[dead(1), dead(2), dead(1)], &[late(1), late(1)]);
        letters.add(&[dead(2), dead(3)], &[late(1), late(1)]);
        let positions = |letters: &Letters| letters.dead().iter().filter_map(|l| l.position).collect::<Vec<_>>();
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
        let max = LettersMax { rows: 100, bytes: 1 << 20 };
        let letters = Letters::new(max, max);
        let row = |epoch| DeadLetter { epoch: Some(Epoch(epoch)), position: None, ..dead(0) };
        letters.add(&[dead(1), row(1), row(1)], &[]);
        letters.add(&[dead(1), row(1), row(1)], &[]);
        letters.add(&[row(2)], &[]);
        let epochs: Vec<_> = letters.dead().iter().map(|letter| letter.epoch.map(|epoch| epoch.0)).collect();
        assert_eq!(epochs, [None, Some(1), Some(1), Some(2)]);
    }

    #[test]
    fn long_ones_are_fewer() {
        let max = LettersMax { rows: 1_000, bytes: 10_000 };
        let letters = Letters::new(max, max);
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
