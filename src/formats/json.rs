//! JSON: one object per line, or, with `multiline = true`, values over any number of lines. A file whose first
//! character is `[` is one array of objects in either case.
//!
//! Members become columns by their exact names; a missing member is NULL, an unknown one is ignored. Nested objects and
//! arrays become structs and lists. A number or a boolean can be cast to a text column.
//!
//! A value is cast from its text, as `('{"v": 2.0}'::json ->> 'v')::int` in Postgres: 1.9 and 2.0 are not integers, 1e2
//! is a NUMERIC, and a number is not a timestamp unless `timestamp_format` defines its unit.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
    json::{ReaderBuilder, reader::Decoder},
};

use super::{
    BadSink, BatchIterator, Damage, Request,
    columns::{ColumnBuilders, raw_field, reason},
    input::Compression,
    part::File,
    records::{Framing, LINES},
    rescue::{BYTE_ORDER_MARK, Decode, Layout, TextBatches},
    timestamps::TimestampFormat,
};
use crate::{error::Result, options::Taker};

/// The options of JSON.
#[derive(Debug, Clone)]
pub(super) struct JsonOptions {
    pub timestamp_format: Option<TimestampFormat>,
    /// Values may span several lines.
    pub multiline: bool,
}

impl JsonOptions {
    pub fn from_options(options: &mut Taker) -> Result<Self> {
        Ok(JsonOptions {
            timestamp_format: TimestampFormat::from_options(options)?,
            multiline: options.boolean("multiline", false)?,
        })
    }

    /// For messages, where each value is a record.
    pub fn flat(options: &mut Taker) -> Result<Self> {
        Ok(JsonOptions { timestamp_format: TimestampFormat::from_options(options)?, multiline: false })
    }
}

/// Maximum nesting of a value: decoders recurse into it, and must not overflow the stack.
const DEPTH_MAX: usize = 128;

/// The types that Arrow's decoder parses itself; the others are decoded as text and cast. Arrow would truncate 1.9 to
/// an integer, and accept any number as a timestamp or a date.
fn native(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(data_type, Boolean | Float32 | Float64 | Utf8 | LargeUtf8 | Utf8View)
}

/// Whether a value can be cast to a column type.
pub(super) fn can_hold(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) => can_hold(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|f| can_hold(f.data_type())),
        t => native(t) || (!t.is_nested() && arrow::compute::can_cast_types(&DataType::Utf8, t)),
    }
}

/// The rows of a part.
pub(super) fn read(
    options: &JsonOptions,
    file: File,
    request: &Request,
    bad: BadSink,
) -> Result<BatchIterator, Damage> {
    let framing = if options.multiline || is_array(&file)? { Framing::Values } else { LINES };
    let mut file = file;
    if framing == Framing::Values && file.compression == Compression::None {
        // An array cannot be split: the part with its beginning reads all of it.
        if !file.part.contains(&0) {
            return Ok(Box::new(std::iter::empty()));
        }
        file.part = 0..file.input.size();
    }
    let decode = Box::new(JsonDecode::new(options, request));
    Ok(Box::new(TextBatches::open(&file, Layout::of(&file, framing)?, decode, request, bad)?))
}

/// Whether the file's first character, except white space, starts an array.
pub(super) fn is_array(file: &File) -> Result<bool, Damage> {
    let (head, _) = file.head(256)?;
    let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&head);
    Ok(head.trim_ascii_start().first() == Some(&b'['))
}

/// The fields that Arrow decodes for a request.
pub(super) fn raw_fields(options: &JsonOptions, request: &Request) -> Vec<Field> {
    let format = options.timestamp_format.as_ref();
    request.projection.iter().map(|i| raw_field(&request.schema.fields()[*i], native, format)).collect()
}

/// Decodes objects.
#[derive(Debug)]
pub(super) struct JsonDecode {
    values: JsonValues,
    columns: ColumnBuilders,
}

impl JsonDecode {
    pub fn new(options: &JsonOptions, request: &Request) -> Self {
        let fields = raw_fields(options, request);
        let sources = (0..fields.len()).map(Some).collect();
        JsonDecode {
            values: JsonValues::new(fields, request.batch_rows),
            columns: ColumnBuilders::new(request, sources, options.timestamp_format.as_ref()),
        }
    }
}

impl Decode for JsonDecode {
    fn decode(&mut self, bytes: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String> {
        self.columns.finish(&self.values.decode(bytes, records)?)
    }
}

/// Arrow's decoder, one value per record.
#[derive(Debug)]
pub(super) struct JsonValues {
    fields: SchemaRef,
    batch_rows: usize,
    /// For full units; a smaller one gets a decoder with a smaller batch size.
    decoder: Option<Decoder>,
}

impl JsonValues {
    pub fn new(fields: Vec<Field>, batch_rows: usize) -> Self {
        JsonValues { fields: Arc::new(Schema::new(fields)), batch_rows: batch_rows.max(1), decoder: None }
    }

    fn build(&self, rows: usize) -> Result<Decoder, String> {
        let builder = ReaderBuilder::new(self.fields.clone()).with_batch_size(rows).with_coerce_primitive(true);
        builder.build_decoder().map_err(|e| reason(&e))
    }

    /// The requested members, before they are cast.
    pub fn decode(&mut self, bytes: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String> {
        let kept = records.len() * 2 > self.batch_rows && records.len() <= self.batch_rows;
        let mut decoder = match self.decoder.take().filter(|_| kept) {
            Some(decoder) => decoder,
            None => self.build(if kept { self.batch_rows } else { records.len() })?,
        };
        // One by one, to detect a value that continues into the next record.
        for (before, record) in records.iter().enumerate() {
            let record = &bytes[record.clone()];
            if is_too_deep(record) {
                return Err(format!("nested deeper than {DEPTH_MAX} levels"));
            }
            let used = decoder.decode(record).map_err(|e| reason(&e))?;
            if decoder.has_partial_record() {
                // A number needs a terminator.
                decoder.decode(b"\n").map_err(|e| reason(&e))?;
            }
            if decoder.has_partial_record() {
                return Err("the value is cut off".to_string());
            }
            if decoder.len() != before + 1 || !record[used..].trim_ascii().is_empty() {
                return Err("not one value to a record".to_string());
            }
        }
        let batch = decoder.flush().map_err(|e| reason(&e))?.ok_or("no value in it")?;
        if kept {
            self.decoder = Some(decoder);
        }
        Ok(batch)
    }
}

/// Whether a record is nested too deep; brackets in strings do not count.
fn is_too_deep(record: &[u8]) -> bool {
    let opens = |b: &&u8| matches!(**b, b'{' | b'[');
    // Fast path: most records have fewer brackets than the limit.
    record.len() > DEPTH_MAX && record.iter().filter(opens).count() > DEPTH_MAX && depth(record) > DEPTH_MAX
}

/// The nesting of brackets, outside strings.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut string, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            b'{' | b'[' if !string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
