//! CSV. Fields become columns by the header's names, or by position without a header.
//!
//! A record is a line, so that a file can be read in parts; with `multiline = true` quoted fields may contain line
//! breaks, and a file is read in one part. An empty field is NULL (or the text of option `null`), quoted or not. A
//! column that is not in the header is NULL; a header without any of the columns indicates another dialect, and the
//! file is refused.

use std::{cmp::Ordering, ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    csv::{ReaderBuilder, reader::Decoder, reader::Format as ArrowFormat},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};

use super::{
    BadSink, BatchIterator, Damage, Request,
    columns::{ColumnBuilders, raw_field, reason},
    part::File,
    records::{Framing, LINE_FEED, Records, ScanStep, line_end},
    rescue::{BYTE_ORDER_MARK, Decode, HEAD_BYTES, Layout, TextBatches, open_text},
    timestamps::TimestampFormat,
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::Taker,
};

/// The dialect.
#[derive(Debug, Clone)]
pub(super) struct CsvOptions {
    /// The first record of each file is a header.
    pub header: bool,
    pub delimiter: u8,
    pub quote: u8,
    /// The escape character of quotes; doubling always works.
    pub escape: Option<u8>,
    /// The text of NULL, besides the empty field if it is empty.
    pub null: String,
    pub timestamp_format: Option<TimestampFormat>,
    /// Quoted fields may contain line breaks.
    pub multiline: bool,
}

/// The header record of a file.
struct HeaderLine {
    names: Vec<String>,
    /// Its end, as a byte offset in the uncompressed file.
    end: u64,
}

/// The result of a search for bytes outside quotes.
enum CsvScan {
    Found,
    /// Not found, and each quote is closed.
    Closed,
    Open,
}

impl CsvOptions {
    pub fn from_options(options: &mut Taker) -> Result<Self> {
        let csv = CsvOptions {
            header: options.boolean("header", false)?,
            delimiter: byte(options, "delimiter")?.unwrap_or(b','),
            quote: byte(options, "quote")?.unwrap_or(b'"'),
            escape: byte(options, "escape")?,
            null: options.text("null").unwrap_or_default(),
            timestamp_format: TimestampFormat::from_options(options)?,
            multiline: options.boolean("multiline", false)?,
        };
        // An escape that equals the quote means doubling, as in Postgres.
        let escape = csv.escape.filter(|e| *e != csv.quote);
        if csv.delimiter == csv.quote || escape == Some(csv.delimiter) {
            return Err(Error::new(
                ErrorKind::InvalidParameterValue,
                "options \"delimiter\", \"quote\" and \"escape\" must differ",
            ));
        }
        Ok(CsvOptions { escape, ..csv })
    }

    pub fn arrow(&self) -> ArrowFormat {
        let mut format = ArrowFormat::default().with_delimiter(self.delimiter).with_quote(self.quote);
        if let Some(escape) = self.escape {
            format = format.with_escape(escape);
        }
        if !self.null.is_empty() {
            let pattern = format!("^{}$", escaped(&self.null));
            // The type of the pattern is the regex crate's, which is only reachable through Arrow.
            if let Ok(pattern) = pattern.parse() {
                format = format.with_null_regex(pattern);
            }
        }
        format
    }

    fn framing(&self) -> Framing {
        match self.multiline {
            true => Framing::Quoted { delimiter: self.delimiter, quote: self.quote, escape: self.escape },
            false => Framing::Lines { delimiter: Some(self.delimiter) },
        }
    }

    /// The line terminator of a file. Line breaks in quotes do not count, except a line feed if quoted fields may not
    /// contain one.
    pub fn line_end(&self, file: &File) -> Result<u8, Damage> {
        let (head, whole) = file.head(HEAD_BYTES)?;
        let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&head);
        Ok(line_end(head, whole, |bytes, byte| match byte {
            LINE_FEED if !self.multiline => bytes.contains(&byte),
            _ => matches!(self.scan(bytes, |b| b == byte), CsvScan::Found),
        }))
    }

    /// The header of a file; `None` if the file is empty.
    fn header(&self, file: &File, line_end: u8) -> Result<Option<HeaderLine>, Damage> {
        let (source, begin) = open_text(file)?;
        let mut records = Records::new(source, self.framing()).ended_by(line_end).until(begin, u64::MAX);
        match records.first()? {
            ScanStep::End => Ok(None),
            ScanStep::Broken(reason) => Err(Damage(format!("its header cannot be read: {reason}"))),
            ScanStep::Unit => {
                let (bytes, ranges) = records.unit();
                let record = ranges.first().map_or(bytes, |record| &bytes[record.clone()]);
                if !self.is_one(record) {
                    return Err(Damage(format!("its header cannot be read: {SEVERAL}")));
                }
                Ok(Some(HeaderLine { names: self.fields(record), end: records.unit_end() }))
            }
        }
    }

    /// Whether a record contains no line terminator outside quotes before its end. Arrow's decoder would take the bytes
    /// after it for the next record.
    fn is_one(&self, record: &[u8]) -> bool {
        let line = record.strip_suffix(b"\n").unwrap_or(record);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.contains(&b'\n') && !line.contains(&b'\r') {
            return true;
        }
        matches!(self.scan(line, |b| matches!(b, b'\n' | b'\r')), CsvScan::Closed)
    }

    /// Searches for a byte outside quotes.
    fn scan(&self, bytes: &[u8], wanted: impl Fn(u8) -> bool) -> CsvScan {
        let (mut inside, mut start, mut at) = (false, true, 0);
        while let Some(byte) = bytes.get(at) {
            at += 1;
            if inside && Some(*byte) == self.escape {
                at += 1;
            } else if *byte == self.quote && (inside || start) {
                // A doubled quote closes and opens again.
                start = inside;
                inside = !inside;
            } else if !inside && wanted(*byte) {
                return CsvScan::Found;
            } else {
                start = !inside && (*byte == self.delimiter || matches!(byte, b'\n' | b'\r'));
            }
        }
        if inside { CsvScan::Open } else { CsvScan::Closed }
    }

    /// Splits one record into fields.
    fn fields(&self, record: &[u8]) -> Vec<String> {
        // The last field may be empty, and the delimiter white space: only the line break is cut.
        let line = record.strip_suffix(b"\n").unwrap_or(record);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut fields = Vec::new();
        let (mut field, mut inside, mut start, mut at) = (Vec::new(), false, true, 0);
        while let Some(byte) = line.get(at) {
            at += 1;
            let next = line.get(at);
            if inside && Some(*byte) == self.escape && next.is_some() {
                field.extend(next);
                at += 1;
            } else if inside && *byte == self.quote && next == Some(&self.quote) {
                field.push(*byte);
                at += 1;
            } else if *byte == self.quote && (inside || start) {
                inside = !inside;
                start = false;
            } else if *byte == self.delimiter && !inside {
                fields.push(String::from_utf8_lossy(&std::mem::take(&mut field)).into_owned());
                start = true;
            } else {
                field.push(*byte);
                start = false;
            }
        }
        fields.push(String::from_utf8_lossy(&field).into_owned());
        fields
    }
}

/// An option that is one byte.
pub(super) fn byte(options: &mut Taker, key: &str) -> Result<Option<u8>> {
    let Some(text) = options.text(key) else { return Ok(None) };
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(Some(*byte)),
        b"\\t" | b"tab" => Ok(Some(b'\t')),
        _ => Err(Error::new(
            ErrorKind::InvalidParameterValue,
            format!("option \"{key}\" takes one ASCII character, not '{text}'"),
        )),
    }
}

/// A regular expression that matches exactly this text.
fn escaped(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The types that Arrow's decoder parses itself; the others are decoded as text and cast.
fn native(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(
        data_type,
        Int8 | Int16
            | Int32
            | Int64
            | UInt8
            | UInt16
            | UInt32
            | UInt64
            | Float32
            | Float64
            | Date32
            | Date64
            | Timestamp(TimeUnit::Microsecond | TimeUnit::Millisecond | TimeUnit::Second, _)
            | Utf8
            | Utf8View
    )
}

/// Whether a field can be cast to a column type.
pub(super) fn can_hold(data_type: &DataType) -> bool {
    native(data_type) || (!data_type.is_nested() && arrow::compute::can_cast_types(&DataType::Utf8, data_type))
}

/// The rows of a part.
pub(super) fn read(options: &CsvOptions, file: File, request: &Request, bad: BadSink) -> Result<BatchIterator, Damage> {
    let line_end = options.line_end(&file)?;
    let header = if options.header { options.header(&file, line_end)? } else { None };
    if options.header && header.is_none() {
        return Ok(Box::new(std::iter::empty()));
    }
    let names = header.as_ref().map(|header| &header.names);
    let declared = request.schema.fields();
    if let Some(names) = names
        && !declared.is_empty()
        && declared.iter().all(|f| find(names, f.name()).is_none())
    {
        // Rows of NULLs only would hide the mistake.
        let missing: Vec<_> = declared.iter().map(|f| format!("\"{}\"", f.name())).collect();
        let missing = missing.join(", ");
        return Err(Damage(format!("its header names none of the columns {missing}; is option delimiter right?")));
    }
    let decode = Box::new(CsvDecode::new(options, names.map(Vec::as_slice), request));
    let layout = Layout { framing: options.framing(), line_end, header_end: header.map(|header| header.end) };
    Ok(Box::new(TextBatches::open(&file, layout, decode, request, bad)?))
}

/// Decodes records of one dialect.
#[derive(Debug)]
pub(super) struct CsvDecode {
    dialect: CsvOptions,
    format: ArrowFormat,
    /// The fields of the file; those that are not requested are text and not decoded.
    fields: SchemaRef,
    /// The indexes of the decoded fields.
    projection: Vec<usize>,
    columns: ColumnBuilders,
    batch_rows: usize,
    /// For full units; a smaller one gets a decoder with a smaller batch size.
    decoder: Option<Decoder>,
}

impl CsvDecode {
    /// `names`: the field names of the header, if the file has one.
    pub fn new(options: &CsvOptions, names: Option<&[String]>, request: &Request) -> Self {
        let declared = request.schema.fields();
        let format = options.timestamp_format.as_ref();
        // The index of the field for a declared column.
        let position = |i: usize| match names {
            None => Some(i),
            Some(names) => find(names, declared[i].name()),
        };
        let count = names.map_or(declared.len(), <[String]>::len);
        let mut fields: Vec<Field> =
            (0..count).map(|i| Field::new(format!("field {i}"), DataType::Utf8, true)).collect();
        let mut projection = Vec::new();
        let mut sources = Vec::new();
        for i in &request.projection {
            let Some(at) = position(*i) else {
                sources.push(None);
                continue;
            };
            let raw = raw_field(&declared[*i], native, format);
            match projection.iter().position(|p| *p == at) {
                Some(decoded) => sources.push(Some(decoded)),
                None => {
                    sources.push(Some(projection.len()));
                    projection.push(at);
                    fields[at] = raw;
                }
            }
        }
        CsvDecode {
            dialect: options.clone(),
            format: options.arrow(),
            fields: Arc::new(Schema::new(fields)),
            projection,
            columns: ColumnBuilders::new(request, sources, format),
            batch_rows: request.batch_rows.max(1),
            decoder: None,
        }
    }

    fn build(&self, rows: usize) -> Decoder {
        ReaderBuilder::new(self.fields.clone())
            .with_format(self.format.clone())
            .with_projection(self.projection.clone())
            .with_batch_size(rows)
            .build_decoder()
    }

    /// Replaces Arrow's column number in an error message by the column name.
    fn named(&self, reason: String) -> String {
        let Some((before, after)) = reason.split_once("column ") else { return reason };
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        match after[..digits].parse::<usize>().ok().and_then(|i| self.fields.fields().get(i)) {
            Some(field) => format!("{before}column \"{}\"{}", field.name(), &after[digits..]),
            None => reason,
        }
    }
}

/// The index of a name: an exact match, or else one that ignores case.
pub(super) fn find(names: &[String], name: &str) -> Option<usize> {
    let exact = names.iter().position(|n| n == name);
    exact.or_else(|| names.iter().position(|n| n.trim().eq_ignore_ascii_case(name)))
}

impl Decode for CsvDecode {
    fn decode(&mut self, bytes: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String> {
        let kept = records.len() * 2 > self.batch_rows && records.len() <= self.batch_rows;
        // One more than the records: a full decoder would not consume the line feed after a carriage return.
        let rows = if kept { self.batch_rows } else { records.len() } + 1;
        let mut decoder = self.decoder.take().filter(|_| kept).unwrap_or_else(|| self.build(rows));
        // One by one, to detect a record that continues into the next.
        for (before, record) in records.iter().enumerate() {
            let record = &bytes[record.clone()];
            if !self.dialect.is_one(record) {
                return Err(SEVERAL.to_string());
            }
            let end: &[u8] = if record.ends_with(b"\n") { b"" } else { b"\n" };
            for mut rest in [record, end] {
                while !rest.is_empty() {
                    match decoder.decode(rest) {
                        Ok(0) => return Err(SEVERAL.to_string()),
                        Ok(used) => rest = &rest[used..],
                        Err(e) => return Err(self.named(reason(&e))),
                    }
                }
            }
            match (rows - decoder.capacity()).cmp(&(before + 1)) {
                Ordering::Equal => {}
                Ordering::Greater => return Err(SEVERAL.to_string()),
                Ordering::Less => {
                    let reason = "a quote is not closed on its line; if fields hold line breaks, set multiline = true";
                    return Err(reason.to_string());
                }
            }
        }
        let decoded = decoder.flush().map_err(|e| self.named(reason(&e)))?;
        let batch = self.columns.finish(&decoded.ok_or("no record in it")?)?;
        if kept {
            self.decoder = Some(decoder);
        }
        Ok(batch)
    }
}

const SEVERAL: &str = "a line break in the middle of a record";
