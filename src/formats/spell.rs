//! How values are spelled in text, by Arrow's own writers: what messages and files have in common.

use std::{fmt::Write, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch, StringArray, StringBuilder},
    csv::{QuoteStyle, WriterBuilder as CsvBuilder},
    datatypes::{ArrowPrimitiveType, DataType, Field, FieldRef, Float32Type, Float64Type, Schema},
    error::ArrowError,
    json::{
        Encoder, EncoderFactory, EncoderOptions, WriterBuilder as JsonBuilder,
        writer::{LineDelimited, NullableEncoder},
    },
};

use super::{csv, json};
use crate::{
    error::{Error, ErrorKind, Result},
    options::Taker,
};

/// Text with a record to a row, each ended by a line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spelling {
    Json,
    Csv(CsvDialect),
}

/// What a CSV is written with. A quote is always doubled: every reader knows that, and no other escape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvDialect {
    delimiter: u8,
    quote: u8,
    /// The text that stands for NULL.
    null: String,
}

impl CsvDialect {
    /// Takes `delimiter`, `quote` and `null`.
    pub(super) fn take(options: &mut Taker) -> Result<CsvDialect> {
        let dialect = CsvDialect {
            delimiter: csv::byte(options, "delimiter")?.unwrap_or(b','),
            quote: csv::byte(options, "quote")?.unwrap_or(b'"'),
            null: options.text("null").unwrap_or_default(),
        };
        if dialect.delimiter == dialect.quote {
            return Err(Error::new(
                ErrorKind::InvalidParameterValue,
                "options \"delimiter\" and \"quote\" must differ",
            ));
        }
        Ok(dialect)
    }
}

impl Spelling {
    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Spelling::Json => "json",
            Spelling::Csv(_) => "csv",
        }
    }

    /// Whether these columns come back from it as they were.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        let can_hold = match self {
            Spelling::Json => json::can_hold,
            Spelling::Csv(_) => csv::can_hold,
        };
        match schema.fields().iter().find(|f| !can_hold(f.data_type())) {
            None => Ok(()),
            Some(f) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("format {} cannot hold column \"{}\" of type {}", self.name(), f.name(), f.data_type()),
            )
            .hint("Cast it to text in the SELECT.")),
        }
    }

    /// Writes rows behind what is there, and the names of the columns before them where `header` asks for it and there
    /// is a place for them.
    pub fn write(&self, rows: &RecordBatch, header: bool, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Spelling::Json => {
                let builder = JsonBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(AsPostgres));
                builder.build::<_, LineDelimited>(out).write(rows)?;
            }
            Spelling::Csv(dialect) => {
                // A line of white space is no record to a reader.
                let style = if rows.num_columns() == 1 { QuoteStyle::Always } else { QuoteStyle::Necessary };
                let builder = CsvBuilder::new().with_header(header).with_delimiter(dialect.delimiter);
                let builder = builder.with_quote(dialect.quote).with_quote_style(style).with_null(dialect.null.clone());
                builder.build(out).write(&with_hex(rows)?)?;
            }
        }
        Ok(())
    }
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Columns of bytes as text.
fn with_hex(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = rows.schema();
    if !schema.fields().iter().any(|f| is_binary(f.data_type())) {
        return Ok(rows.clone());
    }
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
        if !is_binary(field.data_type()) {
            return Ok((field.clone(), column.clone()));
        }
        let field: FieldRef = Arc::new(Field::new(field.name(), DataType::Utf8, true));
        Ok((field, Arc::new(hex(column)?) as ArrayRef))
    });
    let (fields, columns): (Vec<_>, Vec<_>) = columns.collect::<Result<Vec<_>, ArrowError>>()?.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Bytes as Postgres shows them: `\x6869`.
fn hex(bytes: &dyn Array) -> Result<StringArray, ArrowError> {
    let bytes = arrow::compute::cast(bytes, &DataType::LargeBinary)?;
    let mut texts = StringBuilder::new();
    for value in bytes.as_binary::<i64>() {
        match value {
            None => texts.append_null(),
            Some(value) => {
                let lead = texts.write_str("\\x");
                let digits = value.iter().try_for_each(|byte| write!(texts, "{byte:02x}"));
                lead.and(digits).map_err(|e| ArrowError::CastError(e.to_string()))?;
                texts.append_value("");
            }
        }
    }
    Ok(texts.finish())
}

/// Spells what Arrow's own JSON would lose: it has `null` for NaN, and bare digits for bytes.
#[derive(Debug)]
struct AsPostgres;

impl EncoderFactory for AsPostgres {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float32 => match infinite(array.as_primitive::<Float32Type>()) {
                Some(floats) => floats,
                None => return Ok(None),
            },
            DataType::Float64 => match infinite(array.as_primitive::<Float64Type>()) {
                Some(floats) => floats,
                None => return Ok(None),
            },
            t if is_binary(t) => Box::new(Hex(hex(array)?)),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// Numbers of which some are none to JSON.
struct Floats<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

/// Arrow spells finite numbers well and faster.
fn infinite<'a, T: ArrowPrimitiveType<Native: Into<f64>>>(
    array: &'a PrimitiveArray<T>,
) -> Option<Box<dyn Encoder + 'a>> {
    let all_finite = array.values().iter().all(|v| (*v).into().is_finite());
    (!all_finite).then(|| Box::new(Floats(array)) as Box<dyn Encoder + 'a>)
}

impl<T: ArrowPrimitiveType<Native: Into<f64>>> Encoder for Floats<'_, T> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.0.value(row);
        match value.into() {
            n if n.is_nan() => out.extend_from_slice(b"\"NaN\""),
            f64::INFINITY => out.extend_from_slice(b"\"Infinity\""),
            f64::NEG_INFINITY => out.extend_from_slice(b"\"-Infinity\""),
            // The shortest digits that read back as this number.
            _ => out.extend_from_slice(format!("{value:?}").as_bytes()),
        }
    }
}

struct Hex(StringArray);

impl Encoder for Hex {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"\\");
        out.extend_from_slice(self.0.value(row).as_bytes());
        out.push(b'"');
    }
}
