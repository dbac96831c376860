//! Records that arrive one by one, such as messages: decoded by the file decoders, over a buffer.
//!
//! ```text
//! push  0    1    2    3    4         numbers of the records since the last flush
//!       │    ✗    │    ·    │         ✗ error: handed back       · silent: a record that means no row
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
    /// The message key, if the connector has one.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone: no value, as distinct from an empty one.
    pub value: Option<&'a [u8]>,
}

impl<'a> From<&'a [u8]> for RawRecord<'a> {
    fn from(value: &'a [u8]) -> Self {
        RawRecord { key: None, value: Some(value) }
    }
}

/// Decodes records to rows. Records are buffered, and decoded together on flush.
pub trait Decoder: Send {
    /// Buffers a record, valid or not. If the format has no meaning for a tombstone, that is a bad record: to skip
    /// tombstones, do not push them.
    fn push(&mut self, record: RawRecord<'_>);

    /// How many records were pushed since the last flush.
    fn pending(&self) -> usize;

    /// Whether to flush: the buffer has enough records for a batch, or many bytes. More records may be pushed.
    fn is_full(&self) -> bool;

    /// Decodes all records that were pushed since the last flush.
    fn flush(&mut self) -> Decoded;
}

/// The result of decoding the records between two flushes.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The requested columns, in push order.
    pub rows: RecordBatch,
    /// The index of each row's record, from 0, ascending; `None` if row `n` is from record `n` for all rows.
    pub records: Option<UInt32Array>,
    /// Of the records that did not decode, in order.
    pub errors: Vec<DecodeError>,
}

impl Decoded {
    /// For a column with a value per pushed record, the values of the decoded rows.
    pub fn beside(&self, column: &ArrayRef) -> Result<ArrayRef> {
        match &self.records {
            None => Ok(column.clone()),
            Some(records) => Ok(take(column, records, None)?),
        }
    }

    /// The position of each row, from the positions of the records.
    pub fn positions(&self, of: &[u64]) -> Vec<i64> {
        match &self.records {
            None => of.iter().map(|at| *at as i64).collect(),
            Some(records) => records.values().iter().map(|record| of[*record as usize] as i64).collect(),
        }
    }

    /// No rows: an error for each record, for one reason, without their bytes.
    pub(super) fn none(self, output: &SchemaRef, reason: &str) -> Decoded {
        let record = |row: usize| self.records.as_ref().map_or(row, |records| records.value(row) as usize);
        let rows = (0..self.rows.num_rows()).map(record);
        let mut errors: Vec<_> =
            rows.map(|record| DecodeError { record, raw: Vec::new(), reason: reason.to_string() }).collect();
        errors.extend(self.errors);
        errors.sort_by_key(|r| r.record);
        Decoded {
            rows: RecordBatch::new_empty(output.clone()),
            records: Some(UInt32Array::from_iter_values([])),
            errors,
        }
    }
}

/// Why a record did not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The record's index among those since the last flush, from 0.
    pub record: usize,
    /// The bytes of the record's value, truncated if very long.
    pub raw: Vec<u8>,
    pub reason: String,
}

/// Bytes in the buffer that trigger a flush.
const FULL_BYTES: usize = 8 << 20;

/// The decoder of a format in which a record is a row.
pub(super) struct Messages {
    decode: Box<dyn Decode>,
    output: SchemaRef,
    /// Whether a record of only white space is decoded.
    blank: bool,
    /// Whether a record without a value is ignored.
    silent: bool,
    batch_rows: usize,
    bytes: Vec<u8>,
    values: Vec<Range<usize>>,
    /// The record index of each value, once a record without a value was pushed.
    numbers: Option<Vec<usize>>,
    pending: usize,
    errors: Vec<DecodeError>,
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
            errors: Vec::new(),
        }
    }

    /// The decoder, changed to ignore records without a value.
    pub fn silent(self) -> Self {
        Messages { silent: true, ..self }
    }

    /// From here on the index of a value differs from that of its record.
    fn pass_over(&mut self) {
        let before = self.values.len();
        self.numbers.get_or_insert_with(|| (0..before).collect());
    }

    fn note_error(&mut self, reason: &str) {
        self.pass_over();
        self.errors.push(DecodeError { record: self.pending, raw: Vec::new(), reason: reason.to_string() });
    }

    fn number(&self, value: usize) -> usize {
        self.numbers.as_ref().map_or(value, |numbers| numbers[value])
    }
}

impl Decoder for Messages {
    fn push(&mut self, record: RawRecord<'_>) {
        match record.value {
            None if self.silent => self.pass_over(),
            None => self.note_error("the record has no value"),
            Some(value) if !self.blank && value.trim_ascii().is_empty() => self.note_error("the record is empty"),
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
        let mut errors = std::mem::take(&mut self.errors);
        for (value, reason) in blamed {
            let raw = &self.bytes[self.values[value].clone()];
            let raw = raw[..raw.len().min(RAW_BYTES_MAX)].to_vec();
            errors.push(DecodeError { record: self.number(value), raw, reason });
        }
        errors.sort_by_key(|r| r.record);
        self.bytes.clear();
        self.values.clear();
        self.numbers = None;
        self.pending = 0;
        let rows = batch.unwrap_or_else(|| RecordBatch::new_empty(self.output.clone()));
        Decoded { rows, records, errors }
    }
}

#[cfg(test)]
mod tests;
