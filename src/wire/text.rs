//! One value of a column, in Postgres' text form, as in psql and COPY.

use std::fmt::Write;

use arrow::{
    array::{Array, AsArray, timezone::Tz},
    datatypes::{
        DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
        DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float16Type, Float32Type, Float64Type,
        Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit,
        IntervalYearMonthType, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
    util::display::{ArrayFormatter, FormatOptions},
};

use crate::{
    error::Result,
    functions::numbers::{EXTRA_FLOAT_DIGITS as FLOAT_DIGITS, write_float4, write_float8},
    time::show,
};

/// A time zone for types without one.
pub(super) fn utc() -> Tz {
    "+00:00".parse().expect("an offset of nothing is a zone")
}

/// Appends the value of `row`, which is not null. Timestamps with time zone are shown in `zone`.
pub(super) fn write(array: &dyn Array, row: usize, zone: Tz, out: &mut String) -> Result<()> {
    match array.data_type() {
        DataType::Boolean => out.push(if array.as_boolean().value(row) { 't' } else { 'f' }),
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => out.push_str(array.as_string::<i64>().value(row)),
        DataType::Utf8View => out.push_str(array.as_string_view().value(row)),
        DataType::Binary => bytes(array.as_binary::<i32>().value(row), out),
        DataType::LargeBinary => bytes(array.as_binary::<i64>().value(row), out),
        DataType::BinaryView => bytes(array.as_binary_view().value(row), out),
        DataType::FixedSizeBinary(_) => bytes(array.as_fixed_size_binary().value(row), out),
        kind if kind.is_numeric() => number(array, row, out),
        DataType::Interval(unit) => interval(array, row, *unit, out),
        DataType::Duration(unit) => duration(array, row, *unit, out),
        kind if kind.is_temporal() => show(array, row, zone, out),
        DataType::List(_) => return list(array.as_list::<i32>().value(row).as_ref(), zone, out),
        DataType::LargeList(_) => return list(array.as_list::<i64>().value(row).as_ref(), zone, out),
        DataType::FixedSizeList(..) => return list(array.as_fixed_size_list().value(row).as_ref(), zone, out),
        DataType::Struct(_) => return record(array, row, zone, out),
        _ => return other(array, row, out),
    }
    Ok(())
}

/// `write!` to a string cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        let _ = write!($out, $($arg)*);
    }};
}

fn bytes(value: &[u8], out: &mut String) {
    out.push_str("\\x");
    for byte in value {
        put!(out, "{byte:02x}");
    }
}

fn number(array: &dyn Array, row: usize, out: &mut String) {
    match array.data_type() {
        DataType::Int8 => put!(out, "{}", array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => put!(out, "{}", array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => put!(out, "{}", array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => put!(out, "{}", array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => put!(out, "{}", array.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => put!(out, "{}", array.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => put!(out, "{}", array.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => put!(out, "{}", array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float16 => write_float4(array.as_primitive::<Float16Type>().value(row).to_f32(), FLOAT_DIGITS, out),
        DataType::Float32 => write_float4(array.as_primitive::<Float32Type>().value(row), FLOAT_DIGITS, out),
        DataType::Float64 => write_float8(array.as_primitive::<Float64Type>().value(row), FLOAT_DIGITS, out),
        DataType::Decimal32(..) => out.push_str(&array.as_primitive::<Decimal32Type>().value_as_string(row)),
        DataType::Decimal64(..) => out.push_str(&array.as_primitive::<Decimal64Type>().value_as_string(row)),
        DataType::Decimal128(..) => out.push_str(&array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(..) => out.push_str(&array.as_primitive::<Decimal256Type>().value_as_string(row)),
        other => debug_assert!(false, "{other} is no number"),
    }
}

fn interval(array: &dyn Array, row: usize, unit: IntervalUnit, out: &mut String) {
    let (months, days, nanos) = match unit {
        IntervalUnit::YearMonth => (array.as_primitive::<IntervalYearMonthType>().value(row), 0, 0),
        IntervalUnit::DayTime => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            (0, value.days, i64::from(value.milliseconds) * 1_000_000)
        }
        IntervalUnit::MonthDayNano => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            (value.months, value.days, value.nanoseconds)
        }
    };
    parts(months, days, i128::from(nanos), out);
}

fn duration(array: &dyn Array, row: usize, unit: TimeUnit, out: &mut String) {
    let (value, factor) = match unit {
        TimeUnit::Second => (array.as_primitive::<DurationSecondType>().value(row), 1_000_000_000),
        TimeUnit::Millisecond => (array.as_primitive::<DurationMillisecondType>().value(row), 1_000_000),
        TimeUnit::Microsecond => (array.as_primitive::<DurationMicrosecondType>().value(row), 1000),
        TimeUnit::Nanosecond => (array.as_primitive::<DurationNanosecondType>().value(row), 1),
    };
    parts(0, 0, i128::from(value) * factor, out);
}

/// `1 year 2 mons -3 days +04:05:06.7`: a plus sign is written only after a negative part.
fn parts(months: i32, days: i32, nanos: i128, out: &mut String) {
    let start = out.len();
    let mut negative = false;
    for (count, one, many) in [(months / 12, "year", "years"), (months % 12, "mon", "mons"), (days, "day", "days")] {
        if count != 0 {
            let sign = if negative && count > 0 { "+" } else { "" };
            put!(out, "{sign}{count} {} ", if count == 1 { one } else { many });
            negative = count < 0;
        }
    }
    let micros = nanos / 1000;
    if micros == 0 && out.len() > start {
        out.pop();
        return;
    }
    let sign = if micros < 0 {
        "-"
    } else if negative {
        "+"
    } else {
        ""
    };
    let (seconds, rest) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    put!(out, "{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if rest > 0 {
        put!(out, "{}", format!(".{rest:06}").trim_end_matches('0'));
    }
}

fn list(values: &dyn Array, zone: Tz, out: &mut String) -> Result<()> {
    out.push('{');
    for row in 0..values.len() {
        if row > 0 {
            out.push(',');
        }
        if is_null(values, row) {
            out.push_str("NULL");
            continue;
        }
        let mut item = String::new();
        write(values, row, zone, &mut item)?;
        let nested =
            matches!(values.data_type(), DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..));
        // What `array_isspace` of PostgreSQL takes for a space.
        let special = |c: char| c.is_ascii_whitespace() || matches!(c, '\x0b' | '{' | '}' | ',' | '"' | '\\');
        if !nested && (item.is_empty() || item.eq_ignore_ascii_case("null") || item.contains(special)) {
            quoted(&item, "\\", out);
        } else {
            out.push_str(&item);
        }
    }
    out.push('}');
    Ok(())
}

fn record(array: &dyn Array, row: usize, zone: Tz, out: &mut String) -> Result<()> {
    out.push('(');
    for (i, column) in array.as_struct().columns().iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        if is_null(column, row) {
            continue;
        }
        let mut item = String::new();
        write(column, row, zone, &mut item)?;
        let special = |c: char| c.is_ascii_whitespace() || matches!(c, '\x0b' | '(' | ')' | ',' | '"' | '\\');
        if item.is_empty() || item.contains(special) {
            quoted(&item, "\\", out);
        } else {
            out.push_str(&item);
        }
    }
    out.push(')');
    Ok(())
}

/// Whether a value is null; columns of type Null have no null buffer.
fn is_null(values: &dyn Array, row: usize) -> bool {
    values.is_null(row) || *values.data_type() == DataType::Null
}

fn quoted(item: &str, escape: &str, out: &mut String) {
    out.push('"');
    for c in item.chars() {
        if matches!(c, '"' | '\\') {
            out.push_str(escape);
        }
        out.push(c);
    }
    out.push('"');
}

/// Maps and unions: in Arrow's format.
fn other(array: &dyn Array, row: usize, out: &mut String) -> Result<()> {
    let formatter = ArrayFormatter::try_new(array, &FormatOptions::default())?;
    formatter.value(row).write(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Float32Array, Float64Array, Int64Array, ListArray, StringArray, StructArray},
        compute::cast,
        datatypes::{Field, Int32Type, IntervalMonthDayNano},
    };

    use super::*;

    fn shown(array: &dyn Array, zone: &str) -> Vec<String> {
        (0..array.len())
            .map(|row| {
                let mut out = String::new();
                write(array, row, zone.parse().expect("a zone"), &mut out).expect("shown");
                out
            })
            .collect()
    }

    #[test]
    fn floats_are_rendered_as_in_postgres() {
        let array = Float64Array::from(vec![
            1.0,
            -0.5,
            0.1,
            100000.0,
            1e14,
            1e15,
            1.5e300,
            0.0001,
            0.00001,
            0.0,
            -0.0,
            f64::NAN,
            f64::NEG_INFINITY,
            123456.789,
        ]);
        assert_eq!(
            shown(&array, "UTC"),
            [
                "1",
                "-0.5",
                "0.1",
                "100000",
                "100000000000000",
                "1e+15",
                "1.5e+300",
                "0.0001",
                "1e-05",
                "0",
                "-0",
                "NaN",
                "-Infinity",
                "123456.789"
            ]
        );
        assert_eq!(shown(&Float32Array::from(vec![1.1, 1e6]), "UTC"), ["1.1", "1e+06"]);
    }

    #[test]
    fn timestamps_and_dates_are_rendered_as_in_postgres() {
        let micros: ArrayRef =
            Arc::new(Int64Array::from(vec![0, 1_700_000_000_120_000, -1, -62_135_596_800_000_000 - 1]));
        let plain = cast(&micros, &DataType::Timestamp(TimeUnit::Microsecond, None)).expect("cast");
        assert_eq!(
            shown(&plain, "UTC"),
            [
                "1970-01-01 00:00:00",
                "2023-11-14 22:13:20.12",
                "1969-12-31 23:59:59.999999",
                "0001-12-31 23:59:59.999999 BC"
            ]
        );
        let zoned =
            cast(&plain.slice(1, 1), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))).expect("cast");
        assert_eq!(shown(&zoned, "UTC"), ["2023-11-14 22:13:20.12+00"]);
        assert_eq!(shown(&zoned, "Asia/Kolkata"), ["2023-11-15 03:43:20.12+05:30"]);
        let date = cast(&plain.slice(1, 1), &DataType::Date32).expect("cast");
        assert_eq!(shown(&date, "UTC"), ["2023-11-14"]);
    }

    #[test]
    fn temporal_values_of_any_number_are_rendered() {
        use arrow::array::{Date32Array, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampSecondArray};
        let us = TimestampMicrosecondArray::from(vec![
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            8_210_266_876_800_000_000,
            -210_866_803_200_000_000,
        ]);
        let (first, last) = ("4714-11-24 00:00:00 BC", "294247-01-10 04:00:54.775806");
        assert_eq!(shown(&us, "UTC"), ["infinity", "-infinity", last, "262143-01-01 00:00:00", first]);
        let zoned = us.slice(2, 1).with_timezone("UTC");
        assert_eq!(shown(&zoned, "Asia/Kolkata"), ["294247-01-10 04:00:54.775806+00"]);
        let days = Date32Array::from(vec![i32::MAX, i32::MIN, 2_145_042_905, -2_440_588]);
        assert_eq!(shown(&days, "UTC"), ["infinity", "-infinity", "5874897-12-31", "4714-11-24 BC"]);
        let times = Time64MicrosecondArray::from(vec![86_400_000_000, 0, 86_399_999_999]);
        assert_eq!(shown(&times, "UTC"), ["24:00:00", "00:00:00", "23:59:59.999999"]);
        assert_eq!(shown(&TimestampSecondArray::from(vec![i64::MAX]), "UTC").len(), 1);
    }

    #[test]
    fn intervals_are_rendered_as_in_postgres() {
        let array = arrow::array::IntervalMonthDayNanoArray::from(vec![
            IntervalMonthDayNano::new(14, 3, 14_706_500_000_000),
            IntervalMonthDayNano::new(-1, 2, 0),
            IntervalMonthDayNano::new(0, 0, 0),
            IntervalMonthDayNano::new(0, -1, 3_600_000_000_000),
        ]);
        assert_eq!(
            shown(&array, "UTC"),
            ["1 year 2 mons 3 days 04:05:06.5", "-1 mons +2 days", "00:00:00", "-1 days +01:00:00"]
        );
    }

    #[test]
    fn lists_and_records_quote_ambiguous_elements() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None, Some(3)])]);
        assert_eq!(shown(&list, "UTC"), ["{1,NULL,3}"]);
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a b"), Some(""), Some("q\"\\")]));
        let record = StructArray::from(vec![(Arc::new(Field::new("t", DataType::Utf8, true)), text)]);
        let none: ArrayRef = Arc::new(arrow::array::NullArray::new(1));
        let nulls = StructArray::from(vec![
            (Arc::new(Field::new("a", DataType::Null, true)), none.clone()),
            (Arc::new(Field::new("b", DataType::Null, true)), none),
        ]);
        assert_eq!(shown(&nulls, "UTC"), ["(,)"]);
        assert_eq!(shown(&record, "UTC"), ["(\"a b\")", "(\"\")", "(\"q\\\"\\\\\")"]);
    }
}
