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
    connectors::BadRecords,
    error::Result,
};

/// Rows that did not make it into an answer, for all queries: the newest of them, up to a limit of each kind.
#[derive(Debug)]
pub struct Letters {
    kept: Mutex<Kept>,
    dead_max: usize,
    late_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    dead: VecDeque<DeadLetter>,
    late: VecDeque<LateRow>,
    /// What tells the letters in `dead` apart.
    known: HashSet<u64>,
}

impl Letters {
    pub fn new(dead_max: usize, late_max: usize) -> Self {
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
        for letter in dead {
            if kept.known.insert(identity(letter)) {
                kept.dead.push_back(letter.clone());
            }
        }
        let told = |row: &LateRow| {
            let same = |other: &LateRow| (other.epoch, other.at) == (row.epoch, row.at) && other.query == row.query;
            kept.late.iter().rev().any(same)
        };
        if !late.first().is_some_and(told) {
            kept.late.extend(late.iter().cloned());
        }
        while kept.dead.len() > self.dead_max {
            let oldest = kept.dead.pop_front();
            oldest.map(|letter| kept.known.remove(&identity(&letter)));
        }
        let late = kept.late.len().saturating_sub(self.late_max);
        kept.late.drain(..late);
    }

    pub fn dead(&self) -> Vec<DeadLetter> {
        self.lock().dead.iter().cloned().collect()
    }

    pub fn late(&self) -> Vec<LateRow> {
        self.lock().late.iter().cloned().collect()
    }
}

/// Where a record stood and what it was.
fn identity(letter: &DeadLetter) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&letter.source, &letter.origin, letter.position, &letter.raw).hash(&mut hasher);
    hasher.finish()
}

impl Worker {
    /// The bad records of an epoch's inputs, and how many there were.
    pub(super) fn dead_letters(&self, intent: &Intent, bad: &[BadRecords]) -> (Vec<DeadLetter>, u64) {
        let (mut letters, mut count) = (Vec::new(), 0);
        for (input, bad) in self.inputs().iter().zip(bad) {
            let (records, all) = bad.take();
            count += all;
            letters.extend(records.into_iter().map(|record| DeadLetter {
                source: input.table.name.clone(),
                query: self.setup.name.clone(),
                origin: record.origin,
                position: record.position,
                raw: record.raw,
                reason: record.reason,
                at: intent.now,
            }));
        }
        (letters, count)
    }

    /// The late rows that an epoch kept.
    pub(super) fn late_rows(&self, intent: &Intent, kept: &[RecordBatch]) -> Result<Vec<LateRow>> {
        let mut rows = Vec::new();
        for batch in kept {
            let changes = Changes::from_batch(batch.clone())?;
            let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
            writer.write(changes.rows())?;
            writer.finish()?;
            let text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
            rows.extend(text.lines().map(|row| LateRow {
                query: self.setup.name.clone(),
                epoch: intent.epoch,
                watermark: intent.watermark,
                row: row.to_string(),
                at: intent.now,
            }));
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
        DeadLetter { source: text(), query: text(), origin: text(), position, raw, reason: text(), at: 0 }
    }

    fn late(epoch: u64) -> LateRow {
        LateRow { query: "q".into(), epoch: Epoch(epoch), watermark: None, row: "{}".into(), at: 0 }
    }

    #[test]
    fn each_is_taken_once_and_the_oldest_go() {
        let letters = Letters::new(3, 3);
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
}
