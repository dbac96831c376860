//! Processing-time timeouts of sessions: they end a fixed time after their last row arrived, whatever the watermark.
//!
//! A session is identified by group key and session end. Stored is the time it ends by the clock of the epochs'
//! intents, so that a replayed epoch ends the same sessions. (As Spark's `ProcessingTimeTimeout`.)

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array},
    compute::take,
    datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit},
};

use super::Answers;
use crate::{
    changes::batch_of,
    error::Result,
    state::{Close, Compaction, JoinState, Multiset, Saved},
    time::Micros,
};

/// The name of its saved rows.
pub(super) const TIMEOUTS: &str = "timeouts";

#[derive(Debug)]
pub(super) struct SessionTimeouts {
    timeout_us: Micros,
    /// Rows of group key, session end, and end by the clock.
    due: JoinState,
    key_columns: usize,
}

fn moment() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

impl SessionTimeouts {
    /// For groups of these `keys` with session end column `end`.
    pub fn new(timeout_us: Micros, keys: &Fields, end: &FieldRef) -> Result<Self> {
        let named =
            |(n, field): (usize, &FieldRef)| field.as_ref().clone().with_name(n.to_string()).with_nullable(true);
        let mut fields: Vec<Field> = keys.iter().enumerate().map(named).collect();
        fields.push(end.as_ref().clone().with_name("end").with_nullable(true));
        let known = Fields::from(fields.clone());
        fields.push(Field::new("due", moment(), false));
        let close = Close { column: fields.len() - 1, field: None, offset_us: 0 };
        let due = JoinState::new(&Arc::new(Schema::new(fields)), &known, false, Some(close))?;
        Ok(SessionTimeouts { timeout_us, due, key_columns: keys.len() })
    }

    /// Restarts the timeout of sessions that got rows: per row its group key and session end.
    pub fn schedule(&mut self, keys: &[ArrayRef], ends: &ArrayRef, now: Micros) -> Result<()> {
        let mut columns = keys.to_vec();
        columns.push(ends.clone());
        let encoded = self.due.encode(&columns)?;
        let mut among = HashSet::new();
        // A row without event time is in no session.
        let is_new =
            |row: &u32| ends.is_valid(*row as usize) && among.insert(encoded.row(*row as usize).as_ref().to_vec());
        let rows: UInt32Array = (0..ends.len() as u32).filter(is_new).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let before: Vec<_> = rows
            .values()
            .iter()
            .flat_map(|row| self.due.members(encoded.row(*row as usize).as_ref()).to_vec())
            .collect();
        self.due.forget(&before);
        let mut columns = columns.iter().map(|column| take(column, &rows, None)).collect::<Result<Vec<_>, _>>()?;
        let encoded = self.due.encode(&columns)?;
        let due = now.saturating_add(self.timeout_us);
        columns.push(Arc::new(TimestampMicrosecondArray::from_value(due, rows.len())));
        let noted = batch_of(self.due.schema(), columns, rows.len())?;
        self.due.add(&noted, &encoded, |_| false, &vec![1; rows.len()], &vec![0; rows.len()])?;
        Ok(())
    }

    pub fn is_due(&self, now: Micros) -> bool {
        self.due.is_due(Some(now))
    }

    /// Removes the timed-out sessions from rows and answers; returns those answers.
    pub fn close(&mut self, now: Micros, rows: &mut Multiset, answers: &mut Multiset) -> Result<Option<Vec<ArrayRef>>> {
        let ids = self.due.expired(Some(now));
        if ids.is_empty() {
            return Ok(None);
        }
        let due = self.due.gather(&ids)?;
        self.due.forget(&ids);
        let keys = &due.columns()[..self.key_columns];
        let ended = self.due.encode(&due.columns()[..=self.key_columns])?;
        let ended: HashSet<&[u8]> = ended.iter().map(|row| row.data()).collect();
        let taken = Answers::of(keys, answers)?;
        let Some(end) = taken.columns.last() else { return Ok(None) };
        let mut known = taken.keys.clone();
        known.push(end.clone());
        let known = self.due.encode(&known)?;
        // A session that has grown since has another end.
        let closed: UInt32Array =
            (0..known.num_rows() as u32).filter(|row| ended.contains(known.row(*row as usize).data())).collect();
        taken.take_out(&closed, rows, answers)
    }

    pub fn save(&mut self, full: bool) -> Result<Saved> {
        Ok(Saved { rows: self.due.save(TIMEOUTS, full)? })
    }

    pub fn load(&mut self, saved: &RecordBatch) -> Result<()> {
        let Some(rows) = self.due.saved_rows(saved)? else {
            self.due.load_removed(saved);
            return Ok(());
        };
        let keys = self.due.encode(&rows.columns()[..=self.key_columns])?;
        self.due.load_rows(saved, &rows, &keys, |_| false)
    }

    pub fn set_compaction(&mut self, to: Compaction) {
        self.due.set_compaction(to);
    }

    pub fn len(&self) -> usize {
        self.due.len()
    }

    pub fn bytes(&self) -> usize {
        self.due.bytes()
    }
}
