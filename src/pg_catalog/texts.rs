//! Postgres functions that build text: `format` and JSON.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::objects::quoted;
use crate::error::{Error, ErrorKind, Result};

/// `format('%s of %I is %L', …)`; `%2$s` takes the second argument.
pub(super) fn format(args: &[ScalarValue]) -> Result<ScalarValue> {
    let Some(pattern) = args.first().and_then(shown) else { return Ok(ScalarValue::Utf8(None)) };
    let (mut out, mut next) = (String::new(), 1);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        let place: Option<usize> = match chars.next_if_eq(&'$') {
            Some(_) => digits.parse().ok(),
            None => None,
        };
        let Some(kind) = chars.next() else { return Err(wrong("unterminated format() type specifier")) };
        if kind == '%' {
            out.push('%');
            continue;
        }
        let at = place.unwrap_or(next);
        next = at + 1;
        let value = args.get(at).filter(|_| at > 0).ok_or_else(|| wrong("too few arguments for format()"))?;
        match (kind, shown(value)) {
            ('s', value) => out.push_str(&value.unwrap_or_default()),
            ('I', Some(value)) => out.push_str(&quoted(&value)),
            ('I', None) => {
                return Err(Error::new(
                    ErrorKind::NotNullViolation,
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            ('L', Some(value)) => out.push_str(&format!("'{}'", value.replace('\'', "''"))),
            ('L', None) => out.push_str("NULL"),
            (other, _) => {
                return Err(wrong(&format!("unrecognized format() type specifier \"{other}\"")));
            }
        }
    }
    Ok(ScalarValue::Utf8(Some(out)))
}

/// `json_build_object('name', value, …)`
pub(super) fn json_object(args: &[ScalarValue]) -> Result<ScalarValue> {
    let (pairs, rest) = args.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong("argument list must have even number of elements"));
    }
    let pairs = pairs.iter().map(|[name, value]| {
        let name = shown(name).ok_or_else(|| wrong("null value not allowed for object key"))?;
        Ok(format!("{} : {}", json_text(&name), json(value)))
    });
    let pairs: Vec<String> = pairs.collect::<Result<_>>()?;
    Ok(ScalarValue::Utf8(Some(format!("{{{}}}", pairs.join(", ")))))
}

fn json(value: &ScalarValue) -> String {
    match (value.data_type(), shown(value)) {
        (_, None) => "null".to_string(),
        (DataType::Boolean, Some(text)) => if text == "t" { "true" } else { "false" }.to_string(),
        (ty, Some(text)) if ty.is_numeric() => text,
        (_, Some(text)) => json_text(&text),
    }
}

fn json_text(text: &str) -> String {
    serde_json::Value::String(text.to_string()).to_string()
}

/// The text of a value; `None` for null.
fn shown(value: &ScalarValue) -> Option<String> {
    match value {
        value if value.is_null() => None,
        ScalarValue::Boolean(Some(value)) => Some(if *value { "t" } else { "f" }.to_string()),
        value => value.try_as_str().flatten().map(str::to_string).or_else(|| Some(value.to_string())),
    }
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::InvalidParameterValue, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> ScalarValue {
        ScalarValue::Utf8(Some(text.into()))
    }

    fn of(value: Result<ScalarValue>) -> String {
        value.map_or_else(|e| e.to_string(), |value| shown(&value).unwrap_or("NULL".into()))
    }

    #[test]
    fn format_takes_arguments_in_order_and_by_number() {
        let null = ScalarValue::Utf8(None);
        let args = [text("%s %I %L %% %1$s"), text("a"), text("My t"), text("it's")];
        assert_eq!(of(format(&args)), "a \"My t\" 'it''s' % a");
        assert_eq!(of(format(&[text("%s|%L"), null.clone(), null.clone()])), "|NULL");
        assert_eq!(of(format(&[null.clone(), text("a")])), "NULL");
        assert_eq!(of(format(&[text("%s")])), "too few arguments for format()");
        assert_eq!(of(format(&[text("%x"), text("a")])), "unrecognized format() type specifier \"x\"");
        assert!(format(&[text("%I"), null]).is_err());
    }

    #[test]
    fn json_object_of_pairs_is_json_text() {
        let args = [text("a"), ScalarValue::Int64(Some(1)), text("b\""), text("x"), text("c"), ScalarValue::Null];
        assert_eq!(of(json_object(&args)), r#"{"a" : 1, "b\"" : "x", "c" : null}"#);
        assert!(json_object(&args[..3]).is_err());
    }
}
