//! Constant intervals: the sizes of windows and the delays of watermarks.

use std::fmt;

use arrow::compute::kernels::cast_utils::{IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator, DateTimeField, Expr, UnaryOperator, Value};

use crate::error::{Error, ErrorKind, Result};

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;

/// An interval that is the same for every row. A day is 24 hours: event times are in UTC.
///
/// `Display` is the text of an SQL interval literal, in the largest unit that is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    pub months: i64,
    pub micros: i64,
}

impl Interval {
    /// Its length in microseconds; `None` where it has months, which differ in length.
    pub fn fixed_us(self) -> Option<i64> {
        (self.months == 0).then_some(self.micros)
    }

    /// Whether all of its parts are positive or zero, and it is not zero.
    pub fn is_positive(self) -> bool {
        (self.months > 0 && self.micros >= 0) || (self.months == 0 && self.micros > 0)
    }

    /// The literal `INTERVAL '…'`.
    pub fn literal(self) -> Expr {
        let value = Value::SingleQuotedString(self.to_string()).with_empty_span();
        Expr::Interval(ast::Interval {
            value: Box::new(Expr::Value(value)),
            leading_field: None,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        })
    }

    fn negate(self) -> Option<Interval> {
        Some(Interval { months: self.months.checked_neg()?, micros: self.micros.checked_neg()? })
    }

    fn add(self, other: Interval) -> Option<Interval> {
        let (months, micros) = (self.months.checked_add(other.months)?, self.micros.checked_add(other.micros)?);
        Some(Interval { months, micros })
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 6] = [
            (DAY_US, "day"),
            (HOUR_US, "hour"),
            (60_000_000, "minute"),
            (1_000_000, "second"),
            (1_000, "millisecond"),
            (1, "microsecond"),
        ];
        if self.months == 0 && self.micros == 0 {
            return f.write_str("0 seconds");
        }
        let plural = |n: i64| if n == 1 { "" } else { "s" };
        if self.months != 0 {
            write!(f, "{} month{}", self.months, plural(self.months))?;
            if self.micros == 0 {
                return Ok(());
            }
            f.write_str(" ")?;
        }
        let (size, unit) = UNITS.into_iter().find(|(size, _)| self.micros % size == 0).unwrap_or((1, "microsecond"));
        let n = self.micros / size;
        write!(f, "{n} {unit}{}", plural(n))
    }
}

/// The value of a constant interval in any notation: `INTERVAL '5 seconds'`, `INTERVAL '5' SECOND`, `INTERVAL 5
/// SECONDS`, `'5 seconds'`, `CAST('5 seconds' AS INTERVAL)`, and sums of them.
pub fn constant(expr: &Expr) -> Result<Interval> {
    let overflow = || Error::new(ErrorKind::NumericOutOfRange, "interval out of range");
    match expr {
        Expr::Nested(inner) => constant(inner),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => parse(text),
            _ => Err(inconstant(expr)),
        },
        Expr::Interval(interval) => literal(interval, expr),
        Expr::Cast { expr: inner, data_type: ast::DataType::Interval { .. }, .. } => constant(inner),
        Expr::TypedString(ast::TypedString { data_type: ast::DataType::Interval { .. }, value, .. }) => {
            match &value.value {
                Value::SingleQuotedString(text) => parse(text),
                _ => Err(inconstant(expr)),
            }
        }
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => constant(expr)?.negate().ok_or_else(overflow),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => constant(expr),
        Expr::BinaryOp { left, op: BinaryOperator::Plus, right } => {
            constant(left)?.add(constant(right)?).ok_or_else(overflow)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } => {
            constant(right)?.negate().and_then(|right| constant(left).ok()?.add(right)).ok_or_else(overflow)
        }
        _ => Err(inconstant(expr)),
    }
}

fn inconstant(expr: &Expr) -> Error {
    Error::unsupported(format!("an interval that is not constant ({expr})")).hint("Write INTERVAL '10 minutes'.")
}

fn literal(interval: &ast::Interval, whole: &Expr) -> Result<Interval> {
    let value = match interval.value.as_ref() {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.trim().to_string(),
            Value::Number(number, _) => number.to_string(),
            _ => return Err(inconstant(whole)),
        },
        _ => return Err(inconstant(whole)),
    };
    if interval.last_field.is_some() {
        return Err(Error::unsupported(format!("{whole}")).hint("Write INTERVAL '1 hour 30 minutes'."));
    }
    match &interval.leading_field {
        None => parse(&value),
        Some(field) if value.parse::<f64>().is_ok() => parse(&format!("{value} {}", unit(field))),
        Some(_) => parse(&value),
    }
}

fn unit(field: &DateTimeField) -> String {
    match field {
        DateTimeField::Week(_) => "week".to_string(),
        field => field.to_string().to_lowercase(),
    }
}

/// An interval as Postgres writes it: `1 day 02:30:00`, `10 minutes`, `5` (seconds).
pub fn parse(text: &str) -> Result<Interval> {
    let invalid =
        || Error::new(ErrorKind::InvalidDatetime, format!("invalid input syntax for type interval: \"{text}\""));
    let (clocks, words): (Vec<&str>, Vec<&str>) = text.split_whitespace().partition(|w| w.contains(':'));
    if clocks.len() > 1 || (clocks.is_empty() && words.is_empty()) {
        return Err(invalid());
    }
    let mut micros = clocks.first().map_or(Some(0), |c| clock(c)).ok_or_else(invalid)?;
    let mut months = 0;
    if !words.is_empty() {
        let config = IntervalParseConfig::new(IntervalUnit::Second);
        let parts = parse_interval_month_day_nano_config(&words.join(" "), config).map_err(|_| invalid())?;
        if parts.nanoseconds % 1000 != 0 {
            return Err(Error::new(
                ErrorKind::InvalidParameterValue,
                format!("interval \"{text}\" is finer than a microsecond"),
            ));
        }
        months = parts.months.into();
        let days = i64::from(parts.days).checked_mul(DAY_US).ok_or_else(invalid)?;
        micros = days.checked_add(parts.nanoseconds / 1000).and_then(|d| d.checked_add(micros)).ok_or_else(invalid)?;
    }
    Ok(Interval { months, micros })
}

/// `[-]HH:MM[:SS[.ffffff]]` in microseconds.
fn clock(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let mut parts = digits.split(':');
    let number = |part: Option<&str>| part.filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?.parse::<i64>().ok();
    let (hours, minutes) = (number(parts.next())?, number(parts.next())?);
    let (seconds, fraction) = parts.next().map_or(("0", ""), |s| s.split_once('.').unwrap_or((s, "")));
    let seconds = number(Some(seconds))?;
    let fraction = match fraction {
        "" => 0,
        f if f.len() <= 6 => number(Some(f))? * 10_i64.pow(6 - f.len() as u32),
        _ => return None,
    };
    if parts.next().is_some() || minutes > 59 || seconds > 59 {
        return None;
    }
    let whole = hours.checked_mul(HOUR_US)?.checked_add(minutes * 60_000_000 + seconds * 1_000_000 + fraction)?;
    Some(sign * whole)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};

    use super::*;

    fn check(sql: &str, expected: &str) {
        let expr = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).unwrap().parse_expr().unwrap();
        let answer = match constant(&expr) {
            Ok(interval) => interval.to_string(),
            Err(error) => format!("{}: {error}", error.kind().sqlstate()),
        };
        assert_eq!(answer, expected, "{sql}");
    }

    #[test]
    fn interval_spellings_are_parsed() {
        check("INTERVAL '5 seconds'", "5 seconds");
        check("INTERVAL '5' SECOND", "5 seconds");
        check("INTERVAL 5 SECONDS", "5 seconds");
        check("INTERVAL '5'", "5 seconds");
        check("'5 seconds'", "5 seconds");
        check("'5s'::interval", "5 seconds");
        check("CAST('90 min' AS INTERVAL)", "90 minutes");
        check("INTERVAL '1 hour 30 minutes'", "90 minutes");
        check("INTERVAL '01:30'", "90 minutes");
        check("INTERVAL '1 day 00:00:01.5'", "86401500 milliseconds");
        check("INTERVAL '1 hour' + INTERVAL '30 minutes'", "90 minutes");
        check("INTERVAL '1 hour' - INTERVAL '30 minutes'", "30 minutes");
        check("-(INTERVAL '1 hour')", "-1 hours");
        check("INTERVAL '2' WEEK", "14 days");
        check("INTERVAL '1.5' HOUR", "90 minutes");
        check("INTERVAL '1 year'", "12 months");
        check("INTERVAL '1 month 1 day'", "1 month 1 day");
    }

    #[test]
    fn interval_malformed_or_not_constant_is_refused() {
        check("ts", "0A000: an interval that is not constant (ts) is not supported");
        check("10", "0A000: an interval that is not constant (10) is not supported");
        check("INTERVAL '5 parsecs'", "22007: invalid input syntax for type interval: \"5 parsecs\"");
        check("''", "22007: invalid input syntax for type interval: \"\"");
        check("'1:2:3:4'", "22007: invalid input syntax for type interval: \"1:2:3:4\"");
        check("'00:99'", "22007: invalid input syntax for type interval: \"00:99\"");
        check("'1 nanosecond'", "22023: interval \"1 nanosecond\" is finer than a microsecond");
        check("'9999999999999999 days'", "22007: invalid input syntax for type interval: \"9999999999999999 days\"");
        check("INTERVAL '1:30' HOUR TO MINUTE", "0A000: INTERVAL '1:30' HOUR TO MINUTE is not supported");
    }
}
