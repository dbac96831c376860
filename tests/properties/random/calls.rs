//! Random calls of aggregates and of window functions.

use rand::{Rng, seq::IndexedRandom};

use super::{
    exprs::Maker,
    schema::Column,
    types::Type::{self, *},
};

const INTEGERS: &[Type] = &[Int2, Int4, Int8];

/// What an average is compared as: that of decimals has fewer digits here.
fn averaged(of: Type) -> Type {
    if of == Numeric { Numeric } else { Double }
}

impl Maker<'_> {
    /// Some expression to order by, and how.
    pub fn order_item(&mut self, scope: &[Column], depth: u32) -> String {
        let mut of = self.type_of(scope);
        if matches!(of, Struct | Nested) {
            of = Int4;
        }
        // A bare literal would be the place of a column, or no order at all.
        let e = match self.column(scope, of) {
            Some(_) if depth > 0 && self.chance(0.4) => self.expr(scope, of, depth),
            Some(column) => column,
            None => return format!("{} DESC", scope[0].name),
        };
        let e = if e.starts_with("CAST(NULL") || !e.contains('.') { scope[0].name.clone() } else { e };
        format!("{e}{}", self.direction())
    }

    pub fn direction(&mut self) -> &'static str {
        self.pick(&["", "", " DESC", " ASC NULLS FIRST", " DESC NULLS LAST", " ASC"])
    }

    /// An order in which only rows that are equal in `scope` tie.
    pub fn total(&mut self, scope: &[Column]) -> String {
        let mut items: Vec<String> = Vec::new();
        for _ in 0..self.rng.random_range(0..2) {
            items.push(self.order_item(scope, 1));
        }
        let mut rest: Vec<&Column> = scope.iter().filter(|c| c.of != Struct).collect();
        if !rest.is_empty() {
            let by = self.rng.random_range(0..rest.len());
            rest.rotate_left(by);
        }
        let rest: Vec<String> = rest.iter().map(|c| c.name.clone()).collect();
        for name in rest {
            items.push(format!("{name}{}", self.direction()));
        }
        items.join(", ")
    }

    /// What a sum may be of: its size is known.
    fn summed(&mut self, scope: &[Column], depth: u32) -> (String, Type) {
        let of = *[Int4, Int8, Int2, Numeric, Double].choose(self.rng).unwrap();
        let e = self.expr(scope, of, depth);
        match of {
            Double if self.schema.wild => {
                (format!("CAST({} % 1000 AS DOUBLE PRECISION)", self.leaf(scope, Int4)), Double)
            }
            Double => (e, Double),
            Numeric if self.schema.wild => {
                (format!("CAST({} % 1000 AS NUMERIC(12,2))", self.leaf(scope, Int4)), Numeric)
            }
            Numeric => (e, Numeric),
            of => (format!("({e} % 1000)"), of),
        }
    }

    fn array_agg(&mut self, scope: &[Column], depth: u32, distinct: &str) -> (String, Type) {
        let of = *[Int4, Int4, Text].choose(self.rng).unwrap();
        let fed = self.expr(scope, of, depth);
        let gives = if of == Int4 { Ints } else { Texts };
        match distinct {
            "" => (format!("array_agg({fed} ORDER BY {}, {fed})", self.order_item(scope, 1)), gives),
            _ => (format!("array_agg(DISTINCT {fed} ORDER BY {fed}{})", self.direction()), gives),
        }
    }

    fn string_agg(&mut self, scope: &[Column], depth: u32, distinct: &str) -> (String, Type) {
        let fed = self.expr(scope, Text, depth);
        let separator = self.pick(&["','", "''", "'; '"]);
        match distinct {
            "" => (format!("string_agg({fed}, {separator} ORDER BY {}, {fed})", self.order_item(scope, 1)), Text),
            _ => (format!("string_agg(DISTINCT {fed}, {separator} ORDER BY {fed}{})", self.direction()), Text),
        }
    }

    /// A call of an aggregate and what it gives.
    pub fn aggregate(&mut self, scope: &[Column], depth: u32) -> (String, Type) {
        let distinct = if self.chance(0.25) { "DISTINCT " } else { "" };
        let of = self.type_of(scope);
        let of = if of == Struct { Int4 } else { of };
        let fed = self.expr(scope, of, depth);
        let (call, gives) = match self.rng.random_range(0..21) {
            0 => ("count(*)".to_string(), Int8),
            1 => (format!("count({distinct}{fed})"), Int8),
            2..5 => {
                let (fed, of) = self.summed(scope, depth);
                let gives = if of.is_integer() { Int8 } else { of };
                let order = match distinct.is_empty() && self.chance(0.1) {
                    true => format!(" ORDER BY {}", self.order_item(scope, 1)),
                    false => String::new(),
                };
                (format!("CAST(sum({distinct}{fed}{order}) AS {})", gives.sql()), gives)
            }
            5 => {
                let (fed, of) = self.summed(scope, depth);
                let gives = averaged(of);
                (format!("CAST(avg({distinct}{fed}) AS {})", gives.sql()), gives)
            }
            6..9 if of.has_extremes() => {
                let order =
                    if self.chance(0.15) { format!(" ORDER BY {}", self.order_item(scope, 0)) } else { String::new() };
                (format!("{}({fed}{order})", self.pick(&["min", "max"])), of)
            }
            9 => {
                let name = self.pick(&["bool_and", "bool_or"]);
                (format!("{name}({})", self.condition(scope, 0)), Bool)
            }
            10 => {
                let of = *INTEGERS.choose(self.rng).unwrap();
                let name = self.pick(&["bit_and", "bit_or", "bit_xor"]);
                (format!("{name}({})", self.expr(scope, of, depth)), of)
            }
            11 | 12 => self.array_agg(scope, depth, distinct),
            13 | 14 => self.string_agg(scope, depth, distinct),
            15 => {
                let name = self.pick(&["var_samp", "var_pop", "stddev_samp", "stddev_pop", "stddev", "variance"]);
                let name = if name == "variance" { "var_samp" } else { name };
                // Its last bits are not determined: as a key it is rounded.
                (format!("CAST({name}({}) AS NUMERIC(12,2))", self.summed(scope, depth).0), Numeric)
            }
            16 if !self.schema.wild => {
                let name = self.pick(&["regr_count", "regr_avgx", "regr_avgy", "covar_pop", "covar_samp", "regr_sxx"]);
                let (a, b) = (self.expr(scope, Double, depth), self.expr(scope, Double, depth));
                (format!("CAST({name}({a}, {b}) AS NUMERIC(12,2))"), Numeric)
            }
            17 | 18 => {
                self.only_here = true;
                let name = self.pick(&["first_value", "last_value", "nth_value"]);
                let second = if name == "nth_value" { ", 2" } else { "" };
                (format!("{name}({fed}{second} ORDER BY {}, {fed})", self.order_item(scope, 1)), of)
            }
            19 if !self.schema.wild => {
                (format!("percentile_cont(0.5) WITHIN GROUP (ORDER BY {})", self.expr(scope, Double, depth)), Double)
            }
            _ => (format!("count({fed})"), Int8),
        };
        if !self.chance(0.2) {
            return (call, gives);
        }
        // A cast may stand around the call.
        let end = call.rfind(" AS ").filter(|_| call.starts_with("CAST(")).unwrap_or(call.len());
        let (call, cast) = call.split_at(end);
        (format!("{call} FILTER (WHERE {}){cast}", self.condition(scope, 0)), gives)
    }

    /// A call of a window function over its own window and what it gives. Equal rows may change places between two windows:
    /// what tells them apart stands alone.
    pub fn window(&mut self, scope: &[Column], alone: bool) -> (String, Type) {
        let partition = match self.rng.random_range(0..3) {
            0 => String::new(),
            1 => format!("PARTITION BY {} ", scope.choose(self.rng).unwrap().name),
            _ => {
                let of = self.type_of(scope);
                format!("PARTITION BY {} ", self.expr(scope, of, 1))
            }
        };
        let of = self.type_of(scope);
        let fed = self.expr(scope, of, 1);
        let total = format!("({partition}ORDER BY {})", self.total(scope));
        let which = if alone { self.rng.random_range(0..12) } else { *[1, 2, 8].choose(self.rng).unwrap() };
        match which {
            0 => (format!("row_number() OVER {total}"), Int8),
            1 => {
                let name = self.pick(&["rank", "dense_rank"]);
                (format!("{name}() OVER ({partition}ORDER BY {})", self.order_item(scope, 1)), Int8)
            }
            2 => {
                let name = self.pick(&["percent_rank", "cume_dist"]);
                (format!("{name}() OVER ({partition}ORDER BY {})", self.order_item(scope, 1)), Double)
            }
            3 => (format!("CAST(ntile({}) OVER {total} AS INTEGER)", self.rng.random_range(1..5)), Int4),
            4 | 5 => {
                let name = self.pick(&["lag", "lead"]);
                let more = match self.rng.random_range(0..4) {
                    0 => ", 2".to_string(),
                    1 if of != Struct => format!(", 1, {}", self.literal(of)),
                    _ => String::new(),
                };
                (format!("{name}({fed}{more}) OVER {total}"), of)
            }
            6 | 7 => {
                let name = self.pick(&["first_value", "last_value", "nth_value"]);
                let second = if name == "nth_value" { ", 2" } else { "" };
                let frame = self.frame("ROWS");
                (format!("{name}({fed}{second}) OVER ({partition}ORDER BY {}{frame})", self.total(scope)), of)
            }
            _ => {
                let (call, gives) = match self.rng.random_range(0..5) {
                    0 => ("count(*)".to_string(), Int8),
                    1 => (format!("count({fed})"), Int8),
                    2 if of.has_extremes() => (format!("{}({fed})", self.pick(&["min", "max"])), of),
                    3 => {
                        let (fed, of) = self.summed(scope, 1);
                        match of {
                            of if of.is_integer() => (format!("sum({fed})"), Int8),
                            of => (format!("sum({fed})"), of),
                        }
                    }
                    _ => {
                        let (fed, of) = self.summed(scope, 1);
                        (format!("avg({fed})"), averaged(of))
                    }
                };
                let over = match self.rng.random_range(0..if alone { 4 } else { 3 }) {
                    0 => format!("({partition})"),
                    1 => format!("({partition}ORDER BY {})", self.order_item(scope, 1)),
                    2 => format!("({partition}ORDER BY {}{})", self.order_item(scope, 1), self.frame("GROUPS")),
                    _ => format!("({partition}ORDER BY {}{})", self.total(scope), self.frame("ROWS")),
                };
                (format!("CAST({call} OVER {over} AS {})", gives.sql()), gives)
            }
        }
    }

    fn frame(&mut self, unit: &str) -> String {
        if self.chance(0.3) {
            return String::new();
        }
        let frame = self.pick(&[
            "BETWEEN 1 PRECEDING AND 1 FOLLOWING",
            "BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
            "BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
            "BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
            "BETWEEN 2 PRECEDING AND 1 PRECEDING",
            "BETWEEN 1 FOLLOWING AND 3 FOLLOWING",
            "1 PRECEDING",
            "UNBOUNDED PRECEDING",
        ]);
        let unit = if unit == "GROUPS" && self.chance(0.5) && !frame.contains(|c: char| c.is_ascii_digit()) {
            "RANGE"
        } else {
            unit
        };
        format!(" {unit} {frame}")
    }
}
