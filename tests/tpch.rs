//! The 22 queries of TPC-H as views over tables that change at random: each equals its batch answer after each epoch,
//! through crashes and restarts.
//!
//! The queries are those of the specification with its validation parameters. Where rows are so few that an answer
//! would be empty, or LIMIT and HAVING would keep all of it, the file of the query says what was changed. Where rows
//! could stand in any order, a key is added to the end of ORDER BY. As in `properties`, a round is one server, and
//! `SEED=n` runs one alone.

mod changes;
mod data;

use std::{collections::BTreeSet, fmt::Write, fs, path::PathBuf, sync::Mutex};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use self::changes::Trade;
use crate::{
    harness::{Cell, Rows},
    properties::{Failure, Story, explore, options},
};

const QUERIES: u8 = 22;

/// Epochs that a run has at the least.
const EPOCHS_MIN: usize = 24;

/// Epochs of a round.
const EPOCHS: usize = 8;

/// Less than this many changes are between two comparisons.
const CHANGES_MAX: u32 = 25;

struct Query {
    number: u8,
    text: String,
}

impl Query {
    fn name(&self) -> String {
        format!("q{}", self.number)
    }
}

/// A file of `tests/tpch`, less its comments.
fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tpch").join(format!("{name}.sql"));
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n")
}

fn queries() -> Vec<Query> {
    (1..=QUERIES).map(|number| Query { number, text: read(&format!("q{number}")) }).collect()
}

/// The queries that had an answer in some epoch of some round, and those whose answer became another.
#[derive(Default)]
struct Seen {
    answered: BTreeSet<u8>,
    changed: BTreeSet<u8>,
}

impl Seen {
    /// The answers of all queries after an epoch, and after the one before, if there was one.
    fn record(&mut self, queries: &[Query], before: Option<&Vec<Rows>>, now: &[Rows]) {
        for (n, query) in queries.iter().enumerate() {
            // The NULL of an aggregate over nothing is no answer.
            if now[n].0.iter().any(|row| row.iter().all(|cell| !matches!(cell, Cell::Null))) {
                self.answered.insert(query.number);
            }
            if before.is_some_and(|before| !before[n].same(&now[n])) {
                self.changed.insert(query.number);
            }
        }
    }
}

#[test]
fn tpch_queries_equal_their_batch_answers() {
    let seen = Mutex::new(Seen::default());
    explore("tpch", EPOCHS_MIN * usize::from(QUERIES), async |seed| round(seed, &seen).await);
    // One seed alone need not answer everything.
    if std::env::var("SEED").is_err() {
        let seen = seen.into_inner().unwrap();
        let without = |those: BTreeSet<u8>| (1..=QUERIES).filter(|n| !those.contains(n)).collect::<Vec<_>>();
        assert_eq!(without(seen.answered), [0; 0], "queries that had no answer in any epoch");
        assert_eq!(without(seen.changed), [0; 0], "queries whose answer was the same in all epochs");
    }
}

/// The number of answers compared.
async fn round(seed: u64, seen: &Mutex<Seen>) -> Result<usize, Failure> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut story = Story::new(options(rng)).await;
    let (queries, mut trade) = (queries(), Trade::default());
    story.sql(&read("tables")).await?;
    // Views over nothing yet, or over what is there already.
    let early = rng.random_bool(0.5);
    if early {
        create(&mut story, &queries).await?;
    }
    for statement in trade.filling(rng) {
        story.sql(&statement).await?;
    }
    if !early {
        create(&mut story, &queries).await?;
    }
    let mut before = None;
    for epoch in 0..EPOCHS {
        let changes = if epoch == 0 { 0 } else { rng.random_range(1..CHANGES_MAX) };
        for _ in 0..changes {
            for statement in trade.change(rng) {
                story.sql(&statement).await?;
            }
        }
        if rng.random_bool(0.3) {
            story.crash_or_restart(rng).await;
        }
        story.sql("FLUSH").await?;
        let now = compare(&mut story, &queries).await?;
        seen.lock().unwrap().record(&queries, before.as_ref(), &now);
        before = Some(now);
    }
    Ok(EPOCHS * queries.len())
}

/// Creates the views; fails with all that are refused.
async fn create(story: &mut Story, queries: &[Query]) -> Result<(), Failure> {
    let mut wrong = String::new();
    for query in queries {
        let name = query.name();
        let statement = format!("CREATE MATERIALIZED VIEW {name} AS\n{}", query.text);
        match story.rig.sql(&statement).await {
            Ok(_) => story.tell(statement),
            Err(error) => _ = writeln!(wrong, "{name} is refused: {error} {:?}", error.detail_text()),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(story.fails(wrong)) }
}

/// The batch answers; fails with all views that are not theirs.
async fn compare(story: &mut Story, queries: &[Query]) -> Result<Vec<Rows>, Failure> {
    let (mut answers, mut wrong) = (Vec::new(), String::new());
    for query in queries {
        let name = query.name();
        let asked = story.rig.contents(&query.text).await;
        let asked = asked.map_err(|e| story.fails(format!("{name} as a query: {e}")))?;
        let _ = match story.rig.contents(&name).await {
            Ok(kept) if kept.same(&asked) => Ok(()),
            Ok(kept) => writeln!(wrong, "{name} holds\n{kept}but its batch answer is\n{asked}"),
            Err(e) => writeln!(wrong, "{name} as a view: {e}"),
        };
        answers.push(asked);
    }
    if wrong.is_empty() { Ok(answers) } else { Err(story.fails(wrong)) }
}
