//! The fourth part: each operator that stands, for one changed row over much state, and for all rows beside the batch
//! operator.

mod all_rows;
mod one_row;
mod rows;

use crate::{Arguments, Outcome};

/// A query that leans on one operator.
pub struct Operator {
    /// What `--only` takes.
    pub name: &'static str,
    pub what: &'static str,
    pub tables: &'static [&'static str],
    pub kind: Kind,
    /// How many rows share a `key`, where one row changes over much state: as many as make a row of state each, or a
    /// group that is worth its name.
    pub each: i64,
    pub query: &'static str,
    /// What DataFusion is asked, where the query is not its SQL.
    pub batch: Option<&'static str>,
}

/// What the rows of an operator come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rows that come.
    Append,
    /// Rows that come with a watermark.
    Timed,
    /// A table with a key, of which rows are updated.
    Keyed,
}

const A: &[&str] = &["a"];
const AB: &[&str] = &["a", "b"];

/// `a` and `b` have the same rows: see [`rows`].
const OPERATORS: [Operator; 16] = [
    Operator {
        name: "aggregate",
        what: "GROUP BY",
        tables: A,
        kind: Kind::Append,
        each: 1,
        query: "SELECT key, count(*) AS n, sum(v) AS total FROM a GROUP BY key",
        batch: None,
    },
    Operator {
        name: "sums",
        what: "GROUP BY, updates, sums",
        tables: A,
        kind: Kind::Keyed,
        each: 1,
        query: "SELECT key, count(*) AS n, sum(v) AS total FROM a GROUP BY key",
        batch: None,
    },
    Operator {
        name: "max",
        what: "GROUP BY, updates, max",
        tables: A,
        kind: Kind::Keyed,
        each: 10,
        query: "SELECT key, max(v) AS most FROM a GROUP BY key",
        batch: None,
    },
    Operator {
        name: "max_of_all",
        what: "max of all, updates",
        tables: A,
        kind: Kind::Keyed,
        each: 1,
        query: "SELECT max(v) AS most, min(v) AS least FROM a",
        batch: None,
    },
    Operator {
        name: "distinct_on",
        what: "DISTINCT ON, groups of 1000",
        tables: A,
        kind: Kind::Keyed,
        each: 1000,
        query: "SELECT DISTINCT ON (key) key, id, v FROM a ORDER BY key, v DESC, id",
        batch: None,
    },
    Operator {
        name: "sets",
        what: "GROUPING SETS",
        tables: A,
        kind: Kind::Append,
        each: 1,
        query: "SELECT key, digit, count(*) AS n, sum(v) AS total FROM (SELECT key, v % 10 AS digit, v FROM a) AS q
            GROUP BY GROUPING SETS ((key), (digit), ())",
        batch: None,
    },
    Operator {
        name: "distinct",
        what: "DISTINCT",
        tables: A,
        kind: Kind::Append,
        each: 1,
        query: "SELECT DISTINCT key, v % 10 AS digit FROM a",
        batch: None,
    },
    Operator {
        name: "join",
        what: "JOIN, one match a row",
        tables: AB,
        kind: Kind::Append,
        each: 10,
        query: "SELECT a.id, a.v, b.v AS w FROM a JOIN b ON a.id = b.id",
        batch: None,
    },
    Operator {
        name: "left",
        what: "LEFT JOIN, half match",
        tables: AB,
        kind: Kind::Append,
        each: 10,
        query: "SELECT a.id, a.v, b.v AS w FROM a LEFT JOIN b ON a.id = b.id AND b.v % 2 = 0",
        batch: None,
    },
    Operator {
        name: "interval",
        what: "JOIN within 30 seconds",
        tables: AB,
        kind: Kind::Timed,
        each: 10,
        query: "SELECT a.id, a.v, b.v AS w FROM a JOIN b
            ON a.id = b.id AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '30 seconds'",
        batch: None,
    },
    Operator {
        name: "semi",
        what: "EXISTS, half match",
        tables: AB,
        kind: Kind::Append,
        each: 10,
        query: "SELECT id, v FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.id = a.id AND b.v % 2 = 0)",
        batch: None,
    },
    Operator {
        name: "sessions",
        what: "SESSION, 10 rows each",
        tables: A,
        kind: Kind::Timed,
        each: 10,
        query: "SELECT burst, window_start, window_end, count(*) AS n
            FROM SESSION(a PARTITION BY burst, ts, INTERVAL '1 second') GROUP BY burst, window_start, window_end",
        batch: Some(
            "SELECT burst, count(*) AS n FROM (
                SELECT burst, sum(CASE WHEN ts - before <= INTERVAL '1 second' THEN 0 ELSE 1 END)
                        OVER (PARTITION BY burst ORDER BY ts) AS session
                    FROM (SELECT burst, ts, lag(ts) OVER (PARTITION BY burst ORDER BY ts) AS before FROM a))
                GROUP BY burst, session",
        ),
    },
    Operator {
        name: "top",
        what: "first 3 of each 10",
        tables: A,
        kind: Kind::Append,
        each: 10,
        query: "SELECT key, id, v FROM (
            SELECT key, id, v, row_number() OVER (PARTITION BY key ORDER BY v DESC, id) AS place FROM a) AS q
            WHERE place <= 3",
        batch: None,
    },
    Operator {
        name: "window",
        what: "OVER whole groups of 10",
        tables: A,
        kind: Kind::Append,
        each: 10,
        query: "SELECT key, id, v, sum(v) OVER (PARTITION BY key) AS total FROM a",
        batch: None,
    },
    Operator {
        name: "limit",
        what: "ORDER BY LIMIT 10",
        tables: A,
        kind: Kind::Append,
        each: 10,
        query: "SELECT id, v FROM a ORDER BY v DESC, id LIMIT 10",
        batch: None,
    },
    Operator {
        name: "limit_updates",
        what: "ORDER BY LIMIT, updates",
        tables: A,
        kind: Kind::Keyed,
        each: 10,
        query: "SELECT id, v FROM a ORDER BY v DESC, id LIMIT 10",
        batch: None,
    },
];

/// Whether `--only` may say it.
pub fn knows(name: &str) -> bool {
    name == "operators" || OPERATORS.iter().any(|operator| operator.name == name)
}

pub async fn run(arguments: &Arguments) -> Outcome<()> {
    let wanted = |operator: &&Operator| arguments.wants("operators") || arguments.wants(operator.name);
    let chosen: Vec<&Operator> = OPERATORS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    one_row::run(arguments, &chosen).await?;
    all_rows::run(arguments, &chosen).await
}
