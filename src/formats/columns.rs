//! The last step of every text format: casts decoded columns to the declared ones.

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, GenericListArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions,
        StringArray, StructArray, new_null_array,
    },
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Decimal128Type, Decimal256Type, Field, FieldRef, SchemaRef, TimeUnit},
    error::ArrowError,
    util::display::FormatOptions,
};

use super::{
    Request, decimals,
    timestamps::{TimestampFormat, parse_iso},
};
use crate::time::{out_of_range, rows_out_of_range};

/// How each output column is built from the decoded batch.
#[derive(Debug)]
pub(super) struct ColumnBuilders {
    schema: SchemaRef,
    /// The index of each output column in the decoded batch; `None` if the file lacks it: all NULL.
    sources: Vec<Option<usize>>,
    timestamps: Option<TimestampFormat>,
}

/// The type that a column is decoded as, before [`ColumnBuilders`] casts it: text, unless the decoder itself parses
/// exactly the declared type (`native`).
pub(super) fn raw_field(field: &Field, native: fn(&DataType) -> bool, format: Option<&TimestampFormat>) -> Field {
    Field::new(field.name(), raw_type(field.data_type(), native, format), true)
}

fn raw_type(data_type: &DataType, native: fn(&DataType) -> bool, format: Option<&TimestampFormat>) -> DataType {
    let inner =
        |f: &FieldRef| Arc::new(f.as_ref().clone().with_data_type(raw_type(f.data_type(), native, format))) as FieldRef;
    match data_type {
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Timestamp(..) if format.is_some() => DataType::Utf8,
        t if native(t) => t.clone(),
        _ => DataType::Utf8,
    }
}

impl ColumnBuilders {
    /// `sources`: the index of each output column in the decoded batch.
    pub fn new(request: &Request, sources: Vec<Option<usize>>, format: Option<&TimestampFormat>) -> ColumnBuilders {
        ColumnBuilders { schema: request.output(), sources, timestamps: format.cloned() }
    }

    /// The output batch; an error is about at least one row.
    pub fn finish(&self, decoded: &RecordBatch) -> Result<RecordBatch, String> {
        let rows = decoded.num_rows();
        let columns = self.schema.fields().iter().zip(&self.sources);
        let arrays = columns.map(|(field, source)| {
            let array = match source {
                None => new_null_array(field.data_type(), rows),
                Some(source) => self
                    .convert(decoded.column(*source), field.data_type())
                    .map_err(|(text, why)| conversion_error(&text, field.name(), &why))?,
            };
            not_null(field, array.null_count())?;
            match rows_out_of_range(&array).is_empty() {
                true => Ok(array),
                false => Err(conversion_error("", field.name(), out_of_range(field.data_type()).message())),
            }
        });
        let arrays = arrays.collect::<Result<Vec<_>, String>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(|e| reason(&e))
    }

    /// Casts an array to the declared type, down to list items; the error is the invalid text, if it is known, and the
    /// reason.
    fn convert(&self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef, (String, String)> {
        Ok(match (to, &self.timestamps) {
            _ if array.data_type() == to => array.clone(),
            (DataType::List(item), _) => Arc::new(self.list::<i32>(array, item)?),
            (DataType::LargeList(item), _) => Arc::new(self.list::<i64>(array, item)?),
            (DataType::Struct(fields), _) => {
                let parts = array.as_struct();
                let inner = fields.iter().zip(parts.columns()).map(|(f, part)| self.convert(part, f.data_type()));
                let inner = inner.collect::<Result<Vec<_>, _>>()?;
                let nulls = parts.nulls().cloned();
                Arc::new(StructArray::try_new_with_length(fields.clone(), inner, nulls, array.len()).map_err(unknown)?)
            }
            (DataType::Decimal128(precision, scale), _) => {
                Arc::new(decimals::parse_all::<Decimal128Type>(array.as_string(), *precision, *scale)?)
            }
            (DataType::Decimal256(precision, scale), _) => {
                Arc::new(decimals::parse_all::<Decimal256Type>(array.as_string(), *precision, *scale)?)
            }
            (DataType::Timestamp(unit, zone), Some(format)) => {
                let wrong = |text| (text, "is not a timestamp of the given format".to_string());
                let micros = format.parse_all(array.as_string()).map_err(wrong)?;
                match unit {
                    TimeUnit::Microsecond => Arc::new(micros.with_timezone_opt(zone.clone())),
                    _ => cast(&(Arc::new(micros) as ArrayRef), to).map_err(unknown)?,
                }
            }
            (DataType::Timestamp(TimeUnit::Microsecond, zone), None) => {
                let texts = array.as_string();
                let micros = parse_iso(texts, zone.as_deref()).map_err(|e| bare_number(texts, &e))?;
                Arc::new(micros.with_timezone_opt(zone.clone()))
            }
            (DataType::Time32(_) | DataType::Time64(_), _) => {
                // Arrow would interpret a bare number in units of the type.
                let number = array.as_string::<i32>().iter().flatten().find(|text| is_number(text));
                if let Some(text) = number {
                    return Err((text.to_string(), "is a number, and no time of day".to_string()));
                }
                cast(array, to).map_err(unknown)?
            }
            (DataType::Binary | DataType::LargeBinary | DataType::BinaryView, _) => {
                let bytes: BinaryArray = array.as_string::<i32>().iter().map(|text| text.map(bytea)).collect();
                cast(&(Arc::new(bytes) as ArrayRef), to).map_err(unknown)?
            }
            _ => cast(array, to).map_err(unknown)?,
        })
    }

    fn list<O: OffsetSizeTrait>(
        &self,
        array: &ArrayRef,
        item: &FieldRef,
    ) -> Result<GenericListArray<O>, (String, String)> {
        let list = array.as_list::<O>();
        let values = self.convert(list.values(), item.data_type())?;
        GenericListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned()).map_err(unknown)
    }
}

/// The error message for a value of a column.
fn conversion_error(text: &str, column: &str, why: &str) -> String {
    if text.is_empty() {
        format!("{why} in column \"{column}\"")
    } else {
        format!("'{text}' in column \"{column}\" {why}")
    }
}

/// An error without a text: Arrow's message contains it.
fn unknown(error: ArrowError) -> (String, String) {
    (String::new(), reason(&error))
}

/// The error of numbers in a timestamp column: their unit is unknown.
fn bare_number(texts: &StringArray, error: &ArrowError) -> (String, String) {
    match texts.iter().flatten().find(|text| is_number(text)) {
        Some(text) => (text.to_string(), "is a number, which needs timestamp_format = 'epoch' or the like".to_string()),
        None => (String::new(), reason(error)),
    }
}

/// The bytes of a text: `\x6869` is hexadecimal, as in Postgres; otherwise the text itself.
fn bytea(text: &str) -> Cow<'_, [u8]> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let byte = |pair: &[u8]| Some((digit(&pair[0])? * 16 + digit(pair.get(1)?)?) as u8);
    let digits = text.strip_prefix("\\x").map(str::as_bytes);
    match digits.and_then(|digits| digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>()) {
        Some(bytes) => Cow::Owned(bytes),
        None => Cow::Borrowed(text.as_bytes()),
    }
}

fn is_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

fn not_null(field: &Field, nulls: usize) -> Result<(), String> {
    if nulls > 0 && !field.is_nullable() {
        return Err(format!("column \"{}\" is NULL, and may not be", field.name()));
    }
    Ok(())
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(array, to, &CastOptions { safe: false, format_options: FormatOptions::default() })
}

/// Arrow's message without its prefix, and without line numbers, which are relative to a block.
pub(super) fn reason(error: &ArrowError) -> String {
    let text = match error {
        ArrowError::CsvError(m)
        | ArrowError::JsonError(m)
        | ArrowError::ParseError(m)
        | ArrowError::CastError(m)
        | ArrowError::InvalidArgumentError(m) => m.clone(),
        other => other.to_string(),
    };
    let text = text.split(". Row data: ").next().unwrap_or_default();
    let mut words: Vec<&str> = text.split(' ').collect();
    for lead in [["at", "line"], ["for", "line"]] {
        if let Some(i) = words.windows(2).position(|w| w == lead) {
            let colon = words.get(i + 2).is_some_and(|w| w.ends_with(':'));
            words.drain(i..(i + 3).min(words.len()));
            if colon {
                words.insert(i, "-");
            }
        }
    }
    let text = words.join(" ");
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => text,
    }
}
