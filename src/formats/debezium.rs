//! `debezium_json`: change events of a database's rows, in Debezium's format.
//!
//! `{"before": …, "after": …, "op": "c" | "r" | "u" | "d"}`, or the same within `payload`, with or without a schema
//! beside it. `after` upserts a row, a delete removes the row of `before`; an update needs no `before`. A record
//! without a value (the tombstone after a delete) is ignored.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int8Array, RecordBatch, RecordBatchOptions, StringArray, StructArray,
    },
    compute::kernels::zip::zip,
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};

use super::{
    BadSink, BatchIterator, Damage, Request,
    columns::ColumnBuilders,
    json::{JsonOptions, JsonValues, raw_fields},
    part::File,
    records::LINES,
    rescue::{Decode, Layout, TextBatches},
    upsert::{Ops, REMOVE, SET},
};

/// Decodes envelopes.
pub(super) struct DebeziumDecode {
    values: JsonValues,
    columns: ColumnBuilders,
    ops: Ops,
    wanted: SchemaRef,
}

const BEFORE: usize = 0;
const AFTER: usize = 1;
const KIND: usize = 2;
const PAYLOAD: usize = 3;

impl DebeziumDecode {
    pub fn new(options: &JsonOptions, request: &Request) -> Self {
        let (columns, ops) = Ops::split_off(request);
        let fields = raw_fields(options, &columns);
        let row = |name| Field::new(name, DataType::Struct(Fields::from(fields.clone())), true);
        let mut envelope = vec![row("before"), row("after"), Field::new("op", DataType::Utf8, true)];
        envelope.push(Field::new("payload", DataType::Struct(envelope.clone().into()), true));
        let sources = (0..fields.len()).map(Some).collect();
        DebeziumDecode {
            values: JsonValues::new(envelope, request.batch_rows),
            columns: ColumnBuilders::new(&columns, sources, options.timestamp_format.as_ref()),
            ops,
            wanted: Arc::new(Schema::new(fields)),
        }
    }

    /// The upserts and deletes of the envelopes.
    fn rows(&self, before: &StructArray, after: &StructArray, kinds: &StringArray) -> Result<RecordBatch, String> {
        let mut removes = Vec::with_capacity(kinds.len());
        for (row, kind) in kinds.iter().enumerate() {
            let (remove, there) = match kind {
                Some("c" | "r" | "u") => (false, after.is_valid(row)),
                Some("d") => (true, before.is_valid(row)),
                Some("t") => return Err("a truncate cannot be followed".to_string()),
                Some(other) => return Err(format!("unknown op '{other}'")),
                None => return Err("it is no Debezium envelope: it has no op".to_string()),
            };
            if !there {
                return Err(if remove { "a delete without before" } else { "a change without after" }.to_string());
            }
            removes.push(remove);
        }
        let removes = BooleanArray::from(removes);
        let columns = match removes.has_true() {
            false => after.columns().to_vec(),
            true => chosen(&removes, before, after)?,
        };
        let options = RecordBatchOptions::new().with_row_count(Some(kinds.len()));
        let rows = RecordBatch::try_new_with_options(self.wanted.clone(), columns, &options);
        let rows = self.columns.finish(&rows.map_err(|e| e.to_string())?)?;
        let ops = removes.values().iter().map(|remove| if remove { REMOVE } else { SET });
        self.ops.put(&rows, Int8Array::from_iter_values(ops))
    }
}

impl Decode for DebeziumDecode {
    fn decode(&mut self, bytes: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String> {
        let batch = self.values.decode(bytes, records)?;
        let payload = batch.column(PAYLOAD).as_struct();
        let plain = |i: usize| batch.column(i).clone();
        let inner = |i: usize| payload.column(i).clone();
        let wrapped = arrow::compute::is_not_null(payload).map_err(|e| e.to_string())?;
        let mut parts = Vec::new();
        for part in [BEFORE, AFTER, KIND] {
            parts.push(match (wrapped.has_true(), wrapped.has_false()) {
                (true, false) => inner(part),
                (true, true) => choose(&wrapped, &inner(part), &plain(part))?,
                _ => plain(part),
            });
        }
        self.rows(parts[BEFORE].as_struct(), parts[AFTER].as_struct(), parts[KIND].as_string())
    }
}

/// Row by row the value of `yes` if `first` is true, else of `no`.
fn choose(first: &BooleanArray, yes: &ArrayRef, no: &ArrayRef) -> Result<ArrayRef, String> {
    zip(first, yes, no).map_err(|e| e.to_string())
}

fn chosen(first: &BooleanArray, yes: &StructArray, no: &StructArray) -> Result<Vec<ArrayRef>, String> {
    yes.columns().iter().zip(no.columns()).map(|(yes, no)| choose(first, yes, no)).collect()
}

/// The rows of a part of a file with an envelope a line.
pub(super) fn read(
    options: &JsonOptions,
    file: File,
    request: &Request,
    bad: BadSink,
) -> Result<BatchIterator, Damage> {
    let decode = Box::new(DebeziumDecode::new(options, request));
    Ok(Box::new(TextBatches::open(&file, Layout::of(&file, LINES)?, decode, request, bad)?))
}
