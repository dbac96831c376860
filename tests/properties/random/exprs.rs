//! Random scalar expressions and conditions over columns in scope, of a wanted type.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

use super::{
    super::values::pick,
    schema::{Column, Schema},
    types::{
        COMMON, SHARED,
        Type::{self, *},
    },
};

/// What makes one query.
pub struct Maker<'a> {
    pub rng: &'a mut SmallRng,
    pub schema: &'a Schema,
    /// Names of WITH.
    pub named: Vec<(String, Vec<Column>)>,
    /// Why PostgreSQL is not asked.
    pub only_here: bool,
    names: usize,
    /// Subqueries that may still come.
    pub subqueries: usize,
    /// How many relations may still be joined by other than equality: a query of several has millions of rows.
    pub loose: usize,
}

impl<'a> Maker<'a> {
    pub fn new(rng: &'a mut SmallRng, schema: &'a Schema) -> Maker<'a> {
        let subqueries = if schema.big { 1 } else { rng.random_range(0..4) };
        Maker { only_here: schema.own, rng, schema, named: Vec::new(), names: 0, subqueries, loose: 1 }
    }

    pub fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    pub fn chance(&mut self, of: f64) -> bool {
        self.rng.random_bool(of)
    }

    pub fn pick(&mut self, of: &[&'static str]) -> &'static str {
        pick(self.rng, of)
    }

    pub fn literal(&mut self, of: Type) -> String {
        of.literal(self.rng, self.schema.wild)
    }

    /// A type that some column has, mostly.
    pub fn type_of(&mut self, scope: &[Column]) -> Type {
        match scope.choose(self.rng) {
            Some(column) if self.rng.random_bool(0.8) => column.of,
            _ if self.rng.random_bool(0.8) => *COMMON.choose(self.rng).unwrap(),
            _ => *SHARED.choose(self.rng).unwrap(),
        }
    }

    pub fn column(&mut self, scope: &[Column], of: Type) -> Option<String> {
        let fitting: Vec<&Column> = scope.iter().filter(|c| c.of == of).collect();
        fitting.choose(self.rng).map(|c| c.name.clone())
    }

    pub fn leaf(&mut self, scope: &[Column], of: Type) -> String {
        match self.column(scope, of) {
            Some(column) if self.rng.random_bool(0.9) => column,
            _ if self.rng.random_bool(0.1) => format!("CAST(NULL AS {})", of.sql()),
            _ => self.literal(of),
        }
    }

    pub fn expr(&mut self, scope: &[Column], of: Type, depth: u32) -> String {
        if depth == 0 || self.chance(0.45) {
            return self.leaf(scope, of);
        }
        if of != Struct && self.subqueries > 0 && self.chance(0.06) {
            return self.scalar_subquery(scope, of);
        }
        let a = self.expr(scope, of, depth - 1);
        match self.rng.random_range(0..9) {
            0 => format!("coalesce({a}, {})", self.expr(scope, of, depth - 1)),
            1 => {
                let (condition, b) = (self.condition(scope, depth - 1), self.expr(scope, of, depth - 1));
                let last = if self.chance(0.7) { format!(" ELSE {b}") } else { String::new() };
                format!("CASE WHEN {condition} THEN {a}{last} END")
            }
            2 if of != Struct => format!("nullif({a}, {})", self.leaf(scope, of)),
            3 if of.has_extremes() => {
                format!("{}({a}, {})", self.pick(&["greatest", "least"]), self.expr(scope, of, depth - 1))
            }
            _ => self.special(scope, of, a, depth - 1),
        }
    }

    /// What there is for a type alone.
    fn special(&mut self, scope: &[Column], of: Type, a: String, depth: u32) -> String {
        let wild = self.schema.wild;
        match of {
            Bool => self.condition(scope, depth),
            Int2 => a,
            Int4 => match self.rng.random_range(0..7) {
                0 => format!("({a} % 1000 + {} % 1000)", self.expr(scope, Int4, depth)),
                1 => format!("({a} % 100 * 7)"),
                2 => format!("length({})", self.expr(scope, Text, depth)),
                3 => format!("({a} / nullif({} % 50, 0))", self.expr(scope, Int4, depth)),
                4 => format!("CAST({} % 1000 AS INTEGER)", self.expr(scope, Int8, depth)),
                5 => format!("cardinality({})", self.leaf(scope, Ints)),
                _ => format!("(- ({a} % 1000))"),
            },
            Int8 => match self.rng.random_range(0..5) {
                0 => format!("({a} % 1000 - {} % 1000)", self.expr(scope, Int8, depth)),
                1 => format!("abs({a} % 1000)"),
                2 => format!("CAST({} AS BIGINT)", self.expr(scope, Int4, depth)),
                3 => {
                    let time = self.expr(scope, Timestamp, depth);
                    // Before the year 1 PostgreSQL has no year 0.
                    let parts = ["month", "day", "year"];
                    let part = self.pick(if time.contains("INTERVAL") { &parts[..2] } else { &parts });
                    format!("CAST(extract({part} FROM {time}) AS BIGINT)")
                }
                _ => format!("({a} / 2)"),
            },
            Real => a,
            Double => match self.rng.random_range(0..4) {
                0 => format!("CAST({} AS DOUBLE PRECISION)", self.expr(scope, Int4, depth)),
                1 if !wild => format!("({a} * CAST(0.5 AS DOUBLE PRECISION) + CAST(0 AS DOUBLE PRECISION))"),
                2 if !wild => format!("({a} + {})", self.expr(scope, Double, depth)),
                _ => format!("CAST({} AS DOUBLE PRECISION)", self.expr(scope, Real, depth)),
            },
            Numeric => match self.rng.random_range(0..3) {
                0 => format!("CAST({} % 1000 AS NUMERIC(12,2))", self.expr(scope, Int4, depth)),
                1 if !wild => format!("CAST({a} - {} AS NUMERIC(12,2))", self.leaf(scope, Numeric)),
                _ => format!("abs({a})"),
            },
            Text => match self.rng.random_range(0..11) {
                0 => format!("upper({a})"),
                1 => format!("left({a}, 2)"),
                2 => format!("replace({a}, 'a', 'xy')"),
                3 => format!("({a} || {})", self.expr(scope, Text, depth)),
                4 => format!("concat({a}, {})", self.leaf(scope, Text)),
                5 => format!("CAST({} AS TEXT)", self.expr(scope, Int8, depth)),
                6 => format!("substr({a}, 2)"),
                7 => format!("btrim({a})"),
                8 => format!("CAST({} AS TEXT)", self.leaf(scope, Date)),
                9 => format!("reverse({a})"),
                _ => format!("encode({}, 'hex')", self.leaf(scope, Bytea)),
            },
            Bytea => a,
            Date => format!("CAST({} AS DATE)", self.expr(scope, Timestamp, depth)),
            Time => a,
            Timestamp => match self.rng.random_range(0..4) {
                0 => format!("date_trunc('{}', {a})", self.pick(&["hour", "day", "month", "year"])),
                1 => format!("CAST({} AS TIMESTAMP)", self.expr(scope, Date, depth)),
                2 => format!("({a} - INTERVAL '90 minutes')"),
                _ => format!("({a} - INTERVAL '1 day')"),
            },
            Timestamptz => a,
            Interval => a,
            Ints => match self.rng.random_range(0..3) {
                0 => format!("ARRAY[{}, {}]", self.expr(scope, Int4, depth), self.leaf(scope, Int4)),
                1 => format!("array_append(ARRAY[{}], {})", self.leaf(scope, Int4), self.leaf(scope, Int4)),
                _ => a,
            },
            Texts => match self.rng.random_range(0..2) {
                0 => format!("ARRAY[{}, {}]", self.expr(scope, Text, depth), self.leaf(scope, Text)),
                _ => a,
            },
            Nested => a,
            Struct => a,
        }
    }

    /// A condition.
    pub fn condition(&mut self, scope: &[Column], depth: u32) -> String {
        if depth > 0 && self.chance(0.35) {
            let (a, b) = (self.condition(scope, depth - 1), self.condition(scope, depth - 1));
            return match self.rng.random_range(0..5) {
                0 | 1 => format!("({a} AND {b})"),
                2 | 3 => format!("({a} OR {b})"),
                _ => format!("(NOT {a})"),
            };
        }
        if depth > 0 && self.subqueries > 0 && self.chance(0.25) {
            return self.subquery_condition(scope);
        }
        let of = self.type_of(scope);
        let a = self.expr(scope, of, depth.min(1));
        match (self.rng.random_range(0..12), of) {
            (0, _) => format!("({a} IS NULL)"),
            (1, _) => format!("({a} IS NOT NULL)"),
            (2, Struct) | (_, Struct) => format!("({a} IS NOT NULL)"),
            (2, Bool) => format!("({a} IS {})", self.pick(&["TRUE", "NOT TRUE", "FALSE", "UNKNOWN"])),
            (3, _) => format!("({a} IS DISTINCT FROM {})", self.leaf(scope, of)),
            (4, _) if of.has_extremes() => format!("({a} BETWEEN {} AND {})", self.leaf(scope, of), self.literal(of)),
            (5, _) if of.has_extremes() => {
                let not = self.pick(&["", "NOT "]);
                format!("({a} {not}IN ({}, {}))", self.literal(of), self.leaf(scope, of))
            }
            (6, Text) => format!("({a} {})", self.pick(&["LIKE '%a%'", "NOT LIKE '_'", "ILIKE 'B%'", "~ 'a.?b'"])),
            (7, Int4) => {
                let list = self.literal(Ints);
                format!("({a} {} ({list}))", self.pick(&["= ANY", "<> ALL", "> ANY", "<= ALL"]))
            }
            (_, Bool) if depth > 0 => a,
            (8 | 9, _) => format!("({a} = {})", self.leaf(scope, of)),
            (_, Ints | Texts | Nested | Bytea) => format!("({a} = {})", self.leaf(scope, of)),
            _ => {
                let (operator, b) = (self.pick(&["<", "<=", ">", ">=", "<>", "="]), self.expr(scope, of, depth.min(1)));
                format!("({a} {operator} {b})")
            }
        }
    }
}
