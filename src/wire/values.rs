//! Values as clients send them, in text or in Postgres' binary form: parameters and the fields of COPY.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, ListArray, StringArray, new_empty_array},
    buffer::OffsetBuffer,
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, IntervalMonthDayNano},
};
use bytes::{Buf, Bytes};
use datafusion::common::ScalarValue;
use pgwire::api::Type;

use super::binary::{EPOCH_DAYS, EPOCH_US};
use crate::{
    error::{Error, ErrorKind, Result},
    pg_catalog::types,
    time::{out_of_range, rows_out_of_range, with_seconds},
};

/// Maximum depth of nested arrays, as in Postgres.
const DEPTH_MAX: usize = 6;

/// One value in text form.
pub(super) fn from_text(text: &str, target: &DataType) -> Result<ScalarValue> {
    in_range(value_of_text(text, target)?)
}

fn value_of_text(text: &str, target: &DataType) -> Result<ScalarValue> {
    let column = text_column(&StringArray::from(vec![text]), target).map_err(|(_, e)| e)?;
    Ok(ScalarValue::try_from_array(&column, 0)?)
}

/// A column of texts cast to `target`; nulls stay. An error has the row number.
pub(super) fn text_column(texts: &StringArray, target: &DataType) -> Result<ArrayRef, (usize, Error)> {
    match target {
        DataType::Utf8 => return Ok(Arc::new(texts.clone())),
        DataType::Null => return Ok(Arc::new(texts.clone())),
        _ => {}
    }
    if by_value(target) {
        let values = texts.iter().enumerate().map(|(row, text)| {
            let value = match text {
                Some(text) => parse(text, target, 0),
                None => ScalarValue::try_from(target).map_err(Error::from),
            };
            value.map_err(|e| (row, e))
        });
        let values: Vec<ScalarValue> = values.collect::<Result<_, _>>()?;
        if values.is_empty() {
            return Ok(new_empty_array(target));
        }
        return ScalarValue::iter_to_array(values).map_err(|e| (0, e.into()));
    }
    let trimmed: StringArray;
    let texts = if matches!(target, DataType::LargeUtf8 | DataType::Utf8View) {
        texts
    } else {
        trimmed = match target {
            DataType::Timestamp(..) => texts.iter().map(|t| t.map(|t| with_seconds(t.trim()))).collect(),
            _ => texts.iter().map(|t| t.map(str::trim)).collect(),
        };
        &trimmed
    };
    let cast = |safe| cast_with_options(texts, target, &CastOptions { safe, ..CastOptions::default() });
    cast(false).or_else(|error| {
        // Find the row that failed.
        let lenient = cast(true).map_err(|e| (0, e.into()))?;
        let row = (0..texts.len()).find(|row| texts.is_valid(*row) && lenient.is_null(*row));
        Err(match row {
            Some(row) => (row, invalid(texts.value(row), target)),
            None => (0, error.into()),
        })
    })
}

/// Types whose text form Arrow parses differently from Postgres, or not at all.
fn by_value(target: &DataType) -> bool {
    match target {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Boolean => true,
        other => !arrow::compute::can_cast_types(&DataType::Utf8, other),
    }
}

fn parse(text: &str, target: &DataType, depth: usize) -> Result<ScalarValue> {
    match target {
        DataType::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Ok(ScalarValue::Boolean(Some(true))),
            "f" | "false" | "n" | "no" | "off" | "0" => Ok(ScalarValue::Boolean(Some(false))),
            _ => Err(invalid(text, target)),
        },
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let bytes = bytea(text).ok_or_else(|| invalid(text, target))?;
            cast(ScalarValue::Binary(Some(bytes)), target)
        }
        DataType::List(item) => {
            if depth >= DEPTH_MAX {
                return Err(Error::new(ErrorKind::LimitExceeded, "an array has too many dimensions"));
            }
            let items = array_items(text).ok_or_else(|| malformed_array(text))?;
            let values = items.into_iter().map(|i| match i {
                Some(text) if by_value(item.data_type()) => parse(&text, item.data_type(), depth + 1),
                Some(text) => value_of_text(&text, item.data_type()),
                None => Ok(ScalarValue::try_from(item.data_type())?),
            });
            array_of(values.collect::<Result<_>>()?, item)
        }
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            cast(parse(text, &DataType::List(item.clone()), depth)?, target)
        }
        other => Err(Error::unsupported(format!("a value of type {} from a client", types::of(other).name()))),
    }
}

/// Fails for times and dates that a client can send but that are out of range for the column type.
fn in_range(value: ScalarValue) -> Result<ScalarValue> {
    match rows_out_of_range(&value.to_array()?).is_empty() {
        true => Ok(value),
        false => Err(out_of_range(&value.data_type())),
    }
}

fn array_of(values: Vec<ScalarValue>, item: &Arc<Field>) -> Result<ScalarValue> {
    let values =
        if values.is_empty() { new_empty_array(item.data_type()) } else { ScalarValue::iter_to_array(values)? };
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    Ok(ScalarValue::List(Arc::new(ListArray::try_new(item.clone(), offsets, values, None)?)))
}

fn cast(value: ScalarValue, target: &DataType) -> Result<ScalarValue> {
    if value.data_type() == *target || *target == DataType::Null {
        return Ok(value);
    }
    Ok(value.cast_to(target)?)
}

fn invalid(text: &str, target: &DataType) -> Error {
    let ty = types::of(target);
    let name = match ty {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        _ => ty.name(),
    };
    let kind = match ty {
        Type::DATE | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::INTERVAL => ErrorKind::InvalidDatetime,
        Type::INT2 | Type::INT4 | Type::INT8 if text.parse::<i128>().is_ok() => {
            return Error::new(
                ErrorKind::NumericOutOfRange,
                format!("value \"{text}\" is out of range for type {name}"),
            );
        }
        _ => ErrorKind::InvalidText,
    };
    Error::new(kind, format!("invalid input syntax for type {name}: \"{text}\""))
}

fn malformed_array(text: &str) -> Error {
    Error::new(ErrorKind::InvalidText, format!("malformed array literal: \"{text}\""))
}

/// `\x0aff`, or the old form with `\\` and three octal digits.
fn bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = hex
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_digit(16).map(|d| d as u8))
            .collect::<Option<_>>()?;
        let (pairs, rest) = digits.as_chunks::<2>();
        return rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut input = text.as_bytes();
    while let Some((first, rest)) = input.split_first() {
        match (first, rest) {
            (b'\\', [b'\\', rest @ ..]) => {
                bytes.push(b'\\');
                input = rest;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                input = rest;
            }
            (b'\\', _) => return None,
            (byte, rest) => {
                bytes.push(*byte);
                input = rest;
            }
        }
    }
    Some(bytes)
}

/// The items of `{a,"b c",NULL,{…}}`, unquoted; inner arrays stay text.
fn array_items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    if inner.trim().is_empty() {
        return Some(items);
    }
    let (mut item, mut quoted, mut in_quotes, mut depth) = (String::new(), false, false, 0usize);
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                if depth > 0 {
                    item.push(c);
                }
                item.push(chars.next()?);
            }
            '"' => {
                in_quotes = !in_quotes;
                quoted = true;
                if depth > 0 {
                    item.push(c);
                }
            }
            ',' if !in_quotes && depth == 0 => items.push(finished(&mut item, &mut quoted)?),
            '{' if !in_quotes => {
                depth += 1;
                item.push(c);
            }
            '}' if !in_quotes => {
                depth = depth.checked_sub(1)?;
                item.push(c);
            }
            _ => item.push(c),
        }
    }
    if in_quotes || depth > 0 {
        return None;
    }
    items.push(finished(&mut item, &mut quoted)?);
    Some(items)
}

fn finished(item: &mut String, quoted: &mut bool) -> Option<Option<String>> {
    let text = std::mem::take(item);
    if std::mem::take(quoted) {
        return Some(Some(text));
    }
    match text.trim() {
        "" => None,
        null if null.eq_ignore_ascii_case("null") => Some(None),
        text => Some(Some(text.to_string())),
    }
}

/// One value in binary form, of the type reported to the client, or declared by it.
pub(super) fn from_binary(bytes: Bytes, ty: &Type, target: &DataType) -> Result<ScalarValue> {
    cast(in_range(binary(bytes, ty, 0)?)?, target)
}

fn binary(mut bytes: Bytes, ty: &Type, depth: usize) -> Result<ScalarValue> {
    let length = bytes.len();
    let fixed = |expected: usize| match length == expected {
        true => Ok(()),
        false => Err(malformed(ty)),
    };
    Ok(match *ty {
        Type::BOOL => {
            fixed(1)?;
            ScalarValue::Boolean(Some(bytes.get_u8() != 0))
        }
        Type::INT2 => {
            fixed(2)?;
            ScalarValue::Int16(Some(bytes.get_i16()))
        }
        Type::INT4 | Type::OID | Type::REGCLASS | Type::REGTYPE | Type::REGPROC | Type::REGNAMESPACE => {
            fixed(4)?;
            ScalarValue::Int32(Some(bytes.get_i32()))
        }
        Type::INT8 => {
            fixed(8)?;
            ScalarValue::Int64(Some(bytes.get_i64()))
        }
        Type::FLOAT4 => {
            fixed(4)?;
            ScalarValue::Float32(Some(bytes.get_f32()))
        }
        Type::FLOAT8 => {
            fixed(8)?;
            ScalarValue::Float64(Some(bytes.get_f64()))
        }
        Type::DATE => {
            fixed(4)?;
            let days = bytes.get_i32().checked_add(EPOCH_DAYS).ok_or_else(|| malformed(ty))?;
            ScalarValue::Date32(Some(days))
        }
        Type::TIME => {
            fixed(8)?;
            let at = bytes.get_i64();
            ScalarValue::Time64Microsecond(Some(at))
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            fixed(8)?;
            let at = bytes
                .get_i64()
                .checked_add(EPOCH_US)
                .ok_or_else(|| Error::new(ErrorKind::InvalidDatetime, "an infinite timestamp is not supported"))?;
            ScalarValue::TimestampMicrosecond(Some(at), (*ty == Type::TIMESTAMPTZ).then(|| "+00:00".into()))
        }
        Type::INTERVAL => {
            fixed(16)?;
            let (micros, days, months) = (bytes.get_i64(), bytes.get_i32(), bytes.get_i32());
            let nanos = micros.checked_mul(1000).ok_or_else(|| malformed(ty))?;
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanos)))
        }
        Type::NUMERIC => ScalarValue::Utf8(Some(super::numeric::from_binary(bytes).ok_or_else(|| malformed(ty))?)),
        Type::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        Type::UUID => {
            fixed(16)?;
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            ScalarValue::Utf8(Some(parts.join("-")))
        }
        Type::JSONB => {
            let text = bytes.strip_prefix(b"\x01").ok_or_else(|| malformed(ty))?;
            ScalarValue::Utf8(Some(text_of(Bytes::copy_from_slice(text))?))
        }
        _ => match types::item(ty) {
            Some(item) => return binary_array(bytes, &item, depth),
            None => ScalarValue::Utf8(Some(text_of(bytes)?)),
        },
    })
}

fn binary_array(mut bytes: Bytes, item: &Type, depth: usize) -> Result<ScalarValue> {
    let wrong = || malformed(item);
    let data_type = types::from_oid(item.oid()).ok_or_else(|| Error::unsupported(format!("an array of {item}")))?;
    let field = Arc::new(Field::new_list_field(data_type.clone(), true));
    let dimensions = bytes.try_get_i32().map_err(|_| wrong())?;
    if depth > 0 || dimensions > 1 {
        return Err(Error::unsupported("an array of more than one dimension as a parameter"));
    }
    bytes.try_get_i32().map_err(|_| wrong())?;
    bytes.try_get_i32().map_err(|_| wrong())?;
    let mut values = Vec::new();
    if dimensions == 1 {
        let count = bytes.try_get_i32().map_err(|_| wrong())?;
        if count < 0 {
            return Err(wrong());
        }
        bytes.try_get_i32().map_err(|_| wrong())?;
        for _ in 0..count {
            let length = bytes.try_get_i32().map_err(|_| wrong())?;
            if length < 0 {
                values.push(ScalarValue::try_from(&data_type)?);
                continue;
            }
            if bytes.len() < length as usize {
                return Err(wrong());
            }
            values.push(cast(binary(bytes.split_to(length as usize), item, depth + 1)?, &data_type)?);
        }
    }
    array_of(values, &field)
}

fn malformed(ty: &Type) -> Error {
    Error::new(ErrorKind::InvalidBinary, format!("incorrect binary data format for type {}", ty.name()))
}

/// The text that a client sent. A zero byte is refused, as by Postgres.
pub(super) fn text_of(bytes: Bytes) -> Result<String> {
    let text = String::from_utf8(bytes.into()).map_err(|_| super::frontend::not_text())?;
    match text.contains('\0') {
        true => Err(Error::new(ErrorKind::BadCharacter, "invalid byte sequence for encoding \"UTF8\": 0x00")),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, target: &DataType) -> String {
        match from_text(text, target) {
            Ok(value) => value.to_string(),
            Err(e) => format!("{} {e}", e.kind().sqlstate()),
        }
    }

    #[test]
    fn text_values_are_parsed_as_in_postgres() {
        assert_eq!(read("on", &DataType::Boolean), "true");
        assert_eq!(read(" 12 ", &DataType::Int32), "12");
        assert_eq!(read("-1.50", &DataType::Decimal128(10, 2)), "-1.50");
        assert_eq!(read("2024-02-29", &DataType::Date32), "2024-02-29");
        assert_eq!(read("\\x00ff", &DataType::Binary), "00FF");
        assert_eq!(read("a\\001\\\\", &DataType::Binary), "61015C");
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        assert_eq!(read("{a,\"b,c\",NULL,\"\"}", &list), "[a, b,c, , ]");
        assert_eq!(read("{}", &list), "[]");
    }

    #[test]
    fn malformed_text_value_is_a_postgres_error() {
        assert_eq!(read("x", &DataType::Int32), "22P02 invalid input syntax for type integer: \"x\"");
        assert_eq!(
            read("99999999999", &DataType::Int32),
            "22003 value \"99999999999\" is out of range for type integer"
        );
        assert_eq!(read("maybe", &DataType::Boolean), "22P02 invalid input syntax for type boolean: \"maybe\"");
        assert_eq!(read("2024-02-30", &DataType::Date32), "22007 invalid input syntax for type date: \"2024-02-30\"");
        assert_eq!(read("\\xf", &DataType::Binary), "22P02 invalid input syntax for type bytea: \"\\xf\"");
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
        for text in ["{1", "1}", "{1,,2}", "{\"1}", "{{1}"] {
            assert_eq!(read(text, &list), format!("22P02 malformed array literal: \"{text}\""));
        }
    }

    #[test]
    fn malformed_binary_value_is_a_postgres_error() {
        let read = |bytes: &[u8], ty: &Type| {
            let target = types::from_oid(ty.oid()).expect("known");
            let error = from_binary(Bytes::copy_from_slice(bytes), ty, &target).expect_err("no value");
            error.kind().sqlstate()
        };
        assert_eq!(read(&i64::MAX.to_be_bytes(), &Type::TIME), "22008");
        assert_eq!(read(&(-1i64).to_be_bytes(), &Type::TIME), "22008");
        assert_eq!(read(b"\0\0\0\x01\0\0\0\0\0\0\0\x17\xff\xff\xff\xfe\0\0\0\x01", &Type::INT4_ARRAY), "22P03");
        assert_eq!(read(b"\0\x01", &Type::INT4), "22P03");
        assert_eq!(read(b"a\0b", &Type::TEXT), "22021");
        assert_eq!(read(b"a\xff", &Type::TEXT), "22021");
    }

    #[test]
    fn text_column_error_has_the_row_of_the_bad_value() {
        let texts = StringArray::from(vec![Some("1"), None, Some("two")]);
        let (row, error) = text_column(&texts, &DataType::Int64).expect_err("no number");
        assert_eq!((row, error.to_string().as_str()), (2, "invalid input syntax for type bigint: \"two\""));
    }

    proptest! {
        #[test]
        fn from_binary_of_any_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), oid in prop::sample::select(&[16u32, 17, 20, 21, 23, 25, 700, 701, 1007, 1009, 1082, 1083, 1114, 1184, 1186, 1700, 2950, 3802, 1231][..])) {
            let ty = Type::from_oid(oid).expect("known");
            let _ = from_binary(Bytes::from(bytes), &ty, &types::from_oid(oid).expect("known"));
        }
        #[test]
        fn from_text_of_any_text_does_not_panic(text in "[{}\"\\\\,a0-9x. :-]{0,20}") {
            for oid in [16, 17, 23, 1007, 1009, 1001, 1082, 1114, 1184, 1186, 1700] {
                let _ = from_text(&text, &types::from_oid(oid).expect("known"));
            }
        }
    }
}
