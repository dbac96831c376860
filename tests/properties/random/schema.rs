//! Random tables, and statements that change them.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

use super::types::{COMMON, SHARED, Type};

/// Something that can be computed with: how it is written, and its type.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub of: Type,
}

#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    keyed: bool,
}

/// Tables, and what all queries over them keep to.
#[derive(Debug, Clone)]
pub struct Schema {
    pub tables: Vec<Table>,
    /// Numbers of any size, infinities: no sums of floats then, which hang on the order of rows.
    pub wild: bool,
    /// Thousands of rows: joins by key only.
    pub big: bool,
    /// Has types that PostgreSQL has not.
    pub own: bool,
}

/// A statement that changes tables; its rows can be taken out one by one.
#[derive(Debug, Clone)]
pub enum Step {
    Insert { table: String, rows: Vec<String>, tail: String },
    Other(String),
}

impl Step {
    pub fn sql(&self) -> String {
        match self {
            Step::Insert { table, rows, tail } => format!("INSERT INTO {table} VALUES {}{tail}", rows.join(", ")),
            Step::Other(text) => text.clone(),
        }
    }
}

impl Schema {
    pub fn new(rng: &mut SmallRng) -> Schema {
        let own = rng.random_bool(0.12);
        let (wild, big) = (rng.random_bool(0.3), rng.random_bool(0.1));
        let count = if big { rng.random_range(1..3) } else { rng.random_range(1..5) };
        let tables = (0..count).map(|n| table(rng, n, own)).collect();
        Schema { tables, wild, big, own }
    }

    pub fn create(&self) -> Vec<String> {
        let text = |table: &Table| {
            let mut list: Vec<String> = table.columns.iter().map(|c| format!("{} {}", c.name, c.of.sql())).collect();
            if table.keyed {
                list.push("PRIMARY KEY (id)".to_string());
            }
            format!("CREATE TABLE {} ({})", table.name, list.join(", "))
        };
        self.tables.iter().map(text).collect()
    }

    /// What is there before all else.
    pub fn fill(&self, rng: &mut SmallRng) -> Vec<Step> {
        let mut steps = Vec::new();
        for table in &self.tables {
            if rng.random_bool(0.85) {
                steps.push(table.insert(rng, 0, 12, self.wild));
            }
        }
        steps
    }

    /// A change; `n` tells it from others.
    pub fn step(&self, rng: &mut SmallRng, n: usize) -> Step {
        let table = self.tables.choose(rng).unwrap();
        match rng.random_range(0..10) {
            0 | 1 if self.big => table.many(rng, n),
            0..3 => table.update(rng, self.wild),
            3 | 4 => table.delete(rng, self.wild),
            5 if rng.random_bool(0.2) => Step::Other(format!("DELETE FROM {}", table.name)),
            6 if rng.random_bool(0.3) => table.many(rng, n).few(),
            _ => table.insert(rng, n, 7, self.wild),
        }
    }
}

fn table(rng: &mut SmallRng, n: usize, own: bool) -> Table {
    let mut columns = vec![Column { name: "id".to_string(), of: Type::Int4 }];
    for c in 0..rng.random_range(2..7) {
        let of = match rng.random_range(0..10) {
            0 if own => Type::Struct,
            0..5 => *SHARED.choose(rng).unwrap(),
            _ => *COMMON.choose(rng).unwrap(),
        };
        columns.push(Column { name: format!("c{c}"), of });
    }
    Table { name: format!("t{n}"), columns, keyed: rng.random_bool(0.5) }
}

impl Step {
    /// A series of a hundred or so.
    fn few(self) -> Step {
        match self {
            Step::Other(text) => {
                let (head, tail) = text.split_once("generate_series(1, ").expect("a series");
                let (_, tail) = tail.split_once(')').expect("a series");
                Step::Other(format!("{head}generate_series(1, 60){tail}"))
            }
            other => other,
        }
    }
}

impl Table {
    fn insert(&self, rng: &mut SmallRng, n: usize, most: usize, wild: bool) -> Step {
        let count = rng.random_range(1..=most);
        let mut rows = Vec::new();
        for i in 0..count {
            let id = if self.keyed { n * 100 + i } else { rng.random_range(0..6) };
            let mut row = vec![id.to_string()];
            row.extend(self.columns[1..].iter().map(|c| c.of.value(rng, wild)));
            rows.push(format!("({})", row.join(", ")));
            if !self.keyed && rng.random_bool(0.15) {
                rows.push(rows[0].clone());
            }
        }
        let column = &self.columns.last().expect("a column").name;
        let mut tail = String::new();
        if self.keyed && rng.random_bool(0.3) {
            rows.truncate(1);
            let id = rng.random_range(0..n + 1) * 100;
            let rest = rows[0].split_once(',').map(|(_, rest)| rest.to_string()).expect("two columns");
            rows[0] = format!("({id},{rest}");
            tail = format!(" ON CONFLICT (id) DO UPDATE SET {column} = excluded.{column}");
        }
        Step::Insert { table: self.name.clone(), rows, tail }
    }

    /// Thousands of rows.
    fn many(&self, rng: &mut SmallRng, n: usize) -> Step {
        let count = *[1000, 3000, 8193, 20000].choose(rng).unwrap();
        let mut items = vec![format!("CAST(g + {} AS INTEGER)", n * 100_000)];
        for column in &self.columns[1..] {
            let few = *[3, 50, 4000].choose(rng).unwrap();
            let value = match column.of {
                // A cast to it cannot be written.
                Type::Struct => "NULL".to_string(),
                of => format!("CAST({} AS {})", of.series(few), of.sql()),
            };
            items.push(format!("{value} AS {}", column.name));
        }
        let items = items.join(", ");
        Step::Other(format!("INSERT INTO {} SELECT {items} FROM generate_series(1, {count}) AS s (g)", self.name))
    }

    /// Some rows. What it says is the same to both servers.
    fn some(&self, rng: &mut SmallRng, wild: bool) -> String {
        let column = self.columns.choose(rng).unwrap();
        let literal = column.of.literal(rng, wild);
        match rng.random_range(0..4) {
            0 => format!("{} IS NULL", column.name),
            1 if column.of.has_extremes() => format!("{} < {literal}", column.name),
            2 => format!("id % {} = {}", rng.random_range(2..5), rng.random_range(0..2)),
            _ if column.of.has_extremes() => format!("{} = {literal}", column.name),
            _ => format!("id = {}", rng.random_range(0..6)),
        }
    }

    fn update(&self, rng: &mut SmallRng, wild: bool) -> Step {
        let column = self.columns[1..].choose(rng).unwrap();
        let others: Vec<&Column> = self.columns[1..].iter().filter(|c| c.of == column.of).collect();
        let value = match rng.random_bool(0.4) {
            true => others.choose(rng).unwrap().name.clone(),
            false => column.of.value(rng, wild),
        };
        Step::Other(format!("UPDATE {} SET {} = {value} WHERE {}", self.name, column.name, self.some(rng, wild)))
    }

    fn delete(&self, rng: &mut SmallRng, wild: bool) -> Step {
        Step::Other(format!("DELETE FROM {} WHERE {}", self.name, self.some(rng, wild)))
    }
}
