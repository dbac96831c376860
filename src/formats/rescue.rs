//! From units of records to batches. A unit that does not decode as a whole is halved until the records to blame stand
//! alone; all the others come.

use std::{
    io::{self, Read},
    ops::Range,
    sync::Arc,
};

use arrow::array::RecordBatch;

use super::{
    Bad, BadSink, Damage, File, Rows,
    positions::{LinesBefore, Positions},
    records::{Framing, RECORD_BYTES_MAX, Records, Step},
};

/// Decodes whole records.
pub(super) trait Decode: Send {
    /// Decodes each of the records, which lie in `bytes`, into one row; or says what is wrong with (at least) one of
    /// them.
    fn decode(&mut self, bytes: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String>;
}

/// The batches of one part of a text file.
pub(super) struct TextBatches {
    records: Records,
    decode: Box<dyn Decode>,
    batch_rows: usize,
    bad: BadSink,
    /// The line breaks before the part.
    before: Arc<LinesBefore>,
    finished: bool,
}

impl TextBatches {
    /// The records of a part, as `framing` finds them; the first of the file is left out where it is its `header`.
    pub fn open(
        file: &File,
        framing: Framing,
        header: bool,
        decode: Box<dyn Decode>,
        batch_rows: usize,
        bad: BadSink,
    ) -> Result<Self, Damage> {
        let begin = file.part.start.saturating_sub(1);
        let (source, offset) = open_text(file, begin)?;
        let mut records = Records::new(source, framing);
        // Positions count packed bytes, so that a packed file is always one part.
        if file.part.end < file.input.size() || begin > 0 {
            records = records.part(offset, file.part.clone());
        }
        let before = Arc::new(LinesBefore::new(file.input.clone(), begin));
        if header && file.part.start == 0 {
            records.next(1)?;
        }
        Ok(TextBatches { records, decode, batch_rows: batch_rows.max(1), bad, before, finished: false })
    }

    fn report(&mut self, record: Range<usize>, reason: String) {
        let position = (self.before.count() + self.records.lines_before(&record) + 1) as i64;
        let raw = self.records.unit().0[record].trim_ascii_end();
        let raw = raw[..raw.len().min(RAW_BYTES_MAX)].to_vec();
        (self.bad)(Bad { position, raw, reason });
    }

    /// Decodes the unit; `None` where no record of it is good.
    fn unit(&mut self) -> Option<Rows> {
        let (bytes, records) = self.records.unit();
        let (batch, blamed) = rescue(self.decode.as_mut(), bytes, records);
        let mut good = None;
        if !blamed.is_empty() {
            let records = records.to_vec();
            let mut next = blamed.iter().map(|(i, _)| *i).peekable();
            let is_good = |i: &usize| next.next_if_eq(i).is_none();
            good = Some((0..records.len()).filter(is_good).map(|i| records[i].clone()).collect());
            for (i, reason) in blamed {
                self.report(records[i].clone(), reason);
            }
        }
        batch.map(|batch| Rows { batch, positions: self.positions(good) })
    }

    /// Where the rows of the unit stood: those of all its records, or of the good ones among them.
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

/// No more of a bad record is kept.
pub(super) const RAW_BYTES_MAX: usize = 64 << 10;

impl Iterator for TextBatches {
    type Item = Result<Rows, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.finished {
            match self.records.next(self.batch_rows) {
                Ok(Step::End) => self.finished = true,
                Ok(Step::Unit) => {
                    if let Some(rows) = self.unit() {
                        return Some(Ok(rows));
                    }
                }
                Ok(Step::Broken(reason)) => {
                    let record = self.records.unit().1[0].clone();
                    self.report(record, reason.to_string());
                }
                Err(e) => {
                    self.finished = true;
                    return Some(Err(e.into()));
                }
            }
        }
        None
    }
}

/// Decodes records as a whole, or else those that are good: their batch, `None` where there are none, and the others,
/// in order, each with its reason.
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
        // Each was good by itself: so this does not happen; but were it to, nothing may be lost silently.
        Err(reason) => (None, (0..records.len()).map(|i| (i, reason.clone())).collect()),
    }
}

/// Finds the records that do not decode, in order, each with its reason. `reason` is why all of them together did not.
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

/// Opens a file at a position, but behind the byte order mark that some programs begin with; tells where that is.
pub(super) fn open_text(file: &File, at: u64) -> Result<(Box<dyn Read + Send>, u64), Damage> {
    let mut source = file.open(at)?;
    if at > 0 {
        return Ok((source, at));
    }
    let mut first = Vec::new();
    source.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut first)?;
    if first == BYTE_ORDER_MARK {
        return Ok((source, BYTE_ORDER_MARK.len() as u64));
    }
    Ok((Box::new(io::Cursor::new(first).chain(source)), 0))
}

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

const _: () = assert!(RAW_BYTES_MAX <= RECORD_BYTES_MAX);
