//! Text: one row per line, in one column, without its line break. A blank line is a row too.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, LargeStringArray, RecordBatch, RecordBatchOptions, StringArray, StringViewArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use super::{
    BadSink, BatchIterator, Damage, Request,
    part::File,
    records::Framing,
    rescue::{Decode, Layout, TextBatches},
};
use crate::error::{Error, ErrorKind, Result};

/// The only column, by default.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]))
}

/// Accepts only one column, of type text.
pub(super) fn check(schema: &Schema) -> Result<()> {
    match schema.fields().as_ref() {
        [f] if matches!(f.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => Ok(()),
        _ => Err(Error::new(ErrorKind::InvalidTableDefinition, "format text has exactly one column, of type text")
            .hint("Leave the columns out to get one that is called value.")),
    }
}

/// The rows of a part.
pub(super) fn read(file: File, request: &Request, bad: BadSink) -> Result<BatchIterator, Damage> {
    let decode = Box::new(TextDecode::new(request));
    Ok(Box::new(TextBatches::open(&file, Layout::of(&file, Framing::AllLines)?, decode, request, bad)?))
}

/// Returns lines unchanged.
pub(super) struct TextDecode {
    output: SchemaRef,
}

impl TextDecode {
    pub fn new(request: &Request) -> Self {
        TextDecode { output: request.output() }
    }
}

impl Decode for TextDecode {
    fn decode(&mut self, bytes: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String> {
        let lines = records.iter().map(|record| {
            let line = &bytes[record.clone()];
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line))
        });
        let lines = lines.collect::<Result<Vec<_>, _>>().map_err(|_| "invalid UTF-8")?;
        let lines = lines.into_iter().map(Some);
        let array = self.output.fields().first().map(|f| -> ArrayRef {
            match f.data_type() {
                DataType::LargeUtf8 => Arc::new(lines.collect::<LargeStringArray>()),
                DataType::Utf8View => Arc::new(lines.collect::<StringViewArray>()),
                _ => Arc::new(lines.collect::<StringArray>()),
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
        RecordBatch::try_new_with_options(self.output.clone(), array.into_iter().collect(), &options)
            .map_err(|e| e.to_string())
    }
}
