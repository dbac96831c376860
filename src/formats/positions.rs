//! Where rows stood, told so that it costs nothing until somebody asks.

use std::{
    io::{self, Read},
    sync::{Arc, OnceLock},
};

use super::{
    input::{ByteCursor, ByteInput},
    records::count_lines,
};

/// Where the rows of a batch stood: the line of a file, the row of a file that has no lines, or what else counts them.
#[derive(Debug, Clone)]
pub enum Positions {
    /// The first, and each of the others right behind the one before.
    From(i64),
    Each(Vec<i64>),
    /// As one of the others says, counted from the beginning of a part.
    Within(Arc<LinesBefore>, Box<Positions>),
}

impl Positions {
    /// That of a row of the batch.
    pub fn of(&self, row: usize) -> Option<i64> {
        match self {
            Positions::From(first) => Some(first + row as i64),
            Positions::Each(all) => all.get(row).copied(),
            Positions::Within(before, within) => Some(before.count() as i64 + within.of(row)?),
        }
    }

    /// Those of the rows from `first` on, without some of them, which are in order.
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

/// The line breaks before a part of a file, counted when somebody first asks.
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
        // A line that cannot be counted any more is a lesser evil than a record that is not reported.
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
