//! Bytes as they come in, cut into lines; and the lines that arrived together, as one record of the journal.
//!
//! ```text
//! record = header as JSON, in a line │ the lines, each with its line break
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    connectors::BadRecord,
    error::{Error, ErrorKind, Result},
};

/// Lines that arrived together.
#[derive(Debug, Clone)]
pub(super) struct LineGroup {
    /// The number of the first.
    pub first: u64,
    pub lines: u64,
    /// Those that are no records, in order.
    pub odd: Vec<Odd>,
    /// Each with its line break; an odd one is cut.
    pub text: Bytes,
}

/// A line that is no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Odd {
    /// Its place in the group, from 0.
    pub line: u64,
    pub why: Why,
    /// How long it was.
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Why {
    TooLong,
    /// The connection ended before its line break came.
    CutOff,
}

#[derive(Debug, Serialize, Deserialize)]
struct GroupHeader {
    first: u64,
    lines: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    odd: Vec<Odd>,
}

impl LineGroup {
    /// No lines, and the number that the next one has.
    pub fn empty(first: u64) -> LineGroup {
        LineGroup { first, lines: 0, odd: Vec::new(), text: Bytes::new() }
    }

    /// The number of the line behind the last.
    pub fn end(&self) -> u64 {
        self.first + self.lines
    }

    pub fn encode(&self) -> Result<Bytes> {
        let header = GroupHeader { first: self.first, lines: self.lines, odd: self.odd.clone() };
        let mut bytes = serde_json::to_vec(&header).map_err(|e| Error::internal(e.to_string()))?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.text);
        Ok(bytes.into())
    }

    pub fn decode(bytes: &Bytes) -> Result<LineGroup> {
        let corrupted = |what: String| Error::new(ErrorKind::DataCorrupted, format!("lines of a socket: {what}"));
        let at = bytes.iter().position(|b| *b == b'\n').ok_or_else(|| corrupted("no header".to_string()))?;
        let GroupHeader { first, lines, odd } =
            serde_json::from_slice(&bytes[..at]).map_err(|e| corrupted(e.to_string()))?;
        Ok(LineGroup { first, lines, odd, text: bytes.slice(at + 1..) })
    }
}

impl Odd {
    pub fn reason(&self) -> String {
        match self.why {
            Why::TooLong => format!("the line has {} bytes, more than max_line_bytes", self.bytes),
            Why::CutOff => format!("the connection ended {} bytes into the line", self.bytes),
        }
    }
}

/// Cuts bytes into lines. Holds no more of a line than may become a record.
#[derive(Debug)]
pub(super) struct Cutter {
    line_bytes_max: usize,
    /// Whole lines, and behind them the one that is open.
    text: Vec<u8>,
    /// Where the open line begins.
    open: usize,
    /// Its length so far, kept or not.
    open_bytes: u64,
    lines: u64,
    odd: Vec<Odd>,
}

impl Cutter {
    pub fn new(line_bytes_max: usize) -> Cutter {
        Cutter { line_bytes_max, text: Vec::new(), open: 0, open_bytes: 0, lines: 0, odd: Vec::new() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (piece, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |line| (line, true));
            let room = self.line_bytes_max - (self.text.len() - self.open);
            self.text.extend_from_slice(&piece[..piece.len().min(room)]);
            self.open_bytes += piece.len() as u64;
            if ends {
                let long = self.open_bytes > self.line_bytes_max as u64;
                self.end_line(long.then_some(Why::TooLong));
            }
        }
    }

    /// Nothing more comes: what has no line break is no record.
    pub fn hang_up(&mut self) {
        if self.open_bytes > 0 {
            self.end_line(Some(Why::CutOff));
        }
    }

    fn end_line(&mut self, why: Option<Why>) {
        if let Some(why) = why {
            self.text.truncate(self.open + BadRecord::RAW_BYTES_MAX);
            self.odd.push(Odd { line: self.lines, why, bytes: self.open_bytes });
        }
        self.text.push(b'\n');
        self.lines += 1;
        (self.open, self.open_bytes) = (self.text.len(), 0);
    }

    /// The bytes of whole lines that wait to be taken.
    pub fn bytes(&self) -> usize {
        self.open
    }

    /// The whole lines, if there are any; the first has this number.
    pub fn take_lines(&mut self, first: u64) -> Option<LineGroup> {
        if self.lines == 0 {
            return None;
        }
        let open = self.text.split_off(self.open);
        let text = std::mem::replace(&mut self.text, open).into();
        self.open = 0;
        Some(LineGroup { first, lines: std::mem::take(&mut self.lines), odd: std::mem::take(&mut self.odd), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that comes of some pieces, and the odd ones.
    fn cut(pieces: &[&[u8]], hang_up: bool) -> (Vec<u8>, u64, Vec<Odd>) {
        let mut cutter = Cutter::new(8);
        let (mut text, mut lines, mut odd) = (Vec::new(), 0, Vec::new());
        let mut take = |cutter: &mut Cutter| {
            if let Some(group) = cutter.take_lines(lines) {
                let group = LineGroup::decode(&group.encode().unwrap()).unwrap();
                assert_eq!(group.first, lines);
                odd.extend(group.odd.iter().map(|o| Odd { line: o.line + lines, ..o.clone() }));
                text.extend_from_slice(&group.text);
                lines = group.end();
            }
        };
        for piece in pieces {
            cutter.push(piece);
            take(&mut cutter);
        }
        if hang_up {
            cutter.hang_up();
            take(&mut cutter);
        }
        (text, lines, odd)
    }

    #[test]
    fn cutter_lines_are_the_same_for_any_chunks() {
        let text = b"one\n\ntwo\r\n12345678\n123456789 is too long\n\xff\x00\nrest";
        let odd = |line, why, bytes| Odd { line, why, bytes };
        let too_long = odd(4, Why::TooLong, 21);
        for size in 1..text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            let (whole, lines, odds) = cut(&pieces, false);
            assert_eq!(whole, b"one\n\ntwo\r\n12345678\n12345678\n\xff\x00\n", "pieces of {size}");
            assert_eq!((lines, odds), (6, vec![too_long.clone()]));
            let (whole, lines, odds) = cut(&pieces, true);
            assert!(whole.ends_with(b"rest\n"));
            assert_eq!((lines, odds), (7, vec![too_long.clone(), odd(6, Why::CutOff, 4)]));
        }
        assert_eq!(cut(&[b"whole\n"], true), (b"whole\n".to_vec(), 1, vec![]));
    }

    #[test]
    fn cutter_endless_line_takes_bounded_memory() {
        let mut cutter = Cutter::new(1 << 10);
        for _ in 0..1_000 {
            cutter.push(&[b'x'; 10_000]);
        }
        assert!(cutter.take_lines(0).is_none() && cutter.text.capacity() <= 4 << 10);
        cutter.push(b"\n");
        let group = cutter.take_lines(0).unwrap();
        assert_eq!((group.text.len(), group.odd[0].bytes), ((1 << 10) + 1, 10_000_000));
    }
}
