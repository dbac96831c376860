//! Infers the columns of text files from their first records.

use std::{collections::BTreeMap, fmt, sync::Arc};

use arrow::{
    datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit},
    json::reader::infer_json_schema_from_iterator,
};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::{
    csv::CsvOptions,
    input::Compression,
    json::is_array,
    part::File,
    records::{Framing, LINE_FEED, LINES, Records, ScanStep},
    rescue::BYTE_ORDER_MARK,
};

/// Maximum records of all files that are examined.
const ROWS_MAX: usize = 1000;
const BYTES_MAX: usize = 1 << 20;

/// A name and a type for each field: bigint, double, boolean, timestamp, date or text; text if values disagree.
pub(super) fn csv(options: &CsvOptions, files: impl Iterator<Item = File>) -> Option<SchemaRef> {
    let mut found: Vec<(String, DataType)> = Vec::new();
    let mut left = ROWS_MAX;
    for file in files {
        let Ok((mut head, whole)) = file.head(BYTES_MAX) else { continue };
        if !whole {
            let line_end = options.line_end(&file).unwrap_or(LINE_FEED);
            head.truncate(head.iter().rposition(|b| *b == line_end).map_or(head.len(), |at| at + 1));
        }
        let text = String::from_utf8_lossy(head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&head)).into_owned();
        // Lines with too few or too many fields are bad records and do not stop inference.
        let format = options.arrow().with_header(options.header).with_truncated_rows(true);
        let Ok((schema, rows)) = format.infer_schema(text.as_bytes(), Some(left)) else { continue };
        for (i, field) in schema.fields().iter().enumerate() {
            let column = match options.header {
                true => found.iter_mut().find(|(name, _)| name == field.name()),
                false => found.get_mut(i),
            };
            match column {
                Some((_, known)) => *known = wider(known, field.data_type()),
                None => found.push((field.name().clone(), field.data_type().clone())),
            }
        }
        left = left.saturating_sub(rows);
        if left == 0 {
            break;
        }
    }
    let fields: Vec<_> = found.into_iter().map(|(name, t)| Field::new(name, plain(&t), true)).collect();
    (!fields.is_empty()).then(|| Arc::new(Schema::new(fields)) as SchemaRef)
}

/// The members of the first objects, in order of first appearance.
pub(super) fn json(files: impl Iterator<Item = File>) -> Option<SchemaRef> {
    let mut values = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for file in files {
        for record in first_values(&file, ROWS_MAX - values.len()) {
            let Ok(value) = serde_json::from_slice::<Value>(&record) else { continue };
            if value.is_object() {
                let InferredNames(seen) = serde_json::from_slice(&record).unwrap_or_default();
                names.extend(seen.into_iter().filter(|n| !names.contains(n)).collect::<Vec<_>>());
                values.push(without_null_items(value));
            }
        }
        if values.len() >= ROWS_MAX {
            break;
        }
    }
    let schema = infer_json_schema_from_iterator(values.iter().map(Ok)).ok()?;
    let order: BTreeMap<_, _> = names.iter().enumerate().map(|(i, n)| (n.as_str(), i)).collect();
    let mut fields: Vec<_> = schema.fields().iter().map(|f| Field::new(f.name(), plain(f.data_type()), true)).collect();
    fields.sort_by_key(|f| order.get(f.name().as_str()).copied());
    (!fields.is_empty()).then(|| Arc::new(Schema::new(fields)) as SchemaRef)
}

/// A value without NULL list items: they have no type, and Arrow refuses them among objects.
fn without_null_items(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().filter(|item| !item.is_null()).map(without_null_items).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, member)| (name, without_null_items(member))).collect()
        }
        other => other,
    }
}

/// The first records of a JSON file; with one object per line if the file has that form.
fn first_values(file: &File, max: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let Ok((head, whole)) = file.head(BYTES_MAX) else { return found };
    let whole = whole || file.compression == Compression::None && file.input.size() <= BYTES_MAX as u64;
    let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&head).to_vec();
    for framing in [LINES, Framing::Values] {
        if framing == LINES && is_array(file).unwrap_or(false) {
            continue;
        }
        let mut records = Records::new(Box::new(std::io::Cursor::new(text.clone())), framing);
        while found.len() < max && matches!(records.next(max - found.len()), Ok(ScanStep::Unit)) {
            let (bytes, ranges) = records.unit();
            found.extend(ranges.iter().map(|r| bytes[r.clone()].to_vec()));
        }
        if !whole {
            found.pop();
        }
        // Lines of objects that span several lines are not valid JSON.
        found.retain(|r| serde_json::from_slice::<IgnoredAny>(r).is_ok());
        if !found.is_empty() {
            break;
        }
    }
    found
}

/// The type that can represent the values of both.
fn wider(a: &DataType, b: &DataType) -> DataType {
    use DataType::*;
    match (a, b) {
        (Null, t) | (t, Null) => t.clone(),
        (a, b) if a == b => a.clone(),
        (Int64, Float64) | (Float64, Int64) => Float64,
        (Timestamp(..), Date32 | Timestamp(..)) | (Date32, Timestamp(..)) => Timestamp(TimeUnit::Microsecond, None),
        _ => Utf8,
    }
}

/// The nearest type with an SQL name.
pub(super) fn plain(data_type: &DataType) -> DataType {
    use DataType::*;
    let field = |f: &Field| Arc::new(f.clone().with_data_type(plain(f.data_type())).with_nullable(true));
    match data_type {
        Null | LargeUtf8 | Utf8View => Utf8,
        LargeBinary | BinaryView | FixedSizeBinary(_) => Binary,
        Int8 | UInt8 => Int16,
        UInt16 => Int32,
        UInt32 => Int64,
        UInt64 => Decimal128(20, 0),
        Float16 => Float32,
        Date64 => Date32,
        Time32(_) | Time64(_) => Time64(TimeUnit::Microsecond),
        Timestamp(_, None) => Timestamp(TimeUnit::Microsecond, None),
        Timestamp(_, Some(_)) => Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Dictionary(_, values) => plain(values),
        List(f) | LargeList(f) | FixedSizeList(f, _) | ListView(f) | LargeListView(f) => List(field(f)),
        Struct(fields) => Struct(fields.iter().map(|f| field(f)).collect::<Fields>()),
        other => other.clone(),
    }
}

/// The member names of a JSON object, in order.
#[derive(Default)]
struct InferredNames(Vec<String>);

impl<'de> Deserialize<'de> for InferredNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = InferredNames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InferredNames, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    names.push(name);
                }
                Ok(InferredNames(names))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
