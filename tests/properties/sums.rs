//! Sums of floats and of decimals: whatever comes and goes, and in whatever order, a view holds the one right answer.

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

use super::{
    Failure,
    round::{Story, options},
    values::pick,
};

/// Floats that no sum of floats, one after the other, gets right.
const FLOATS: [&str; 14] = [
    "NULL",
    "'0.1'",
    "'0.2'",
    "'-0.3'",
    "'1'",
    "'1e300'",
    "'-1e300'",
    "'1e16'",
    "'-1e16'",
    "'4.9e-324'",
    "'-2.2250738585072014e-308'",
    "'Infinity'",
    "'-Infinity'",
    "'NaN'",
];

const QUERIES: [&str; 5] = [
    "SELECT k, sum(f) AS a, avg(f) AS b, count(f) AS c FROM t GROUP BY k",
    "SELECT sum(f) AS a, avg(f) FILTER (WHERE n > 1) AS b FROM t",
    "SELECT k, sum(DISTINCT f) AS a, avg(DISTINCT f) AS b FROM t GROUP BY k",
    "SELECT k, sum(d) AS a, avg(d) AS b, sum(DISTINCT d) AS c FROM t GROUP BY k",
    "SELECT k, n, sum(f) OVER (PARTITION BY k ORDER BY n, id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS a FROM t",
];

/// The number of views compared.
pub async fn round(seed: u64) -> Result<usize, Failure> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut story = Story::new(options(rng)).await;
    story.sql("CREATE TABLE t (id INT, k INT, n INT, f DOUBLE PRECISION, d NUMERIC(30,4))").await?;
    for (n, query) in QUERIES.iter().enumerate() {
        story.sql(&format!("CREATE MATERIALIZED VIEW v{n} AS {query}")).await?;
    }
    // Without what swallows all others most of the time.
    let floats = if rng.random_bool(0.7) { &FLOATS[..11] } else { &FLOATS[..] };
    let mut id = 0;
    for _ in 0..rng.random_range(10..30) {
        let rows: Vec<String> = (0..rng.random_range(1..8))
            .map(|_| {
                id += 1;
                let (k, n) = (rng.random_range(0..2), rng.random_range(0..4));
                let d = pick(rng, &["NULL", "0.0001", "-99999999999999999999999999.9999", "12345678901234567890.5"]);
                format!("({id}, {k}, {n}, CAST({} AS DOUBLE PRECISION), {d})", floats.choose(rng).unwrap())
            })
            .collect();
        match rng.random_range(0..5) {
            0 => story.sql(&format!("DELETE FROM t WHERE n = {} AND k = 0", rng.random_range(0..4))).await?,
            1 => story.sql(&format!("UPDATE t SET f = -f, k = 1 - k WHERE n = {}", rng.random_range(0..4))).await?,
            _ => story.sql(&format!("INSERT INTO t VALUES {}", rows.join(", "))).await?,
        };
        match rng.random_range(0..6) {
            0 => story.crash_or_restart(rng).await,
            1 | 2 => drop(story.sql("FLUSH").await?),
            _ => {}
        }
    }
    story.sql("FLUSH").await?;
    for (n, query) in QUERIES.iter().enumerate() {
        story.same(&format!("v{n}"), query).await?;
    }
    Ok(QUERIES.len())
}
