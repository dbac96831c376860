//! All that an epoch knows of time. The only place that asks the clock.

mod civil;
#[cfg(test)]
#[path = "../tests/harness/eventually.rs"]
pub mod eventually;
mod range;
mod show;

pub use civil::CivilDate;
pub use range::{TIMESTAMPS, check, out_of_range, rows_out_of_range};
pub use show::show;

use std::{
    borrow::Cow,
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use arrow::{
    array::{Array, ArrowPrimitiveType, AsArray, Int64Array},
    datatypes::{
        DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    },
};
use serde::{Deserialize, Serialize};

/// A moment or an event time, in microseconds since 1970 UTC: Postgres' own resolution.
pub type Micros = i64;

/// A day of 24 hours.
pub const DAY_US: Micros = 86_400_000_000;

/// The number of one epoch of one relation; the first is 1, and 0 is "before anything".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an operator is told of time in one epoch. Fixed by the epoch's intent, so a redo sees the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    pub epoch: Epoch,
    /// Event time up to which the inputs are declared complete; `None` where nothing was seen yet.
    pub watermark: Option<Micros>,
    /// The watermark of the epoch before: what it closed is closed.
    pub before: Option<Micros>,
    /// The wall clock when the epoch was planned.
    pub now: Micros,
}

impl Tick {
    /// The watermark that makes rows late. An operator gives its rows in the epoch whose watermark completes them, so
    /// that rows which are `derived` are late only by the epoch before.
    pub fn closed(&self, derived: bool) -> Option<Micros> {
        if derived { self.before } else { self.watermark }
    }
}

/// A timestamp's text with its seconds: Postgres takes one without, Arrow does not. Any other text stays as it is.
pub fn with_seconds(text: &str) -> Cow<'_, str> {
    let digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    match text.find(':') {
        Some(colon) if text[..colon].contains('-') && digit(colon + 1) && digit(colon + 2) => {
            let end = colon + 3;
            match text.as_bytes().get(end) {
                Some(b':' | b'0'..=b'9') => Cow::Borrowed(text),
                _ => Cow::Owned(format!("{}:00{}", &text[..end], &text[end..])),
            }
        }
        _ => Cow::Borrowed(text),
    }
}

/// Where the present comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Micros;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the clock")]
    fn now(&self) -> Micros {
        let micros = |length: std::time::Duration| Micros::try_from(length.as_micros()).unwrap_or(*TIMESTAMPS.end());
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        }
    }
}

/// A clock that stands still until it is set: what scripts and properties run on.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn new(now: Micros) -> Self {
        ManualClock(AtomicI64::new(now))
    }
    pub fn set(&self, now: Micros) {
        self.0.store(now, Ordering::Release);
    }
    pub fn advance(&self, by: Micros) {
        self.0.fetch_add(by, Ordering::AcqRel);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Micros {
        self.0.load(Ordering::Acquire)
    }
}

/// Event times of a column, in microseconds; NULL stays NULL, and what is no timestamp ([`TIMESTAMPS`]) becomes it:
/// infinity, and dates beyond. Dates and timestamps of any unit have event times.
pub fn event_times(column: &dyn Array) -> Option<Int64Array> {
    fn scaled<T: ArrowPrimitiveType<Native: Into<i64>>>(column: &dyn Array, multiply: i64, divide: i64) -> Int64Array {
        // `div_euclid`, so that a time before 1970 is rounded down as any other.
        let time = |t: T::Native| {
            let t = t.into().checked_mul(multiply)?.div_euclid(divide);
            TIMESTAMPS.contains(&t).then_some(t)
        };
        column.as_primitive::<T>().unary_opt(time)
    }
    Some(match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => scaled::<TimestampSecondType>(column, 1_000_000, 1),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled::<TimestampMillisecondType>(column, 1_000, 1),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let times = column.as_primitive::<TimestampMicrosecondType>();
            match times.values().iter().all(|t| TIMESTAMPS.contains(t)) {
                true => times.reinterpret_cast(),
                false => scaled::<TimestampMicrosecondType>(column, 1, 1),
            }
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => scaled::<TimestampNanosecondType>(column, 1, 1_000),
        DataType::Date32 => scaled::<Date32Type>(column, DAY_US, 1),
        _ => return None,
    })
}

/// Whether a column of this type can be an event time.
pub fn is_event_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, TimestampMicrosecondArray, TimestampSecondArray};

    use super::*;

    #[test]
    fn event_time_beyond_the_timestamp_range_is_null() {
        let times = |column: &dyn Array| event_times(column).expect("times").iter().collect::<Vec<_>>();
        let us = TimestampMicrosecondArray::from(vec![Some(1), Some(i64::MAX), None, Some(i64::MIN)]);
        assert_eq!(times(&us), [Some(1), None, None, None]);
        let far = *TIMESTAMPS.end();
        assert_eq!(times(&TimestampMicrosecondArray::from(vec![far, -1])), [Some(far), Some(-1)]);
        assert_eq!(times(&TimestampSecondArray::from(vec![i64::MAX, 1])), [None, Some(1_000_000)]);
        assert_eq!(times(&Date32Array::from(vec![i32::MAX, 1, i32::MIN])), [None, Some(DAY_US), None]);
    }

    #[test]
    fn with_seconds_adds_missing_seconds() {
        for (text, whole) in [
            ("2026-01-01 01:02", "2026-01-01 01:02:00"),
            ("2026-01-01T01:02Z", "2026-01-01T01:02:00Z"),
            ("2026-01-01 01:02+05:30", "2026-01-01 01:02:00+05:30"),
            ("2026-01-01 01:02:03", "2026-01-01 01:02:03"),
            ("2026-01-01 01:02:03.5-02:00", "2026-01-01 01:02:03.5-02:00"),
            ("2026-01-01", "2026-01-01"),
            ("2026-01-01 01:", "2026-01-01 01:"),
            ("01:02", "01:02"),
            ("ä-:1ü", "ä-:1ü"),
            ("", ""),
        ] {
            assert_eq!(with_seconds(text), whole);
        }
    }
}
