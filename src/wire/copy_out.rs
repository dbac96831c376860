//! `COPY … TO STDOUT`: rows as text, CSV or binary, one CopyData message each.

use arrow::{
    array::{RecordBatch, timezone::Tz},
    datatypes::Schema,
};
use bytes::{BufMut, BytesMut};

use super::{backend, encode::RowFormat, text};
use crate::{
    error::Result,
    sql::statement::{CopyFormat, CopyKind},
};

/// The header of a binary copy: signature, flags, length of the extension.
pub(super) const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The trailer of a binary copy: a tuple of -1 fields.
pub(super) const BINARY_TRAILER: &[u8] = b"\xff\xff";

#[derive(Clone)]
pub(super) struct CopyWriter {
    format: CopyFormat,
    binary: Option<RowFormat>,
    zone: Tz,
}

impl CopyWriter {
    pub fn new(schema: &Schema, format: CopyFormat, zone: Tz) -> Result<CopyWriter> {
        let binary = match format.kind {
            CopyKind::Binary => Some(RowFormat::new(schema, &[1], zone)?),
            CopyKind::Text | CopyKind::Csv => None,
        };
        Ok(CopyWriter { format, binary, zone })
    }

    pub fn is_binary(&self) -> bool {
        self.binary.is_some()
    }

    /// The header line with the column names, in a message of its own.
    pub fn header(&self, schema: &Schema, out: &mut BytesMut) {
        if self.format.header && !self.is_binary() {
            let mut line = String::new();
            for (i, field) in schema.fields().iter().enumerate() {
                self.separate(i, &mut line);
                self.field(field.name(), &mut line);
            }
            line.push('\n');
            backend::framed(out, b'd', |out| out.put_slice(line.as_bytes()));
        }
    }

    /// The prefix of the first message: drivers treat each message as a row, and Postgres sends its binary header with
    /// the first row.
    pub fn head(&self) -> &'static [u8] {
        if self.is_binary() { BINARY_HEADER } else { b"" }
    }

    pub fn rows(&self, batch: &RecordBatch, head: &'static [u8]) -> Result<BytesMut> {
        if let Some(binary) = &self.binary {
            return binary.copy_rows(batch, head);
        }
        let mut out = BytesMut::new();
        let (mut line, mut value) = (String::new(), String::new());
        for row in 0..batch.num_rows() {
            line.clear();
            for (i, column) in batch.columns().iter().enumerate() {
                self.separate(i, &mut line);
                let logical = column.logical_nulls();
                if logical.is_some_and(|nulls| nulls.is_null(row)) {
                    line.push_str(&self.format.null);
                    continue;
                }
                value.clear();
                text::write(column, row, self.zone, &mut value)?;
                self.field(&value, &mut line);
            }
            line.push('\n');
            backend::framed(&mut out, b'd', |out| out.put_slice(line.as_bytes()));
        }
        Ok(out)
    }

    /// The end of the copy; with `head` if there were no rows.
    pub fn trailer(&self, head: &'static [u8], out: &mut BytesMut) {
        if self.is_binary() {
            backend::framed(out, b'd', |out| {
                out.put_slice(head);
                out.put_slice(BINARY_TRAILER);
            });
        }
    }

    fn separate(&self, index: usize, line: &mut String) {
        if index > 0 {
            line.push(char::from(self.format.delimiter));
        }
    }

    fn field(&self, value: &str, line: &mut String) {
        match self.format.kind {
            CopyKind::Csv => self.csv(value, line),
            CopyKind::Text | CopyKind::Binary => self.text(value, line),
        }
    }

    fn text(&self, value: &str, line: &mut String) {
        for c in value.chars() {
            match c {
                '\\' => line.push_str("\\\\"),
                '\n' => line.push_str("\\n"),
                '\r' => line.push_str("\\r"),
                '\t' if self.format.delimiter == b'\t' => line.push_str("\\t"),
                c if c == char::from(self.format.delimiter) => {
                    line.push('\\');
                    line.push(c);
                }
                c => line.push(c),
            }
        }
    }

    fn csv(&self, value: &str, line: &mut String) {
        let (quote, escape) = (char::from(self.format.quote), char::from(self.format.escape));
        let special = |c: char| c == quote || c == char::from(self.format.delimiter) || matches!(c, '\n' | '\r');
        if value != self.format.null && value != "\\." && !value.contains(special) {
            line.push_str(value);
            return;
        }
        line.push(quote);
        for c in value.chars() {
            if c == quote || c == escape {
                line.push(escape);
            }
            line.push(c);
        }
        line.push(quote);
    }
}
