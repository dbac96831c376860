//! PostgreSQL's functions of templates: `to_char`, `to_date`, `to_number` and `to_timestamp`.

use arrow::array::{ArrayRef, Decimal128Builder};
use std::sync::Arc;

use super::overload::{
    Date, Float4, Float8, Function, Int4, Int8, Interval, Nullable, Numeric, Overload, Ret, Text, Timestamp,
    Timestamptz, f2, function,
};
use super::pg_type::Pg;
use crate::error::{Error, ErrorKind, Result};
use crate::functions::formatting;

pub fn functions() -> Vec<Function> {
    vec![
        function("to_char", to_char()),
        function("to_date", [f2::<Text, Text, Date>(formatting::to_date)]),
        function("to_number", [f2::<Text, Text, Nullable<NumericText>>(formatting::to_number)]),
        function("to_timestamp", [f2::<Text, Text, Timestamptz>(to_timestamp)]),
    ]
}

fn to_char() -> Vec<Overload> {
    let overloads = [
        f2::<Timestamptz, Text, Nullable<Text>>(timestamptz_to_char),
        f2::<Timestamp, Text, Nullable<Text>>(formatting::timestamp_to_char),
        f2::<Interval, Text, Nullable<Text>>(|interval, template| {
            formatting::interval_to_char(interval.months, interval.days, interval.nanoseconds / 1000, template)
        }),
        f2::<Numeric, Text, Text>(formatting::numeric_to_char),
        f2::<Int4, Text, Text>(formatting::int4_to_char),
        f2::<Int8, Text, Text>(formatting::int8_to_char),
        f2::<Float4, Text, Text>(formatting::float4_to_char),
        f2::<Float8, Text, Text>(formatting::float8_to_char),
    ];
    overloads.into()
}

/// The session's time zone: its offset in seconds and its abbreviation at an instant of UTC.
fn session_zone() -> impl Fn(i64) -> (i32, String) {
    |_| (0, "UTC".to_string())
}

fn timestamptz_to_char(micros: i64, template: &str) -> Result<Option<String>> {
    let (offset_seconds, name) = session_zone()(micros);
    formatting::timestamptz_to_char(micros, offset_seconds, &name, template)
}

fn to_timestamp(value: &str, template: &str) -> Result<i64> {
    formatting::to_timestamp(value, template, &session_zone())
}

/// How many digits a number has, and how many of them are behind the point.
const PRECISION: u8 = 38;
const SCALE: i8 = 10;

/// A number that is computed as a decimal text of any size; it is rounded to what a column holds.
struct NumericText;

impl Ret for NumericText {
    const TYPE: Pg = Pg::Numeric;
    type Out = String;

    fn collect(rows: impl ExactSizeIterator<Item = Result<Option<String>>>) -> Result<ArrayRef> {
        let mut column = Decimal128Builder::with_capacity(rows.len()).with_data_type(Pg::Numeric.data_type());
        for row in rows {
            column.append_option(row?.map(|text| unscaled(&text)).transpose()?);
        }
        Ok(Arc::new(column.finish()))
    }
}

/// The number of units of the last digit that a column holds, rounded half away from zero. Error 22003 beyond it.
fn unscaled(text: &str) -> Result<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale = usize::from(SCALE.unsigned_abs());
    let exact = fraction.get(..scale).unwrap_or(fraction);
    let is_up = fraction.as_bytes().get(scale).is_some_and(|digit| *digit >= b'5');
    let digits: i128 = format!("{whole}{exact:0<scale$}").parse().map_err(|_| overflow())?;
    let step = match (is_up, text.starts_with('-')) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => -1,
    };
    let limit = 10_i128.pow(PRECISION.into());
    Some(digits + step).filter(|number| -limit < *number && *number < limit).ok_or_else(overflow)
}

fn overflow() -> Error {
    let whole = i32::from(PRECISION) - i32::from(SCALE);
    Error::new(ErrorKind::NumericOutOfRange, "numeric field overflow").detail(format!(
        "A field with precision {PRECISION}, scale {SCALE} must round to an absolute value less than 10^{whole}."
    ))
}
