//! Text encodings of rows, by Arrow's writers, for both messages and files.

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

/// A text encoding with one record per row, each terminated by a line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spelling {
    Json,
    Csv(CsvDialect),
}

/// The dialect of written CSV. Quotes are escaped by doubling, which every reader supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvDialect {
    delimiter: u8,
    quote: u8,
    /// The text of NULL.
    null: String,
}

impl CsvDialect {
    /// Takes `delimiter`, `quote` and `null`.
    pub(super) fn from_options(options: &mut Taker) -> Result<CsvDialect> {
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
    /// The name of the encoding.
    pub fn name(&self) -> &'static str {
        match self {
            Spelling::Json => "json",
            Spelling::Csv(_) => "csv",
        }
    }

    /// Whether rows of these columns can be read back unchanged.
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

    /// Appends rows to `out`; with `header`, preceded by the column names if the encoding has a header.
    pub fn write(&self, rows: &RecordBatch, header: bool, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Spelling::Json => {
                let builder = JsonBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(AsPostgres));
                builder.build::<_, LineDelimited>(out).write(rows)?;
            }
            Spelling::Csv(dialect) => {
                // Readers skip a line of only white space.
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

/// The rows with bytea columns as text.
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

/// Bytes in Postgres' notation: `\x6869`.
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

/// Encodes what Arrow's JSON would lose: it writes NaN as `null`, and bytes as bare digits.
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

/// Floats, some of which are not JSON numbers.
struct Floats<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

/// `None` if all are finite: Arrow is faster at those.
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
            // The shortest decimal that parses to this number.
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
