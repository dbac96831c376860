//! `to_char` of times and intervals, `to_date` and `to_timestamp`.

use std::cell::RefCell;
use std::rc::Rc;

use super::calendar::{DAY_MICROS, POSTGRES_EPOCH, UNIX_EPOCH, timestamp_out_of_range};
use super::civil_time::CivilTime;
use super::date_assembly::{AssembledDate, assemble_date};
use super::date_reader::read_date;
use super::date_template::DateTimeTemplate;
use super::date_writer::write_date;
use super::template_cache::TemplateCache;
use super::zone::{ZoneLookup, offset_of_local};
use crate::error::{Error, ErrorKind, Result};

/// The first instant, in microseconds since 1970; the last ones of `i64` are infinite.
const MICROS_MIN: i64 = -210_866_803_200_000_000;

/// The Julian day after the last date.
const JULIAN_DAY_END: i32 = 2_147_483_494;

thread_local! {
    static TEMPLATES: RefCell<TemplateCache<DateTimeTemplate>> = const { RefCell::new(TemplateCache::new()) };
}

fn template(text: &str) -> Result<Rc<DateTimeTemplate>> {
    TEMPLATES.with_borrow_mut(|cache| cache.get(text, |text| Ok(DateTimeTemplate::parse(text))))
}

/// `to_char(timestamp, text)`, of microseconds since 1970. NULL for an infinite one, and for an empty template.
pub fn timestamp_to_char(micros: i64, text: &str) -> Result<Option<String>> {
    instant_to_char(micros, 0, None, text)
}

/// `to_char(timestamptz, text)`, of microseconds since 1970 in UTC and what the session's zone has then: seconds east
/// of Greenwich, and the abbreviation. NULL for an infinite one, and for an empty template.
pub fn timestamptz_to_char(micros: i64, offset_seconds: i32, zone_name: &str, text: &str) -> Result<Option<String>> {
    instant_to_char(micros, offset_seconds, Some(zone_name), text)
}

fn instant_to_char(micros: i64, offset_seconds: i32, zone: Option<&str>, text: &str) -> Result<Option<String>> {
    if text.is_empty() || micros == i64::MAX || micros == i64::MIN {
        return Ok(None);
    }
    let time = CivilTime::of_instant(micros, offset_seconds, zone)?;
    write_date(&*template(text)?, &time).map(Some)
}

/// `to_char(interval, text)`. NULL for an empty template.
pub fn interval_to_char(months: i32, days: i32, micros: i64, text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let interval = CivilTime::of_interval(months, days, micros);
    write_date(&*template(text)?, &interval).map(Some)
}

/// `to_date(text, text)`: days since 1970.
pub fn to_date(value: &str, text: &str) -> Result<i32> {
    let date = read(value, text)?;
    let day = date.julian_day().filter(|day| (0..JULIAN_DAY_END).contains(day));
    day.map(|day| day - UNIX_EPOCH).ok_or_else(|| {
        let message = format!("date out of range: \"{value}\"");
        Error::new(ErrorKind::DatetimeOverflow, message)
    })
}

/// `to_timestamp(text, text)`: microseconds since 1970 in UTC. A text that names no offset is in the session's zone.
pub fn to_timestamp(value: &str, text: &str, zone: ZoneLookup<'_>) -> Result<i64> {
    let date = read(value, text)?;
    let days = i64::from(date.julian_day().ok_or_else(timestamp_out_of_range)?) - i64::from(UNIX_EPOCH);
    let local = days.checked_mul(DAY_MICROS).and_then(|micros| micros.checked_add(date.time_micros()));
    let local = local.ok_or_else(timestamp_out_of_range)?;
    let offset = date.offset_seconds.unwrap_or_else(|| offset_of_local(zone, local));
    let micros = local.checked_sub(i64::from(offset) * 1_000_000).ok_or_else(timestamp_out_of_range)?;
    if !(MICROS_MIN..i64::MAX).contains(&micros) {
        return Err(timestamp_out_of_range());
    }
    rounded(micros, date.fraction_digits).ok_or_else(timestamp_out_of_range)
}

fn read(value: &str, text: &str) -> Result<AssembledDate> {
    let fields = read_date(&*template(text)?, value)?;
    assemble_date(&fields, value)
}

/// Rounds to so many digits of a second, half away from the year 2000; 0 stands for all digits.
fn rounded(micros: i64, digits: u8) -> Option<i64> {
    if !(1..6).contains(&digits) {
        return Some(micros);
    }
    let epoch = i64::from(POSTGRES_EPOCH - UNIX_EPOCH) * DAY_MICROS;
    let unit = i128::from(10_i64.pow(6 - u32::from(digits)));
    let since = i128::from(micros) - i128::from(epoch);
    let units = (since.abs() + unit / 2) / unit;
    i64::try_from(since.signum() * units * unit + i128::from(epoch)).ok()
}
