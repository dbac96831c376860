//! The promise that a view is the batch answer of its SELECT: random tables, data, queries, epochs and restarts.
//!
//! A round is one server with some tables and views, and it follows from its seed alone; a view that was compared at
//! the end is a case. `SEED=n` runs one round, `ROUNDS=n` as many; a round that fails leaves its seed in `tests/seeds`,
//! and those are run before all others.

mod aggregates;
mod dedup;
mod errors;
mod intervals;
mod joins;
mod limits;
mod over;
mod queries;
mod random;
mod round;
mod sums;
mod ties;
mod twice;
mod upserts;
mod values;
mod windows;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

pub use self::round::{Story, options};
use crate::harness::run;

/// Cases that a run has at the least.
const CASES_MIN: usize = 1000;

/// Of a hundred views, so many must be compared with DataFusion's own answer.
const WITH_DATAFUSION_MIN: usize = 50;

pub type Failure = String;

fn seeds(kind: &str) -> Vec<u64> {
    if let Ok(seed) = std::env::var("SEED") {
        return vec![seed.parse().unwrap()];
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let seed = |name: String| name.strip_suffix(".seed")?.strip_prefix(kind)?.strip_prefix('-')?.parse().ok();
    let mut seeds: Vec<u64> = names.filter_map(seed).collect();
    seeds.sort_unstable();
    seeds
}

/// Runs rounds on two threads until there are enough cases; fails with the first that fails.
pub fn explore(kind: &str, cases_min: usize, round: impl AsyncFn(u64) -> Result<usize, Failure> + Send + Sync) {
    let old = seeds(kind);
    let alone = std::env::var("SEED").is_ok();
    let rounds_min: u64 = std::env::var("ROUNDS").map_or(0, |n| n.parse().unwrap());
    let (next, cases) = (AtomicU64::new(0), AtomicUsize::new(0));
    let failures = std::sync::Mutex::new(Vec::new());
    let worker = || {
        run(1, async || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let fresh = n.checked_sub(old.len() as u64);
                let enough = fresh.is_some_and(|n| n >= rounds_min) && cases.load(Ordering::Relaxed) >= cases_min;
                if enough || (alone && fresh.is_some()) || !failures.lock().unwrap().is_empty() {
                    return;
                }
                let seed = fresh.unwrap_or_else(|| old[n as usize]);
                match round(seed).await {
                    Ok(compared) => {
                        cases.fetch_add(compared, Ordering::Relaxed);
                    }
                    Err(failure) => failures.lock().unwrap().push((seed, failure)),
                }
            }
        });
    };
    std::thread::scope(|scope| {
        scope.spawn(worker);
        scope.spawn(worker);
    });
    if let Some((seed, failure)) = failures.into_inner().unwrap().pop() {
        let path = format!("tests/seeds/{kind}-{seed}.seed");
        let whole = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(&path);
        std::fs::write(whole, format!("{failure}\n")).unwrap();
        panic!("seed {seed} fails, see {path}\n{failure}");
    }
}

#[test]
fn view_of_a_random_query_equals_the_batch_answer() {
    let (views, with_datafusion) = (AtomicUsize::new(0), AtomicUsize::new(0));
    explore("batch", CASES_MIN, async |seed| {
        let compared = round::round(seed).await?;
        views.fetch_add(compared.views, Ordering::Relaxed);
        with_datafusion.fetch_add(compared.with_datafusion, Ordering::Relaxed);
        Ok(compared.views)
    });
    let (views, with_datafusion) = (views.into_inner(), with_datafusion.into_inner());
    println!("{with_datafusion} of {views} views were compared with DataFusion too");
    let enough = with_datafusion * 100 >= views * WITH_DATAFUSION_MIN;
    assert!(enough || views < CASES_MIN, "only {with_datafusion} of {views} views were compared with DataFusion");
}

#[test]
fn interval_join_equals_the_batch_answer() {
    explore("intervals", 150, async |seed| intervals::round(seed).await);
}

#[test]
fn self_join_reads_both_inputs_up_to_the_same_offset() {
    run(2, async || twice::round(20).await);
}

#[test]
fn closed_window_equals_the_batch_answer() {
    explore("windows", 100, async |seed| windows::round(seed).await);
}

#[test]
fn view_over_upserts_equals_the_answer_over_the_remaining_rows() {
    explore("upserts", 100, async |seed| upserts::round(seed).await);
}

#[test]
fn distinct_on_within_the_watermark_emits_rows_whose_id_has_expired() {
    explore("dedup", 80, async |seed| dedup::round(seed).await);
}

#[test]
fn late_rows_are_exactly_those_of_closed_windows() {
    explore("late", 40, async |seed| windows::late(seed).await);
}

#[test]
fn view_with_row_errors_equals_the_batch_answer_over_the_other_rows() {
    explore("errors", 150, async |seed| errors::round(seed).await);
}

#[test]
fn ties_are_retracted_as_they_were_emitted() {
    explore("ties", 150, async |seed| ties::round(seed).await);
}

#[test]
fn sums_do_not_depend_on_retracted_rows() {
    explore("sums", 100, async |seed| sums::round(seed).await);
}
