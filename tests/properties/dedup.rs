//! `DISTINCT ON (id) … EMIT ON WINDOW CLOSE`: a row counts unless an earlier one of its id, in reading order, is still
//! remembered at the watermark.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    Failure,
    round::{Story, options},
};

/// One row of the input: an id, or none, and an event time in seconds, or none.
type Row = (Option<i64>, Option<i64>, i64);

/// What the rule says, an epoch at a time. Times are in microseconds.
struct Rule {
    delay: i64,
    newest: Option<i64>,
    /// Ids, and the watermark that forgets each.
    remembered: BTreeMap<Option<i64>, i64>,
    shown: Vec<(Option<i64>, i64, i64)>,
    late: u64,
    untimed: u64,
}

impl Rule {
    fn epoch(&mut self, rows: &[Row]) {
        let watermark = self.newest.map_or(i64::MIN, |newest| newest - self.delay);
        self.remembered.retain(|_, forgotten| *forgotten > watermark);
        for (id, at, n) in rows {
            let Some(at) = at.map(|second| second * 1_000_000) else {
                self.untimed += 1;
                continue;
            };
            self.newest = self.newest.max(Some(at));
            if at < watermark {
                self.late += 1;
            } else if !self.remembered.contains_key(id) {
                self.remembered.insert(*id, at + 1 + self.delay);
                self.shown.push((*id, at / 1_000_000, *n));
            }
        }
    }
}

fn at(second: i64) -> String {
    format!("TIMESTAMP '2024-01-01 00:00:00' + INTERVAL '{second} seconds'")
}

fn value<T: std::fmt::Display>(value: &Option<T>) -> String {
    value.as_ref().map_or("NULL".to_string(), ToString::to_string)
}

/// Epochs cut at random, crashes and restarts between them; then a sliding window over what was shown.
pub async fn round(seed: u64) -> Result<usize, Failure> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut story = Story::new(options(rng)).await;
    let delay = rng.random_range(1..120);
    let watermark = format!("WATERMARK FOR at AS at - INTERVAL '{delay} seconds'");
    story.sql(&format!("CREATE TABLE t (id INT, at TIMESTAMP, n INT, {watermark}) APPEND ONLY")).await?;
    story.sql("CREATE MATERIALIZED VIEW d AS SELECT DISTINCT ON (id) id, at, n FROM t EMIT ON WINDOW CLOSE").await?;
    let window = "SELECT window_start AS s, window_end AS e, count(*) AS c, sum(n) AS n \
                  FROM HOP(d, at, INTERVAL '20 seconds', INTERVAL '60 seconds') GROUP BY window_start, window_end";
    story.sql(&format!("CREATE MATERIALIZED VIEW w AS {window} EMIT ON WINDOW CLOSE")).await?;
    let (remembered, shown) = Default::default();
    let mut rule = Rule { delay: delay * 1_000_000, newest: None, remembered, shown, late: 0, untimed: 0 };
    let ids = rng.random_range(1..8);
    let (mut newest, mut n) = (0, 0);
    for _ in 0..rng.random_range(8..30) {
        let rows: Vec<Row> = (0..rng.random_range(1..6))
            .map(|_| {
                newest += rng.random_range(0..40);
                n += 1;
                let id = rng.random_bool(0.9).then(|| rng.random_range(0..ids));
                let second = rng.random_bool(0.95).then(|| newest - rng.random_range(0..2 * delay));
                (id, second, n)
            })
            .collect();
        rule.epoch(&rows);
        let texts: Vec<String> =
            rows.iter().map(|(id, second, n)| format!("({}, {}, {n})", value(id), value(&second.map(at)))).collect();
        story.sql(&format!("INSERT INTO t VALUES {}", texts.join(", "))).await?;
        if rng.random_bool(0.15) {
            story.crash_or_restart(rng).await;
        }
        story.sql("FLUSH").await?;
        if rng.random_bool(0.15) {
            story.crash_or_restart(rng).await;
        }
    }
    story.sql("FLUSH").await?;
    let texts: Vec<String> =
        rule.shown.iter().map(|(id, second, n)| format!("({}, {}, {n})", value(id), at(*second))).collect();
    let expected = match texts.is_empty() {
        true => "SELECT 1 AS id, now()::timestamp AS at, 1 AS n WHERE false".to_string(),
        false => format!(
            "SELECT column1::int AS id, column2 AS at, column3::int AS n FROM (VALUES {}) AS v",
            texts.join(", ")
        ),
    };
    story.same("d", &expected).await?;
    let counts = "SELECT late, no_event_time FROM tidemark.queries WHERE name = 'd'";
    story.same(counts, &format!("SELECT {}, {}", rule.late, rule.untimed)).await?;
    let closed = format!(
        "SELECT * FROM ({window}) AS w WHERE e <= (SELECT max(watermark) FROM tidemark.queries WHERE name = 'w')"
    );
    story.same("w", &closed).await?;
    story.same("SELECT late, no_event_time FROM tidemark.queries WHERE name = 'w'", "SELECT 0, 0").await?;
    Ok(2)
}
