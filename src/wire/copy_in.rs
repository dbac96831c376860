//! `COPY … FROM STDIN`: decodes chunks of any size into rows of the table's columns.

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, StringBuilder},
    datatypes::SchemaRef,
};
use bytes::{Buf, Bytes, BytesMut};
use datafusion::common::ScalarValue;

use super::{door::Intake, values};
use crate::{
    error::{Error, ErrorKind, Result},
    pg_catalog::types,
    sql::statement::{CopyFormat, CopyKind},
};

/// Rows are passed on in batches of this many, or of about this many bytes.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 4 << 20;
/// Maximum length of a line or a binary row: a longer one is an error.
const ROW_BYTES_MAX: usize = 64 << 20;

/// A running COPY: bytes of an incomplete row, and the target of rows. Dropping it aborts the copy.
pub(super) struct CopyReader {
    intake: Box<dyn Intake>,
    format: CopyFormat,
    schema: SchemaRef,
    input: BytesMut,
    /// Position up to which `input` has no row end, and whether it is within quotes.
    scanned: usize,
    in_quotes: bool,
    line: u64,
    header_due: bool,
    ended: bool,
    rows: CopyDecoder,
}

/// Decoded rows not yet enough for a batch.
enum CopyDecoder {
    Text { columns: Vec<StringBuilder>, count: usize, bytes: usize },
    Binary { columns: Vec<Vec<ScalarValue>>, count: usize, bytes: usize },
}

impl CopyReader {
    pub fn new(intake: Box<dyn Intake>) -> CopyReader {
        let (format, schema) = (intake.format().clone(), intake.columns());
        let width = schema.fields().len();
        let rows = match format.kind {
            CopyKind::Binary => CopyDecoder::Binary { columns: vec![Vec::new(); width], count: 0, bytes: 0 },
            _ => CopyDecoder::Text { columns: (0..width).map(|_| StringBuilder::new()).collect(), count: 0, bytes: 0 },
        };
        let header_due = format.header || format.kind == CopyKind::Binary;
        let input = BytesMut::new();
        CopyReader {
            intake,
            format,
            schema,
            input,
            scanned: 0,
            in_quotes: false,
            line: 0,
            header_due,
            ended: false,
            rows,
        }
    }

    pub fn is_binary(&self) -> bool {
        self.format.kind == CopyKind::Binary
    }

    pub fn width(&self) -> usize {
        self.schema.fields().len()
    }

    /// Bytes it holds: incomplete row, and rows not passed on.
    pub fn bytes(&self) -> usize {
        let rows = match &self.rows {
            CopyDecoder::Text { bytes, .. } => 2 * bytes,
            CopyDecoder::Binary { count, bytes, .. } => bytes + count * self.width() * size_of::<ScalarValue>(),
        };
        self.input.capacity() + rows
    }

    pub async fn push(&mut self, data: &[u8]) -> Result<()> {
        self.input.extend_from_slice(data);
        while !self.ended && self.row(false)? {
            if self.is_enough() {
                self.hand_on().await?;
            }
        }
        if self.ended {
            self.input.clear();
        }
        if self.input.len() > ROW_BYTES_MAX {
            return Err(self.bad(format!("a row is longer than {ROW_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    /// Ends the copy: inserts all rows; returns their number.
    pub async fn finish(mut self) -> Result<u64> {
        while !self.ended && self.row(true)? {
            if self.is_enough() {
                self.hand_on().await?;
            }
        }
        if self.is_binary() && !self.ended {
            return Err(self.bad("unexpected EOF in COPY data"));
        }
        self.hand_on().await?;
        self.intake.finish().await
    }

    fn is_enough(&self) -> bool {
        let (CopyDecoder::Text { count, bytes, .. } | CopyDecoder::Binary { count, bytes, .. }) = &self.rows;
        *count >= BATCH_ROWS || *bytes >= BATCH_BYTES
    }

    /// Decodes one row; false if none is complete. If `last`, the rest is a row.
    fn row(&mut self, last: bool) -> Result<bool> {
        if self.is_binary() { self.binary_row() } else { self.text_row(last) }
    }

    fn text_row(&mut self, last: bool) -> Result<bool> {
        let Some(end) = self.line_end() else {
            if !last || self.input.is_empty() {
                return Ok(false);
            }
            if self.in_quotes {
                return Err(self.bad("unterminated CSV quoted field"));
            }
            let line = self.input.split().freeze();
            self.scanned = 0;
            return self.text_line(line).map(|()| true);
        };
        let line = self.input.split_to(end).freeze();
        self.input.advance(1);
        (self.scanned, self.in_quotes) = (0, false);
        self.text_line(line)?;
        Ok(true)
    }

    /// The end of the next line. In CSV, a line continues within quotes; in text, after a backslash.
    fn line_end(&mut self) -> Option<usize> {
        let csv = self.format.kind == CopyKind::Csv;
        let (quote, escape) = (self.format.quote, self.format.escape);
        let mut at = self.scanned;
        while at < self.input.len() {
            match self.input[at] {
                b'\n' if !self.in_quotes => {
                    self.scanned = at;
                    return Some(at);
                }
                b'\\' if !csv => at += 1,
                byte if csv && self.in_quotes && byte == escape && escape != quote => at += 1,
                byte if csv && byte == quote => self.in_quotes = !self.in_quotes,
                _ => {}
            }
            at += 1;
        }
        // A backslash at the end: the character that it escapes is in the next chunk.
        self.scanned = at;
        None
    }

    fn text_line(&mut self, line: Bytes) -> Result<()> {
        self.line += 1;
        let line = std::str::from_utf8(&line).map_err(|_| self.bad("invalid byte sequence for encoding \"UTF8\""))?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if std::mem::take(&mut self.header_due) {
            return Ok(());
        }
        if line == "\\." {
            self.ended = true;
            return Ok(());
        }
        let fields = match self.format.kind {
            CopyKind::Csv => csv_fields(line, &self.format),
            _ => text_fields(line, &self.format),
        };
        let width = self.schema.fields().len();
        // For a table of one column an empty line is an empty value; for a table without columns it is a row.
        if fields.len() < width {
            let missing = self.schema.field(fields.len()).name();
            return Err(self.bad(format!("missing data for column \"{missing}\"")));
        }
        if fields.len() > width && !(width == 0 && line.is_empty()) {
            return Err(self.bad("extra data after last expected column"));
        }
        let CopyDecoder::Text { columns, count, bytes } = &mut self.rows else { return Ok(()) };
        for (builder, field) in columns.iter_mut().zip(fields) {
            builder.append_option(field);
        }
        *count += 1;
        *bytes += line.len();
        Ok(())
    }

    fn binary_row(&mut self) -> Result<bool> {
        if self.header_due {
            if self.input.len() < 19 {
                return Ok(false);
            }
            if !self.input.starts_with(b"PGCOPY\n\xff\r\n\0") {
                return Err(self.bad("COPY file signature not recognized"));
            }
            let extension =
                u32::from_be_bytes([self.input[15], self.input[16], self.input[17], self.input[18]]) as usize;
            if extension > ROW_BYTES_MAX {
                return Err(self.bad("invalid COPY file header"));
            }
            if self.input.len() < 19 + extension {
                return Ok(false);
            }
            self.input.advance(19 + extension);
            self.header_due = false;
        }
        let Some(fields) = self.binary_fields()? else { return Ok(false) };
        let mut row = Vec::with_capacity(fields.len());
        for (field, bytes) in self.schema.fields().iter().zip(fields) {
            let target = field.data_type();
            row.push(match bytes {
                None => ScalarValue::try_from(target)?,
                Some(bytes) => values::from_binary(bytes, &types::of_field(field), target)
                    .map_err(|e| locate(e, self.line, Some(field.name())))?,
            });
        }
        let CopyDecoder::Binary { columns, count, .. } = &mut self.rows else { return Ok(false) };
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
        *count += 1;
        Ok(true)
    }

    /// The fields of the next binary row, if it is complete; the trailer ends the copy.
    fn binary_fields(&mut self) -> Result<Option<Vec<Option<Bytes>>>> {
        let mut at = &self.input[..];
        let Ok(count) = at.try_get_i16() else { return Ok(None) };
        if count == -1 {
            self.ended = true;
            return Ok(None);
        }
        self.line += 1;
        if usize::try_from(count) != Ok(self.width()) {
            return Err(self.bad(format!("row field count is {count}, expected {}", self.width())));
        }
        let mut sizes = Vec::with_capacity(self.width());
        for _ in 0..count {
            let Ok(length) = at.try_get_i32() else { break };
            let size = usize::try_from(length).ok();
            if length < -1 || size.is_some_and(|s| s > ROW_BYTES_MAX) {
                return Err(self.bad("invalid field size"));
            }
            if at.len() < size.unwrap_or(0) {
                break;
            }
            at.advance(size.unwrap_or(0));
            sizes.push(size);
        }
        if sizes.len() < self.width() {
            self.line -= 1;
            return Ok(None);
        }
        self.input.advance(2);
        let mut fields = Vec::with_capacity(sizes.len());
        for size in sizes {
            self.input.advance(4);
            fields.push(size.map(|size| self.input.split_to(size).freeze()));
        }
        if let CopyDecoder::Binary { bytes, .. } = &mut self.rows {
            *bytes += fields.iter().flatten().map(Bytes::len).sum::<usize>();
        }
        Ok(Some(fields))
    }

    async fn hand_on(&mut self) -> Result<()> {
        let Some(batch) = self.take_batch()? else { return Ok(()) };
        self.intake.push(batch).await
    }

    fn take_batch(&mut self) -> Result<Option<RecordBatch>> {
        let schema = self.schema.clone();
        let (columns, count): (Vec<ArrayRef>, usize) = match &mut self.rows {
            CopyDecoder::Text { columns, count, bytes } => {
                let taken = std::mem::take(count);
                *bytes = 0;
                let first = self.line - (taken as u64).min(self.line);
                let texts: Vec<StringArray> = columns.iter_mut().map(StringBuilder::finish).collect();
                let columns = texts.iter().zip(schema.fields()).map(|(texts, field)| {
                    values::text_column(texts, field.data_type())
                        .map_err(|(row, e)| locate(e, first + row as u64 + 1, Some(field.name())))
                });
                (columns.collect::<Result<_>>()?, taken)
            }
            CopyDecoder::Binary { columns, count, bytes } => {
                let taken = std::mem::take(count);
                *bytes = 0;
                if taken == 0 {
                    return Ok(None);
                }
                let arrays = columns.iter_mut().map(|c| ScalarValue::iter_to_array(std::mem::take(c)));
                (arrays.collect::<datafusion::error::Result<_>>()?, taken)
            }
        };
        if count == 0 {
            return Ok(None);
        }
        for (column, field) in columns.iter().zip(schema.fields()) {
            if !field.is_nullable() && column.null_count() > 0 {
                let message = format!("null value in column \"{}\" violates not-null constraint", field.name());
                return Err(Error::new(ErrorKind::NotNullViolation, message));
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(Some(RecordBatch::try_new_with_options(schema, columns, &options)?))
    }

    fn bad(&self, message: impl Into<String>) -> Error {
        locate(Error::new(ErrorKind::BadCopyFormat, message), self.line.max(1), None)
    }
}

/// Adds line and column to the error.
fn locate(error: Error, line: u64, column: Option<&str>) -> Error {
    match column {
        Some(column) => error.detail(format!("COPY, line {line}, column {column}")),
        None => error.detail(format!("COPY, line {line}")),
    }
}

/// The fields of one line; `None` is null.
fn text_fields(line: &str, format: &CopyFormat) -> Vec<Option<String>> {
    let delimiter = char::from(format.delimiter);
    let (mut fields, mut field, mut start) = (Vec::new(), String::new(), 0);
    let mut end_field = |raw: &str, field: &mut String| {
        let text = std::mem::take(field);
        fields.push((raw != format.null).then_some(text));
    };
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == delimiter {
            end_field(&line[start..at], &mut field);
            start = at + c.len_utf8();
        } else if c == '\\' {
            match chars.next() {
                Some((_, 'b')) => field.push('\u{8}'),
                Some((_, 'f')) => field.push('\u{c}'),
                Some((_, 'n')) => field.push('\n'),
                Some((_, 'r')) => field.push('\r'),
                Some((_, 't')) => field.push('\t'),
                Some((_, 'v')) => field.push('\u{b}'),
                Some((_, c)) => field.push(c),
                None => field.push('\\'),
            }
        } else {
            field.push(c);
        }
    }
    end_field(&line[start..], &mut field);
    fields
}

/// The same for CSV: an unquoted field that is the null string is null, a quoted one never is.
fn csv_fields(line: &str, format: &CopyFormat) -> Vec<Option<String>> {
    let (delimiter, quote, escape) =
        (char::from(format.delimiter), char::from(format.quote), char::from(format.escape));
    let (mut fields, mut field) = (Vec::new(), String::new());
    let (mut quoted, mut in_quotes) = (false, false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if in_quotes {
            let escaped = c == escape && chars.peek().is_some_and(|next| *next == quote || *next == escape);
            if escaped {
                field.extend(chars.next());
            } else if c == quote {
                in_quotes = false;
            } else {
                field.push(c);
            }
        } else if c == quote {
            (quoted, in_quotes) = (true, true);
        } else if c == delimiter {
            let text = std::mem::take(&mut field);
            fields.push((std::mem::take(&mut quoted) || text != format.null).then_some(text));
        } else {
            field.push(c);
        }
    }
    fields.push((quoted || field != format.null).then_some(field));
    fields
}
