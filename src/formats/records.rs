//! Record boundaries: splits a stream of bytes into units of whole records.
//!
//! ```text
//! file    │ header │ record │ record │ record │ record │ record │ …
//! part             ╎    └ begins here: skips to the next record  ╎ └ ends here: finishes the record that it is in
//! buffer           ╎    │ unit: up to n records    │ rest …      ╎
//! ```

use std::{
    io::{self, BufRead, Read},
    ops::Range,
};

/// How records are delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// One per line; blank lines are skipped, but a line with a delimiter is not blank.
    Lines { delimiter: Option<u8> },
    /// One per line, blank or not.
    AllLines,
    /// CSV whose quoted fields may contain line breaks.
    Quoted { delimiter: u8, quote: u8, escape: Option<u8> },
    /// JSON values separated by white space or commas, possibly in one array, each over any number of lines.
    Values,
}

/// Lines where white space is never data: a line of white space alone is blank.
pub(super) const LINES: Framing = Framing::Lines { delimiter: None };

/// The usual line terminator.
pub(super) const LINE_FEED: u8 = b'\n';
/// The line terminator of files without any line feed (classic Mac OS).
const CARRIAGE_RETURN: u8 = b'\r';

/// The line terminator of a file that begins with `head`: a carriage return only where there is no line feed. `has`
/// tells whether a byte occurs in a slice with a meaning (CSV: outside quotes); `whole` says that `head` is the
/// complete file.
pub(super) fn line_end(head: &[u8], whole: bool, has: impl Fn(&[u8], u8) -> bool) -> u8 {
    // A line feed may follow the last byte of an incomplete `head`.
    let returns = if whole { head } else { head.strip_suffix(&[CARRIAGE_RETURN]).unwrap_or(head) };
    match returns.contains(&CARRIAGE_RETURN) && !has(head, LINE_FEED) && has(returns, CARRIAGE_RETURN) {
        true => CARRIAGE_RETURN,
        false => LINE_FEED,
    }
}

/// The longest record in bytes; a longer one is reported as broken instead of filling the memory.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;
const TOO_LONG: &str = "the record is longer than 16 MiB";
const UNIT_BYTES_MAX: usize = 8 << 20;
const CHUNK_BYTES: usize = 1 << 20;

/// Bytes of the first read; each later one is four times as large up to the full size: most files of a growing folder
/// are small, and allocating a megabyte for each costs more than reading it.
const FIRST_CHUNK_BYTES: usize = 16 << 10;
/// Bytes per read once the part's end is passed and only the end of its last record is missing.
const TAIL_BYTES: usize = 64 << 10;

/// What one step of [`Records`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ScanStep {
    /// Whole records, perhaps none: see [`Records::unit`].
    Unit,
    /// An incomplete record, as the only record of the unit, and the reason.
    Broken(&'static str),
    End,
}

/// Splits a stream of bytes into units.
pub(super) struct Records {
    source: Box<dyn Read + Send>,
    framing: Framing,
    line_end: u8,
    record_bytes_max: usize,
    buffer: Vec<u8>,
    /// Bytes of the next read.
    chunk: usize,
    /// The offset of the current unit in the buffer.
    at: usize,
    /// The unit's length in bytes, and its records' ranges relative to its beginning.
    length: usize,
    records: Vec<Range<usize>>,
    /// The offset of the buffer in the stream.
    offset: u64,
    /// Records that begin here or later belong to the next part.
    end: u64,
    /// Line breaks in the stream before the current unit.
    lines: u64,
    /// The line breaks in the current unit, once counted.
    unit_lines: Option<u64>,
    exhausted: bool,
    /// The read error that ended the stream; reported after the records before it.
    failed: Option<io::Error>,
    /// Whether bytes up to the next line break are skipped.
    skipping: bool,
}

/// One step of framing; lengths in bytes.
enum RecordFrame {
    Record {
        skip: usize,
        length: usize,
    },
    Blank(usize),
    /// The record does not end within the buffer: more bytes are needed.
    More,
}

impl Records {
    /// Reads a stream from its beginning.
    pub fn new(source: Box<dyn Read + Send>, framing: Framing) -> Self {
        Records {
            source,
            framing,
            line_end: LINE_FEED,
            record_bytes_max: RECORD_BYTES_MAX,
            buffer: Vec::new(),
            chunk: FIRST_CHUNK_BYTES,
            at: 0,
            length: 0,
            records: Vec::new(),
            offset: 0,
            end: u64::MAX,
            lines: 0,
            unit_lines: None,
            exhausted: false,
            failed: None,
            skipping: false,
        }
    }

    /// Sets the line terminator.
    pub fn ended_by(self, line_end: u8) -> Self {
        Records { line_end, ..self }
    }

    /// Reads only the records that begin before byte `end` of the file; the stream is at byte `offset` of it.
    pub fn until(self, offset: u64, end: u64) -> Self {
        Records { offset, end, ..self }
    }

    /// Skips the rest of the line in which the stream begins.
    pub fn behind_line(self) -> Self {
        Records { skipping: true, ..self }
    }

    /// The end of the current unit, as an offset from the start of the stream.
    pub fn unit_end(&self) -> u64 {
        self.offset + (self.at + self.length) as u64
    }

    /// The bytes of the current unit, and the range of each record in them.
    pub fn unit(&self) -> (&[u8], &[Range<usize>]) {
        (&self.buffer[self.at..self.at + self.length], &self.records)
    }

    /// Line breaks in the stream before a record of the current unit.
    pub fn lines_before(&self, record: &Range<usize>) -> u64 {
        self.lines + count_lines(&self.buffer[self.at..self.at + record.start], self.line_end)
    }

    /// The line numbers of records of the current unit, in order; the stream starts in line 1.
    pub fn lines_of(&self, records: &[Range<usize>]) -> Vec<i64> {
        let (unit, mut at, mut lines) = (self.unit().0, 0, self.lines);
        let line = |record: &Range<usize>| {
            lines += count_lines(&unit[at..record.start], self.line_end);
            at = record.start;
            lines as i64 + 1
        };
        records.iter().map(line).collect()
    }

    /// Whether the lines of the current unit are exactly its records.
    pub fn are_lines(&mut self) -> bool {
        // Values may share lines: equal counts prove nothing.
        if self.framing == Framing::Values {
            return false;
        }
        let unit = &self.buffer[self.at..self.at + self.length];
        let count = *self.unit_lines.get_or_insert_with(|| count_lines(unit, self.line_end));
        let ended = unit.last() == Some(&self.line_end);
        count + u64::from(!ended) == self.records.len() as u64
    }

    /// Advances to the first record, as a unit of its own.
    pub fn first(&mut self) -> io::Result<ScanStep> {
        loop {
            match self.next(1)? {
                ScanStep::Unit if self.records.is_empty() => {}
                step => return Ok(step),
            }
        }
    }

    /// Advances to the next unit, of at most `max` records; returns an empty unit after many bytes without a record, so
    /// that the reader can be cancelled.
    pub fn next(&mut self, max: usize) -> io::Result<ScanStep> {
        self.leave();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.skipping
            && let Some(step) = self.skip()?
        {
            return Ok(step);
        }
        let mut blank = 0;
        while self.records.len() < max {
            let from = self.at + self.length;
            if self.offset + from as u64 >= self.end {
                break;
            }
            match self.framing.next(&self.buffer[from..], self.line_end) {
                // Whether a record is too long must not depend on the size of the reads.
                RecordFrame::Record { length, .. } | RecordFrame::Blank(length) if length > self.record_bytes_max => {
                    if !self.records.is_empty() {
                        break;
                    }
                    return Ok(self.broken(length, TOO_LONG));
                }
                RecordFrame::Record { skip, length } => {
                    let start = self.length + skip;
                    self.length = start + length;
                    self.records.push(start..self.length);
                }
                RecordFrame::Blank(length) if self.records.is_empty() => {
                    self.at += length;
                    self.lines += 1;
                    blank += length;
                    if blank >= UNIT_BYTES_MAX {
                        return Ok(ScanStep::Unit);
                    }
                }
                RecordFrame::Blank(length) => self.length += length,
                RecordFrame::More if self.exhausted => return Ok(self.unfinished()),
                RecordFrame::More => {
                    let open = self.buffer.len() - from;
                    if !self.records.is_empty() && (self.length >= UNIT_BYTES_MAX || open > self.record_bytes_max) {
                        break;
                    }
                    if open > self.record_bytes_max {
                        return Ok(self.too_long());
                    }
                    if let Err(error) = self.fill() {
                        self.failed = Some(error);
                        break;
                    }
                }
            }
        }
        if self.records.is_empty()
            && let Some(error) = self.failed.take()
        {
            return Err(error);
        }
        Ok(if self.records.is_empty() { ScanStep::End } else { ScanStep::Unit })
    }

    /// Advances past the current unit.
    fn leave(&mut self) {
        let unit = &self.buffer[self.at..self.at + self.length];
        self.lines += self.unit_lines.take().unwrap_or_else(|| count_lines(unit, self.line_end));
        self.at += self.length;
        self.length = 0;
        self.records.clear();
    }

    /// Skips up to and including the next line break; if the buffer holds none, returns the step to report instead.
    fn skip(&mut self) -> io::Result<Option<ScanStep>> {
        let mut passed = 0;
        loop {
            if let Some(length) = line(&self.buffer[self.at..], self.line_end) {
                self.at += length;
                self.lines += 1;
                self.skipping = false;
                return Ok(None);
            }
            if self.exhausted {
                return Ok(Some(ScanStep::End));
            }
            passed += self.buffer.len() - self.at;
            self.at = self.buffer.len();
            if passed >= UNIT_BYTES_MAX {
                return Ok(Some(ScanStep::Unit));
            }
            self.fill()?;
        }
    }

    /// Reads more bytes into the buffer, and drops those before the unit.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        let have = self.buffer.len();
        let past_end = self.offset + have as u64 >= self.end;
        self.buffer.resize(have + if past_end { TAIL_BYTES } else { self.chunk }, 0);
        self.chunk = (self.chunk * 4).min(CHUNK_BYTES);
        let read = loop {
            match self.source.read(&mut self.buffer[have..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
        if read? == 0 {
            self.exhausted = true;
            // The last line may lack a terminator.
            if self.buffer.last().is_some_and(|b| *b != self.line_end) {
                self.buffer.push(self.line_end);
            }
        }
        Ok(())
    }

    /// The end of the stream, possibly within a record.
    fn unfinished(&mut self) -> ScanStep {
        let rest = &self.buffer[self.at + self.length..];
        // Separators before the broken record are not part of it.
        let skip = match self.framing {
            Framing::Values => rest.iter().take_while(|b| is_separator(**b)).count(),
            _ => 0,
        };
        let rest = &rest[skip..];
        let (length, reason) = match self.framing {
            _ if !self.records.is_empty() => return ScanStep::Unit,
            Framing::Lines { .. } | Framing::AllLines => return ScanStep::End,
            // The unclosed quote is in the first line; the lines after it may be good.
            Framing::Quoted { .. } => (line(rest, self.line_end).unwrap_or(rest.len()), "a quote is never closed"),
            Framing::Values => (rest.len(), "a JSON value is never closed"),
        };
        if rest[..length].iter().all(|b| is_separator(*b)) {
            return ScanStep::End;
        }
        self.length += skip;
        self.broken(length, reason)
    }

    /// Reports a record that is too long as broken, and continues after its first line.
    fn too_long(&mut self) -> ScanStep {
        let rest = &self.buffer[self.at + self.length..];
        let length = line(rest, self.line_end);
        self.skipping = length.is_none();
        self.broken(length.unwrap_or(rest.len()), TOO_LONG)
    }

    fn broken(&mut self, length: usize, reason: &'static str) -> ScanStep {
        self.records.push(self.length..self.length + length);
        self.length += length;
        ScanStep::Broken(reason)
    }
}

impl Framing {
    fn next(self, bytes: &[u8], line_end: u8) -> RecordFrame {
        match self {
            Framing::AllLines => match line(bytes, line_end) {
                Some(length) => RecordFrame::Record { skip: 0, length },
                None => RecordFrame::More,
            },
            Framing::Lines { delimiter } => match line(bytes, line_end) {
                Some(length) if is_blank(&bytes[..length], delimiter) => RecordFrame::Blank(length),
                Some(length) => RecordFrame::Record { skip: 0, length },
                None => RecordFrame::More,
            },
            Framing::Quoted { delimiter, quote, escape } => quoted(bytes, line_end, delimiter, quote, escape),
            Framing::Values => value(bytes),
        }
    }
}

/// The length of the first line with its line break.
pub(super) fn line(bytes: &[u8], line_end: u8) -> Option<usize> {
    // `skip_until` on a slice is the standard library's access to its vectorized byte search.
    let length = { bytes }.skip_until(line_end).ok()?;
    (length > 0 && bytes[length - 1] == line_end).then_some(length)
}

fn is_blank(line: &[u8], delimiter: Option<u8>) -> bool {
    let blank = |b: &u8| b.is_ascii_whitespace() && Some(*b) != delimiter;
    matches!(line, b"\n" | b"\r\n") || (blank(&line[0]) && line.iter().all(blank))
}

/// The number of line breaks.
pub(super) fn count_lines(bytes: &[u8], line_end: u8) -> u64 {
    // Sums of at most 255 fit a byte, which lets the compiler count many bytes at once.
    bytes.chunks(255).map(|c| u64::from(c.iter().map(|b| u8::from(*b == line_end)).sum::<u8>())).sum()
}

/// Scans a CSV record; line breaks in quotes do not end it.
fn quoted(bytes: &[u8], line_end: u8, delimiter: u8, quote: u8, escape: Option<u8>) -> RecordFrame {
    let (mut field_start, mut inside, mut at) = (true, false, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        if inside {
            if Some(*byte) == escape {
                at += 1;
            } else if *byte == quote {
                // A doubled quote closes and opens again.
                inside = false;
                if bytes.get(at) == Some(&quote) {
                    inside = true;
                    at += 1;
                }
            }
        } else if *byte == line_end {
            return if is_blank(&bytes[..at], Some(delimiter)) {
                RecordFrame::Blank(at)
            } else {
                RecordFrame::Record { skip: 0, length: at }
            };
        } else if *byte == quote && field_start {
            inside = true;
            field_start = false;
        } else {
            field_start = *byte == delimiter;
        }
    }
    RecordFrame::More
}

fn is_separator(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b',' | b'[' | b']')
}

/// Scans a JSON value between separators. Invalid bytes end at the next separator, so that only they are lost.
fn value(bytes: &[u8]) -> RecordFrame {
    let skip = bytes.iter().take_while(|b| is_separator(**b)).count();
    let (mut depth, mut string, mut at) = (0_u64, false, skip);
    while let Some(byte) = bytes.get(at) {
        if string {
            match byte {
                b'\\' => at += 1,
                b'"' => string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => string = true,
                b'{' | b'[' if depth > 0 || *byte == b'{' => depth += 1,
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        return RecordFrame::Record { skip, length: at + 1 - skip };
                    }
                }
                _ if depth == 0 && is_separator(*byte) => return RecordFrame::Record { skip, length: at - skip },
                _ => {}
            }
        }
        at += 1;
    }
    RecordFrame::More
}
