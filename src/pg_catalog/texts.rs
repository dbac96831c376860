//! JSON texts that catalog queries ask for.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use crate::error::{Error, ErrorKind, Result};

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
    fn json_object_of_pairs_is_json_text() {
        let args = [text("a"), ScalarValue::Int64(Some(1)), text("b\""), text("x"), text("c"), ScalarValue::Null];
        assert_eq!(of(json_object(&args)), r#"{"a" : 1, "b\"" : "x", "c" : null}"#);
        assert!(json_object(&args[..3]).is_err());
    }
}
