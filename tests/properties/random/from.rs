//! What random queries read: tables, joins, subqueries in FROM and in conditions.

use rand::{Rng, seq::IndexedRandom};

use super::{
    exprs::Maker,
    schema::Column,
    types::Type::{self, *},
};

/// Columns as those of a relation.
fn of_relation(name: &str, columns: &[Column]) -> Vec<Column> {
    columns.iter().map(|c| Column { name: format!("{name}.{}", c.name), of: c.of }).collect()
}

impl Maker<'_> {
    /// One thing to read, and its columns by their whole names. `bare`: a table may stand without an alias.
    fn relation(&mut self, depth: u32, outer: &[Column], bare: bool) -> (String, Vec<Column>) {
        let name = self.name("r");
        if !self.named.is_empty() && self.chance(0.5) {
            let (with, columns) = self.named.choose(self.rng).unwrap().clone();
            return (format!("{with} AS {name}"), of_relation(&name, &columns));
        }
        match self.rng.random_range(0..10) {
            0 | 1 if depth > 0 => {
                let query = self.query(depth - 1, outer);
                (format!("({}) AS {name}", query.text), of_relation(&name, &query.columns))
            }
            2 if !self.schema.big => {
                let types = [Int4, Text];
                let rows: Vec<String> = (0..self.rng.random_range(1..4))
                    .map(|_| types.map(|of| of.value(self.rng, false)).join(", "))
                    .map(|row| format!("({row})"))
                    .collect();
                // The first row says the types.
                let first = "(CAST(1 AS INTEGER), CAST('a' AS TEXT))";
                let columns = [("x", Int4), ("y", Text)].map(|(n, of)| Column { name: n.to_string(), of });
                (format!("(VALUES {first}, {}) AS {name} (x, y)", rows.join(", ")), of_relation(&name, &columns))
            }
            3 if !self.schema.big => {
                let (inner, schema) = (self.name("r"), self.schema);
                let table = schema.tables.choose(self.rng).unwrap();
                let columns = of_relation(&inner, &table.columns);
                let (list, of) = match self.chance(0.5) {
                    true => (self.expr(&columns, Ints, 1), Int4),
                    false => (self.expr(&columns, Texts, 1), Text),
                };
                let text =
                    format!("(SELECT unnest({list}) AS x, {inner}.id AS id FROM {} AS {inner}) AS {name}", table.name);
                let columns = [("x", of), ("id", Int4)].map(|(n, of)| Column { name: n.to_string(), of });
                (text, of_relation(&name, &columns))
            }
            _ => {
                let schema = self.schema;
                let table = schema.tables.choose(self.rng).unwrap();
                // Under its own name it may hide one of the queries around, so that nothing joins the two.
                if bare && !schema.big && self.chance(0.4) {
                    return (table.name.clone(), of_relation(&table.name, &table.columns));
                }
                (format!("{} AS {name}", table.name), of_relation(&name, &table.columns))
            }
        }
    }

    /// A subquery of FROM that reads columns of a query further out.
    fn tied(&mut self, outer: &[Column]) -> (String, Vec<Column>) {
        let (inner, name) = (self.name("r"), self.name("r"));
        let schema = self.schema;
        let table = schema.tables.choose(self.rng).unwrap();
        let tie = self.tie(&of_relation(&inner, &table.columns), outer);
        let text = format!("(SELECT * FROM {} AS {inner} WHERE {tie}) AS {name}", table.name);
        (text, of_relation(&name, &table.columns))
    }

    /// FROM, and what there is to be read. What is in `outer` belongs to queries around it.
    pub fn from(&mut self, depth: u32, outer: &[Column]) -> (String, Vec<Column>) {
        if !self.schema.big && self.chance(0.12) {
            return self.merged();
        }
        let (mut text, mut scope) = match !outer.is_empty() && self.chance(0.15) {
            true => self.tied(outer),
            false => self.relation(depth, &[], true),
        };
        for _ in 0..*[0, 0, 0, 1, 1, 2].choose(self.rng).unwrap() {
            if self.schema.big && text.contains("JOIN") {
                break;
            }
            match self.rng.random_range(0..14) {
                0 if !self.schema.big => {
                    let (other, theirs) = self.relation(0, &[], false);
                    text = format!("{text} CROSS JOIN {other}");
                    scope.extend(theirs);
                }
                1 | 2 if depth > 0 && self.subqueries > 0 => {
                    self.subqueries -= 1;
                    let name = self.name("l");
                    let query = match self.chance(0.5) {
                        true => self.grouped(0, &scope),
                        false => self.select(0, &scope),
                    };
                    let join = self.pick(&["CROSS JOIN LATERAL", "LEFT JOIN LATERAL", "JOIN LATERAL"]);
                    let on = if join.starts_with("CROSS") { "" } else { " ON true" };
                    text = format!("{text} {join} ({}) AS {name}{on}", query.text);
                    scope.extend(of_relation(&name, &query.columns));
                }
                _ => {
                    let (other, theirs) = self.relation(depth.min(1), &[], false);
                    let kind = self.pick(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
                    let on = match kind {
                        // PostgreSQL joins so by equality alone.
                        "FULL JOIN" => self.equality(&scope, &theirs),
                        _ => self.tie(&scope, &theirs),
                    };
                    // What it reads of a query around decides which rows an outer join gives alone.
                    let around = match kind != "FULL JOIN" && !outer.is_empty() && self.chance(0.15) {
                        true => format!(" AND {}", self.equality(&theirs, outer)),
                        false => String::new(),
                    };
                    text = format!("{text} {kind} {other} ON {on}{around}");
                    scope.extend(theirs);
                }
            }
        }
        (text, scope)
    }

    fn equality(&mut self, left: &[Column], right: &[Column]) -> String {
        let pairs: Vec<(&Column, &Column)> = left
            .iter()
            .flat_map(|l| right.iter().filter(|r| r.of == l.of && r.of != Struct).map(move |r| (l, r)))
            .collect();
        match pairs.choose(self.rng) {
            Some((l, r)) if !self.schema.big => format!("{} = {}", l.name, r.name),
            _ => self.tie(left, right),
        }
    }

    /// Two or three relations with a column of one name: USING or NATURAL.
    fn merged(&mut self) -> (String, Vec<Column>) {
        let key = self.name("k");
        let of = *[Int4, Int4, Text, Numeric, Date, Int8].choose(self.rng).unwrap();
        let (mut text, mut scope) = (String::new(), vec![Column { name: key.clone(), of }]);
        for n in 0..self.rng.random_range(2..4) {
            let (name, inner) = (self.name("m"), self.name("r"));
            let schema = self.schema;
            let table = schema.tables.choose(self.rng).unwrap();
            let columns = of_relation(&inner, &table.columns);
            let (merged, other) = (self.expr(&columns, of, 1), self.name("o"));
            let shown = columns.choose(self.rng).unwrap().clone();
            let part = format!(
                "(SELECT {merged} AS {key}, {} AS {other} FROM {} AS {inner}) AS {name}",
                shown.name, table.name
            );
            scope.push(Column { name: format!("{name}.{other}"), of: shown.of });
            if n > 0 {
                let kind = self.pick(&["", "LEFT ", "RIGHT ", "FULL "]);
                text = match self.chance(0.3) {
                    true => format!("{text} NATURAL {kind}JOIN {part}"),
                    false => format!("{text} {kind}JOIN {part} USING ({key})"),
                };
            } else {
                text = part;
            }
        }
        // By a dot it is known that an expression has a column in it.
        let name = self.name("j");
        let shown: Vec<String> = scope.iter().map(|c| c.name.clone()).collect();
        let names = scope
            .iter()
            .map(|c| Column { name: format!("{name}.{}", c.name.rsplit('.').next().unwrap()), of: c.of })
            .collect();
        match self.rng.random_range(0..4) {
            0 => (format!("(SELECT {} FROM {text}) AS {name}", shown.join(", ")), names),
            1 => (format!("({text}) AS {name}"), names),
            _ => (text, scope),
        }
    }

    /// A query of one column and at most one row.
    pub fn scalar_subquery(&mut self, scope: &[Column], of: Type) -> String {
        self.subqueries -= 1;
        let outer: &[Column] = if self.chance(0.7) { scope } else { &[] };
        let (from, inner) = self.from(0, outer);
        let tied = match (outer.is_empty(), self.chance(0.3)) {
            (false, _) => format!(" WHERE {}", self.tie(&inner, outer)),
            (true, true) => format!(" WHERE {}", self.condition(&inner, 0)),
            _ => String::new(),
        };
        if of == Int8 && self.chance(0.5) {
            return format!("(SELECT count(*) FROM {from}{tied})");
        }
        if of.has_extremes() && self.chance(0.6) {
            let (name, e) = (self.pick(&["min", "max"]), self.column(&inner, of).unwrap_or_else(|| self.literal(of)));
            return format!("(SELECT {name}({e}) FROM {from}{tied})");
        }
        let (e, order) = (self.expr(&inner, of, 1), self.order_item(&inner, 1));
        format!("(SELECT {e} FROM {from}{tied} ORDER BY {order}, 1 LIMIT 1)")
    }

    pub fn subquery_condition(&mut self, scope: &[Column]) -> String {
        self.subqueries -= 1;
        let outer: &[Column] = if self.chance(0.7) { scope } else { &[] };
        match self.rng.random_range(0..6) {
            0..2 => {
                let (not, query) = (self.pick(&["", "NOT "]), self.query(0, outer));
                format!("({not}EXISTS ({}))", query.text)
            }
            _ => {
                let of = self.type_of(scope);
                let of = if matches!(of, Struct | Nested | Ints | Texts | Bytea) { Int4 } else { of };
                let (from, inner) = self.from(0, outer);
                let tied = match outer.is_empty() {
                    false => format!(" WHERE {}", self.tie(&inner, outer)),
                    true => String::new(),
                };
                let (a, e) = (self.expr(scope, of, 1), self.expr(&inner, of, 1));
                let limit = match self.chance(0.2) {
                    true => {
                        format!(" ORDER BY {}, 1 LIMIT {}", self.order_item(&inner, 1), self.rng.random_range(1..4))
                    }
                    false => String::new(),
                };
                let operator = self.pick(&["IN", "IN", "NOT IN", "NOT IN", "= ANY", "<> ALL", "< ANY", ">= ALL"]);
                format!("({a} {operator} (SELECT {e} FROM {from}{tied}{limit}))")
            }
        }
    }
}
