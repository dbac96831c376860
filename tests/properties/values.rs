//! Random columns, values and scalar expressions: small domains, so that keys meet and predicates hold now and then.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Int,
    Float,
    Text,
    Bool,
    Time,
    Decimal,
}

pub const TYPES: [Type; 6] = [Type::Int, Type::Float, Type::Text, Type::Bool, Type::Time, Type::Decimal];

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub of: Type,
}

impl Type {
    pub fn sql(self) -> &'static str {
        match self {
            Type::Int => "BIGINT",
            Type::Float => "DOUBLE PRECISION",
            Type::Text => "TEXT",
            Type::Bool => "BOOLEAN",
            Type::Time => "TIMESTAMP",
            Type::Decimal => "DECIMAL(10,2)",
        }
    }

    /// A value as SQL writes it. No NULL.
    pub fn literal(self, rng: &mut SmallRng) -> String {
        match self {
            Type::Int if rng.random_bool(0.02) => "1000000007".to_string(),
            Type::Int => rng.random_range(-4..5).to_string(),
            // Quarters: their sums are exact in any order.
            Type::Float => {
                format!("CAST({:?} AS DOUBLE PRECISION)", f64::from(rng.random_range(1..40)) * 0.25 - 5.0 + 10.0)
            }
            Type::Text => format!("'{}'", pick(rng, &["a", "b", "ab", "B", "", "é%", "it''s", "c"])),
            Type::Bool => pick(rng, &["true", "false"]).to_string(),
            Type::Time if rng.random_bool(0.03) => "TIMESTAMP '1969-12-31 23:59:59.5'".to_string(),
            Type::Time => {
                let (minute, second) = (rng.random_range(0..50), rng.random_range(0..60));
                format!("TIMESTAMP '2024-01-01 00:{minute:02}:{second:02}'")
            }
            Type::Decimal => format!("{}.{:02}", rng.random_range(-3..9), rng.random_range(0..3) * 25),
        }
    }

    pub fn value(self, rng: &mut SmallRng) -> String {
        if rng.random_bool(0.15) { "NULL".to_string() } else { self.literal(rng) }
    }
}

/// Floats that are equal to others, or to nothing; the difference of infinities is a NaN with a sign.
pub fn odd_float(rng: &mut SmallRng) -> String {
    let infinity = "CAST('Infinity' AS DOUBLE PRECISION)";
    let difference = format!("({infinity} - {infinity})");
    let [zero, minus_zero, nan, minus_infinity] =
        ["0", "'-0'", "'NaN'", "'-Infinity'"].map(|value| format!("CAST({value} AS DOUBLE PRECISION)"));
    let all = [&zero, &minus_zero, &minus_zero, &nan, &difference, infinity, &minus_infinity];
    pick::<str>(rng, &all).to_string()
}

pub fn pick<'a, T: ?Sized>(rng: &mut SmallRng, of: &[&'a T]) -> &'a T {
    of.choose(rng).unwrap()
}

/// A column of a type, if there is one.
pub fn column(rng: &mut SmallRng, columns: &[Column], of: Type) -> Option<String> {
    let fitting: Vec<&Column> = columns.iter().filter(|c| c.of == of).collect();
    fitting.choose(rng).map(|c| c.name.clone())
}

/// An expression of a type.
pub fn expr(rng: &mut SmallRng, columns: &[Column], of: Type, depth: u32) -> String {
    let leaf = column(rng, columns, of).unwrap_or_else(|| of.literal(rng));
    if depth == 0 || rng.random_bool(0.5) {
        return leaf;
    }
    let mut e = |of: Type| expr(rng, columns, of, depth - 1);
    let (same, int, text) = (e(of), e(Type::Int), e(Type::Text));
    let other = e(of);
    let literal = of.literal(rng);
    let condition = predicate(rng, columns, depth - 1);
    let common = [
        format!("coalesce({same}, {literal})"),
        format!("CASE WHEN {condition} THEN {same} ELSE {other} END"),
        format!("nullif({same}, {literal})"),
    ];
    let special = match of {
        Type::Int => vec![
            format!("({same} % 1000 + {other} % 1000)"),
            format!("abs({same})"),
            format!("({same} % 3)"),
            format!("CAST(character_length({text}) AS BIGINT)"),
            format!("CAST({condition} AS BIGINT)"),
        ],
        Type::Float => vec![
            format!("({same} * CAST(0.5 AS DOUBLE PRECISION))"),
            format!("round({same})"),
            format!("CAST({int} % 1000 AS DOUBLE PRECISION)"),
            format!("greatest({same}, {other})"),
        ],
        Type::Text => vec![
            format!("upper({same})"),
            format!("left({same}, 1)"),
            format!("replace({same}, 'a', 'x')"),
            format!("CAST({int} AS TEXT)"),
        ],
        Type::Bool => vec![format!("(NOT {same})"), condition.clone()],
        Type::Time => {
            vec![format!("date_trunc('minute', {same})"), format!("({same} + INTERVAL '7 minutes')")]
        }
        Type::Decimal => {
            vec![format!("CAST({same} * 2 AS DECIMAL(10,2))"), format!("CAST({int} % 1000 AS DECIMAL(10,2))")]
        }
    };
    let all: Vec<&String> = common.iter().chain(&special).chain(&special).collect();
    all.choose(rng).unwrap().to_string()
}

/// A condition.
pub fn predicate(rng: &mut SmallRng, columns: &[Column], depth: u32) -> String {
    let of = *TYPES.choose(rng).unwrap();
    let a = expr(rng, columns, of, depth.min(1));
    let b = of.literal(rng);
    let simple = match rng.random_range(0..7) {
        0 => format!("{a} IS NOT NULL"),
        1 => format!("{a} IN ({b}, {})", of.literal(rng)),
        2 if of != Type::Bool => format!("{a} BETWEEN {b} AND {}", of.literal(rng)),
        3 => format!("{} LIKE '%a%'", expr(rng, columns, Type::Text, 0)),
        4 => format!("{a} IS DISTINCT FROM {}", expr(rng, columns, of, 0)),
        _ if of == Type::Bool => a,
        n => format!("{a} {} {b}", ["<", ">=", "<>", "="][n % 4]),
    };
    if depth == 0 || rng.random_bool(0.6) {
        return format!("({simple})");
    }
    let second = predicate(rng, columns, depth - 1);
    format!("(({simple}) {} {second})", pick(rng, &["AND", "OR"]))
}
