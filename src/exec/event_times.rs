//! The event times that pass a watermark in one epoch, partition by partition.

use std::{collections::BTreeMap, sync::Mutex};

use arrow::{
    array::{AsArray, Int64Array, RecordBatch},
    datatypes::Int64Type,
};

use crate::{
    sync::locked,
    time::{Micros, event_times},
};

/// The greatest event time that each partition showed a watermark in one epoch. The partition is named by the number of
/// its input and its own name; it is empty where partitions are not told apart.
pub type EventTimes = BTreeMap<String, Micros>;

/// Where a row's event time stands, and the stream that it came in.
#[derive(Debug, Clone, Copy)]
pub struct EventTime {
    pub column: usize,
    pub partition: Option<usize>,
}

/// The event times that passed one watermark in one epoch.
#[derive(Debug)]
pub(super) struct Observed {
    /// Per stream, as the leaves number them; [`UNTOLD`] where there is no number.
    greatest: Mutex<BTreeMap<i64, Micros>>,
    /// Event times further than this ahead of the clock do not count.
    ahead_us_max: Option<Micros>,
}

const UNTOLD: i64 = -1;

/// The number of a stream of an input, as a row's [`PARTITION`].
pub(super) fn stream_number(input: usize, stream: usize) -> i64 {
    ((input as i64) << 32) | stream as i64
}

/// The input and the stream of a number, where it is one.
pub(super) fn stream_of(number: i64) -> Option<(usize, usize)> {
    (number != UNTOLD).then_some(((number >> 32) as usize, number as u32 as usize))
}

/// A partition of an input by name.
pub fn partition_name(input: usize, partition: &str) -> String {
    format!("{input}/{partition}")
}

impl Observed {
    pub fn new(ahead_us_max: Option<Micros>) -> Self {
        Observed { greatest: Mutex::default(), ahead_us_max }
    }

    /// Forgets what an earlier epoch showed.
    pub fn clear(&self) {
        locked(&self.greatest).clear();
    }

    /// What was seen, by partition; several streams may be of one.
    pub fn by_name(&self, name: impl Fn(i64) -> String) -> EventTimes {
        let mut times = EventTimes::new();
        for (number, time) in locked(&self.greatest).iter() {
            times.entry(name(*number)).and_modify(|greatest| *greatest = (*greatest).max(*time)).or_insert(*time);
        }
        times
    }

    pub fn note(&self, batch: &RecordBatch, time: EventTime, now: Micros) {
        let Some(times) = event_times(batch.column(time.column)) else { return };
        let Some(partition) = time.partition else { return self.note_one(UNTOLD, &times, now) };
        let numbers = batch.column(partition).as_primitive::<Int64Type>();
        // Rows of one stream mostly stay together.
        let mut from = 0;
        for run in numbers.values().chunk_by(|a, b| a == b) {
            self.note_one(run[0], &times.slice(from, run.len()), now);
            from += run.len();
        }
    }

    fn note_one(&self, number: i64, times: &Int64Array, now: Micros) {
        let greatest = match self.ahead_us_max {
            None => arrow::compute::max(times),
            Some(ahead) => times.iter().flatten().filter(|t| *t <= now.saturating_add(ahead)).max(),
        };
        if let Some(time) = greatest {
            let mut all = locked(&self.greatest);
            all.entry(number).and_modify(|greatest| *greatest = time.max(*greatest)).or_insert(time);
        }
    }
}
