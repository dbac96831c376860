//! What several threads share, in orders of their steps that are drawn.
//!
//! The threads and what they wait with are shuttle's, which lets one of them go on at a time and decides at each step which.
//! What is tested is the code itself: [`relations`] and [`checkpoint`] are files of those rooms, compiled once more over
//! shuttle's `sync`, `thread` and `time`. A test that fails prints its orders as a seed, for SHUTTLE_RANDOM_SEED, and the
//! one that failed as a schedule, for `shuttle::replay`. Atomics are all taken as `SeqCst`.

mod budget;
mod checkpoint;
mod log;
mod moment;
mod relations;
mod subscribers;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use bytes::Bytes;
use shuttle::{
    Config, MaxSteps, Runner,
    scheduler::{PctScheduler, RandomScheduler},
    thread,
};

use crate::{
    changes::Changes,
    error::Result,
    relations::{Identity, Relation},
    storage::{MemoryStorage, Storage},
};

/// How many orders of each kind a test is run in.
const ORDERS: usize = 500;

/// Of the second kind: so many times at the most one thread is stopped for another that could have gone on all along.
const CHANGES: usize = 3;

/// More steps than a test has that comes to its end.
const STEPS_MAX: usize = 50_000;

/// Runs a test in many orders, others for each `SHUTTLE_RANDOM_SEED`: at each step any thread may be next; and, where that finds little, almost always the same.
fn in_drawn_orders(test: fn()) {
    let given = std::env::var("SHUTTLE_RANDOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_default();
    eprintln!("SHUTTLE_RANDOM_SEED={seed}");
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    Runner::new(RandomScheduler::new_from_seed(seed, ORDERS), config.clone()).run(test);
    Runner::new(PctScheduler::new_from_seed(seed, CHANGES, ORDERS), config).run(test);
}

/// A disk that takes its time: others go on before and after it has changed.
#[derive(Debug)]
struct SlowDisk(Arc<MemoryStorage>);

impl SlowDisk {
    fn slowly<T>(&self, work: impl FnOnce(&MemoryStorage) -> T) -> T {
        thread::yield_now();
        let done = work(&self.0);
        thread::yield_now();
        done
    }
}

impl Storage for SlowDisk {
    fn read(&self, path: &str) -> Result<Option<Bytes>> {
        self.slowly(|disk| disk.read(path))
    }
    fn create(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.slowly(|disk| disk.create(path, bytes))
    }
    fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.slowly(|disk| disk.append(path, bytes))
    }
    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.slowly(|disk| disk.overwrite(path, bytes))
    }
    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.slowly(|disk| disk.list(prefix))
    }
    fn remove(&self, path: &str) -> Result<()> {
        self.slowly(|disk| disk.remove(path))
    }
}

/// Numbers, in rows with a column.
fn numbers(values: &[i64]) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec())) as ArrayRef]).unwrap()
}

/// An epoch's changes: so many rows come, and the first of those that came before them goes.
fn changes(epoch: u64) -> Changes {
    let came: Vec<i64> = rows_of(epoch).collect();
    match epoch {
        1 => Changes::insert(numbers(&came)),
        _ => {
            let rows = [came.clone(), vec![(epoch as i64 - 1) * 10]].concat();
            let diffs: Vec<i64> = [vec![1; came.len()], vec![-1]].concat();
            Changes::new(numbers(&rows), diffs.into())
        }
    }
}

fn rows_of(epoch: u64) -> impl Iterator<Item = i64> {
    epoch as i64 * 10..epoch as i64 * 10 + 4
}

/// What those changes make of no rows, up to an epoch.
fn rows_at(epoch: u64) -> Vec<i64> {
    (1..=epoch).flat_map(|of| rows_of(of).skip(usize::from(of < epoch))).collect()
}

fn relation() -> Relation {
    Relation::new(numbers(&[]).schema(), Identity::Row).unwrap().of_a_query()
}

fn number(rows: &RecordBatch, row: usize) -> i64 {
    rows.column(0).as_primitive::<Int64Type>().value(row)
}
