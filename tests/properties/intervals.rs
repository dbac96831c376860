//! Random joins of two streams within a time bound: in update form the batch answer at any time; in append form each row
//! once, those that meet nothing as well, and in the end the same.

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    Failure,
    round::{Story, options},
    values::pick,
};

/// 2024-01-01, and so many seconds.
fn at(second: i64) -> String {
    format!("TIMESTAMP '2024-01-01 00:00:00' + INTERVAL '{second} seconds'")
}

const KINDS: [&str; 6] = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "LEFT SEMI JOIN", "LEFT ANTI JOIN"];

/// The number of views compared.
pub async fn round(seed: u64) -> Result<usize, Failure> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut story = Story::new(options(rng)).await;
    let delay = rng.random_range(1..60);
    for name in ["l", "r"] {
        let watermark = format!("WITH WATERMARK FOR at AS at - INTERVAL '{delay} seconds'");
        story.sql(&format!("CREATE TABLE {name} (id INT, k INT, at TIMESTAMP) APPEND ONLY {watermark}")).await?;
    }
    let mut views = Vec::new();
    for (n, kind) in KINDS.into_iter().enumerate() {
        let (before, after) = (rng.random_range(0..40), rng.random_range(0..40));
        let more = pick(rng, &["", " AND (l.id + r.id) % 3 <> 0"]);
        let items = if kind.contains("SEMI") || kind.contains("ANTI") { "l.id" } else { "l.id, r.id AS other" };
        // What moves the watermarks in the end is in no answer.
        let rows = |name: &str| format!("(SELECT * FROM {name} WHERE id >= 0) AS {name}");
        let bound = match rng.random_range(0..3) {
            0 => format!("r.at BETWEEN l.at - INTERVAL '{before} seconds' AND l.at + INTERVAL '{after} seconds'"),
            1 => format!("l.at >= r.at - INTERVAL '{after} seconds' AND l.at <= r.at + INTERVAL '{before} seconds'"),
            _ => "l.at = r.at".to_string(),
        };
        let key = pick(rng, &["l.k = r.k AND ", "l.k % 2 = r.k % 2 AND ", ""]);
        let query = format!("SELECT {items} FROM {} {kind} {} ON {key}{bound}{more}", rows("l"), rows("r"));
        story.sql(&format!("CREATE MATERIALIZED VIEW now{n} AS {query}")).await?;
        story.sql(&format!("CREATE MATERIALIZED VIEW once{n} AS {query} EMIT ON WINDOW CLOSE")).await?;
        views.push((n, query));
    }
    let (mut newest, mut id) = ([0_i64; 2], 0);
    for _ in 0..rng.random_range(5..25) {
        let side = rng.random_range(0..2);
        // None is late: the watermark is that of the side that is behind.
        let oldest = newest[0].min(newest[1]) - delay;
        let rows: Vec<(i64, i64)> = (0..rng.random_range(1..5))
            .map(|_| (rng.random_range(0..3), rng.random_range(oldest.max(newest[side] - 90)..newest[side] + 40)))
            .collect();
        let values: Vec<String> = rows
            .iter()
            .map(|(k, second)| {
                id += 1;
                format!("({id}, {k}, {})", at(*second))
            })
            .collect();
        story.sql(&format!("INSERT INTO {} VALUES {}", ["l", "r"][side], values.join(", "))).await?;
        newest[side] = newest[side].max(rows.iter().map(|(_, second)| *second).max().unwrap());
        if rng.random_bool(0.15) {
            story.crash_or_restart(rng).await;
        }
        if rng.random_bool(0.2) {
            story.sql("FLUSH").await?;
            for (n, query) in &views {
                story.same(&format!("now{n}"), query).await?;
            }
        }
    }
    for name in ["l", "r"] {
        story.sql(&format!("INSERT INTO {name} VALUES (-1, 0, {})", at(100_000))).await?;
    }
    story.sql("FLUSH").await?;
    for (n, query) in &views {
        story.same(&format!("now{n}"), query).await?;
        story.same(&format!("once{n}"), query).await?;
    }
    story.same("SELECT count(*) FROM tidemark.queries WHERE late > 0", "SELECT 0").await?;
    Ok(2 * views.len())
}
