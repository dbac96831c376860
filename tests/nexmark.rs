//! The 23 queries of Nexmark as views over the benchmark's own events: each equals its batch answer after each epoch,
//! and where it has windows also in append form, of the windows that the watermark has closed.
//!
//! As in `properties`, a round is one server, and `SEED=n` runs one alone.

use std::{fs, path::PathBuf};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::properties::{Failure, Story, explore, options};

/// Event time of a round: so much of it that windows of ten seconds close.
const SECONDS: u64 = 50;
const EVENTS_PER_SECOND: u64 = 60;

/// The queries that have windows, and when a row of their answer is final.
const WINDOWED: [(&str, &str); 5] = [
    ("q5", "window_end <= "),
    ("q7", "date_bin(INTERVAL '10 seconds', date_time) + INTERVAL '10 seconds' <= "),
    ("q8", "window_start + INTERVAL '10 seconds' <= "),
    // A row at the very end would still be of the session.
    ("q11", "window_end < "),
    ("q12", "window_end <= "),
];

struct Query {
    name: String,
    select: String,
}

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sql/examples/nexmark").join(format!("{name}.sql"));
    fs::read_to_string(path).unwrap()
}

fn queries() -> Vec<Query> {
    let query = |number: u8| {
        let name = format!("q{number}");
        let text = read(&name);
        let (create, select) = text.split_once(" AS\n").unwrap();
        assert!(create.ends_with(&format!("CREATE MATERIALIZED VIEW {name}")));
        Query { name, select: select.trim_end().trim_end_matches(';').to_string() }
    };
    (0..=22).map(query).collect()
}

#[test]
fn nexmark_queries_equal_their_batch_answers() {
    explore("nexmark", 23 * 3, async |seed| round(seed).await);
}

/// The number of answers compared.
async fn round(seed: u64) -> Result<usize, Failure> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut story = Story::new(options(rng)).await;
    let events = SECONDS * EVENTS_PER_SECOND;
    let sources = read("sources").replace("events = 1000000", &format!("events = {events}, seed = {seed}"));
    let sources = sources.replace("events_per_second = 0", &format!("events_per_second = {EVENTS_PER_SECOND}"));
    let limit = format!("max_rows_per_trigger = {}", rng.random_range(100..1000));
    story.sql(&sources.replace("events = ", &format!("{limit}, events = "))).await?;
    let queries = queries();
    for Query { name, select } in &queries {
        story.sql(&format!("CREATE MATERIALIZED VIEW {name} AS {select}")).await?;
        if WINDOWED.iter().any(|(windowed, _)| windowed == name) {
            story.sql(&format!("CREATE MATERIALIZED VIEW {name}_once AS {select} EMIT ON WINDOW CLOSE")).await?;
        }
    }
    let (mut passed, mut compared) = (0, 0);
    while passed < SECONDS + 1 {
        let seconds = rng.random_range(5..30);
        passed += seconds;
        story.rig.clock.advance(seconds as i64 * 1_000_000);
        story.tell(format!("-- {seconds} s pass"));
        if rng.random_bool(0.4) {
            story.crash_or_restart(rng).await;
        }
        story.sql("FLUSH").await?;
        let last = passed > SECONDS;
        for Query { name, select } in queries.iter().filter(|_| last || rng.random_bool(0.2)) {
            story.same(name, select).await?;
            compared += 1;
        }
    }
    for (name, is_final) in WINDOWED {
        let select = &queries.iter().find(|query| query.name == name).unwrap().select;
        let watermark = format!("(SELECT watermark FROM tidemark.queries WHERE name = '{name}_once')");
        let closed = format!("SELECT * FROM ({select}) AS q WHERE {is_final}{watermark}");
        story.same(&format!("{name}_once"), &closed).await?;
        let rows = story.sql(&format!("SELECT 1 FROM {name}_once")).await?;
        if rows.0.is_empty() {
            return Err(story.fails(format!("{name}_once has no rows")));
        }
        compared += 1;
    }
    Ok(compared)
}
