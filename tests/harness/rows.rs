//! Rows as a person reads them, and compared as a multiset.

use std::{cmp::Ordering, fmt};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Float64Type},
    util::display::{ArrayFormatter, FormatOptions},
};
use tidemark::error::Result;

/// Two floats that differ by less than this, relative to their size, are the same answer.
const TOLERANCE: f64 = 1e-6;

#[derive(Debug, Clone)]
pub enum Cell {
    Null,
    Text(String),
    /// A float, and how it is shown.
    Float(f64, String),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Null => f.write_str("NULL"),
            Cell::Text(text) | Cell::Float(_, text) => f.write_str(text),
        }
    }
}

impl Cell {
    fn same(&self, other: &Cell) -> bool {
        match (self, other) {
            (Cell::Null, Cell::Null) => true,
            (Cell::Text(a), Cell::Text(b)) => a == b,
            (Cell::Float(a, _), Cell::Float(b, _)) => {
                let near = || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0);
                a == b || (a.is_nan() && b.is_nan()) || (a.is_finite() && b.is_finite() && near())
            }
            _ => false,
        }
    }

    /// Exact values decide before floats do, so that a last bit cannot change which rows meet.
    fn exact(&self) -> String {
        match self {
            Cell::Float(..) => String::new(),
            other => other.to_string(),
        }
    }

    fn float(&self) -> f64 {
        match self {
            // All NaN are one, and -0 is 0.
            Cell::Float(value, _) if value.is_nan() => f64::NAN,
            Cell::Float(value, _) => value + 0.0,
            _ => 0.0,
        }
    }
}

/// Rows in an order of their own.
#[derive(Debug, Clone, Default)]
pub struct Rows(pub Vec<Vec<Cell>>);

impl Rows {
    pub fn new(batches: &[RecordBatch]) -> Result<Rows> {
        let mut rows = Vec::new();
        for batch in batches {
            let options = FormatOptions::default().with_null("NULL");
            let shown = batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options));
            let shown = shown.collect::<Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                let cell = |(n, column): (usize, &arrow::array::ArrayRef)| match column.data_type() {
                    _ if column.is_null(row) => Cell::Null,
                    DataType::Float64 => {
                        Cell::Float(column.as_primitive::<Float64Type>().value(row), shown[n].value(row).to_string())
                    }
                    _ => Cell::Text(shown[n].value(row).to_string()),
                };
                rows.push(batch.columns().iter().enumerate().map(cell).collect());
            }
        }
        let mut rows = Rows(rows);
        rows.0.sort_by(|a, b| order(a, b));
        Ok(rows)
    }

    /// A line a row, in order.
    pub fn lines(&self) -> Vec<String> {
        let line = |row: &Vec<Cell>| row.iter().map(Cell::to_string).collect::<Vec<_>>().join(" | ");
        let mut lines: Vec<String> = self.0.iter().map(line).collect();
        lines.sort();
        lines
    }

    /// The same rows, each as often.
    pub fn same(&self, other: &Rows) -> bool {
        let row = |(a, b): (&Vec<Cell>, &Vec<Cell>)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b));
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(row)
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

fn order(a: &[Cell], b: &[Cell]) -> Ordering {
    let exact = a.iter().map(Cell::exact).cmp(b.iter().map(Cell::exact));
    let floats = || {
        let pairs = a.iter().map(Cell::float).zip(b.iter().map(Cell::float));
        pairs.map(|(a, b)| a.total_cmp(&b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    };
    exact.then_with(floats)
}
