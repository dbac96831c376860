//! Random SELECTs over random tables: each is read, kept as a view while the tables change, and asked of PostgreSQL.
//!
//! `SEED=n` runs one round, `ROUNDS=n` as many, `MINUTES=n` for as long. A fault is printed as a script that can be pasted
//! into psql, made as small as the time for it allows (`SMALLER=seconds`); `KEEP_GOING=1` goes on after it, and tells at
//! the end what there was of each kind.

mod calls;
mod case;
mod compare;
mod exprs;
mod from;
mod known;
mod minimise;
mod queries;
mod schema;
mod servers;
mod types;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tidemark::engine::EngineOptions;

use self::{
    case::{Case, Fault, Kind, Outcome, Question},
    minimise::Minimiser,
    schema::Schema,
};
use crate::{harness::run, server::postgres::Postgres};

/// Rounds of a run that says nothing else, and queries of each.
const ROUNDS: u64 = 66;
const QUERIES: usize = 34;

/// Of a hundred queries, so many must be compared; and so many with PostgreSQL, where there is one.
const COMPARED_MIN: usize = 60;
const WITH_POSTGRES_MIN: usize = 25;

fn case(seed: u64) -> Case {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut options = super::options(rng);
    let schema = Schema::new(rng);
    // Small ones are slow: for runs that take their time, and tables of few rows.
    if schema.big || seed < ROUNDS {
        options.thresholds = EngineOptions::default().thresholds;
    }
    let fill = schema.fill(rng);
    let queries = if schema.big { QUERIES / 3 } else { QUERIES };
    let questions =
        (0..queries).map(|_| queries::query(rng, &schema)).map(|(text, shared)| Question { text, shared }).collect();
    let steps = (1..=rng.random_range(2..7)).map(|n| schema.step(rng, n)).collect();
    Case { create: schema.create(), fill, questions, steps, options }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[derive(Default)]
struct Tally {
    /// The first of each kind, how often there was one, and where.
    faults: BTreeMap<(Kind, String), (String, usize)>,
    rounds: usize,
    asked: usize,
    compared: usize,
    with_postgres: usize,
    refused: BTreeMap<String, usize>,
}

impl Tally {
    fn record(&mut self, case: &Case, outcome: &Outcome) {
        self.rounds += 1;
        self.asked += case.questions.len();
        self.compared += outcome.compared;
        self.with_postgres += outcome.with_postgres;
        for (what, count) in &outcome.refused {
            *self.refused.entry(what.clone()).or_default() += count;
        }
    }

    fn summary(&self) -> String {
        let mut text = format!(
            "{} rounds, {} queries, {} compared to the end, {} times with PostgreSQL\n",
            self.rounds, self.asked, self.compared, self.with_postgres
        );
        let mut refused: Vec<_> = self.refused.iter().collect();
        refused.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (what, count) in refused.iter().take(40) {
            text += &format!("refused {count} times: {what}\n");
        }
        for ((kind, _), (description, count)) in &self.faults {
            text += &format!("\n== {kind:?}, {count} times\n{description}\n");
        }
        text
    }
}

async fn smaller(
    case: &Case,
    n: usize,
    fault: Fault,
    seed: u64,
    postgres: Option<&'static Postgres>,
) -> (Fault, String) {
    let until = Instant::now() + Duration::from_secs(number("SMALLER").unwrap_or(30));
    let (small, fault) = Minimiser { postgres, until }.minimise(case, n, fault).await;
    let (partitions, thresholds) = (case.options.partitions, &case.options.thresholds);
    let description = format!(
        "-- SEED={seed} ({:?}, {partitions} partitions, {thresholds:?})\n{}\n{}",
        fault.kind,
        small.script(),
        fault.description
    );
    (fault, description)
}

#[test]
fn random_selects_agree_between_batch_view_and_postgres() {
    let postgres = Postgres::shared();
    let seed = number("SEED");
    let rounds = if number("MINUTES").is_some() { 0 } else { number("ROUNDS").unwrap_or(ROUNDS) };
    let until = Instant::now() + Duration::from_secs(60 * number("MINUTES").unwrap_or(0));
    let keep_going = std::env::var_os("KEEP_GOING").is_some();
    let (next, tally) = (AtomicU64::new(seed.unwrap_or(number("FIRST").unwrap_or(0))), Mutex::new(Tally::default()));
    let first = next.load(Ordering::Relaxed);
    let worker = || {
        run(1, async || {
            loop {
                let seed_now = next.fetch_add(1, Ordering::Relaxed);
                let enough = match seed {
                    Some(seed) => seed_now > seed,
                    None => seed_now - first >= rounds && Instant::now() >= until,
                };
                if enough || (!keep_going && !tally.lock().unwrap().faults.is_empty()) {
                    return;
                }
                let case = case(seed_now);
                let outcome = case.run(postgres).await;
                tally.lock().unwrap().record(&case, &outcome);
                for (n, fault) in outcome.faults {
                    // What differs is of many causes; what is said alike is of one.
                    let one = (fault.kind, fault.mark.clone());
                    let known = tally.lock().unwrap().faults.get_mut(&one).map(|(_, count)| *count += 1).is_some();
                    if !known || fault.mark.is_empty() {
                        let (fault, text) = smaller(&case, n, fault, seed_now, postgres).await;
                        eprintln!("{text}\n");
                        let key = if fault.mark.is_empty() { text.clone() } else { fault.mark.clone() };
                        tally.lock().unwrap().faults.entry((fault.kind, key)).or_insert((text, 1));
                    }
                }
            }
        });
    };
    std::thread::scope(|scope| {
        scope.spawn(worker);
        scope.spawn(worker);
    });
    let tally = tally.into_inner().unwrap();
    println!("{}", tally.summary());
    assert!(tally.faults.is_empty(), "{} kinds of faults", tally.faults.len());
    if seed.is_none() && tally.rounds > 10 {
        assert!(tally.compared * 100 >= tally.asked * COMPARED_MIN, "too few were compared");
        let enough = tally.with_postgres * 100 >= tally.asked * WITH_POSTGRES_MIN;
        assert!(enough || postgres.is_none(), "too few were asked of PostgreSQL");
    }
}
