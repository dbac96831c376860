//! The columns of a folder, in the JSON that the log says them in.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

/// Columns as a log has them.
pub(in super::super) fn schema_string(fields: &[FieldRef]) -> String {
    let members: Vec<_> = fields.iter().map(|f| member(f)).collect();
    json!({ "type": "struct", "fields": members }).to_string()
}

fn member(field: &Field) -> Value {
    json!({ "name": field.name(), "type": type_name(field.data_type()), "nullable": true, "metadata": {} })
}

/// What Delta calls a type; what it does not know is text in the formats that are text.
fn type_name(data_type: &DataType) -> Value {
    use DataType::*;
    let name = match data_type {
        Boolean => "boolean",
        Int8 => "byte",
        Int16 => "short",
        Int32 => "integer",
        Int64 => "long",
        Float32 => "float",
        Float64 => "double",
        Date32 => "date",
        Binary => "binary",
        Timestamp(_, None) => "timestamp_ntz",
        Timestamp(_, Some(_)) => "timestamp",
        Decimal128(p, s) => return json!(format!("decimal({p},{s})")),
        List(item) | LargeList(item) => {
            let element = type_name(item.data_type());
            return json!({ "type": "array", "elementType": element, "containsNull": true });
        }
        Struct(fields) => {
            let members: Vec<_> = fields.iter().map(|f| member(f)).collect();
            return json!({ "type": "struct", "fields": members });
        }
        _ => "string",
    };
    json!(name)
}

/// The columns that a log names; `None` where some type is none that we have.
pub(in super::super) fn schema_of(schema_string: &str) -> Option<SchemaRef> {
    let schema: Value = serde_json::from_str(schema_string).ok()?;
    Some(Arc::new(Schema::new(fields_of(&schema)?)))
}

fn fields_of(structure: &Value) -> Option<Vec<Field>> {
    let members = structure.get("fields")?.as_array()?.iter();
    members.map(|m| Some(Field::new(m.get("name")?.as_str()?, type_of(m.get("type")?)?, true))).collect()
}

fn type_of(name: &Value) -> Option<DataType> {
    use DataType::*;
    let Some(word) = name.as_str() else {
        return match name.get("type")?.as_str()? {
            "array" => Some(List(Arc::new(Field::new("item", type_of(name.get("elementType")?)?, true)))),
            "struct" => Some(Struct(fields_of(name)?.into())),
            _ => None,
        };
    };
    Some(match word {
        "boolean" => Boolean,
        "byte" | "short" => Int16,
        "integer" => Int32,
        "long" => Int64,
        "float" => Float32,
        "double" => Float64,
        "date" => Date32,
        "binary" => Binary,
        "string" => Utf8,
        "timestamp_ntz" => Timestamp(TimeUnit::Microsecond, None),
        "timestamp" => Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => {
            let (precision, scale) = word.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            Decimal128(precision.trim().parse().ok()?, scale.trim().parse().ok()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delta_schema_string_roundtrips_to_arrow() {
        use DataType::*;
        let inner = Struct(vec![Field::new("d", Date32, true), Field::new("n", Decimal128(10, 2), true)].into());
        let list = List(Arc::new(Field::new("item", inner, true)));
        let times = [None, Some("UTC".into())].map(|zone| Timestamp(TimeUnit::Microsecond, zone));
        let types = [vec![Boolean, Int16, Int32, Int64, Float32, Float64, Binary, Utf8, list], times.to_vec()].concat();
        let fields: Vec<_> =
            types.into_iter().enumerate().map(|(i, t)| Arc::new(Field::new(format!("c{i}"), t, true))).collect();
        assert_eq!(schema_of(&schema_string(&fields)), Some(Arc::new(Schema::new(fields))));
        assert_eq!(schema_of(r#"{"type":"struct","fields":[{"name":"v","type":"variant"}]}"#), None);
        assert_eq!(schema_of("nonsense"), None);
    }
}
