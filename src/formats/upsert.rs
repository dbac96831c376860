//! Upsert formats, whose records set or delete rows by key: a column beside the row says which.
//!
//! The key columns are those that are not nullable; only they matter for a deleted row.
//!
//! `upsert_json`: a record's value is the row, a record without a value deletes it. The key columns are taken from the
//! record's key, if it has one: an object, or the bare value of the only key column.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int8Array, RecordBatch, RecordBatchOptions},
    datatypes::{Schema, SchemaRef},
};
use serde::de::IgnoredAny;

use super::{
    Request,
    decoder::{Decoded, Decoder, Messages, RawRecord},
    json::{JsonDecode, JsonOptions},
};
use crate::changes::OP;

/// The position of the operation column in a request.
#[derive(Debug, Clone)]
pub(super) struct Ops {
    output: SchemaRef,
    place: Option<usize>,
}

/// The operation: the row is set, or deleted.
pub(super) const SET: i8 = 1;
pub(super) const REMOVE: i8 = -1;

impl Ops {
    /// Removes the operation column from a request.
    pub fn split_off(request: &Request) -> (Request, Ops) {
        let fields = request.schema.fields();
        let place = request.projection.iter().position(|i| fields[*i].name() == OP);
        let mut columns = request.clone();
        if let Some(place) = place {
            columns.projection.remove(place);
        }
        (columns, Ops { output: request.output(), place })
    }

    /// Adds the operation column.
    pub fn put(&self, rows: &RecordBatch, ops: Int8Array) -> Result<RecordBatch, String> {
        let count = rows.num_rows();
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        if let Some(place) = self.place {
            columns.insert(place, Arc::new(ops));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(self.output.clone(), columns, &options).map_err(|e| e.to_string())
    }
}

/// The names of the key columns.
pub(super) fn key_of(schema: &Schema) -> Vec<String> {
    schema.fields().iter().filter(|f| !f.is_nullable() && f.name() != OP).map(|f| f.name().clone()).collect()
}

/// Decodes `upsert_json`.
pub(super) struct UpsertDecoder {
    inner: Messages,
    ops: Ops,
    /// The name of the only key column, as JSON; `None` if there are several.
    key: Option<String>,
    /// For each record its operation, and the length of its value, whose closing brace is replaced by the key members.
    kinds: Vec<(i8, Option<usize>)>,
    joined: Vec<u8>,
}

impl UpsertDecoder {
    pub fn new(options: &JsonOptions, request: &Request) -> Self {
        let (columns, ops) = Ops::split_off(request);
        let key = match key_of(&request.schema).as_slice() {
            [only] => Some(serde_json::Value::from(only.as_str()).to_string()),
            _ => None,
        };
        let decode = Box::new(JsonDecode::new(options, &columns));
        let inner = Messages::new(decode, columns.output(), false, request.batch_rows);
        UpsertDecoder { inner, ops, key, kinds: Vec::new(), joined: Vec::new() }
    }

    /// Appends the key's members to the object in the buffer, and closes it.
    fn add_key(&mut self, key: &[u8]) {
        let key = key.trim_ascii();
        if key.starts_with(b"{") {
            return self.joined.extend_from_slice(&key[1..]);
        }
        let Some(column) = &self.key else {
            // Not an object: the decoder reports it.
            return self.joined.extend_from_slice(key);
        };
        self.joined.extend_from_slice(column.as_bytes());
        self.joined.push(b':');
        if serde_json::from_slice::<IgnoredAny>(key).is_ok() {
            self.joined.extend_from_slice(key);
        } else {
            let text = serde_json::Value::from(String::from_utf8_lossy(key));
            self.joined.extend_from_slice(text.to_string().as_bytes());
        }
        self.joined.push(b'}');
    }
}

impl Decoder for UpsertDecoder {
    fn push(&mut self, record: RawRecord<'_>) {
        self.joined.clear();
        match record {
            RawRecord { key, value: None } => {
                self.kinds.push((REMOVE, None));
                match key {
                    Some(key) => {
                        self.joined.push(b'{');
                        self.add_key(key);
                        self.inner.push(RawRecord::from(self.joined.as_slice()));
                    }
                    None => self.inner.push(record),
                }
            }
            RawRecord { key: Some(key), value: Some(value) } if value.trim_ascii_end().ends_with(b"}") => {
                let value = value.trim_ascii_end();
                self.kinds.push((SET, Some(value.len())));
                self.joined.extend_from_slice(&value[..value.len() - 1]);
                self.joined.push(b',');
                self.add_key(key);
                self.inner.push(RawRecord::from(self.joined.as_slice()));
            }
            RawRecord { .. } => {
                self.kinds.push((SET, None));
                self.inner.push(record);
            }
        }
    }

    fn pending(&self) -> usize {
        self.inner.pending()
    }

    fn is_full(&self) -> bool {
        self.inner.is_full()
    }

    fn flush(&mut self) -> Decoded {
        let mut decoded = self.inner.flush();
        let kinds = std::mem::take(&mut self.kinds);
        for error in &mut decoded.errors {
            match kinds.get(error.record) {
                // The original value, without the key.
                Some((SET, Some(length))) if error.raw.len() >= *length => {
                    error.raw.truncate(length - 1);
                    error.raw.push(b'}');
                }
                Some((REMOVE, _)) => error.reason.insert_str(0, "its key: "),
                _ => {}
            }
        }
        let record = |row: usize| decoded.records.as_ref().map_or(row, |records| records.value(row) as usize);
        let ops = (0..decoded.rows.num_rows()).map(|row| kinds.get(record(row)).map_or(SET, |(op, _)| *op));
        match self.ops.put(&decoded.rows, Int8Array::from_iter_values(ops)) {
            Ok(rows) => Decoded { rows, ..decoded },
            Err(reason) => decoded.none(&self.ops.output, &reason),
        }
    }
}
