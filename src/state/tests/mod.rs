//! Each structure compared with a simple model of `BTreeMap`s: random operations, with thresholds so small that they
//! are crossed, and with saves and loads in between.

mod groups;
mod places;
mod rows;

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Fields, Int64Type, Schema},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{Compaction, Durable};

const STEPS: usize = 200;
const SMALL: Compaction = Compaction { chunk_rows_max: 2, dead_rows_max: 2, dead_bytes_max: 2 };

/// Random generators with fixed seeds.
fn rngs() -> impl Iterator<Item = SmallRng> {
    (0..40).map(SmallRng::seed_from_u64)
}

/// A few distinct numbers below `end`.
fn some(rng: &mut SmallRng, end: i64) -> Vec<i64> {
    let count = rng.random_range(1..6);
    let all: BTreeSet<i64> = (0..count).map(|_| rng.random_range(0..end)).collect();
    let mut all: Vec<i64> = all.into_iter().collect();
    let turn = rng.random_range(0..all.len());
    all.rotate_left(turn);
    all
}

fn fields(names: &[&str]) -> Fields {
    names.iter().map(|name| Field::new(*name, DataType::Int64, false)).collect()
}

fn column(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn batch(fields: &Fields, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns).unwrap()
}

fn numbers(column: &ArrayRef) -> Vec<i64> {
    column.as_primitive::<Int64Type>().values().to_vec()
}

/// Rows of two columns.
fn pairs(first: &ArrayRef, second: &ArrayRef) -> Vec<(i64, i64)> {
    numbers(first).into_iter().zip(numbers(second)).collect()
}

/// The checkpoints of a structure since its last full one.
#[derive(Default)]
struct Checkpoints(Vec<RecordBatch>);

impl Checkpoints {
    fn save(&mut self, state: &mut dyn Durable, full: bool) {
        if full {
            self.0.clear();
        }
        self.0.extend(state.save(full).unwrap().rows);
    }

    fn load(&self, state: &mut dyn Durable) {
        self.0.iter().for_each(|rows| state.load(rows).unwrap());
    }
}
