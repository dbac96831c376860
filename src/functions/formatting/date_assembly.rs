//! Makes a date and a time of the fields that were read.

use super::calendar::{date_of, is_leap_year, iso_week_start, julian_day};
use super::date_fields::TemplateFields;
use super::date_patterns::DateConvention;
use crate::error::{Error, ErrorKind, Result};

/// Days before each month of a common year, and of all.
const DAYS_BEFORE: [i32; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];

/// A date and a time of day, both within their ranges; a day may be beyond its month if no year was named.
#[derive(Debug, Clone, Copy)]
pub struct AssembledDate {
    /// 0 is 1 BC.
    pub year: i32,
    pub month: i32,
    pub day: i32,
    pub hour: i32,
    pub minute: i32,
    pub second: i32,
    pub microsecond: i32,
    /// The zone's offset in seconds, east of Greenwich, if one was named.
    pub offset_seconds: Option<i32>,
    /// How many digits of a second were asked for; 0 for all.
    pub fraction_digits: u8,
}

/// The parts of a date that were named, and are checked therefore.
#[derive(Debug, Default, Clone, Copy)]
struct NamedParts {
    year: bool,
    month: bool,
    day: bool,
}

const ALL_NAMED: NamedParts = NamedParts { year: true, month: true, day: true };

/// Errors 22007, 22008 and 22009, which show the text that the fields were read from.
pub fn assemble_date(fields: &TemplateFields, text: &str) -> Result<AssembledDate> {
    let mut date = AssembledDate {
        year: 0,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        microsecond: 0,
        offset_seconds: None,
        fraction_digits: fields.fraction_digits,
    };
    set_time(&mut date, fields)?;
    let named = set_date(&mut date, fields)?;
    if !is_valid_date(&date, named) || !is_valid_time(&date) {
        let message = format!("date/time field value out of range: \"{text}\"");
        return Err(Error::new(ErrorKind::DatetimeOverflow, message));
    }
    if fields.zone_sign != 0 {
        if !(0..=15).contains(&fields.zone_hours) || !(0..60).contains(&fields.zone_minutes) {
            let message = format!("time zone displacement out of range: \"{text}\"");
            return Err(Error::new(ErrorKind::InvalidTimeZoneDisplacement, message));
        }
        date.offset_seconds = Some(fields.zone_sign * (fields.zone_hours * 3600 + fields.zone_minutes * 60));
    }
    Ok(date)
}

fn set_time(date: &mut AssembledDate, fields: &TemplateFields) -> Result<()> {
    let unless_zero = |value: i32, other: i32| if value == 0 { other } else { value };
    date.hour = unless_zero(fields.hour, fields.second_of_day / 3600);
    date.minute = unless_zero(fields.minute, fields.second_of_day % 3600 / 60);
    date.second = unless_zero(fields.second, fields.second_of_day % 60);
    date.microsecond = fields.millisecond.wrapping_mul(1000).wrapping_add(fields.microsecond);
    if !fields.is_half_day {
        return Ok(());
    }
    if !(1..=12).contains(&date.hour) {
        let message = format!("hour \"{}\" is invalid for the 12-hour clock", date.hour);
        return Err(Error::new(ErrorKind::InvalidDatetime, message)
            .hint("Use the 24-hour clock, or give an hour between 1 and 12."));
    }
    date.hour = date.hour % 12 + if fields.meridiem != 0 { 12 } else { 0 };
    Ok(())
}

fn set_date(date: &mut AssembledDate, fields: &TemplateFields) -> Result<NamedParts> {
    let is_iso = fields.convention == Some(DateConvention::IsoWeek);
    let mut named = NamedParts::default();
    if let Some(year) = named_year(fields) {
        date.year = year;
        named.year = true;
    }
    if fields.julian_day != 0 {
        (date.year, date.month, date.day) = date_of(fields.julian_day);
        named = ALL_NAMED;
    }
    let mut day_of_year = fields.day_of_year;
    if fields.week != 0 && is_iso {
        let days = match fields.day_of_week {
            0 => 0,
            day if day > 1 => day - 2,
            _ => 6,
        };
        (date.year, date.month, date.day) = date_of(iso_week_start(date.year, fields.week).wrapping_add(days));
        named = ALL_NAMED;
    } else if fields.week != 0 {
        day_of_year = first_day_of_week(fields.week);
    }
    let day = if fields.week_of_month != 0 { first_day_of_week(fields.week_of_month) } else { fields.day };
    if day != 0 {
        date.day = day;
        named.day = true;
    }
    if fields.month != 0 {
        date.month = fields.month;
        named.month = true;
    }
    if day_of_year != 0 && (date.month <= 1 || date.day <= 1) {
        if date.year == 0 && fields.era == 0 {
            let message = "cannot calculate day of year without year information";
            return Err(Error::new(ErrorKind::InvalidDatetime, message));
        }
        if is_iso {
            let before = iso_week_start(date.year, 1).wrapping_sub(1);
            (date.year, date.month, date.day) = date_of(before.wrapping_add(day_of_year));
            return Ok(ALL_NAMED);
        }
        set_day_of_year(date, day_of_year);
        named = NamedParts { month: true, day: true, ..named };
    }
    Ok(named)
}

/// The number of the day with which a week begins, counted from 1 in a month or a year.
fn first_day_of_week(week: i32) -> i32 {
    week.wrapping_sub(1).wrapping_mul(7).wrapping_add(1)
}

/// A year of one or two digits is one of the century, if that is named; other years do without it.
fn named_year(fields: &TemplateFields) -> Option<i32> {
    let is_before_christ = fields.era != 0;
    let signed = |number: i32| if is_before_christ { number.wrapping_neg() } else { number };
    let century = signed(fields.century);
    if fields.year == 0 {
        let start = if century >= 0 { century.wrapping_sub(1) } else { century };
        return (century != 0).then(|| start.wrapping_mul(100).wrapping_add(1));
    }
    if fields.century == 0 || fields.year_digits > 2 {
        let year = signed(fields.year);
        return Some(if year < 0 { year + 1 } else { year });
    }
    Some(match (fields.year % 100, century >= 0) {
        (0, true) => century.wrapping_mul(100),
        (0, false) => century.wrapping_mul(100).wrapping_add(1),
        (year, true) => century.wrapping_sub(1).wrapping_mul(100).wrapping_add(year),
        (year, false) => century.wrapping_add(1).wrapping_mul(100).wrapping_sub(year).wrapping_add(1),
    })
}

/// Sets the month and the day, each unless it is already set to more than 1.
fn set_day_of_year(date: &mut AssembledDate, day_of_year: i32) {
    let leap_day = i32::from(is_leap_year(date.year));
    let days_before = |month: usize| {
        let days = DAYS_BEFORE.get(month).copied().unwrap_or_default();
        if month > 1 { days + leap_day } else { days }
    };
    let month = (1..=12).find(|month| day_of_year <= days_before(*month)).unwrap_or(13);
    if date.month <= 1 {
        date.month = i32::try_from(month).unwrap_or_default();
    }
    if date.day <= 1 {
        date.day = day_of_year.wrapping_sub(days_before(month - 1));
    }
}

fn is_valid_date(date: &AssembledDate, named: NamedParts) -> bool {
    let is_month = !named.month || (1..=12).contains(&date.month);
    let is_day = !named.day || (1..=31).contains(&date.day);
    is_month && is_day && (!(named.year && named.month && named.day) || date.day <= days_of_month(date))
}

fn days_of_month(date: &AssembledDate) -> i32 {
    match date.month {
        2 => 28 + i32::from(is_leap_year(date.year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_valid_time(date: &AssembledDate) -> bool {
    let is_clock = (0..24).contains(&date.hour) && (0..60).contains(&date.minute) && (0..60).contains(&date.second);
    is_clock && (0..1_000_000).contains(&date.microsecond)
}

impl AssembledDate {
    /// The Julian day; `None` for dates that PostgreSQL does not count.
    pub fn julian_day(&self) -> Option<i32> {
        let month = (self.year, self.month);
        ((-4713, 11)..(5_874_898, 6)).contains(&month).then(|| julian_day(self.year, self.month, self.day))
    }

    /// The microsecond of the day.
    pub fn time_micros(&self) -> i64 {
        let seconds = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        seconds * 1_000_000 + i64::from(self.microsecond)
    }
}
