//! The last step of every text format: from what the decoder gave to the declared columns.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, SchemaRef, TimeUnit},
    error::ArrowError,
    util::display::FormatOptions,
};

use super::{Request, timestamps::TimestampFormat};

/// How each column of the output is made of the decoded batch.
#[derive(Debug)]
pub(super) struct Columns {
    schema: SchemaRef,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    field: FieldRef,
    /// Which column of the decoded batch; `None` where the file has none: all NULL.
    source: Option<usize>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Keep,
    /// From text, by Arrow's own rules.
    Cast,
    /// From text, by a format that was asked for.
    Timestamp(TimestampFormat),
}

/// What the decoder is to make of a column, so that [`Columns`] can finish it.
pub(super) fn raw_field(field: &Field, native: fn(&DataType) -> bool, format: Option<&TimestampFormat>) -> Field {
    let data_type = match field.data_type() {
        DataType::Timestamp(..) if format.is_some() => DataType::Utf8,
        t if native(t) => t.clone(),
        _ => DataType::Utf8,
    };
    Field::new(field.name(), data_type, true)
}

impl Columns {
    /// `sources` tells for each column of the output which decoded one it is made of.
    pub fn new(
        request: &Request,
        sources: &[Option<usize>],
        native: fn(&DataType) -> bool,
        format: Option<&TimestampFormat>,
    ) -> Columns {
        let schema = request.output();
        let columns = schema.fields().iter().zip(sources).map(|(field, source)| {
            let step = match (field.data_type(), format) {
                (DataType::Timestamp(..), Some(format)) => Step::Timestamp(format.clone()),
                (t, _) if native(t) => Step::Keep,
                _ => Step::Cast,
            };
            Column { field: field.clone(), source: *source, step }
        });
        let columns = columns.collect();
        Columns { schema, columns }
    }

    /// The output; an error tells what is wrong with at least one row.
    pub fn finish(&self, decoded: &RecordBatch) -> Result<RecordBatch, String> {
        let rows = decoded.num_rows();
        let arrays = self.columns.iter().map(|c| c.finish(decoded, rows)).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(|e| reason(&e))
    }
}

impl Column {
    fn finish(&self, decoded: &RecordBatch, rows: usize) -> Result<ArrayRef, String> {
        let Some(source) = self.source else {
            not_null(&self.field, rows)?;
            return Ok(new_null_array(self.field.data_type(), rows));
        };
        let array = decoded.column(source);
        let array = match &self.step {
            Step::Keep => array.clone(),
            Step::Cast => cast(array, self.field.data_type())
                .map_err(|e| format!("{} in column \"{}\"", reason(&e), self.field.name()))?,
            Step::Timestamp(format) => {
                let micros = format.parse_all(array.as_string::<i32>()).map_err(|text| {
                    format!("'{text}' in column \"{}\" is not a timestamp of the given format", self.field.name())
                })?;
                let DataType::Timestamp(TimeUnit::Microsecond, zone) = self.field.data_type() else {
                    return cast(&(Arc::new(micros) as ArrayRef), self.field.data_type()).map_err(|e| reason(&e));
                };
                Arc::new(micros.with_timezone_opt(zone.clone()))
            }
        };
        not_null(&self.field, array.null_count())?;
        Ok(array)
    }
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

/// Arrow's message without its prefix, and without line numbers, which count from where a block began.
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
