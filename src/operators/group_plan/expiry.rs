//! Expiry of session windows: each answer row has the end of its session.

use std::collections::{BTreeMap, HashSet};

use arrow::{
    array::{ArrayRef, Int64Array, UInt32Array},
    compute::take,
};

use crate::{
    error::Result,
    operators::grouping::distinct_keys,
    state::{Close, Multiset, NEVER},
    time::Micros,
};

/// Finds the answers that a watermark closes, by the session end in their last column.
#[derive(Debug)]
pub(super) struct SessionExpiry {
    /// When an answer is closed, by its end column.
    close: Close,
    /// Group keys by the time at which an answer may be closed; entries may be outdated.
    due: BTreeMap<Micros, HashSet<Box<[u8]>>>,
}

impl SessionExpiry {
    /// `column` is the position of the session end.
    pub fn new(column: usize) -> Self {
        SessionExpiry { close: Close { column, field: None, offset_us: 1 }, due: BTreeMap::new() }
    }

    /// Schedules the ends of new answers.
    pub fn schedule(&mut self, answers: &[ArrayRef], keys: &[ArrayRef], kept: &Multiset) -> Result<()> {
        let keys = kept.encode_keys(keys)?;
        for (row, moment) in self.close.moments(answers)?.values().iter().enumerate() {
            if *moment != NEVER {
                self.due.entry(*moment).or_default().insert(keys.row(row).as_ref().into());
            }
        }
        Ok(())
    }

    pub fn is_due(&self, watermark: Option<Micros>) -> bool {
        watermark.is_some_and(|watermark| self.due.first_key_value().is_some_and(|(moment, _)| *moment <= watermark))
    }

    /// Removes the answers that `watermark` closes, and the rows of their sessions; returns those answers.
    pub fn close(
        &mut self,
        watermark: Micros,
        rows: &mut Multiset,
        answers: &mut Multiset,
    ) -> Result<Option<Vec<ArrayRef>>> {
        let later = self.due.split_off(&watermark.saturating_add(1));
        let mut keys: Vec<_> = std::mem::replace(&mut self.due, later).into_values().flatten().collect();
        if keys.is_empty() {
            return Ok(None);
        }
        keys.sort_unstable();
        keys.dedup();
        let given = Answers::of(&answers.decode_keys(&keys)?, answers)?;
        let moments = self.close.moments(&given.columns)?;
        let closed: UInt32Array =
            (0..moments.len() as u32).filter(|row| moments.value(*row as usize) <= watermark).collect();
        given.take_out(&closed, rows, answers)
    }
}

/// All answers of some groups.
pub(super) struct Answers {
    pub columns: Vec<ArrayRef>,
    /// The group key of each.
    pub keys: Vec<ArrayRef>,
}

impl Answers {
    /// All answers of the groups of `keys` (distinct).
    pub fn of(keys: &[ArrayRef], answers: &mut Multiset) -> Result<Self> {
        let keys = distinct_keys(keys)?;
        let (columns, groups) = answers.gather(&keys, None)?;
        let groups: UInt32Array = groups.iter().map(|group| *group as u32).collect();
        Ok(Answers { columns, keys: at(&keys, &groups)? })
    }

    /// Removes some of the answers, and the rows of their sessions; returns those answers.
    pub fn take_out(
        &self,
        which: &UInt32Array,
        rows: &mut Multiset,
        answers: &mut Multiset,
    ) -> Result<Option<Vec<ArrayRef>>> {
        let (keys, columns) = (at(&self.keys, which)?, at(&self.columns, which)?);
        let gone = Int64Array::from_value(-1, which.len());
        answers.apply(&keys, &columns, &gone)?;
        rows.apply(&keys, &columns[..rows.row_columns()], &gone)?;
        Ok(Some(columns))
    }
}

fn at(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    Ok(columns.iter().map(|column| take(column, rows, None)).collect::<Result<_, _>>()?)
}
