//! Text: a row a line, in one column, without its line break. A blank line is a row too.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, LargeStringArray, RecordBatch, RecordBatchOptions, StringArray, StringViewArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use super::{
    BadSink, Batches, Damage, File, Request,
    records::{Framing, line},
    rescue::{Decode, TextBatches},
};
use crate::error::{Error, Kind, Result};

/// What a text file holds.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]))
}

/// One column, of text.
pub(super) fn check(schema: &Schema) -> Result<()> {
    match schema.fields().as_ref() {
        [f] if matches!(f.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => Ok(()),
        _ => Err(Error::new(Kind::InvalidTableDefinition, "format text has exactly one column, of type text")
            .hint("Leave the columns out to get one that is called value.")),
    }
}

/// The rows of a part.
pub(super) fn read(file: File, request: &Request, bad: BadSink) -> Result<Batches, Damage> {
    let decode = Box::new(TextDecode { output: request.output() });
    Ok(Box::new(TextBatches::open(&file, Framing::AllLines, false, decode, request.batch_rows, bad)?))
}

struct TextDecode {
    output: SchemaRef,
}

impl Decode for TextDecode {
    fn decode(&mut self, bytes: &[u8], records: usize) -> Result<RecordBatch, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "invalid UTF-8")?;
        let mut rest = text;
        let lines = (0..records).map(|_| {
            let (one, others) = rest.split_at(line(rest.as_bytes()).unwrap_or(rest.len()));
            rest = others;
            let one = one.strip_suffix('\n').unwrap_or(one);
            Some(one.strip_suffix('\r').unwrap_or(one))
        });
        let array = self.output.fields().first().map(|f| -> ArrayRef {
            match f.data_type() {
                DataType::LargeUtf8 => Arc::new(lines.collect::<LargeStringArray>()),
                DataType::Utf8View => Arc::new(lines.collect::<StringViewArray>()),
                _ => Arc::new(lines.collect::<StringArray>()),
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(records));
        RecordBatch::try_new_with_options(self.output.clone(), array.into_iter().collect(), &options)
            .map_err(|e| e.to_string())
    }
}
