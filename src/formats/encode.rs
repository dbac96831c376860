//! Rows to messages, one record per row; the decoders here read them back as the same values.
//!
//! - JSON: one object per row, with all columns, NULL as `null`. A NUMERIC is a number with all its digits; timestamps,
//!   dates and times are ISO text; `NaN` and `Infinity`, which JSON has no number for, and bytea (`\x…`) are text, as
//!   in Postgres' `to_json`.
//! - CSV: one line per row, without its line break. NULL is the text of option `null`, by default empty. A string that
//!   equals it is read back as NULL.
//! - text: the bytes of the only column; NULL is a record without a value.
//! - Avro: with a schema from the options, in which every column has a field; else with a schema derived from the
//!   columns, after its fingerprint or bare.

mod avro;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, SchemaRef},
};
use bytes::Bytes;

use self::avro::{AvroEncoder, AvroFraming};
use super::{
    avro::AvroSpelling,
    encoder::Encoder,
    spell::{CsvDialect, Spelling},
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::Taker,
};

/// A format of messages and its options, as `WITH (format = 'json', …)` says them.
#[derive(Debug, Clone)]
pub enum MessageFormat {
    Json,
    Csv(CsvDialect),
    Text,
    /// With a schema from the options.
    Avro(AvroSpelling),
    /// With a schema derived from the columns.
    OwnAvro(AvroFraming),
}

impl MessageFormat {
    /// Takes `format` and the options of that format.
    pub fn from_options(options: &mut Taker) -> Result<MessageFormat> {
        let words = [("json", 0), ("csv", 1), ("text", 2), ("bytes", 2), ("avro", 3)];
        match options.one_of("format", &words)? {
            Some(0) => Ok(MessageFormat::Json),
            Some(1) => Ok(MessageFormat::Csv(CsvDialect::from_options(options)?)),
            Some(2) => Ok(MessageFormat::Text),
            Some(_) if options.has(&["avro.schema", "avro.schema_file"]) => {
                Ok(MessageFormat::Avro(AvroSpelling::from_options(options)?))
            }
            Some(_) => {
                let words = [("single_object", AvroFraming::SingleObject), ("none", AvroFraming::None)];
                let framing = options.one_of("avro.framing", &words)?;
                Ok(MessageFormat::OwnAvro(framing.unwrap_or(AvroFraming::SingleObject)))
            }
            None => Err(options.missing("format")),
        }
    }

    /// The encoder of rows with these columns, if the format can hold them.
    pub fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        let spelling = match self {
            MessageFormat::Json => Spelling::Json,
            MessageFormat::Csv(dialect) => Spelling::Csv(dialect.clone()),
            MessageFormat::Avro(spelling) => return Ok(Box::new(spelling.encoder(schema)?)),
            MessageFormat::OwnAvro(framing) => return Ok(Box::new(AvroEncoder::new(schema, *framing)?)),
            MessageFormat::Text => {
                return match schema.fields().as_ref() {
                    [f] if is_bytes(f.data_type()) => Ok(Box::new(TextEncoder)),
                    _ => Err(Error::new(
                        ErrorKind::InvalidTableDefinition,
                        "format text takes exactly one column, of type text or bytea",
                    )
                    .hint("Select that column alone, or choose format json.")),
                };
            }
        };
        spelling.check(schema)?;
        Ok(Box::new(LineEncoder { spelling }))
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(data_type, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView)
}

/// JSON and CSV.
#[derive(Debug)]
struct LineEncoder {
    spelling: Spelling,
}

impl Encoder for LineEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<Vec<Option<Bytes>>> {
        let mut lines = Vec::new();
        self.spelling.write(rows, false, &mut lines)?;
        if lines.iter().filter(|b| **b == b'\n').count() != rows.num_rows() {
            // Some field holds a line break.
            let one = |row| {
                let mut line = Vec::new();
                self.spelling.write(&rows.slice(row, 1), false, &mut line)?;
                line.pop();
                Ok(Some(line.into()))
            };
            return (0..rows.num_rows()).map(one).collect();
        }
        let lines = Bytes::from(lines);
        let mut begin = 0;
        let ends = lines.iter().enumerate().filter_map(|(at, b)| (*b == b'\n').then_some(at));
        Ok(ends.map(|end| Some(lines.slice(std::mem::replace(&mut begin, end + 1)..end))).collect())
    }
}

/// The only column's value, unchanged.
#[derive(Debug)]
struct TextEncoder;

impl Encoder for TextEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<Vec<Option<Bytes>>> {
        let values = arrow::compute::cast(rows.column(0), &DataType::LargeBinary)?;
        let values = values.as_binary::<i64>();
        let buffer = Bytes::copy_from_slice(values.values());
        let piece = |(row, range): (usize, &[i64])| {
            values.is_valid(row).then(|| buffer.slice(range[0] as usize..range[1] as usize))
        };
        Ok(values.value_offsets().windows(2).enumerate().map(piece).collect())
    }
}

#[cfg(test)]
mod tests;
