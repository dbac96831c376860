//! Records that come one by one, as messages do: the same decoders as for the lines of files, over a buffer.
//!
//! ```text
//! push  0    1    2    3    4         numbers of the records since the last flush
//!       │    ✗    │    ·    │         ✗ rejected: handed back    · silent: a record that means no row
//! flush row 0     row 1     row 2     records = [0, 2, 4]: what a column beside them takes its values by
//! ```

use std::ops::Range;

use arrow::{
    array::{ArrayRef, RecordBatch, UInt32Array},
    compute::take,
    datatypes::SchemaRef,
};

use super::rescue::{Decode, RAW_BYTES_MAX, rescue};
use crate::error::Result;

/// One record as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawRecord<'a> {
    /// What it is filed under, where there is such a thing.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone: no value at all, which is not the same as an empty one.
    pub value: Option<&'a [u8]>,
}

impl<'a> From<&'a [u8]> for RawRecord<'a> {
    fn from(value: &'a [u8]) -> Self {
        RawRecord { key: None, value: Some(value) }
    }
}

/// Makes rows of records. They are collected, and decoded together when the rows are wanted.
pub trait Decoder: Send {
    /// Takes a record, whatever is in it. Where the format has no meaning for a tombstone, that is a bad record: who
    /// wants to pass over tombstones does not push them.
    fn push(&mut self, record: RawRecord<'_>);

    /// How many records were pushed since the last flush.
    fn pending(&self) -> usize;

    /// Whether it is time to flush: there are records for a batch, or many bytes. Pushing more is allowed.
    fn is_full(&self) -> bool;

    /// The rows of all that was pushed since the last flush.
    fn flush(&mut self) -> Decoded;
}

/// What came of the records between two flushes.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The columns that were requested, in the order in which the records were pushed.
    pub rows: RecordBatch,
    /// For each row the number of its record, from 0, growing; `None` where row `n` is of record `n`, for all of them.
    pub records: Option<UInt32Array>,
    /// The bad ones, in order.
    pub rejected: Vec<Rejected>,
}

impl Decoded {
    /// Of a column with a value for each record that was pushed, the values that belong beside the rows.
    pub fn beside(&self, column: &ArrayRef) -> Result<ArrayRef> {
        match &self.records {
            None => Ok(column.clone()),
            Some(records) => Ok(take(column, records, None)?),
        }
    }

    /// The position of each row, of those of the records.
    pub fn positions(&self, of: &[u64]) -> Vec<i64> {
        match &self.records {
            None => of.iter().map(|at| *at as i64).collect(),
            Some(records) => records.values().iter().map(|record| of[*record as usize] as i64).collect(),
        }
    }

    /// All records rejected for one reason, with no bytes left of them.
    pub(super) fn none(self, output: &SchemaRef, reason: &str) -> Decoded {
        let record = |row: usize| self.records.as_ref().map_or(row, |records| records.value(row) as usize);
        let rows = (0..self.rows.num_rows()).map(record);
        let mut rejected: Vec<_> =
            rows.map(|record| Rejected { record, raw: Vec::new(), reason: reason.to_string() }).collect();
        rejected.extend(self.rejected);
        rejected.sort_by_key(|r| r.record);
        Decoded {
            rows: RecordBatch::new_empty(output.clone()),
            records: Some(UInt32Array::from_iter_values([])),
            rejected,
        }
    }
}

/// A record that did not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// How many were pushed before it since the last flush.
    pub record: usize,
    /// The bytes of its value, cut where they are very many.
    pub raw: Vec<u8>,
    pub reason: String,
}

/// Bytes in the buffer that are enough for a batch.
const FULL_BYTES: usize = 8 << 20;

/// The decoder of a format in which a record is a row.
pub(super) struct Messages {
    decode: Box<dyn Decode>,
    output: SchemaRef,
    /// Whether a record of nothing but white space is one.
    blank: bool,
    /// Whether a record without a value is silent.
    silent: bool,
    batch_rows: usize,
    bytes: Vec<u8>,
    values: Vec<Range<usize>>,
    /// The number of each value's record, where some record has none.
    numbers: Option<Vec<usize>>,
    pending: usize,
    rejected: Vec<Rejected>,
}

impl Messages {
    pub fn new(decode: Box<dyn Decode>, output: SchemaRef, blank: bool, batch_rows: usize) -> Self {
        Messages {
            decode,
            output,
            blank,
            silent: false,
            batch_rows: batch_rows.max(1),
            bytes: Vec::new(),
            values: Vec::new(),
            numbers: None,
            pending: 0,
            rejected: Vec::new(),
        }
    }

    /// The same, but a record without a value means nothing.
    pub fn silent(self) -> Self {
        Messages { silent: true, ..self }
    }

    /// From here on a value's place no longer tells its record.
    fn pass_over(&mut self) {
        let before = self.values.len();
        self.numbers.get_or_insert_with(|| (0..before).collect());
    }

    fn reject(&mut self, reason: &str) {
        self.pass_over();
        self.rejected.push(Rejected { record: self.pending, raw: Vec::new(), reason: reason.to_string() });
    }

    fn number(&self, value: usize) -> usize {
        self.numbers.as_ref().map_or(value, |numbers| numbers[value])
    }
}

impl Decoder for Messages {
    fn push(&mut self, record: RawRecord<'_>) {
        match record.value {
            None if self.silent => self.pass_over(),
            None => self.reject("the record has no value"),
            Some(value) if !self.blank && value.trim_ascii().is_empty() => self.reject("the record is empty"),
            Some(value) => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(value);
                self.values.push(start..self.bytes.len());
                if let Some(numbers) = &mut self.numbers {
                    numbers.push(self.pending);
                }
            }
        }
        self.pending += 1;
    }

    fn pending(&self) -> usize {
        self.pending
    }

    fn is_full(&self) -> bool {
        self.pending >= self.batch_rows || self.bytes.len() >= FULL_BYTES
    }

    fn flush(&mut self) -> Decoded {
        let (batch, blamed) = rescue(self.decode.as_mut(), &self.bytes, &self.values);
        let mut records = None;
        if self.numbers.is_some() || !blamed.is_empty() {
            let mut next = blamed.iter().map(|(value, _)| *value).peekable();
            let good = (0..self.values.len()).filter(|value| next.next_if_eq(value).is_none());
            records = Some(good.map(|value| self.number(value) as u32).collect());
        }
        let mut rejected = std::mem::take(&mut self.rejected);
        for (value, reason) in blamed {
            let raw = &self.bytes[self.values[value].clone()];
            let raw = raw[..raw.len().min(RAW_BYTES_MAX)].to_vec();
            rejected.push(Rejected { record: self.number(value), raw, reason });
        }
        rejected.sort_by_key(|r| r.record);
        self.bytes.clear();
        self.values.clear();
        self.numbers = None;
        self.pending = 0;
        let rows = batch.unwrap_or_else(|| RecordBatch::new_empty(self.output.clone()));
        Decoded { rows, records, rejected }
    }
}

#[cfg(test)]
mod tests;
