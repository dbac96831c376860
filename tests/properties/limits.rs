//! Random queries with LIMIT at every depth, by an order that is not shown.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

use super::{
    over::order,
    queries::{Query, Relation, grouped, select},
    values::{Column, expr, pick, predicate},
};

/// The first rows of a relation, or of a query of this kind, put where a query may have them.
pub fn query(rng: &mut SmallRng, relations: &[Relation]) -> Query {
    let from = relations.choose(rng).unwrap();
    let first = first(rng, &from.name, &from.columns, 3);
    match rng.random_range(0..6) {
        0 => Query { plain: false, ..grouped(rng, &format!("({}) AS q", first.text), &first.columns, &[]) },
        1 => Query { plain: false, ..select(rng, &format!("({}) AS q", first.text), &first.columns, "DISTINCT ") },
        2 => within(rng, relations, &first),
        3 => union(rng, relations, first),
        _ => first,
    }
}

/// The first rows of `from`, in its own order where `from` has one and in another one else. Only equal rows tie.
fn first(rng: &mut SmallRng, from: &str, columns: &[Column], depth: u32) -> Query {
    let (mut items, mut shown) = (Vec::new(), Vec::new());
    for n in 0..rng.random_range(1..4) {
        let of = columns.choose(rng).unwrap().of;
        let name = format!("f{n}");
        items.push(format!("{} AS {name}", expr(rng, columns, of, 1)));
        shown.push(Column { name, of });
    }
    let filter = if rng.random_bool(0.3) { format!(" WHERE {}", predicate(rng, columns, 1)) } else { String::new() };
    let order = order(rng, columns);
    let (most, skip) = (rng.random_range(0..7), pick(rng, &["", "", " OFFSET 1", " OFFSET 2"]));
    let limit = pick(rng, &["LIMIT", "LIMIT", ""]);
    let limit = if limit.is_empty() && skip.is_empty() { String::new() } else { format!(" LIMIT {most}") };
    let text = format!("SELECT {} FROM {from}{filter} ORDER BY {order}{limit}{skip}", items.join(", "));
    let query = Query { text, columns: shown, plain: false };
    match rng.random_range(0..3) {
        0 if depth > 0 => {
            let from = format!("({}) AS q{depth}", query.text);
            first(rng, &from, &query.columns, depth - 1)
        }
        1 if depth > 0 => inherited(rng, query),
        // An order that no LIMIT heeds means nothing.
        _ => query,
    }
}

/// The first rows in the order of the query below.
fn inherited(rng: &mut SmallRng, below: Query) -> Query {
    let columns = below.columns;
    let (mut items, mut shown) = (Vec::new(), Vec::new());
    for column in &columns {
        let name = format!("i{}", column.name);
        items.push(format!("{} AS {name}", column.name));
        shown.push(Column { name, of: column.of });
    }
    items.truncate(rng.random_range(1..=items.len()));
    shown.truncate(items.len());
    let filter = if rng.random_bool(0.4) { format!(" WHERE {}", predicate(rng, &columns, 1)) } else { String::new() };
    let (most, skip) = (rng.random_range(0..5), pick(rng, &["", "", " OFFSET 1"]));
    let (items, below) = (items.join(", "), below.text);
    let text = match rng.random_bool(0.3) {
        true => format!("WITH q AS ({below}) SELECT {items} FROM q{filter} LIMIT {most}{skip}"),
        false => format!("SELECT {items} FROM ({below}) AS q{filter} LIMIT {most}{skip}"),
    };
    Query { text, columns: shown, plain: false }
}

/// `WHERE x IN (SELECT … LIMIT n)`, or the value of the first row beside each row.
fn within(rng: &mut SmallRng, relations: &[Relation], first: &Query) -> Query {
    let from = relations.choose(rng).unwrap();
    let column = first.columns.choose(rng).unwrap();
    let value = expr(rng, &from.columns, column.of, 0);
    let wanted = format!("(SELECT {} FROM ({}) AS w", column.name, first.text);
    let names: Vec<String> = from.columns.iter().map(|column| column.name.clone()).collect();
    let (names, not) = (names.join(", "), pick(rng, &["", "NOT "]));
    let text = match rng.random_range(0..3) {
        0 => format!("SELECT {names}, {wanted} LIMIT 1) AS most FROM {}", from.name),
        1 => format!("SELECT {names}, {value} {not}IN {wanted}) AS met FROM {}", from.name),
        _ => format!("SELECT {names} FROM {} WHERE {value} {not}IN {wanted})", from.name),
    };
    Query { text, columns: from.columns.clone(), plain: false }
}

fn union(rng: &mut SmallRng, relations: &[Relation], first: Query) -> Query {
    let from = relations.choose(rng).unwrap();
    let names: Vec<&str> = first.columns.iter().map(|column| column.name.as_str()).collect();
    let items: Vec<String> = first.columns.iter().map(|column| expr(rng, &from.columns, column.of, 1)).collect();
    let (operator, order) = (pick(rng, &["UNION ALL", "EXCEPT ALL", "INTERSECT ALL"]), order(rng, &from.columns));
    let text = format!(
        "SELECT {} FROM ({}) AS l {operator} (SELECT {} FROM {} ORDER BY {order} LIMIT {})",
        names.join(", "),
        first.text,
        items.join(", "),
        from.name,
        rng.random_range(0..6)
    );
    Query { text, columns: first.columns, plain: false }
}
