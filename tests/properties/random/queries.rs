//! Random queries: selects, groups, sets and WITH, in one another.

use rand::Rng;

use super::{
    exprs::Maker,
    schema::{Column, Schema},
    types::Type::{self, *},
};

#[derive(Debug, Clone)]
pub struct Query {
    pub text: String,
    pub columns: Vec<Column>,
}

/// A query over the tables, and whether PostgreSQL can be asked the same.
pub fn query(rng: &mut rand::rngs::SmallRng, schema: &Schema) -> (String, bool) {
    let mut maker = Maker::new(rng, schema);
    let depth = if schema.big { 1 } else { 2 };
    let text = match maker.chance(0.15) {
        true => maker.with(depth).text,
        false => maker.query(depth, &[]).text,
    };
    (text, !maker.only_here)
}

impl Maker<'_> {
    fn with(&mut self, depth: u32) -> Query {
        let mut parts = Vec::new();
        for _ in 0..self.rng.random_range(1..3) {
            let (query, name) = (self.query(depth - 1, &[]), self.name("w"));
            parts.push(format!("{name} AS ({})", query.text));
            self.named.push((name, query.columns));
        }
        let query = self.query(depth, &[]);
        self.named.clear();
        Query { text: format!("WITH {} {}", parts.join(", "), query.text), ..query }
    }

    /// Any query. What is in `outer` belongs to queries around it.
    pub fn query(&mut self, depth: u32, outer: &[Column]) -> Query {
        match self.rng.random_range(0..12) {
            0 | 1 if depth > 0 => self.sets(depth, outer),
            2..5 => self.grouped(depth, outer),
            5 => self.first_of_each(depth, outer),
            _ => self.select(depth, outer),
        }
    }

    /// Expressions of a scope, with names of their own.
    fn items(&mut self, scope: &[Column], types: &[Type]) -> Query {
        let (mut items, mut columns) = (Vec::new(), Vec::new());
        for of in types {
            let name = self.name("o");
            items.push(format!("{} AS {name}", self.expr(scope, *of, 2)));
            columns.push(Column { name, of: *of });
        }
        Query { text: items.join(", "), columns }
    }

    fn types(&mut self, scope: &[Column], most: usize) -> Vec<Type> {
        (0..self.rng.random_range(1..=most)).map(|_| self.type_of(scope)).collect()
    }

    fn filter(&mut self, scope: &[Column], outer: &[Column]) -> String {
        let tied = outer.is_empty().then(String::new).unwrap_or_else(|| self.tie(scope, outer));
        match (tied.as_str(), self.chance(0.45)) {
            ("", false) => String::new(),
            ("", true) => format!(" WHERE {}", self.condition(scope, 2)),
            (tied, true) => format!(" WHERE {tied} AND {}", self.condition(scope, 1)),
            (tied, false) => format!(" WHERE {tied}"),
        }
    }

    /// A condition between two scopes that few pairs of rows meet.
    pub fn tie(&mut self, left: &[Column], right: &[Column]) -> String {
        let common: Vec<Type> = left.iter().map(|c| c.of).filter(|of| right.iter().any(|c| c.of == *of)).collect();
        let of = match common.len() {
            0 => Int4,
            n => common[self.rng.random_range(0..n)],
        };
        let pair = |maker: &mut Self, of: Type| (maker.leaf(left, of), maker.leaf(right, of));
        let of = if self.schema.big || matches!(of, Struct | Nested) { Int4 } else { of };
        let (a, b) = match self.schema.big {
            true => {
                let key = |scope: &[Column]| scope.iter().find(|c| c.name.ends_with(".id")).map(|c| c.name.clone());
                match (key(left), key(right)) {
                    (Some(a), Some(b)) => (a, b),
                    _ => ("1".to_string(), "2".to_string()),
                }
            }
            false => pair(self, of),
        };
        let operator = if !self.schema.big && of.has_extremes() { self.pick(&["=", "=", "=", "<", ">="]) } else { "=" };
        let operator = if operator != "=" && self.loose == 0 { "=" } else { operator };
        self.loose -= usize::from(operator != "=");
        let more = if self.chance(0.2) {
            let both: Vec<Column> = left.iter().chain(right).cloned().collect();
            format!(" AND {}", self.condition(&both, 0))
        } else {
            String::new()
        };
        format!("{a} {operator} {b}{more}")
    }

    /// ORDER BY and LIMIT at the end of a query of so many columns, or nothing. Only equal rows tie: all that is shown
    /// comes last.
    fn limit(&mut self, hidden: Vec<String>, columns: &[Column], chance: f64) -> String {
        if !self.chance(chance) {
            return String::new();
        }
        let mut order = hidden;
        for n in 0..columns.len() {
            order.push(format!("{}{}", n + 1, self.direction()));
        }
        let limit = match self.rng.random_range(0..6) {
            0 => " OFFSET 1".to_string(),
            1 => format!(" LIMIT {} OFFSET {}", self.rng.random_range(0..5), self.rng.random_range(0..4)),
            2 => " LIMIT 0".to_string(),
            3 if self.schema.big => " LIMIT 3000".to_string(),
            _ => format!(" LIMIT {}", self.rng.random_range(1..7)),
        };
        format!(" ORDER BY {}{limit}", order.join(", "))
    }

    pub fn select(&mut self, depth: u32, outer: &[Column]) -> Query {
        let (from, scope) = self.from(depth, outer);
        let types = self.types(&scope, 4);
        let mut items = self.items(&scope, &types);
        let distinct = self.chance(0.15) && !types.contains(&Struct);
        if self.chance(0.3) {
            let count = self.rng.random_range(1..4);
            for _ in 0..count {
                let ((call, of), name) = (self.window(&scope, count == 1), self.name("o"));
                items.text += &format!(", {call} AS {name}");
                items.columns.push(Column { name, of });
            }
        }
        let filter = self.filter(&scope, outer);
        let mut hidden = Vec::new();
        if !distinct {
            for _ in 0..self.rng.random_range(0..3) {
                hidden.push(self.order_item(&scope, 2));
            }
        }
        let limit = self.limit(hidden, &items.columns, 0.35);
        let distinct = if distinct { "DISTINCT " } else { "" };
        Query { text: format!("SELECT {distinct}{} FROM {from}{filter}{limit}", items.text), columns: items.columns }
    }

    fn first_of_each(&mut self, depth: u32, outer: &[Column]) -> Query {
        let (from, scope) = self.from(depth, outer);
        let types = self.types(&scope, 3);
        let items = self.items(&scope, &types);
        let of = self.type_of(&scope);
        let key = match of {
            Struct | Nested => scope[0].name.clone(),
            of => match self.expr(&scope, of, 1) {
                bare if !bare.contains('.') => scope[0].name.clone(),
                key => key,
            },
        };
        let filter = self.filter(&scope, outer);
        let (direction, hidden) = (self.direction(), self.order_item(&scope, 1));
        let shown: Vec<String> = (1..=items.columns.len()).map(|n| n.to_string()).collect();
        let limit = if self.chance(0.2) && scope.iter().all(|c| c.of != Struct) { " LIMIT 3" } else { "" };
        let text = format!(
            "SELECT DISTINCT ON ({key}) {} FROM {from}{filter} ORDER BY {key}{direction}, {hidden}, {}{limit}",
            items.text,
            shown.join(", ")
        );
        Query { text, columns: items.columns }
    }

    pub fn grouped(&mut self, depth: u32, outer: &[Column]) -> Query {
        let (from, scope) = self.from(depth, outer);
        let (mut items, mut columns, mut keys) = (Vec::new(), Vec::new(), Vec::<String>::new());
        for _ in 0..self.rng.random_range(0..4) {
            let of = self.type_of(&scope);
            let subqueries = std::mem::replace(&mut self.subqueries, 0);
            let key = self.expr(&scope, of, u32::from(self.schema.own));
            self.subqueries = subqueries;
            // A constant is a group of its own under CUBE, and an order by it is left out.
            let is_of_rows = scope.iter().any(|c| key.contains(&c.name));
            let key =
                if is_of_rows && !matches!(of, Struct) { (key, of) } else { (scope[0].name.clone(), scope[0].of) };
            if key.1 == Struct || keys.contains(&key.0) {
                continue;
            }
            let name = self.name("o");
            items.push(format!("{} AS {name}", key.0));
            columns.push(Column { name, of: key.1 });
            keys.push(key.0);
        }
        for _ in 0..self.rng.random_range(usize::from(items.is_empty())..4) {
            let ((call, of), name) = (self.aggregate(&scope, 1), self.name("o"));
            items.push(format!("{call} AS {name}"));
            columns.push(Column { name, of });
        }
        let group = match (keys.len(), self.rng.random_range(0..8)) {
            (0, _) => String::new(),
            (2.., 0) => format!(" GROUP BY ROLLUP ({})", keys.join(", ")),
            (2.., 1) => format!(" GROUP BY CUBE ({})", keys.join(", ")),
            (1, 0) => format!(" GROUP BY GROUPING SETS (({}), ())", keys[0]),
            (2.., 2) => format!(" GROUP BY GROUPING SETS (({}), ({}), ())", keys.join(", "), keys[0]),
            _ => format!(" GROUP BY {}", keys.join(", ")),
        };
        let sets = group.contains("ROLLUP") || group.contains("CUBE") || group.contains("SETS");
        if sets && self.chance(0.5) {
            let name = self.name("o");
            items.push(format!("grouping({}) AS {name}", keys[0]));
            columns.push(Column { name, of: Int4 });
        }
        if !keys.is_empty() && self.chance(0.15) {
            let ((call, _), name) = (self.aggregate(&scope, 0), self.name("o"));
            items.push(format!("rank() OVER (ORDER BY {call}) AS {name}"));
            columns.push(Column { name, of: Int8 });
        }
        let having = match self.rng.random_range(0..6) {
            0 => " HAVING count(*) > 1".to_string(),
            1 => {
                let (call, of) = self.aggregate(&scope, 0);
                if of.has_extremes() { format!(" HAVING {call} > {}", self.literal(of)) } else { String::new() }
            }
            2 if self.subqueries > 0 => {
                format!(" HAVING count(*) >= {}", self.scalar_subquery(&[], Int8))
            }
            _ => String::new(),
        };
        let filter = self.filter(&scope, outer);
        let mut hidden = Vec::new();
        if self.chance(0.5) && !columns.iter().any(|c| c.of == Struct) {
            let (call, of) = self.aggregate(&scope, 1);
            if !matches!(of, Struct | Nested) {
                hidden.push(format!("{call}{}", self.direction()));
            }
        }
        let limit = self.limit(hidden, &columns, 0.3);
        Query { text: format!("SELECT {} FROM {from}{filter}{group}{having}{limit}", items.join(", ")), columns }
    }

    /// A query of given types: an arm of a set operation.
    fn arm(&mut self, depth: u32, outer: &[Column], types: &[Type]) -> Query {
        let (from, scope) = self.from(depth, outer);
        let items = self.items(&scope, types);
        let filter = self.filter(&scope, outer);
        let hidden = if self.chance(0.5) { vec![self.order_item(&scope, 1)] } else { Vec::new() };
        let limit = self.limit(hidden, &items.columns, 0.25);
        let text = format!("SELECT {} FROM {from}{filter}{limit}", items.text);
        let text = if limit.is_empty() { text } else { format!("({text})") };
        Query { text, columns: items.columns }
    }

    fn sets(&mut self, depth: u32, outer: &[Column]) -> Query {
        let mut types: Vec<Type> = (0..self.rng.random_range(1..4)).map(|_| self.type_of(&[])).collect();
        types.retain(|of| *of != Struct);
        let first = self.arm(depth - 1, outer, &types);
        let mut text = first.text;
        for _ in 0..self.rng.random_range(1..3) {
            let operator =
                self.pick(&["UNION ALL", "UNION ALL", "UNION", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"]);
            let next = self.arm(depth - 1, outer, &types).text;
            text = match self.chance(0.3) {
                true => format!("({text}) {operator} {next}"),
                false => format!("{text} {operator} {next}"),
            };
        }
        let limit = self.limit(Vec::new(), &first.columns, 0.25);
        Query { text: format!("{text}{limit}"), columns: first.columns }
    }
}
