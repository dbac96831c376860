//! Dates, times and timestamps as Postgres writes them. Any number is one: what is stored can be shown, also where chrono
//! has no date for it.

use std::fmt::Write;

use arrow::{
    array::{Array, AsArray, timezone::Tz},
    datatypes::{
        DataType, Date32Type, Date64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
        Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    },
};
use chrono::{DateTime, Offset, TimeZone};

use super::{CivilDate, DAY_US};

/// `write!` to a string cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        let _ = write!($out, $($arg)*);
    }};
}

/// Appends the value of `row`, which is not null: a date, a time of day, or both. Instants are shown as the clocks of
/// `zone` show them.
pub fn show(array: &dyn Array, row: usize, zone: Tz, out: &mut String) {
    let (micros, of_day) = (i128::from(DAY_US), |micros: i128| micros.div_euclid(DAY_US.into()) as i64);
    match array.data_type() {
        DataType::Date32 => match array.as_primitive::<Date32Type>().value(row) {
            i32::MAX => out.push_str("infinity"),
            i32::MIN => out.push_str("-infinity"),
            days => date_of(days.into(), out),
        },
        DataType::Date64 => {
            date_of(of_day(i128::from(array.as_primitive::<Date64Type>().value(row)) * 1_000), out);
        }
        DataType::Time32(TimeUnit::Second) => {
            time(i128::from(array.as_primitive::<Time32SecondType>().value(row)) * 1_000_000, out);
        }
        DataType::Time32(_) => {
            time(i128::from(array.as_primitive::<Time32MillisecondType>().value(row)) * 1_000, out);
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            time(array.as_primitive::<Time64MicrosecondType>().value(row).into(), out);
        }
        DataType::Time64(_) => {
            time(i128::from(array.as_primitive::<Time64NanosecondType>().value(row)).div_euclid(1_000), out);
        }
        DataType::Timestamp(unit, with_zone) => match instant(array, row, *unit) {
            INFINITY => out.push_str("infinity"),
            MINUS_INFINITY => out.push_str("-infinity"),
            at => {
                let offset = with_zone.as_ref().map(|_| offset(at, zone));
                let at = at + i128::from(offset.unwrap_or(0)) * 1_000_000;
                let era = date(of_day(at), out);
                out.push(' ');
                time(at.rem_euclid(micros), out);
                offset.into_iter().for_each(|seconds| distance(seconds, out));
                out.push_str(era);
            }
        },
        other => debug_assert!(false, "{other} is no moment"),
    }
}

/// The numbers that Postgres keeps for what is later or earlier than any time.
const INFINITY: i128 = i64::MAX as i128;
const MINUS_INFINITY: i128 = i64::MIN as i128;

/// Microseconds since 1970.
fn instant(array: &dyn Array, row: usize, unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => i128::from(array.as_primitive::<TimestampSecondType>().value(row)) * 1_000_000,
        TimeUnit::Millisecond => i128::from(array.as_primitive::<TimestampMillisecondType>().value(row)) * 1_000,
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row).into(),
        TimeUnit::Nanosecond => {
            i128::from(array.as_primitive::<TimestampNanosecondType>().value(row)).div_euclid(1_000)
        }
    }
}

/// How many seconds the clocks of a zone are ahead of UTC; what they will be in 260 thousand years nobody knows.
fn offset(at: i128, zone: Tz) -> i32 {
    let at = i64::try_from(at).ok().and_then(DateTime::from_timestamp_micros);
    at.map_or(0, |at| zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc())
}

/// An offset from UTC, as short as it can be said.
fn distance(seconds: i32, out: &mut String) {
    let ahead = seconds.abs();
    put!(out, "{}{:02}", if seconds < 0 { '-' } else { '+' }, ahead / 3600);
    if ahead % 3600 != 0 {
        put!(out, ":{:02}", ahead / 60 % 60);
    }
    if ahead % 60 != 0 {
        put!(out, ":{:02}", ahead % 60);
    }
}

fn date_of(days: i64, out: &mut String) {
    let era = date(days, out);
    out.push_str(era);
}

/// Gives what comes behind everything else: years before 1 are counted backwards.
fn date(days: i64, out: &mut String) -> &'static str {
    let CivilDate { year, month, day } = CivilDate::of_days(days);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    put!(out, "{year:04}-{month:02}-{day:02}");
    era
}

fn time(micros: i128, out: &mut String) {
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    put!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if micros > 0 {
        put!(out, "{}", format!(".{micros:06}").trim_end_matches('0'));
    }
}
