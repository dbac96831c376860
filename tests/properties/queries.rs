//! Random queries of every shape that a standing query may have.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

use super::{
    aggregates::call,
    joins, limits, over,
    values::{Column, TYPES, Type, column, expr, pick, predicate},
};

/// Something that can be read.
#[derive(Debug, Clone)]
pub struct Relation {
    pub name: String,
    pub columns: Vec<Column>,
}

#[derive(Debug, Clone)]
pub struct Query {
    pub text: String,
    /// The columns that a query over this one may compute with.
    pub columns: Vec<Column>,
    /// Whether DataFusion alone understands it.
    pub plain: bool,
}

/// A query over some relations.
pub fn query(rng: &mut SmallRng, relations: &[Relation]) -> Query {
    let from = relations.choose(rng).unwrap().clone();
    let time = column(rng, &from.columns, Type::Time);
    match (rng.random_range(0..28), time) {
        (14..20, _) => joins::query(rng, relations),
        (20..24, _) => over::query(rng, relations),
        (24.., _) => limits::query(rng, relations),
        (0, _) => select(rng, &from.name, &from.columns, ""),
        (1, _) => select(rng, &from.name, &from.columns, "DISTINCT "),
        (2, _) => union(rng, relations),
        (3, _) => joined(rng, &from),
        (4, _) => {
            let inner = select(rng, &from.name, &from.columns, "");
            let mut outer = grouped(rng, &format!("({}) AS q", inner.text), &inner.columns, &[]);
            outer.plain &= inner.plain;
            outer
        }
        (5, _) => global(rng, &from.name, &from.columns),
        (6 | 7, Some(time)) => {
            let size = rng.random_range(1..15);
            let text = format!("TUMBLE({}, {time}, INTERVAL '{size} minutes')", from.name);
            Query { plain: false, ..grouped(rng, &text, &from.columns, &["window_start", "window_end"]) }
        }
        (8, Some(time)) => {
            let slide = rng.random_range(1..6);
            let size = slide * rng.random_range(1..4) + rng.random_range(0..2);
            let (name, unit) = (&from.name, "minutes");
            let text = format!("HOP({name}, {time}, INTERVAL '{slide} {unit}', INTERVAL '{size} {unit}')");
            Query { plain: false, ..grouped(rng, &text, &from.columns, &["window_start", "window_end"]) }
        }
        (10, Some(time)) => {
            let (key, gap) = (&from.columns.choose(rng).unwrap().name, rng.random_range(1..9));
            let keys = if rng.random_bool(0.7) { format!(" PARTITION BY {key}") } else { String::new() };
            let max = pick(rng, &["", ", max => INTERVAL '7 minutes'"]);
            let text = format!("SESSION({}{keys}, {time}, INTERVAL '{gap} minutes'{max})", from.name);
            Query { plain: false, ..grouped(rng, &text, &from.columns, &["window_start", "window_end"]) }
        }
        (9, Some(time)) => {
            let window = format!("window({time}, '{}')", pick(rng, &["10 minutes", "10 minutes', '5 minutes"]));
            Query { plain: false, ..grouped(rng, &from.name, &from.columns, &[&window]) }
        }
        _ => grouped(rng, &from.name, &from.columns, &[]),
    }
}

fn clause(rng: &mut SmallRng, columns: &[Column]) -> String {
    if rng.random_bool(0.4) { format!(" WHERE {}", predicate(rng, columns, 1)) } else { String::new() }
}

pub fn select(rng: &mut SmallRng, from: &str, columns: &[Column], distinct: &str) -> Query {
    let mut items = Vec::new();
    let mut out = Vec::new();
    for n in 0..rng.random_range(1..5) {
        let of = *TYPES.choose(rng).unwrap();
        let name = format!("o{n}");
        items.push(format!("{} AS {name}", expr(rng, columns, of, 2)));
        out.push(Column { name, of });
    }
    let clause = clause(rng, columns);
    Query { text: format!("SELECT {distinct}{} FROM {from}{clause}", items.join(", ")), columns: out, plain: true }
}

fn global(rng: &mut SmallRng, from: &str, columns: &[Column]) -> Query {
    let (mut items, mut out) = (Vec::new(), Vec::new());
    aggregates(rng, columns, &mut items, &mut out);
    let clause = clause(rng, columns);
    Query { text: format!("SELECT {} FROM {from}{clause}", items.join(", ")), columns: out, plain: true }
}

fn aggregates(rng: &mut SmallRng, columns: &[Column], items: &mut Vec<String>, out: &mut Vec<Column>) {
    let (mut ordered, of_one_row) = (false, rng.random_bool(0.3));
    for n in 0..rng.random_range(1..4) {
        let (text, gives) = call(rng, columns, of_one_row);
        // DataFusion cannot serve two orders in one batch query.
        if text.contains("ORDER BY") && std::mem::replace(&mut ordered, true) {
            continue;
        }
        let name = format!("a{n}");
        items.push(format!("{text} AS {name}"));
        out.extend(gives.map(|of| Column { name, of }));
    }
}

pub fn grouped(rng: &mut SmallRng, from: &str, columns: &[Column], windows: &[&str]) -> Query {
    let (mut items, mut keys, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for (n, window) in windows.iter().enumerate() {
        keys.push((*window).to_string());
        // What is a column for later steps has the name of one; GROUP BY would take another for it.
        let name = if window.starts_with("window_") { format!("w{n}") } else { format!("span{n}") };
        items.push(format!("{window} AS {name}"));
        if window.starts_with("window_") {
            out.push(Column { name, of: Type::Time });
        }
    }
    for n in 0..rng.random_range(usize::from(windows.is_empty())..3) {
        let of = *TYPES.choose(rng).unwrap();
        let key = column(rng, columns, of).unwrap_or_else(|| columns.choose(rng).unwrap().name.clone());
        let of = columns.iter().find(|c| c.name == key).unwrap().of;
        let key = match of {
            Type::Time if rng.random_bool(0.7) => format!("date_bin(INTERVAL '10 minutes', {key})"),
            Type::Int if rng.random_bool(0.5) => format!("{key} % 2"),
            _ => key,
        };
        if keys.contains(&key) {
            continue;
        }
        items.push(format!("{key} AS g{n}"));
        out.push(Column { name: format!("g{n}"), of });
        keys.push(key);
    }
    aggregates(rng, columns, &mut items, &mut out);
    let clause = clause(rng, columns);
    let having = match rng.random_range(0..6) {
        0 => " HAVING count(*) > 1".to_string(),
        1 => format!(" HAVING min({}) IS NOT NULL", expr(rng, columns, Type::Int, 0)),
        _ => String::new(),
    };
    let simple = windows.is_empty() && keys.iter().all(|key| !key.contains(' '));
    let keys = match (rng.random_range(0..8), keys.len()) {
        (0, 2) if simple => format!("{}({})", pick(rng, &["CUBE ", "ROLLUP "]), keys.join(", ")),
        (1, 2) if simple => format!("GROUPING SETS (({0}, {1}), ({1}), ({0}), ({1}))", keys[0], keys[1]),
        _ => keys.join(", "),
    };
    let text = format!("SELECT {} FROM {from}{clause} GROUP BY {keys}{having}", items.join(", "));
    Query { text, columns: out, plain: true }
}

fn union(rng: &mut SmallRng, relations: &[Relation]) -> Query {
    let types: Vec<Type> = (0..rng.random_range(1..4)).map(|_| *TYPES.choose(rng).unwrap()).collect();
    let mut parts = Vec::new();
    for _ in 0..rng.random_range(2..4) {
        let from = relations.choose(rng).unwrap();
        let items: Vec<String> =
            types.iter().enumerate().map(|(n, of)| format!("{} AS o{n}", expr(rng, &from.columns, *of, 1))).collect();
        parts.push(format!("SELECT {} FROM {}{}", items.join(", "), from.name, clause(rng, &from.columns)));
    }
    if rng.random_bool(0.3) {
        let values: Vec<String> = types.iter().map(|of| of.literal(rng)).collect();
        parts.push(format!("SELECT {}", values.join(", ")));
    }
    let text = parts.join(if rng.random_bool(0.25) { " UNION " } else { " UNION ALL " });
    let columns = types.iter().enumerate().map(|(n, of)| Column { name: format!("o{n}"), of: *of }).collect();
    Query { text, columns, plain: true }
}

/// A join with rows that stand still.
fn joined(rng: &mut SmallRng, from: &Relation) -> Query {
    let (kind, int) = (pick(rng, &["JOIN", "LEFT JOIN"]), expr(rng, &from.columns, Type::Int, 0));
    let rows: Vec<String> = (0..rng.random_range(1..5))
        .map(|_| format!("({}, {})", rng.random_range(-2..3), Type::Text.literal(rng)))
        .collect();
    let table = format!("{} {kind} (VALUES {}) AS v (vk, vt) ON {int} = vk", from.name, rows.join(", "));
    let mut columns = from.columns.clone();
    columns.push(Column { name: "vk".to_string(), of: Type::Int });
    columns.push(Column { name: "vt".to_string(), of: Type::Text });
    if rng.random_bool(0.5) { select(rng, &table, &columns, "") } else { grouped(rng, &table, &columns, &[]) }
}
