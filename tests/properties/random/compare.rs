//! Answers as text, compared as multisets; floats to within their rounding.

use std::fmt;

use crate::server::harness::error_text;

/// What two ways to sum may differ in, relative to the size.
const TOLERANCE: f64 = 1e-9;

/// What a client is told.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub state: String,
    pub text: String,
}

impl Refusal {
    pub fn new(error: &tokio_postgres::Error) -> Refusal {
        let state = error.code().map_or("none", |code| code.code()).to_string();
        Refusal { state, text: error_text(error) }
    }

    /// Whether it is about a value that a row has: which rows are looked at is not told by SQL.
    pub fn is_of_a_value(&self) -> bool {
        self.state.starts_with("22") || self.state == "21000"
    }
}

/// Rows, each as its cells.
#[derive(Debug, Clone, Default)]
pub struct Answer(pub Vec<Vec<Option<String>>>);

fn number(text: &str) -> Option<f64> {
    let digits =
        text.starts_with(|c: char| c.is_ascii_digit() || c == '-') || text.contains("Infinity") || text == "NaN";
    if digits { text.parse().ok() } else { None }
}

fn same_word(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (number(a), number(b)) {
        (Some(x), Some(y)) => {
            // Which one of several equal keys is shown, 0 or -0, is told by the order in which they come.
            if x == 0.0 && y == 0.0 && [a, b].contains(&"-0") {
                return true;
            }
            // Whole numbers are exact.
            let whole = !a.contains(['.', 'e', 'I', 'N']) && !b.contains(['.', 'e', 'I', 'N']);
            !whole
                && (x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= TOLERANCE * x.abs().max(y.abs()).max(1e-3))
        }
        _ => false,
    }
}

/// Words of arrays and rows are compared one by one.
fn same_cell(a: &Option<String>, b: &Option<String>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) if a == b || same_word(a, b) => true,
        (Some(a), Some(b)) if a.starts_with(['{', '(']) => {
            let words = |text: &str| text.split(['{', '}', '(', ')', ',']).map(str::to_string).collect::<Vec<_>>();
            let (a, b) = (words(a), words(b));
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same_word(a, b))
        }
        _ => false,
    }
}

/// Exact cells decide before others do, so that a last bit cannot change which rows meet.
fn exact(row: &[Option<String>]) -> Vec<Option<&str>> {
    let cell = |cell: &'_ Option<String>| cell.as_deref().filter(|text| number(text).is_none()).map(|_| ());
    let mut key = Vec::new();
    for c in row {
        key.push(if c.is_none() || cell(c).is_some() { c.as_deref().or(Some("\u{0}")) } else { None });
    }
    key
}

fn floats(row: &[Option<String>]) -> Vec<f64> {
    row.iter().map(|cell| cell.as_deref().and_then(number).unwrap_or(0.0) + 0.0).collect()
}

impl Answer {
    pub fn sorted(mut self) -> Answer {
        self.0.sort_by(|a, b| {
            let numbers = || {
                let (a, b) = (floats(a), floats(b));
                a.iter().zip(&b).map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
            };
            // Texts may be of the same number: 1 and 01.
            exact(a).cmp(&exact(b)).then_with(numbers).then_with(|| a.cmp(b))
        });
        self
    }

    pub fn same(&self, other: &Answer) -> bool {
        let row = |(a, b): (&Vec<Option<String>>, &Vec<Option<String>>)| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_cell(a, b))
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(row)
    }

    /// The rows that the other one has not.
    pub fn less(&self, other: &Answer) -> Answer {
        let mut left = other.0.clone();
        let same = |a: &[Option<String>], b: &[Option<String>]| a.iter().zip(b).all(|(a, b)| same_cell(a, b));
        let mut more = Vec::new();
        for row in &self.0 {
            match left.iter().position(|other| same(row, other)) {
                Some(at) => drop(left.swap_remove(at)),
                None => more.push(row.clone()),
            }
        }
        Answer(more)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.0.iter().take(8) {
            let cells: Vec<&str> = row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect();
            writeln!(f, "--   {}", cells.join(" | "))?;
        }
        if self.0.len() > 8 {
            writeln!(f, "--   … {} rows", self.0.len())?;
        }
        Ok(())
    }
}
