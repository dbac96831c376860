//! What holds a number: written by whoever knows it, without a lock, and read by whoever looks.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

/// A total that only grows, while the server runs: after a restart it may go on from what was saved.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Takes over a total that is kept elsewhere, in a checkpoint.
    pub fn set(&self, total: u64) {
        self.0.store(total, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A whole number that comes and goes; none until it is set.
#[derive(Debug)]
pub struct Gauge(AtomicI64);

/// In place of a number: there is none.
const NONE: i64 = i64::MIN;

impl Default for Gauge {
    fn default() -> Self {
        Gauge(AtomicI64::new(NONE))
    }
}

impl Gauge {
    pub fn set(&self, value: Option<i64>) {
        self.0.store(value.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// Sets what is counted from 0.
    pub fn set_count(&self, count: Option<u64>) {
        self.set(count.map(|count| count as i64));
    }

    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|value| *value != NONE)
    }

    pub fn count(&self) -> Option<u64> {
        self.get().map(|count| count as u64)
    }
}

/// The upper bounds of the buckets, in seconds.
const BOUNDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How long something took, each time since the server started.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Of each bucket, those that are in no lower one. The last has no bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// The sum in seconds; and of each bucket its upper bound, and how many are in it and in no lower one.
    pub(super) fn get(&self) -> (f64, Vec<(f64, u64)>) {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        (self.sum_us.load(Ordering::Relaxed) as f64 / 1e6, bounds.zip(counts).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauge_that_was_not_set_has_no_number() {
        let gauge = Gauge::default();
        assert_eq!(gauge.get(), None);
        gauge.set(Some(-3));
        assert_eq!(gauge.get(), Some(-3));
        gauge.set_count(None);
        assert_eq!(gauge.count(), None);
        gauge.set_count(Some(7));
        assert_eq!(gauge.count(), Some(7));
    }

    #[test]
    fn histogram_puts_a_duration_into_the_least_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for millis in [1, 2, 1_000, 31_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let (sum, buckets) = histogram.get();
        let filled: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.001, 1), (0.0025, 1), (1.0, 1), (f64::INFINITY, 1)]);
        assert_eq!(sum, 32.003);
    }
}
