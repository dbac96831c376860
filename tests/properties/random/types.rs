//! The types that columns of random tables have, and their values: NULLs, ties and extremes.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

use super::super::values::pick;

/// Whether floats may be -0.0 or NaN.
pub const ODD_FLOATS: bool = true;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int2,
    Int4,
    Int8,
    Real,
    Double,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Ints,
    Texts,
    Nested,
    /// PostgreSQL has no such type.
    Struct,
}

use Type::*;

/// Those that PostgreSQL has as well.
pub const SHARED: &[Type] = &[
    Bool,
    Int2,
    Int4,
    Int8,
    Real,
    Double,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Ints,
    Texts,
    Nested,
];

/// Those that expressions are mostly of.
pub const COMMON: &[Type] = &[Bool, Int4, Int8, Double, Numeric, Text, Date, Timestamp];

impl Type {
    pub fn sql(self) -> &'static str {
        match self {
            Bool => "BOOLEAN",
            Int2 => "SMALLINT",
            Int4 => "INTEGER",
            Int8 => "BIGINT",
            Real => "REAL",
            Double => "DOUBLE PRECISION",
            Numeric => "NUMERIC(12,2)",
            Text => "TEXT",
            Bytea => "BYTEA",
            Date => "DATE",
            Time => "TIME",
            Timestamp => "TIMESTAMP",
            Timestamptz => "TIMESTAMPTZ",
            Interval => "INTERVAL",
            Ints => "INTEGER[]",
            Texts => "TEXT[]",
            Nested => "INTEGER[][]",
            Struct => "STRUCT<a INTEGER, b TEXT>",
        }
    }

    pub fn is_integer(self) -> bool {
        matches!(self, Int2 | Int4 | Int8)
    }

    /// Whether min and max take it, here and in PostgreSQL.
    pub fn has_extremes(self) -> bool {
        !matches!(self, Bool | Bytea | Ints | Texts | Nested | Struct)
    }

    /// A value, cast to its type. No NULL.
    pub fn literal(self, rng: &mut SmallRng, wild: bool) -> String {
        let cast = |text: &str| format!("CAST('{text}' AS {})", self.sql());
        match self {
            Bool => pick(rng, &["true", "false"]).to_string(),
            Int2 if wild && rng.random_bool(0.2) => cast(pick(rng, &["-32768", "32767"])),
            Int4 if wild && rng.random_bool(0.2) => cast(pick(rng, &["-2147483648", "2147483647"])),
            Int8 if wild && rng.random_bool(0.2) => {
                cast(pick(rng, &["-9223372036854775808", "9223372036854775807", "4294967296"]))
            }
            Int2 | Int4 | Int8 => cast(&rng.random_range(-3..6).to_string()),
            Real | Double if ODD_FLOATS && rng.random_bool(0.2) => cast(pick(rng, &["-0.0", "NaN"])),
            Real if wild && rng.random_bool(0.3) => cast(pick(rng, &["Infinity", "-Infinity", "1e38", "1e-37"])),
            Double if wild && rng.random_bool(0.3) => {
                cast(pick(rng, &["Infinity", "-Infinity", "1e300", "1e-300", "4503599627370497.5"]))
            }
            // Quarters: their sums are exact in any order.
            Real | Double => cast(&(f64::from(rng.random_range(-8..12)) * 0.25 + 0.0).to_string()),
            Numeric if wild && rng.random_bool(0.2) => cast(pick(rng, &["9999999999.99", "-9999999999.99"])),
            Numeric => cast(&format!("{}.{:02}", rng.random_range(0..7), rng.random_range(0..4) * 25)),
            Text => format!("'{}'", pick(rng, &["a", "b", "ab", "B", "", "é%", "it''s", " c", "a_b", "日本"])),
            Bytea => format!("decode('{}', 'hex')", pick(rng, &["", "00", "ff00", "61", "6162"])),
            Date if rng.random_bool(0.15) => cast(pick(rng, &["0001-01-01", "9999-12-31", "1969-12-31"])),
            Date => cast(&format!("2024-0{}-{:02}", rng.random_range(1..3), rng.random_range(1..28))),
            Time => cast(pick(rng, &["00:00:00", "23:59:59.999999", "12:30:00", "12:30:00.5"])),
            Timestamp if rng.random_bool(0.15) => {
                cast(pick(rng, &["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.5"]))
            }
            Timestamp => cast(&moment(rng)),
            Timestamptz if rng.random_bool(0.15) => {
                cast(pick(rng, &["0001-01-02 00:00:00+00", "9999-12-30 23:59:59.999999+00"]))
            }
            Timestamptz => cast(&format!("{}+00", moment(rng))),
            // Of one spelling each: a month is thirty days to PostgreSQL only.
            Interval => cast(pick(rng, &["1 day", "2 days 3 hours", "1 second", "40 days", "0 days"])),
            Ints => list(rng, &["1", "2", "-3", "NULL"], "INTEGER[]"),
            Texts => list(rng, &["'a'", "''", "'b,c'", "NULL"], "TEXT[]"),
            Nested => {
                pick(rng, &["ARRAY[ARRAY[1, 2], ARRAY[3, NULL]]", "ARRAY[ARRAY[1]]", "ARRAY[ARRAY[2], ARRAY[0]]"])
                    .to_string()
            }
            Struct => {
                let (a, b) = (pick(rng, &["1", "2", "NULL"]), pick(rng, &["'x'", "''", "NULL"]));
                format!("named_struct('a', CAST({a} AS INTEGER), 'b', CAST({b} AS TEXT))")
            }
        }
    }

    pub fn value(self, rng: &mut SmallRng, wild: bool) -> String {
        if rng.random_bool(0.25) { "NULL".to_string() } else { self.literal(rng, wild) }
    }

    /// A value of the number `g`, as both servers compute it.
    pub fn series(self, few: u32) -> String {
        let g = format!("(g % {few})");
        match self {
            Bool => format!("{g} % 2 = 0"),
            Int2 | Int4 | Int8 | Real | Double | Numeric | Text => format!("CAST({g} AS {})", self.sql()),
            Date => format!("CAST('2024-01-0' || CAST({g} % 9 + 1 AS TEXT) AS DATE)"),
            Timestamp => format!("CAST('2024-01-01 00:0' || CAST({g} % 10 AS TEXT) || ':00' AS TIMESTAMP)"),
            Ints => format!("CASE WHEN {g} % 3 = 0 THEN NULL ELSE ARRAY[CAST({g} AS INTEGER), NULL] END"),
            Texts => format!("ARRAY[CAST({g} AS TEXT), 'x']"),
            _ => "NULL".to_string(),
        }
    }
}

fn moment(rng: &mut SmallRng) -> String {
    format!("2024-01-0{} 0{}:{:02}:00", rng.random_range(1..4), rng.random_range(0..3), rng.random_range(0..6) * 10)
}

fn list(rng: &mut SmallRng, items: &[&str], of: &str) -> String {
    let items: Vec<&str> = (0..rng.random_range(0..4)).map(|_| *items.choose(rng).unwrap()).collect();
    format!("CAST(ARRAY[{}] AS {of})", items.join(", "))
}
