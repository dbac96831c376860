//! The proleptic Gregorian calendar by Julian days, and its ISO weeks, as PostgreSQL computes them. Its integers wrap
//! around, so that these functions have a result for any numbers.

use crate::error::{Error, ErrorKind};

/// The Julian day of 1970-01-01.
pub const UNIX_EPOCH: i32 = 2_440_588;

/// The Julian day of 2000-01-01, from which PostgreSQL counts.
pub const POSTGRES_EPOCH: i32 = 2_451_545;

pub const DAY_MICROS: i64 = 86_400_000_000;

/// What a timestamp that PostgreSQL cannot have says.
pub fn timestamp_out_of_range() -> Error {
    Error::new(ErrorKind::DatetimeOverflow, "timestamp out of range")
}

/// The Julian day of a date; the year 0 is 1 BC. Any month and day are taken.
pub fn julian_day(year: i32, month: i32, day: i32) -> i32 {
    let (year, month) = match month > 2 {
        true => (year.wrapping_add(4800), month.wrapping_add(1)),
        false => (year.wrapping_add(4799), month.wrapping_add(13)),
    };
    let century = year / 100;
    let leap_days = (year / 4).wrapping_sub(century).wrapping_add(century / 4);
    let years = year.wrapping_mul(365).wrapping_sub(32_167).wrapping_add(leap_days);
    years.wrapping_add(month.wrapping_mul(7834) / 256).wrapping_add(day)
}

/// Year, month and day of a Julian day.
pub fn date_of(julian_day: i32) -> (i32, i32, i32) {
    let mut days = julian_day.cast_unsigned().wrapping_add(32_044);
    let quad = days / 146_097;
    let extra = (days - quad * 146_097) * 4 + 3;
    days = days.wrapping_add(60 + quad * 3 + extra / 146_097);
    let quad = days / 1461;
    days -= quad * 1461;
    let year_of_quad = days * 4 / 1461;
    days = if year_of_quad != 0 { (days + 305) % 365 } else { (days + 306) % 366 } + 123;
    let year = (year_of_quad + quad * 4).cast_signed() - 4800;
    let month = days * 2141 / 65_536;
    let day = days - 7834 * month / 256;
    (year, ((month + 10) % 12 + 1).cast_signed(), day.cast_signed())
}

/// 0 for Sunday, up to 6.
pub fn day_of_week(julian_day: i32) -> i32 {
    julian_day.wrapping_add(1).rem_euclid(7)
}

pub fn is_leap_year(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The Julian day on which the ISO week 1 of a year begins.
fn iso_year_start(year: i32) -> i32 {
    let january_4 = julian_day(year, 1, 4);
    january_4.wrapping_sub(day_of_week(january_4.wrapping_sub(1)))
}

/// The Julian day of the Monday of an ISO week.
pub fn iso_week_start(year: i32, week: i32) -> i32 {
    week.wrapping_sub(1).wrapping_mul(7).wrapping_add(iso_year_start(year))
}

/// The ISO year of a date, and its week.
pub fn iso_week(year: i32, month: i32, day: i32) -> (i32, i32) {
    let date = julian_day(year, month, day);
    let week_since = |start: i32| date.wrapping_sub(start) / 7 + 1;
    let start = iso_year_start(year);
    let (mut iso_year, mut week) = (year, week_since(start));
    if date < start {
        iso_year = year.wrapping_sub(1);
        week = week_since(iso_year_start(iso_year));
    }
    let next_start = iso_year_start(year.wrapping_add(1));
    if week >= 52 && date >= next_start {
        return (iso_year.wrapping_add(1), week_since(next_start));
    }
    (iso_year, week)
}

/// The day of the ISO year, from 1.
pub fn iso_day_of_year(year: i32, month: i32, day: i32) -> i32 {
    let (iso_year, _) = iso_week(year, month, day);
    julian_day(year, month, day).wrapping_sub(iso_year_start(iso_year)).wrapping_add(1)
}
