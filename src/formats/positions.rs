//! The positions of rows in their file, computed only when asked for.

use std::{
    io::{self, Read},
    sync::{Arc, OnceLock},
};

use super::{
    input::{ByteCursor, ByteInput},
    records::count_lines,
};

/// The positions of a batch's rows in their file: line numbers, row numbers where the format has no lines, or another
/// count of the format.
#[derive(Debug, Clone)]
pub enum Positions {
    /// Consecutive positions from this one on.
    From(i64),
    Each(Vec<i64>),
    /// Positions counted from the beginning of a part of the file; the line breaks before the part are added.
    Within(Arc<LinesBefore>, Box<Positions>),
}

impl Positions {
    /// The position of a row of the batch, if known.
    pub fn of(&self, row: usize) -> Option<i64> {
        match self {
            Positions::From(first) => Some(first + row as i64),
            Positions::Each(all) => all.get(row).copied(),
            Positions::Within(before, within) => Some(before.count() as i64 + within.of(row)?),
        }
    }

    /// Positions of `rows` rows from `first` on, without the rows with the ascending indexes `gone`.
    pub(super) fn without(first: i64, rows: usize, gone: impl Iterator<Item = usize>) -> Positions {
        let mut gone = gone.peekable();
        match gone.peek() {
            None => Positions::From(first),
            Some(_) => {
                let kept = (0..rows).filter(|row| gone.next_if_eq(row).is_none());
                Positions::Each(kept.map(|row| first + row as i64).collect())
            }
        }
    }
}

/// The number of line breaks before a part of a file, counted on first use.
#[derive(Debug)]
pub struct LinesBefore {
    input: Arc<dyn ByteInput>,
    to: u64,
    line_end: u8,
    counted: OnceLock<u64>,
}

impl LinesBefore {
    pub(super) fn new(input: Arc<dyn ByteInput>, to: u64, line_end: u8) -> Self {
        LinesBefore { input, to, line_end, counted: OnceLock::new() }
    }

    pub(super) fn count(&self) -> u64 {
        // If the lines can no longer be counted, the record is still reported, with a wrong line.
        *self.counted.get_or_init(|| lines_to(&self.input, self.to, self.line_end).unwrap_or(0))
    }
}

fn lines_to(input: &Arc<dyn ByteInput>, to: u64, line_end: u8) -> io::Result<u64> {
    let mut source = ByteCursor { input: input.clone(), at: 0 }.take(to);
    let mut buffer = vec![0; to.min(1 << 20) as usize];
    let mut lines = 0;
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(lines),
            n => lines += count_lines(&buffer[..n], line_end),
        }
    }
}
