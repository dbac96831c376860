//! Random window functions, first rows of each group, and first rows of all.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

use super::{
    queries::{Query, Relation},
    values::{Column, Type, column, pick, predicate},
};

pub fn query(rng: &mut SmallRng, relations: &[Relation]) -> Query {
    let Relation { name, columns } = relations.choose(rng).unwrap();
    match rng.random_range(0..7) {
        0 => limited(rng, name, columns),
        3 => first_of_each(rng, name, columns),
        1 | 2 => ranked(rng, name, columns),
        _ => windowed(rng, name, columns),
    }
}

/// An order in which only equal rows tie, beginning with a random column.
pub fn order(rng: &mut SmallRng, columns: &[Column]) -> String {
    let first = rng.random_range(0..columns.len());
    let mut parts: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
    parts.rotate_left(first);
    parts[0].push_str(pick(rng, &["", " DESC", " DESC NULLS LAST", " NULLS FIRST"]));
    parts.join(", ")
}

fn partition(rng: &mut SmallRng, columns: &[Column]) -> String {
    match rng.random_range(0..4) {
        0 => String::new(),
        1 => match column(rng, columns, Type::Int) {
            Some(int) => format!("PARTITION BY {int} % 2 "),
            None => String::new(),
        },
        _ => format!("PARTITION BY {} ", columns.choose(rng).unwrap().name),
    }
}

fn clause(rng: &mut SmallRng, columns: &[Column]) -> String {
    if rng.random_bool(0.3) { format!(" WHERE {}", predicate(rng, columns, 1)) } else { String::new() }
}

fn windowed(rng: &mut SmallRng, from: &str, columns: &[Column]) -> Query {
    let mut items: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
    let mut out = columns.to_vec();
    // Equal rows may change places between two windows: what tells them apart stands alone.
    let count = rng.random_range(1..4);
    for n in 0..count {
        let (partition, order) = (partition(rng, columns), order(rng, columns));
        let of = columns.choose(rng).unwrap();
        let frame = pick(
            rng,
            &[
                "",
                "",
                " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
                " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
            ],
        );
        let (call, gives) = match (rng.random_range(if count > 1 { 4 } else { 0 }..8), column(rng, columns, Type::Int))
        {
            (0, _) => ("row_number()".to_string(), Some(Type::Int)),
            (1, _) => (format!("lead({}, 2)", of.name), Some(of.of)),
            (2, _) => (format!("lag({})", of.name), Some(of.of)),
            (3, _) => (format!("first_value({})", of.name), Some(of.of)),
            (4, _) => ("rank()".to_string(), Some(Type::Int)),
            (5, Some(int)) => (format!("sum({int})"), Some(Type::Int)),
            (6, _) => (format!("max({})", of.name), Some(of.of)),
            _ => ("count(*)".to_string(), Some(Type::Int)),
        };
        let frame = if call.contains("row_number") || call.contains("rank") || call.starts_with('l') || count > 1 {
            ""
        } else {
            frame
        };
        let name = format!("w{}_{n}", columns.len());
        items.push(format!("{call} OVER ({partition}ORDER BY {order}{frame}) AS {name}"));
        out.extend(gives.map(|of| Column { name, of }));
    }
    let clause = clause(rng, columns);
    Query { text: format!("SELECT {} FROM {from}{clause}", items.join(", ")), columns: out, plain: true }
}

/// The first rows of each group, told in one of the ways to write it. Rows that tie share a rank, so that an order of
/// some columns will do there.
fn ranked(rng: &mut SmallRng, from: &str, columns: &[Column]) -> Query {
    let rank = pick(rng, &["row_number", "rank", "dense_rank"]);
    let (partition, total, clause) = (partition(rng, columns), order(rng, columns), clause(rng, columns));
    let order = match rank {
        "row_number" => total,
        _ => total.split(", ").take(rng.random_range(1..3)).collect::<Vec<_>>().join(", "),
    };
    let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
    let (names, most) = (names.join(", "), rng.random_range(0..5));
    // Beside it another number of the same rows, or one that all of them have a part in.
    let all = "count(*) OVER (w RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)";
    let other = pick(rng, &["1", "1", "rank() OVER w", all]);
    let shown = pick(rng, &["", ", rn", ", other", ", rn, other"]);
    let first = match rng.random_range(0..4) {
        0 => format!("rn < {}", most + 1),
        1 => format!("{most} >= rn AND rn > 0"),
        2 => format!("rn = {most}"),
        _ => format!("rn <= {most}"),
    };
    let inner = format!(
        "SELECT {names}, {other} AS other, {rank}() OVER w AS rn FROM {from}{clause} WINDOW w AS ({partition}ORDER BY {order})"
    );
    let text = format!("SELECT {names}{shown} FROM ({inner}) AS q WHERE {first}");
    Query { text, columns: columns.to_vec(), plain: true }
}

fn first_of_each(rng: &mut SmallRng, from: &str, columns: &[Column]) -> Query {
    let key = &columns.choose(rng).unwrap().name;
    let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
    let (order, clause) = (order(rng, columns), clause(rng, columns));
    let text = format!("SELECT DISTINCT ON ({key}) {} FROM {from}{clause} ORDER BY {key}, {order}", names.join(", "));
    Query { text, columns: columns.to_vec(), plain: true }
}

fn limited(rng: &mut SmallRng, from: &str, columns: &[Column]) -> Query {
    let (order, clause) = (order(rng, columns), clause(rng, columns));
    let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
    let (most, skip) = (rng.random_range(0..5), pick(rng, &["", " OFFSET 1", " OFFSET 3"]));
    let text = format!("SELECT {} FROM {from}{clause} ORDER BY {order} LIMIT {most}{skip}", names.join(", "));
    Query { text, columns: columns.to_vec(), plain: true }
}
