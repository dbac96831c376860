//! Where a watermark bounds what may still come, or what came can never show any more, what is remembered is bounded:
//! event time goes on, and state does not grow with it.

use std::collections::BTreeMap;

use tidemark::engine::EngineOptions;

use crate::harness::{Cell, Rig, run};

/// Event time of a stretch, a minute an epoch, a row of each table a second.
const FIRST_MINUTES: i64 = 10;
const MINUTES: i64 = 110;
/// State goes up and down with the windows: of so many epochs at the end of a stretch the most counts.
const LAST_MINUTES: i64 = 5;

/// How much more may be remembered at the end than after the first stretch.
const MORE_MAX: f64 = 1.5;

/// A query that remembers what is not over, and what it groups by does end.
const BOUNDED: [(&str, &str); 9] = [
    (
        "tumbling",
        "SELECT window_start, k, count(*) AS n, max(v) AS most FROM TUMBLE(a, at, INTERVAL '2 minutes')
         GROUP BY window_start, k",
    ),
    (
        "hopping",
        "SELECT window_start, k, sum(v) AS total FROM HOP(a, at, INTERVAL '1 minute', INTERVAL '3 minutes')
         GROUP BY window_start, k",
    ),
    (
        "sessions",
        "SELECT k, window_start, window_end, count(*) AS n
         FROM SESSION((SELECT * FROM a WHERE v % 60 < 40) PARTITION BY k, at, INTERVAL '10 seconds')
         GROUP BY k, window_start, window_end",
    ),
    ("inner_join", "SELECT a.id, a.at, b.at AS then FROM a JOIN b ON a.k = b.k AND {near}"),
    ("left_join", "SELECT a.id, a.at, b.at AS then FROM a LEFT JOIN b ON a.id = b.id AND {near}"),
    ("full_join", "SELECT a.id, a.at, b.id AS other, b.at AS then FROM a FULL JOIN b ON a.id = b.id AND {near}"),
    ("semi_join", "SELECT a.id, a.at FROM a WHERE EXISTS (SELECT 1 FROM b WHERE a.id = b.id AND {near})"),
    ("distinct", "SELECT DISTINCT window_start, k FROM TUMBLE(a, at, INTERVAL '2 minutes')"),
    (
        "first",
        "SELECT window_start, k, id, v FROM (
             SELECT window_start, k, id, v, row_number() OVER (PARTITION BY window_start, k ORDER BY v DESC, id) AS place
             FROM TUMBLE(a, at, INTERVAL '2 minutes')) AS q
         WHERE place <= 2",
    ),
];

/// Queries that remember as many rows as they show, however many come: what is behind the first ones never shows.
const FIRST: [(&str, &str); 4] = [
    ("first_of_all", "SELECT id, v FROM a ORDER BY v % 100 DESC, id LIMIT 10 OFFSET 5"),
    (
        "first_of_each",
        "SELECT k, id, place FROM (SELECT k, id, row_number() OVER (PARTITION BY k ORDER BY v DESC, id) AS place FROM a)
             AS q WHERE place <= 3",
    ),
    ("distinct_on", "SELECT DISTINCT ON (k) k, id, v FROM a ORDER BY k, v DESC, id"),
    ("newest", "SELECT k, id FROM a QUALIFY dense_rank() OVER (PARTITION BY k ORDER BY at DESC) = 1"),
];

/// Queries of which nothing is ever over.
const GROWING: [(&str, &str); 2] = [
    ("join_at_any_time", "SELECT a.id, a.at, b.at AS then FROM a JOIN b ON a.id = b.id"),
    ("distinct_ids", "SELECT DISTINCT id FROM a"),
];

const NEAR: &str = "b.at BETWEEN a.at AND a.at + INTERVAL '30 seconds'";

#[test]
fn state_of_windowed_queries_does_not_grow_with_event_time() {
    run(2, async || {
        let rig = Rig::new(EngineOptions::default()).await;
        let names = create(&rig).await;
        let (mut early, mut late) = (Most::default(), Most::default());
        for minute in 0..MINUTES {
            insert(&rig, minute).await;
            let state = state(&rig).await;
            if (FIRST_MINUTES - LAST_MINUTES..FIRST_MINUTES).contains(&minute) {
                early.record(&state);
            } else if minute >= MINUTES - LAST_MINUTES {
                late.record(&state);
            }
        }
        let grows = |name: &String| late.0[name] as f64 / early.0[name] as f64;
        let line = |name: &String| format!("{name}: {} rows, then {}", early.0[name], late.0[name]);
        let (growing, bounded): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| GROWING.iter().any(|(growing, _)| growing == name));
        let grown: Vec<String> = bounded.iter().filter(|name| grows(name) > MORE_MAX).map(line).collect();
        assert!(grown.is_empty(), "state grows with event time:\n  {}", grown.join("\n  "));
        let kept: Vec<String> = growing.iter().filter(|name| grows(name) < 5.0).map(line).collect();
        assert!(kept.is_empty(), "this should grow, so that a test like this sees it:\n  {}", kept.join("\n  "));
        let late = rig.sql("SELECT name, late FROM tidemark.queries WHERE late > 0").await.unwrap();
        assert!(late.0.is_empty(), "nothing is late, but for\n{late}");
    });
}

/// The tables, and each query in each form; the names of the views.
async fn create(rig: &Rig) -> Vec<String> {
    for table in ["a", "b"] {
        let columns = "id BIGINT, k BIGINT, v BIGINT, at TIMESTAMP";
        let watermark = "WATERMARK FOR at AS at - INTERVAL '1 minute'";
        rig.sql(&format!("CREATE TABLE {table} ({columns}, {watermark}) APPEND ONLY")).await.unwrap();
    }
    let mut names = Vec::new();
    for (name, query) in BOUNDED {
        for (form, emit) in [("updated", "EMIT ON UPDATE"), ("once", "EMIT ON WINDOW CLOSE")] {
            names.push((format!("{name}_{form}"), format!("{query} {emit}")));
        }
    }
    names.extend(FIRST.iter().chain(&GROWING).map(|(name, query)| (name.to_string(), query.to_string())));
    for (name, query) in &names {
        let made = rig.sql(&format!("CREATE MATERIALIZED VIEW {name} AS {}", query.replace("{near}", NEAR))).await;
        made.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    names.into_iter().map(|(name, _)| name).collect()
}

/// A minute of rows of both tables, an epoch. A third of the rows of `a` have none of `b`, and the other way around.
async fn insert(rig: &Rig, minute: i64) {
    let seconds = |keep: fn(&i64) -> bool| (minute * 60..minute * 60 + 60).filter(keep);
    let row = |id: i64, second: i64| {
        format!(
            "({id}, {}, {}, TIMESTAMP '2024-01-01 00:00:00' + INTERVAL '{second} seconds')",
            id % 5,
            id * 7919 % 1000
        )
    };
    let a: Vec<String> = seconds(|second| second % 3 != 0).map(|second| row(second, second)).collect();
    let b: Vec<String> = seconds(|second| second % 3 != 1).map(|second| row(second, second + 10)).collect();
    rig.sql(&format!("INSERT INTO a VALUES {}", a.join(", "))).await.unwrap();
    rig.sql(&format!("INSERT INTO b VALUES {}", b.join(", "))).await.unwrap();
    rig.sql("FLUSH").await.unwrap();
}

/// Per view the rows that it remembers.
async fn state(rig: &Rig) -> BTreeMap<String, u64> {
    let rows = rig.sql("SELECT name, state_rows FROM tidemark.queries").await.unwrap();
    let view = |row: Vec<Cell>| (row[0].to_string(), row[1].to_string().parse().unwrap());
    rows.0.into_iter().map(view).collect()
}

/// Per view the most that was remembered.
#[derive(Default)]
struct Most(BTreeMap<String, u64>);

impl Most {
    fn record(&mut self, state: &BTreeMap<String, u64>) {
        for (name, rows) in state {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*rows);
        }
    }
}
