//! Admission control: how many rows and bytes of an input an epoch takes, so that it lasts about its target duration.
//!
//! The estimate is Spark's `PIDRateEstimator`, with its constants. A query pulls, so there is no scheduling delay: the
//! time an epoch took beyond its target stands for it. If an epoch costs more than its target however few rows it takes
//! (a slow sink), at least half of its time is for its rows.

use std::time::Duration;

use crate::connectors::ReadLimit;

const PROPORTIONAL: f64 = 1.0;
const INTEGRAL: f64 = 0.2;

/// The first limit, before any epoch was observed.
const ROWS_FIRST: u64 = 1 << 16;
const BYTES_FIRST: u64 = 16 << 20;

/// The least an epoch is admitted, so that its fixed cost is spread over some rows.
const ROWS_MIN: u64 = 100;
const BYTES_MIN: u64 = 64 << 10;

/// The admission of one input of one query. It sees limits and durations, never rows.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Target duration of an epoch; without one only the configured bounds hold.
    target: Option<Duration>,
    rows: Rate,
    bytes: Rate,
}

/// The estimate for one unit (rows or bytes).
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: Option<f64>,
    /// Fixed cost of an epoch, in seconds.
    overhead: f64,
    /// The last full epoch: amount taken, and seconds.
    last: Option<(f64, f64)>,
    first: u64,
    min: u64,
}

impl Admission {
    pub fn new(target: Option<Duration>) -> Self {
        let rate = |first, min| Rate { per_second: None, overhead: 0.0, last: None, first, min };
        let (rows, bytes) = (rate(ROWS_FIRST, ROWS_MIN), rate(BYTES_FIRST, BYTES_MIN));
        Admission { target: target.filter(|target| !target.is_zero()), rows, bytes }
    }

    /// The limit of the next epoch, within the configured `bounds`. Files are limited by `bounds` alone.
    pub fn limit(&self, bounds: &ReadLimit) -> ReadLimit {
        let Some(target) = self.target else { return *bounds };
        ReadLimit {
            rows: Some(self.rows.limit(target, bounds.rows)),
            bytes: Some(self.bytes.limit(target, bounds.bytes)),
            files: bounds.files,
        }
    }

    /// Notes the duration of an epoch that was given `limit`. One that was not `full` (it drained its input) does not
    /// change the estimate.
    pub fn observe(&mut self, limit: &ReadLimit, full: bool, took: Duration) {
        let Some(target) = self.target else { return };
        if full {
            self.rows.observe(limit.rows, target, took);
            self.bytes.observe(limit.bytes, target, took);
        }
    }
}

impl Rate {
    fn limit(&self, target: Duration, bound: Option<u64>) -> u64 {
        let target = self.reachable(target);
        let estimate = self.per_second.map_or(self.first, |rate| (rate * target) as u64);
        estimate.max(self.min).min(bound.unwrap_or(u64::MAX))
    }

    fn observe(&mut self, taken: Option<u64>, target: Duration, took: Duration) {
        let Some(taken) = taken else { return };
        // At least a microsecond.
        let (taken, took) = (taken as f64, took.as_secs_f64().max(1e-6));
        self.note_overhead(taken, took);
        let target = self.reachable(target);
        let now = taken / took;
        let last = self.per_second.unwrap_or(now);
        let overdue = (took - target).max(0.0) * now / target;
        self.per_second = Some((last - PROPORTIONAL * (last - now) - INTEGRAL * overdue).max(0.0));
    }
}

impl Rate {
    /// Estimates the fixed cost from two epochs of sufficiently different amounts.
    fn note_overhead(&mut self, taken: f64, took: f64) {
        if let Some((taken_before, took_before)) = self.last
            && (taken / taken_before - 1.0).abs() > 0.2
        {
            let each = ((took - took_before) / (taken - taken_before)).max(0.0);
            self.overhead = (self.overhead + (took - each * taken).max(0.0)) / 2.0;
        }
        self.overhead = self.overhead.min(took);
        self.last = Some((taken, took));
    }

    /// The seconds that an epoch should take, at least half of which are for its rows.
    fn reachable(&self, target: Duration) -> f64 {
        target.as_secs_f64().max(2.0 * self.overhead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(250);
    const BOUNDS: ReadLimit = ReadLimit { rows: Some(1_000_000), bytes: Some(256 << 20), files: None };

    /// Runs epochs of a query over a backlog without end; the rows and the time of the last one.
    fn played(admission: &mut Admission, epochs: usize, cost: impl Fn(u64) -> Duration) -> (u64, Duration) {
        let mut last = (0, Duration::ZERO);
        for _ in 0..epochs {
            let limit = admission.limit(&BOUNDS);
            last = (limit.rows.unwrap(), cost(limit.rows.unwrap()));
            admission.observe(&limit, true, last.1);
        }
        last
    }

    /// So long a start, and so long each row.
    fn cost(start_us: u64, row_ns: u64) -> impl Fn(u64) -> Duration {
        move |rows| Duration::from_micros(start_us) + Duration::from_nanos(rows * row_ns)
    }

    #[test]
    fn epoch_duration_converges_to_the_target() {
        // From half a million rows a second, with next to nothing for an epoch, to a row a millisecond.
        for (start_us, row_ns) in [(500, 2_000), (10_000, 5_000), (50_000, 10_000), (1_000, 100_000), (0, 1_000_000)] {
            let mut admission = Admission::new(Some(TARGET));
            let (_, took) = played(&mut admission, 20, cost(start_us, row_ns));
            let ratio = took.as_secs_f64() / TARGET.as_secs_f64();
            assert!((0.8..1.2).contains(&ratio), "{start_us} µs + {row_ns} ns a row: {took:?}");
        }
    }

    #[test]
    fn limit_stays_between_minimum_and_bounds() {
        let mut admission = Admission::new(Some(TARGET));
        assert_eq!(played(&mut admission, 20, cost(1, 1)).0, 1_000_000);
        assert_eq!(admission.limit(&BOUNDS).bytes, Some(256 << 20));
        let one = ReadLimit { rows: Some(1), bytes: None, files: Some(1) };
        assert_eq!((admission.limit(&one).rows, admission.limit(&one).files), (Some(1), Some(1)));
        let mut admission = Admission::new(Some(TARGET));
        assert_eq!(played(&mut admission, 20, cost(0, 1_000_000_000)).0, ROWS_MIN);
        assert_eq!(admission.limit(&BOUNDS).bytes, Some(BYTES_MIN));
    }

    #[test]
    fn limit_follows_a_query_that_becomes_slower_or_faster() {
        let mut admission = Admission::new(Some(TARGET));
        let fast = played(&mut admission, 20, cost(1_000, 2_000)).0;
        let (slow, took) = played(&mut admission, 20, cost(1_000, 20_000));
        assert!(slow < fast / 8 && took < TARGET * 2, "{fast} then {slow} in {took:?}");
        let again = played(&mut admission, 20, cost(1_000, 2_000)).0;
        assert!(again.abs_diff(fast) < fast / 10, "{fast} then {again}");
        // One long stop is forgotten.
        let limit = admission.limit(&BOUNDS);
        admission.observe(&limit, true, Duration::from_secs(10));
        assert!(admission.limit(&BOUNDS).rows < Some(again / 8));
        let after = played(&mut admission, 10, cost(1_000, 2_000)).0;
        assert!(after.abs_diff(again) < again / 10, "{again} then {after}");
    }

    #[test]
    fn limit_grows_when_the_fixed_cost_exceeds_the_target() {
        let mut admission = Admission::new(Some(TARGET));
        let (rows, took) = played(&mut admission, 40, cost(300_000, 10_000));
        assert!(rows > 20_000 && took < TARGET * 3, "{rows} in {took:?}");
        let (_, took) = played(&mut admission, 40, cost(1_000, 10_000));
        assert!(took < TARGET * 2, "{took:?}");
    }

    #[test]
    fn epoch_that_drained_its_input_does_not_change_the_limit() {
        let mut admission = Admission::new(Some(TARGET));
        let limit = admission.limit(&BOUNDS);
        for took in [Duration::from_micros(300), TARGET * 4] {
            admission.observe(&limit, false, took);
            assert_eq!(admission.limit(&BOUNDS), limit);
        }
    }

    #[test]
    fn limit_without_a_target_is_the_bounds() {
        for target in [None, Some(Duration::ZERO)] {
            let mut admission = Admission::new(target);
            admission.observe(&BOUNDS, true, Duration::from_secs(100));
            assert_eq!(admission.limit(&BOUNDS), BOUNDS);
        }
    }
}
