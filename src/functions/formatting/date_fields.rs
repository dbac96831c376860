//! What a text says of a date and a time, field by field, before it is put together.

use super::date_patterns::{DateConvention, TemplateWord};
use crate::error::{Error, ErrorKind, Result};

/// 0 is what was not said: PostgreSQL makes no difference between a field that is missing and one that is 0.
#[derive(Debug, Default)]
pub struct TemplateFields {
    pub convention: Option<DateConvention>,
    pub hour: i32,
    /// A half of the day was named, or an hour of 1 to 12 was asked for.
    pub is_half_day: bool,
    /// 1 in the afternoon.
    pub meridiem: i32,
    pub minute: i32,
    pub second: i32,
    pub second_of_day: i32,
    pub millisecond: i32,
    pub microsecond: i32,
    /// How many digits of a second were asked for.
    pub fraction_digits: u8,
    /// 1 is Sunday.
    pub day_of_week: i32,
    pub day: i32,
    pub day_of_year: i32,
    pub week: i32,
    pub week_of_month: i32,
    pub month: i32,
    pub year: i32,
    pub year_digits: u8,
    pub century: i32,
    /// 1 before Christ.
    pub era: i32,
    pub julian_day: i32,
    /// 1, -1, or 0 if no zone was named.
    pub zone_sign: i32,
    pub zone_hours: i32,
    pub zone_minutes: i32,
}

impl TemplateFields {
    /// Error 22007 if the word belongs to another convention than those before it.
    pub fn follow(&mut self, word: TemplateWord) -> Result<()> {
        let Some(convention) = word.pattern.convention() else { return Ok(()) };
        if *self.convention.get_or_insert(convention) == convention {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidDatetime, "invalid combination of date conventions")
            .hint("Do not mix Gregorian and ISO week date conventions in a formatting template."))
    }
}

/// Sets a field. Error 22007 if it was set to something else.
pub fn assign(field: &mut i32, value: i32, word: TemplateWord) -> Result<()> {
    if *field != 0 && *field != value {
        let message = format!("conflicting values for \"{}\" field in formatting string", word.text());
        return Err(Error::new(ErrorKind::InvalidDatetime, message)
            .detail("This value contradicts a previous setting for the same field type."));
    }
    *field = value;
    Ok(())
}
