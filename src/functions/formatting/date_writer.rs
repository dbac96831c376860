//! Writes a time or an interval by a template.

use super::calendar::{iso_day_of_year, iso_week, julian_day};
use super::civil_time::CivilTime;
use super::date_names::{
    DAY_ABBREVIATIONS, DAYS, MONTH_ABBREVIATIONS, MONTHS, ROMAN_MONTHS, eras, meridiems, push_name,
};
use super::date_patterns::{DatePattern, LetterCase};
use super::date_template::{DateField, DateTimeTemplate, TemplateNode};
use super::ordinal::ordinal_suffix;
use crate::error::{Error, ErrorKind, Result};

/// The names of days and months are padded to the longest.
const NAME_WIDTH: usize = 9;

const ROMAN_MONTH_WIDTH: usize = 4;

/// Longer abbreviations of time zones are an error.
const ZONE_LENGTH_MAX: usize = 24;

/// The text of a time. Error 22007 if the template asks an interval for what only a date has.
pub fn write_date(template: &DateTimeTemplate, time: &CivilTime<'_>) -> Result<String> {
    let mut out = String::with_capacity(template.nodes.len() * 3);
    for node in &template.nodes {
        match node {
            TemplateNode::Field(field) => write_field(&mut out, field, time)?,
            TemplateNode::Space(character) | TemplateNode::Separator(character) | TemplateNode::Text(character) => {
                out.push(*character);
            }
        }
    }
    Ok(out)
}

fn write_field(out: &mut String, field: &DateField, time: &CivilTime<'_>) -> Result<()> {
    let pattern = field.pattern();
    if time.is_interval && pattern.needs_date() {
        return Err(Error::new(ErrorKind::InvalidDatetime, "invalid format specification for an interval value")
            .hint("Intervals are not tied to specific calendar dates."));
    }
    match pattern {
        DatePattern::GroupedYear => write_grouped_year(out, field, time),
        DatePattern::Offset | DatePattern::ZoneHour | DatePattern::ZoneMinute => {
            write_offset(out, field, time.offset_seconds);
            Ok(())
        }
        DatePattern::ZoneName => write_zone_name(out, field, time.zone_name),
        _ => match number_of(pattern, time) {
            Some(number) => write_number(out, field, number),
            None => {
                write_name(out, field, time);
                Ok(())
            }
        },
    }
}

/// A number, and the width up to which zeros are put before it.
struct PaddedNumber {
    value: i64,
    width: usize,
    /// `FM` does not take the zeros away.
    is_fixed: bool,
}

fn padded(value: impl Into<i64>, width: usize) -> Option<PaddedNumber> {
    Some(PaddedNumber { value: value.into(), width, is_fixed: false })
}

/// One that is as wide as its sign and so many digits.
fn signed(value: i32, digits: usize) -> Option<PaddedNumber> {
    padded(value, digits + usize::from(value < 0))
}

/// What a pattern of digits writes; `None` for the others.
fn number_of(pattern: DatePattern, time: &CivilTime<'_>) -> Option<PaddedNumber> {
    let (year, month, day) = (time.year, time.month, time.day);
    let hour_width = if time.hour < 0 { 3 } else { 2 };
    match pattern {
        DatePattern::Century => century(time),
        DatePattern::DayOfYear => padded(time.day_of_year, 3),
        DatePattern::IsoDayOfYear => padded(iso_day_of_year(year, month, day), 3),
        DatePattern::DayOfMonth => padded(day, 2),
        DatePattern::DayOfWeek => padded(time.day_of_week + 1, 0),
        DatePattern::IsoDayOfWeek => padded(if time.day_of_week == 0 { 7 } else { time.day_of_week }, 0),
        DatePattern::Fraction(digits) => fraction(time, digits.into()),
        DatePattern::Millisecond => fraction(time, 3),
        DatePattern::Microsecond => fraction(time, 6),
        DatePattern::Hour => padded(time.hour, hour_width),
        DatePattern::HalfDayHour => padded(if time.hour % 12 == 0 { 12 } else { time.hour % 12 }, hour_width),
        DatePattern::Minute => signed(time.minute, 2),
        DatePattern::Second => signed(time.second, 2),
        DatePattern::SecondOfDay => {
            let minutes = time.hour.wrapping_mul(60).wrapping_add(time.minute.into());
            padded(minutes.wrapping_mul(60).wrapping_add(time.second.into()), 0)
        }
        DatePattern::Month => signed(month, 2),
        DatePattern::Quarter if month != 0 => padded((month - 1) / 3 + 1, 0),
        DatePattern::Week => padded(time.day_of_year.wrapping_sub(1) / 7 + 1, 2),
        DatePattern::WeekOfMonth => padded(day.wrapping_sub(1) / 7 + 1, 0),
        DatePattern::IsoWeek => padded(iso_week(year, month, day).1, 2),
        DatePattern::JulianDay => padded(julian_day(year, month, day), 0),
        DatePattern::Year(digits) => year_number(time, year, digits),
        DatePattern::IsoYear(digits) => year_number(time, iso_week(year, month, day).0, digits),
        _ => None,
    }
}

fn fraction(time: &CivilTime<'_>, digits: u32) -> Option<PaddedNumber> {
    let value = i64::from(time.microsecond / 10_i32.pow(6_u32.saturating_sub(digits)));
    Some(PaddedNumber { value, width: digits as usize, is_fixed: true })
}

fn century(time: &CivilTime<'_>) -> Option<PaddedNumber> {
    let century = match time.year {
        year if time.is_interval => year / 100,
        year if year > 0 => (year - 1) / 100 + 1,
        year => year / 100 - 1,
    };
    if (-99..=99).contains(&century) { signed(century, 2) } else { padded(century, 0) }
}

/// The year as people count it, without a year 0; an interval's years stay.
fn counted_year(time: &CivilTime<'_>, year: i32) -> i32 {
    if time.is_interval || year > 0 { year } else { 1_i32.wrapping_sub(year) }
}

/// The last digits of a year. Its width depends on the sign of the calendar's year, even if it is the ISO year.
fn year_number(time: &CivilTime<'_>, year: i32, digits: u8) -> Option<PaddedNumber> {
    let year = counted_year(time, year);
    let sign_width = usize::from(counted_year(time, time.year) < 0);
    match digits {
        4 => padded(year, 4 + sign_width),
        3 => padded(year % 1000, 3 + sign_width),
        2 => padded(year % 100, 2 + sign_width),
        _ => padded(year % 10, 0),
    }
}

fn write_number(out: &mut String, field: &DateField, number: PaddedNumber) -> Result<()> {
    let start = out.len();
    let width = if field.is_unpadded && !number.is_fixed { 0 } else { number.width };
    push_padded(out, number.value, width);
    write_ordinal(out, field, start)
}

fn write_ordinal(out: &mut String, field: &DateField, start: usize) -> Result<()> {
    if let Some(case) = field.ordinal {
        let suffix = ordinal_suffix(out.get(start..).unwrap_or_default(), case)?;
        out.push_str(suffix);
    }
    Ok(())
}

/// Writes a number with zeros up to a width, in which its sign counts.
fn push_padded(out: &mut String, value: i64, width: usize) {
    let digits = value.unsigned_abs().to_string();
    let sign = if value < 0 { "-" } else { "" };
    out.push_str(sign);
    out.extend(std::iter::repeat_n('0', width.saturating_sub(sign.len() + digits.len())));
    out.push_str(&digits);
}

fn write_grouped_year(out: &mut String, field: &DateField, time: &CivilTime<'_>) -> Result<()> {
    let start = out.len();
    let year = counted_year(time, time.year);
    push_padded(out, (year / 1000).into(), 0);
    out.push(',');
    push_padded(out, (year % 1000).into(), 3);
    write_ordinal(out, field, start)
}

/// `OF` has minutes only if there are some.
fn write_offset(out: &mut String, field: &DateField, offset_seconds: i32) {
    let hours = i64::from(offset_seconds.unsigned_abs() / 3600);
    let minutes = i64::from(offset_seconds.unsigned_abs() % 3600 / 60);
    if field.pattern() == DatePattern::ZoneMinute {
        return push_padded(out, minutes, 2);
    }
    let is_offset = field.pattern() == DatePattern::Offset;
    out.push(if offset_seconds < 0 { '-' } else { '+' });
    push_padded(out, hours, if is_offset && field.is_unpadded { 0 } else { 2 });
    if is_offset && offset_seconds % 3600 != 0 {
        out.push(':');
        push_padded(out, minutes, 2);
    }
}

/// Timestamps without time zone have no name, and no text.
fn write_zone_name(out: &mut String, field: &DateField, name: Option<&str>) -> Result<()> {
    let name = name.unwrap_or_default();
    if name.len() > ZONE_LENGTH_MAX {
        return Err(Error::new(ErrorKind::DatetimeOverflow, "time zone format value too long"));
    }
    let case = if field.word.case == LetterCase::Lower { LetterCase::Lower } else { LetterCase::Title };
    push_name(out, name, case);
    Ok(())
}

fn write_name(out: &mut String, field: &DateField, time: &CivilTime<'_>) {
    let is_afternoon = time.hour % 24 >= 12;
    let month = usize::try_from(time.month - 1).unwrap_or_default();
    let day = usize::try_from(time.day_of_week).unwrap_or_default();
    let (name, width) = match field.pattern() {
        DatePattern::Era { is_dotted } => (eras(is_dotted).get(usize::from(time.year <= 0)).copied(), 0),
        DatePattern::Meridiem { is_dotted } => (meridiems(is_dotted).get(usize::from(is_afternoon)).copied(), 0),
        DatePattern::DayName => (DAYS.get(day).copied(), NAME_WIDTH),
        DatePattern::DayAbbreviation => (DAY_ABBREVIATIONS.get(day).copied(), 0),
        DatePattern::MonthName => (MONTHS.get(month).copied(), NAME_WIDTH),
        DatePattern::MonthAbbreviation => (MONTH_ABBREVIATIONS.get(month).copied(), 0),
        DatePattern::RomanMonth => (roman_month(time), ROMAN_MONTH_WIDTH),
        _ => (None, 0),
    };
    let Some(name) = name else { return };
    push_name(out, name, field.word.case);
    let is_padded = !field.is_unpadded && (!field.is_localized || width == ROMAN_MONTH_WIDTH);
    if is_padded {
        out.extend(std::iter::repeat_n(' ', width.saturating_sub(name.len())));
    }
}

/// An interval's months are counted back from December if they are negative; whole years are XII, or I if negative.
fn roman_month(time: &CivilTime<'_>) -> Option<&'static str> {
    let month = match (time.month, time.year) {
        (0, 0) => return None,
        (0, year) => {
            if year > 0 {
                12
            } else {
                1
            }
        }
        (month, _) if month < 0 => month + 13,
        (month, _) => month,
    };
    ROMAN_MONTHS.get(usize::try_from(month - 1).ok()?).copied()
}
