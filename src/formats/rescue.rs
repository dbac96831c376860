//! From units of records to batches. A unit that does not decode is bisected until its malformed records are isolated;
//! the others are decoded.

use std::{
    io::{self, Read},
    ops::Range,
    sync::Arc,
};

use arrow::array::RecordBatch;

use super::{
    Bad, BadSink, Damage, DecodedRows, Request,
    input::Compression,
    part::File,
    positions::{LinesBefore, Positions},
    records::{Framing, RECORD_BYTES_MAX, Records, ScanStep, line_end},
};

/// Decodes whole records.
pub(super) trait Decode: Send {
    /// Decodes each of the records, ranges of `bytes`, to one row; or returns the error of (at least) one of them.
    fn decode(&mut self, bytes: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String>;
}

/// The batches of one part of a text file.
pub(super) struct TextBatches {
    records: Records,
    decode: Box<dyn Decode>,
    batch_rows: usize,
    /// An empty batch, for a unit without a good record, so that the reader can be cancelled.
    nothing: DecodedRows,
    bad: BadSink,
    /// Line breaks in the file before the part.
    before: Arc<LinesBefore>,
    finished: bool,
}

/// How a text file is divided into records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub framing: Framing,
    pub line_end: u8,
    /// The byte offset at which the header record ends, if the file has one.
    pub header_end: Option<u64>,
}

impl Layout {
    /// The layout of a file without a header, in which a line break always ends a line.
    pub fn of(file: &File, framing: Framing) -> Result<Layout, Damage> {
        let (head, whole) = file.head(HEAD_BYTES)?;
        let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&head);
        let line_end = line_end(head, whole, |bytes, byte| bytes.contains(&byte));
        Ok(Layout { framing, line_end, header_end: None })
    }
}

/// Bytes at the beginning of a file that are searched for its line terminator.
pub(super) const HEAD_BYTES: usize = 64 << 10;

impl TextBatches {
    /// The records of a part.
    pub fn open(
        file: &File,
        layout: Layout,
        decode: Box<dyn Decode>,
        request: &Request,
        bad: BadSink,
    ) -> Result<Self, Damage> {
        let (records, begin) = match file.compression {
            Compression::None => plain_part(file, layout)?,
            // Parts are counted in packed bytes, so that a packed file is always one.
            _ => (all_packed(file, layout)?, 0),
        };
        let before = Arc::new(LinesBefore::new(file.input.clone(), begin, layout.line_end));
        let (batch_rows, nothing) = (request.batch_rows.max(1), DecodedRows::none(request));
        Ok(TextBatches { records, decode, batch_rows, nothing, bad, before, finished: false })
    }

    /// Reports malformed records of the unit, in order, each with its reason.
    fn report(&mut self, records: Vec<(Range<usize>, String)>) {
        let ranges: Vec<_> = records.iter().map(|(record, _)| record.clone()).collect();
        for ((record, reason), line) in records.into_iter().zip(self.records.lines_of(&ranges)) {
            self.report_one(record, line, reason);
        }
    }

    fn report_one(&mut self, record: Range<usize>, line: i64, reason: String) {
        let position = self.before.count() as i64 + line;
        let raw = self.records.unit().0[record].trim_ascii_end();
        let raw = raw[..raw.len().min(RAW_BYTES_MAX)].to_vec();
        (self.bad)(Bad { position, raw, reason });
    }

    /// Decodes the unit.
    fn unit(&mut self) -> DecodedRows {
        let (bytes, records) = self.records.unit();
        let (batch, blamed) = rescue(self.decode.as_mut(), bytes, records);
        let mut good = None;
        if !blamed.is_empty() {
            let records = records.to_vec();
            let mut next = blamed.iter().map(|(i, _)| *i).peekable();
            let is_good = |i: &usize| next.next_if_eq(i).is_none();
            good = Some((0..records.len()).filter(is_good).map(|i| records[i].clone()).collect());
            self.report(blamed.into_iter().map(|(i, reason)| (records[i].clone(), reason)).collect());
        }
        match batch {
            Some(batch) => DecodedRows { batch, positions: self.positions(good) },
            None => self.nothing.clone(),
        }
    }

    /// The file positions of the unit's rows: of all its records, or of `good` ones only.
    fn positions(&mut self, good: Option<Vec<Range<usize>>>) -> Positions {
        let within = match good {
            None if self.records.are_lines() => Positions::From(self.records.lines_before(&(0..0)) as i64 + 1),
            good => {
                let records = good.unwrap_or_else(|| self.records.unit().1.to_vec());
                Positions::Each(self.records.lines_of(&records))
            }
        };
        Positions::Within(self.before.clone(), Box::new(within))
    }
}

/// Maximum bytes kept of a bad record.
pub(super) const RAW_BYTES_MAX: usize = 64 << 10;

impl Iterator for TextBatches {
    type Item = Result<DecodedRows, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        match self.records.next(self.batch_rows) {
            Ok(ScanStep::End) => {
                self.finished = true;
                None
            }
            Ok(ScanStep::Unit) => Some(Ok(self.unit())),
            Ok(ScanStep::Broken(reason)) => {
                let record = self.records.unit().1[0].clone();
                self.report(vec![(record, reason.to_string())]);
                Some(Ok(self.nothing.clone()))
            }
            Err(e) => {
                self.finished = true;
                Some(Err(e.into()))
            }
        }
    }
}

/// Decodes all records, or else the valid ones: returns their batch, `None` if there are none, and the bad records, in
/// order, each with its reason.
pub(super) fn rescue(
    decode: &mut dyn Decode,
    bytes: &[u8],
    records: &[Range<usize>],
) -> (Option<RecordBatch>, Vec<(usize, String)>) {
    if records.is_empty() {
        return (None, Vec::new());
    }
    let reason = match decode.decode(bytes, records) {
        Ok(batch) => return (Some(batch), Vec::new()),
        Err(reason) => reason,
    };
    let mut blamed = Vec::new();
    blame(decode, bytes, records, 0, reason, &mut blamed);
    let mut next = blamed.iter().map(|(i, _)| *i).peekable();
    let good: Vec<_> =
        (0..records.len()).filter(|i| next.next_if_eq(i).is_none()).map(|i| records[i].clone()).collect();
    if good.is_empty() {
        return (None, blamed);
    }
    match decode.decode(bytes, &good) {
        Ok(batch) => (Some(batch), blamed),
        // Each was valid alone, so this does not happen; if it does, all are reported as bad.
        Err(reason) => (None, (0..records.len()).map(|i| (i, reason.clone())).collect()),
    }
}

/// Finds the records that do not decode, in order, each with its reason. `reason` is the error of all together.
fn blame(
    decode: &mut dyn Decode,
    bytes: &[u8],
    records: &[Range<usize>],
    first: usize,
    reason: String,
    blamed: &mut Vec<(usize, String)>,
) {
    if records.len() <= 1 {
        blamed.push((first, reason));
        return;
    }
    let (left, right) = records.split_at(records.len() / 2);
    for (half, first) in [(left, first), (right, first + left.len())] {
        if let Err(reason) = decode.decode(bytes, half) {
            blame(decode, bytes, half, first, reason, blamed);
        }
    }
}

/// The records that begin in a part of a file, and the byte offset of their stream. The part with the first byte after
/// the header starts with the first record; others start after the line of the byte before them.
fn plain_part(file: &File, Layout { framing, line_end, header_end }: Layout) -> Result<(Records, u64), Damage> {
    let first = match header_end {
        Some(end) => end.min(file.input.size()),
        None => open_text(file)?.1,
    };
    let records = |begin| {
        Ok::<_, Damage>(Records::new(file.open(begin)?, framing).ended_by(line_end).until(begin, file.part.end))
    };
    match file.part.start.checked_sub(1) {
        Some(before) if file.part.start > first => Ok((records(before)?.behind_line(), before)),
        _ => Ok((records(first)?, first)),
    }
}

/// The records of a compressed file.
fn all_packed(file: &File, layout: Layout) -> Result<Records, Damage> {
    let mut records = Records::new(open_text(file)?.0, layout.framing).ended_by(layout.line_end);
    if layout.header_end.is_some() {
        records.first()?;
    }
    Ok(records)
}

/// The decompressed bytes of a file after a byte order mark, if it has one; and their offset.
pub(super) fn open_text(file: &File) -> Result<(Box<dyn Read + Send>, u64), Damage> {
    let mut source = file.open(0)?;
    let mut first = Vec::new();
    source.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut first)?;
    if first == BYTE_ORDER_MARK {
        return Ok((source, BYTE_ORDER_MARK.len() as u64));
    }
    Ok((Box::new(io::Cursor::new(first).chain(source)), 0))
}

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

const _: () = assert!(RAW_BYTES_MAX <= RECORD_BYTES_MAX);
