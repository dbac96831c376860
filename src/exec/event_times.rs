//! The event times observed for a watermark in one epoch, by partition.

use std::{collections::BTreeMap, sync::Mutex};

use arrow::{
    array::{AsArray, Int64Array, RecordBatch},
    datatypes::Int64Type,
};

use crate::{
    sync::locked,
    time::{Micros, event_times},
};

/// Per partition the greatest event time observed in one epoch. The name is the input's number and the partition's
/// name; empty if partitions are not distinguished.
pub type EventTimes = BTreeMap<String, Micros>;

/// The columns of a row's event time and of the stream it came in.
#[derive(Debug, Clone, Copy)]
pub struct EventTime {
    pub column: usize,
    pub partition: Option<usize>,
}

/// Collects the event times observed for one watermark in one epoch.
#[derive(Debug)]
pub(super) struct Observed {
    /// By stream number; [`NO_PARTITION`] if there is none.
    greatest: Mutex<BTreeMap<i64, Micros>>,
    /// Event times further ahead of the clock than this are ignored.
    ahead_us_max: Option<Micros>,
}

const NO_PARTITION: i64 = -1;

/// The number of a stream of an input, as a row's [`PARTITION`].
pub(super) fn stream_number(input: usize, stream: usize) -> i64 {
    ((input as i64) << 32) | stream as i64
}

/// The input and stream of a stream number; `None` for others.
pub(super) fn stream_of(number: i64) -> Option<(usize, usize)> {
    (number != NO_PARTITION).then_some(((number >> 32) as usize, number as u32 as usize))
}

/// The name of an input's partition.
pub fn partition_name(input: usize, partition: &str) -> String {
    format!("{input}/{partition}")
}

impl Observed {
    pub fn new(ahead_us_max: Option<Micros>) -> Self {
        Observed { greatest: Mutex::default(), ahead_us_max }
    }

    /// Clears the observations of the epoch before.
    pub fn clear(&self) {
        locked(&self.greatest).clear();
    }

    /// The observations by partition; several streams may have the same one.
    pub fn by_name(&self, name: impl Fn(i64) -> String) -> EventTimes {
        let mut times = EventTimes::new();
        for (number, time) in locked(&self.greatest).iter() {
            times.entry(name(*number)).and_modify(|greatest| *greatest = (*greatest).max(*time)).or_insert(*time);
        }
        times
    }

    pub fn observe(&self, batch: &RecordBatch, time: EventTime, now: Micros) {
        let Some(times) = event_times(batch.column(time.column)) else { return };
        let Some(partition) = time.partition else { return self.observe_one(NO_PARTITION, &times, now) };
        let numbers = batch.column(partition).as_primitive::<Int64Type>();
        // Rows of one stream are mostly consecutive.
        let mut from = 0;
        for run in numbers.values().chunk_by(|a, b| a == b) {
            self.observe_one(run[0], &times.slice(from, run.len()), now);
            from += run.len();
        }
    }

    fn observe_one(&self, number: i64, times: &Int64Array, now: Micros) {
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
