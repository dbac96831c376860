//! Windows that a watermark closes.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    Failure,
    aggregates::call,
    round::{Story, options},
    values::{Column, TYPES, Type, pick},
};

const EPOCH: &str = "TIMESTAMP '2024-01-01 00:00:00'";

fn at(second: i64) -> String {
    format!("{EPOCH} + INTERVAL '{second} seconds'")
}

/// Rows in time: closed windows are the batch answer's, open ones are there where they are to be shown.
pub async fn round(seed: u64) -> Result<usize, Failure> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut story = Story::new(options(rng)).await;
    let delay = rng.random_range(1..600);
    let mut columns = vec![Column { name: "at".to_string(), of: Type::Time }];
    columns.extend(TYPES.iter().enumerate().map(|(n, of)| Column { name: format!("c{n}"), of: *of }));
    let list: Vec<String> = columns.iter().map(|c| format!("{} {}", c.name, c.of.sql())).collect();
    let watermark = format!("WATERMARK FOR at AS at - INTERVAL '{delay} seconds'");
    story.sql(&format!("CREATE TABLE t ({}, {watermark}) APPEND ONLY", list.join(", "))).await?;
    let mut views = Vec::new();
    for n in 0..5 {
        let (size, slide) = (rng.random_range(2..9) * 60, rng.random_range(1..4) * 60);
        let from = match rng.random_bool(0.5) {
            true => format!("TUMBLE(t, at, INTERVAL '{size} seconds')"),
            false => format!("HOP(t, at, INTERVAL '{} seconds', INTERVAL '{size} seconds')", slide.min(size)),
        };
        let key = pick(rng, &["", ", c0", ", c2", ", c3, c0 % 2"]);
        let of_one_row = rng.random_bool(0.3);
        let (first, mut second) = (call(rng, &columns, of_one_row).0, call(rng, &columns, of_one_row).0);
        // DataFusion cannot serve two orders in one batch query.
        if first.contains("ORDER BY") && second.contains("ORDER BY") {
            second = "count(*)".to_string();
        }
        let named = if key.is_empty() { String::new() } else { key.replace(", c0 % 2", ", c0 % 2 AS odd") };
        let text = format!(
            "SELECT window_start AS s, window_end AS e{named}, {first} AS a, {second} AS b FROM {from} GROUP BY window_start, window_end{key}"
        );
        let emit = *pick(rng, &[&"ON WINDOW CLOSE", &"ON UPDATE", &"COMPLETE"]);
        story.sql(&format!("CREATE MATERIALIZED VIEW v{n} AS {text} EMIT {emit}")).await?;
        views.push((format!("v{n}"), text, emit == "ON WINDOW CLOSE"));
    }
    let mut newest: i64 = 0;
    for _ in 0..rng.random_range(8..20) {
        match rng.random_range(0..8) {
            0 => story.crash_or_restart(rng).await,
            1 | 2 => {
                story.sql("FLUSH").await?;
                let n = rng.random_range(0..views.len());
                compare(&mut story, &views[n], delay).await?;
            }
            _ => {
                let mut rows = Vec::new();
                for _ in 0..rng.random_range(1..5) {
                    newest += rng.random_range(0..240);
                    // Never so old that the watermark could have passed it.
                    let second = newest - rng.random_range(0..delay);
                    let mut row = vec![at(second)];
                    row.extend(columns[1..].iter().map(|c| c.of.value(rng)));
                    rows.push(format!("({})", row.join(", ")));
                }
                story.sql(&format!("INSERT INTO t VALUES {}", rows.join(", "))).await?;
            }
        }
    }
    story.sql("FLUSH").await?;
    for view in &views {
        compare(&mut story, view, delay).await?;
    }
    let late = story.sql("SELECT name FROM tidemark.queries WHERE late > 0").await?;
    if !late.0.is_empty() {
        return Err(story.fails(format!("nothing is late, but not for\n{late}")));
    }
    Ok(views.len())
}

async fn compare(story: &mut Story, view: &(String, String, bool), delay: i64) -> Result<(), Failure> {
    let (name, text, closed) = view;
    let batch = match closed {
        true => format!("SELECT * FROM ({text}) WHERE e <= (SELECT max(at) - INTERVAL '{delay} seconds' FROM t)"),
        false => text.clone(),
    };
    story.same(name, &batch).await
}

/// Rows in any order, an epoch each: what is late and what is not, by Spark's rule.
pub async fn late(seed: u64) -> Result<usize, Failure> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut story = Story::new(options(rng)).await;
    let (delay, size) = (rng.random_range(1..200), rng.random_range(30..200));
    let watermark = format!("WATERMARK FOR at AS at - INTERVAL '{delay} seconds'");
    story.sql(&format!("CREATE TABLE t (at TIMESTAMP, {watermark}) APPEND ONLY")).await?;
    for (name, emit) in [("closed", "ON WINDOW CLOSE"), ("updated", "ON UPDATE"), ("whole", "COMPLETE")] {
        let query = format!("SELECT window_start AS s, count(*) AS n FROM TUMBLE(t, at, INTERVAL '{size} seconds')");
        story.sql(&format!("CREATE MATERIALIZED VIEW {name} AS {query} GROUP BY window_start EMIT {emit}")).await?;
    }
    let (mut counted, mut all): (BTreeMap<i64, i64>, BTreeMap<i64, i64>) = Default::default();
    let (mut late, mut newest, mut mark) = (0, i64::MIN, i64::MIN);
    // Windows begin at whole multiples of their size from 1970 on.
    let origin = 1_704_067_200_i64;
    let start = |second: i64| (origin + second).div_euclid(size) * size - origin;
    for _ in 0..rng.random_range(10..30) {
        let seconds: Vec<i64> = (0..rng.random_range(1..4)).map(|_| rng.random_range(0..1500)).collect();
        for second in &seconds {
            *all.entry(start(*second)).or_default() += 1;
            match start(*second) + size > mark {
                true => *counted.entry(start(*second)).or_default() += 1,
                false => late += 1,
            }
        }
        newest = newest.max(*seconds.iter().max().unwrap());
        mark = mark.max(newest - delay);
        let rows: Vec<String> = seconds.iter().map(|second| format!("({})", at(*second))).collect();
        story.sql(&format!("INSERT INTO t VALUES {}", rows.join(", "))).await?;
        story.sql("FLUSH").await?;
        if rng.random_bool(0.2) {
            story.crash_or_restart(rng).await;
        }
    }
    story.sql("FLUSH").await?;
    let rows = |windows: &mut dyn Iterator<Item = (&i64, &i64)>| {
        let rows: Vec<String> = windows.map(|(start, n)| format!("({}, {n})", at(*start))).collect();
        match rows.is_empty() {
            true => format!("SELECT {EPOCH}, 0 WHERE false"),
            false => format!("SELECT * FROM (VALUES {}) AS v", rows.join(", ")),
        }
    };
    story.same("updated", &rows(&mut counted.iter())).await?;
    story.same("whole", &rows(&mut all.iter())).await?;
    story.same("closed", &rows(&mut counted.iter().filter(|(start, _)| *start + size <= mark))).await?;
    let query = "SELECT late FROM tidemark.queries WHERE name <> 'whole'";
    story.same(query, &format!("SELECT * FROM (VALUES ({late}), ({late})) AS v")).await?;
    Ok(3)
}
