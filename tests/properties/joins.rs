//! Random joins of relations that all change, subqueries, and sets of rows.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

use super::{
    queries::{Query, Relation, grouped, select},
    values::{Column, TYPES, Type, column, expr, pick, predicate},
};

/// A query over two or three relations, of which two may be the same.
pub fn query(rng: &mut SmallRng, relations: &[Relation]) -> Query {
    match rng.random_range(0..10) {
        0..5 => joined(rng, relations),
        5 => exists(rng, relations),
        6 => within(rng, relations),
        7 | 8 => scalar(rng, relations),
        _ => sets(rng, relations),
    }
}

/// A relation whose columns have a name of their own.
fn named(rng: &mut SmallRng, relations: &[Relation], prefix: &str) -> (String, Vec<Column>) {
    let Relation { name, columns } = relations.choose(rng).unwrap();
    let items: Vec<String> = columns.iter().map(|c| format!("{0} AS {prefix}_{0}", c.name)).collect();
    let columns = columns.iter().map(|c| Column { name: format!("{prefix}_{}", c.name), of: c.of }).collect();
    (format!("(SELECT {} FROM {name}) AS {prefix}", items.join(", ")), columns)
}

/// A condition that ties two relations: mostly a key of few values.
fn condition(rng: &mut SmallRng, left: &[Column], right: &[Column]) -> String {
    let mut parts = Vec::new();
    for _ in 0..rng.random_range(0..3) {
        let of = *TYPES.choose(rng).unwrap();
        parts.push(format!("{} = {}", expr(rng, left, of, 0), expr(rng, right, of, 0)));
    }
    let all: Vec<Column> = left.iter().chain(right).cloned().collect();
    if rng.random_bool(0.3) {
        parts.push(predicate(rng, &all, 1));
    }
    if rng.random_bool(0.2) {
        let of = *[Type::Int, Type::Float, Type::Decimal].choose(rng).unwrap();
        parts.push(format!("{} < {}", expr(rng, left, of, 0), expr(rng, right, of, 0)));
    }
    if parts.is_empty() {
        format!("{} % 3 = {} % 2", expr(rng, left, Type::Int, 0), expr(rng, right, Type::Int, 0))
    } else {
        parts.join(" AND ")
    }
}

fn joined(rng: &mut SmallRng, relations: &[Relation]) -> Query {
    let (mut from, mut columns) = named(rng, relations, "x");
    for prefix in ["y", "z"].iter().take(rng.random_range(1..3)) {
        let (other, theirs) = named(rng, relations, prefix);
        let kind =
            pick(rng, &["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "LEFT SEMI JOIN", "LEFT ANTI JOIN"]);
        from = format!("{from} {kind} {other} ON {}", condition(rng, &columns, &theirs));
        if !kind.contains("SEMI") && !kind.contains("ANTI") {
            columns.extend(theirs);
        }
    }
    if rng.random_bool(0.6) { select(rng, &from, &columns, "") } else { grouped(rng, &from, &columns, &[]) }
}

/// Some expressions over a relation's columns.
fn items(rng: &mut SmallRng, columns: &[Column]) -> (Vec<String>, Vec<Column>) {
    let types: Vec<Type> = (0..rng.random_range(1..4)).map(|_| *TYPES.choose(rng).unwrap()).collect();
    let items = types.iter().enumerate().map(|(n, of)| format!("{} AS o{n}", expr(rng, columns, *of, 1))).collect();
    let columns = types.iter().enumerate().map(|(n, of)| Column { name: format!("o{n}"), of: *of }).collect();
    (items, columns)
}

fn exists(rng: &mut SmallRng, relations: &[Relation]) -> Query {
    let ((from, columns), (other, theirs)) = (named(rng, relations, "x"), named(rng, relations, "y"));
    let (not, more) = (pick(rng, &["", "NOT "]), predicate(rng, &columns, 1));
    let also = pick(rng, &["", " AND ", " OR "]);
    let also = if also.is_empty() { String::new() } else { format!("{also}{more}") };
    let tied = condition(rng, &columns, &theirs);
    let (items, out) = items(rng, &columns);
    let text =
        format!("SELECT {} FROM {from} WHERE {not}EXISTS (SELECT 1 FROM {other} WHERE {tied}){also}", items.join(", "));
    Query { text, columns: out, plain: true }
}

fn within(rng: &mut SmallRng, relations: &[Relation]) -> Query {
    let ((from, columns), (other, theirs)) = (named(rng, relations, "x"), named(rng, relations, "y"));
    let of = *TYPES.choose(rng).unwrap();
    let (own, their) = (expr(rng, &columns, of, 0), expr(rng, &theirs, of, 0));
    let not = pick(rng, &["", "NOT "]);
    let clause = if rng.random_bool(0.5) { format!(" WHERE {}", predicate(rng, &theirs, 1)) } else { String::new() };
    let (items, out) = items(rng, &columns);
    let text =
        format!("SELECT {} FROM {from} WHERE {own} {not}IN (SELECT {their} FROM {other}{clause})", items.join(", "));
    Query { text, columns: out, plain: true }
}

fn scalar(rng: &mut SmallRng, relations: &[Relation]) -> Query {
    let ((from, columns), (other, theirs)) = (named(rng, relations, "x"), named(rng, relations, "y"));
    let of = *[Type::Int, Type::Text, Type::Time, Type::Decimal].choose(rng).unwrap();
    let their = expr(rng, &theirs, of, 0);
    let asked = pick(rng, &["max", "min"]);
    let tied = match (rng.random_bool(0.5), column(rng, &columns, Type::Int), column(rng, &theirs, Type::Int)) {
        (true, Some(own), Some(their)) => format!(" WHERE {their} = {own}"),
        _ => String::new(),
    };
    let subquery = format!("(SELECT {asked}({their}) FROM {other}{tied})");
    let (mut items, mut out) = items(rng, &columns);
    if rng.random_bool(0.5) {
        items.push(format!("{subquery} AS s"));
        out.push(Column { name: "s".to_string(), of });
        return Query { text: format!("SELECT {} FROM {from}", items.join(", ")), columns: out, plain: true };
    }
    let (own, compare) = (expr(rng, &columns, of, 0), pick(rng, &["<", ">=", "="]));
    let text = format!("SELECT {} FROM {from} WHERE {own} {compare} {subquery}", items.join(", "));
    Query { text, columns: out, plain: true }
}

fn sets(rng: &mut SmallRng, relations: &[Relation]) -> Query {
    let types: Vec<Type> = (0..rng.random_range(1..3)).map(|_| *TYPES.choose(rng).unwrap()).collect();
    let mut part = || {
        let from = relations.choose(rng).unwrap();
        let items: Vec<String> =
            types.iter().enumerate().map(|(n, of)| format!("{} AS o{n}", expr(rng, &from.columns, *of, 0))).collect();
        format!("SELECT {} FROM {}", items.join(", "), from.name)
    };
    let (left, right) = (part(), part());
    let kind = pick(rng, &["INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"]);
    let columns = types.iter().enumerate().map(|(n, of)| Column { name: format!("o{n}"), of: *of }).collect();
    Query { text: format!("{left} {kind} {right}"), columns, plain: true }
}
