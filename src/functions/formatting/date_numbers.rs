//! The numbers in a text that is read as a date: as C's `strtol` and `sscanf` read them.

use super::date_template::{DateField, is_space};
use crate::error::{Error, ErrorKind, Result};

/// What was read, and how many bytes it took.
#[derive(Debug, Clone, Copy)]
pub struct ReadNumber {
    pub value: i32,
    pub length: usize,
}

/// White space, a sign and digits. A number beyond `i64` is the last one there. `None` if there are no digits.
fn leading_integer(text: &[u8]) -> Option<(i64, usize)> {
    let spaces = text.iter().take_while(|byte| is_space(char::from(**byte))).count();
    let sign = text.get(spaces).filter(|byte| matches!(byte, b'+' | b'-'));
    let start = spaces + usize::from(sign.is_some());
    let digits = text.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit());
    let (mut value, mut end) = (0_i64, start);
    for digit in digits {
        let digit = i64::from(digit - b'0');
        let digit = if sign == Some(&b'-') { -digit } else { digit };
        value = value.saturating_mul(10).saturating_add(digit);
        end += 1;
    }
    (end > start).then_some((value, end))
}

/// The number of a field, which has so many digits unless it is open. Errors 22007 if there is none, or too few digits;
/// 22008 if it is beyond `i32`.
pub fn read_number(text: &str, field: &DateField, width: usize) -> Result<ReadNumber> {
    let trimmed = text.trim_start_matches(is_space).as_bytes();
    let spaces = text.len() - trimmed.len();
    let fixed = trimmed.get(..width).unwrap_or(trimmed);
    let name = field.word.text();
    let invalid = || {
        let shown = String::from_utf8_lossy(fixed);
        Error::new(ErrorKind::InvalidDatetime, format!("invalid value \"{shown}\" for \"{name}\""))
    };
    let (value, length) = if field.is_open {
        leading_integer(text.as_bytes()).unwrap_or((0, 0))
    } else {
        if fixed.len() < width {
            let message = format!("source string too short for \"{name}\" formatting field");
            let error = Error::new(ErrorKind::InvalidDatetime, message);
            let remain = format!("Field requires {width} characters, but only {} remain.", fixed.len());
            return Err(not_fixed_width(error.detail(remain)));
        }
        let (value, used) = leading_integer(fixed).unwrap_or((0, 0));
        if used > 0 && used < width {
            let parsed = format!("Field requires {width} characters, but only {used} could be parsed.");
            return Err(not_fixed_width(invalid().detail(parsed)));
        }
        (value, spaces + used)
    };
    if length == 0 {
        return Err(invalid().detail("Value must be an integer."));
    }
    let value = i32::try_from(value).map_err(|_| {
        let message = format!("value for \"{name}\" in source string is out of range");
        let range = format!("Value must be in the range {} to {}.", i32::MIN, i32::MAX);
        Error::new(ErrorKind::DatetimeOverflow, message).detail(range)
    })?;
    Ok(ReadNumber { value, length })
}

fn not_fixed_width(error: Error) -> Error {
    error.hint("If your source string is not fixed-width, try using the \"FM\" modifier.")
}

/// A year with a comma between its thousands and the rest. Numbers wrap around. Error 22007 if it is not one.
pub fn read_grouped_year(text: &str) -> Result<ReadNumber> {
    let read = || {
        let (thousands, comma) = leading_integer(text.as_bytes())?;
        let behind = text.get(comma..)?.strip_prefix(',')?;
        let digits = behind.trim_start_matches(is_space).as_bytes();
        let spaces = behind.len() - digits.len();
        let (rest, used) = leading_integer(digits.get(..3).unwrap_or(digits))?;
        let value = (thousands as i32).wrapping_mul(1000).wrapping_add(rest as i32);
        Some(ReadNumber { value, length: comma + 1 + spaces + used })
    };
    read().ok_or_else(|| Error::new(ErrorKind::InvalidDatetime, "invalid input string for \"Y,YYY\""))
}

/// A year of few digits, as the one of them that is nearest to 2020.
pub fn nearest_to_2020(year: i32) -> i32 {
    match year {
        ..70 | 100..520 => year.wrapping_add(2000),
        70..100 => year + 1900,
        520..1000 => year + 1000,
        _ => year,
    }
}
