//! Rows that did not make it into an answer: dead letters and late rows.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    checkpoint::{DeadLetter, LateRow},
    connectors::BadRecords,
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
}

impl Letters {
    pub fn new(dead_max: usize, late_max: usize) -> Self {
        Letters { kept: Mutex::default(), dead_max, late_max }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what an epoch found. A dead letter that is there already is not taken twice: many queries may read one
    /// source, and an epoch may be run again.
    pub fn add(&self, dead: &[DeadLetter], late: &[LateRow]) {
        if dead.is_empty() && late.is_empty() {
            return;
        }
        let mut kept = self.lock();
        for letter in dead {
            let same = |other: &DeadLetter| {
                (&other.source, &other.origin, other.position) == (&letter.source, &letter.origin, letter.position)
                    && other.raw == letter.raw
            };
            if !kept.dead.iter().rev().take(BadRecords::KEPT_MAX).any(same) {
                kept.dead.push_back(letter.clone());
            }
        }
        for row in late {
            if !kept.late.iter().rev().take(1_000).any(|other| other == row) {
                kept.late.push_back(row.clone());
            }
        }
        let (dead, late) =
            (kept.dead.len().saturating_sub(self.dead_max), kept.late.len().saturating_sub(self.late_max));
        kept.dead.drain(..dead);
        kept.late.drain(..late);
    }

    pub fn dead(&self) -> Vec<DeadLetter> {
        self.lock().dead.iter().cloned().collect()
    }

    pub fn late(&self) -> Vec<LateRow> {
        self.lock().late.iter().cloned().collect()
    }
}
