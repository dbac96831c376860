//! The columns of the files, and how the log calls their types.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::{CastOptions, cast_with_options, take},
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit},
};

use crate::{
    connectors::directory::log::{NULL_FOLDER, escape, schema_string},
    error::{Error, ErrorKind, Result},
};

/// What becomes of the columns of the rows.
#[derive(Debug)]
pub(super) struct SinkColumns {
    /// Those in the files, in the types that they have there, and where they stand in the rows.
    pub stored: SchemaRef,
    places: Vec<usize>,
    /// Those in the names of folders: where they stand in the rows, and their names.
    by: Vec<(usize, String)>,
    /// All of them, in Delta's JSON.
    pub schema_string: String,
    /// Whether some column is a time without a zone, which not every reader of Delta knows.
    pub has_zoneless: bool,
}

/// The rows of one partition.
#[derive(Debug)]
pub(super) struct PartitionColumn {
    /// `a=1/b=x/`, or nothing where there are no partition columns.
    pub folder: String,
    pub values: BTreeMap<String, Option<String>>,
    pub rows: RecordBatch,
}

impl SinkColumns {
    /// `delta` asks for types that Delta knows.
    pub fn new(schema: &Schema, partition_by: &[String], delta: bool) -> Result<SinkColumns> {
        let mut by = Vec::new();
        for name in partition_by {
            let Some((place, field)) = schema.fields().iter().enumerate().find(|(_, f)| f.name() == name) else {
                let message = format!("option \"partition_by\" names column \"{name}\", which there is not");
                return Err(Error::new(ErrorKind::UndefinedColumn, message));
            };
            if !can_name_a_folder(field.data_type()) {
                let message = format!("column \"{name}\" of type {} cannot name partitions", field.data_type());
                return Err(Error::new(ErrorKind::Unsupported, message)
                    .hint("Partition by text, integers, NUMERIC, boolean or date; a timestamp can be cast to date."));
            }
            by.push((place, name.clone()));
        }
        let places: Vec<_> = (0..schema.fields().len()).filter(|i| by.iter().all(|(place, _)| place != i)).collect();
        if places.is_empty() {
            let message = "option \"partition_by\" leaves no column for the files";
            return Err(Error::new(ErrorKind::InvalidTableDefinition, message));
        }
        let fields = schema.fields().iter().map(|f| if delta { delta_field(f) } else { Ok(f.clone()) });
        let fields = fields.collect::<Result<Vec<_>>>()?;
        let stored: Vec<_> = places.iter().map(|i| nullable(&fields[*i])).collect();
        Ok(SinkColumns {
            stored: Arc::new(Schema::new(stored)),
            places,
            by,
            schema_string: schema_string(&fields),
            has_zoneless: fields.iter().any(|f| is_zoneless(f.data_type())),
        })
    }

    /// Shares rows out among partitions, of which there may be `most`.
    pub fn split(&self, rows: &RecordBatch, most: usize) -> Result<Vec<PartitionColumn>> {
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let columns = self.places.iter().zip(self.stored.fields()).map(|(i, f)| cast(rows.column(*i), f.data_type()));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let stored = RecordBatch::try_new_with_options(self.stored.clone(), columns, &options)?;
        if self.by.is_empty() {
            return Ok(vec![PartitionColumn { folder: String::new(), values: BTreeMap::new(), rows: stored }]);
        }
        let texts = self.by.iter().map(|(place, _)| cast(rows.column(*place), &DataType::Utf8));
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let texts: Vec<_> = texts.iter().map(|t| t.as_string::<i32>()).collect();
        let mut shares: BTreeMap<Vec<Option<&str>>, Vec<u32>> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            // Delta and Hive have no folder for an empty text: it reads as NULL.
            let key = texts.iter().map(|t| t.is_valid(row).then(|| t.value(row)).filter(|v| !v.is_empty())).collect();
            shares.entry(key).or_default().push(row as u32);
        }
        if shares.len() > most {
            let message = format!("the rows of one epoch go to {} partitions, of {most} that may be", shares.len());
            return Err(Error::new(ErrorKind::LimitExceeded, message)
                .hint("Partition by fewer values, make epochs smaller, or raise max_partitions."));
        }
        let share = |(key, rows): (Vec<Option<&str>>, Vec<u32>)| {
            let rows = UInt32Array::from(rows);
            let taken = stored.columns().iter().map(|c| take(c, &rows, None)).collect::<Result<Vec<_>, _>>()?;
            let mut folder = String::new();
            let mut values = BTreeMap::new();
            for ((_, name), value) in self.by.iter().zip(key) {
                let value_name = value.map_or(NULL_FOLDER.to_string(), escape);
                folder.push_str(&format!("{}={value_name}/", escape(name)));
                values.insert(name.clone(), value.map(str::to_string));
            }
            Ok(PartitionColumn { folder, values, rows: RecordBatch::try_new(self.stored.clone(), taken)? })
        };
        shares.into_iter().map(share).collect()
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(if array.data_type() == to { array.clone() } else { cast_with_options(array, to, &options)? })
}

fn nullable(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_nullable(true))
}

fn can_name_a_folder(data_type: &DataType) -> bool {
    use DataType::*;
    data_type.is_integer()
        || matches!(data_type, Utf8 | LargeUtf8 | Utf8View | Boolean | Date32 | Decimal128(..) | Decimal256(..))
}

/// The column as a Delta table has it.
fn delta_field(field: &FieldRef) -> Result<FieldRef> {
    let name = field.name();
    if name.is_empty() || name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '=']) {
        let message = format!("a Parquet folder cannot have a column of the name \"{name}\"");
        return Err(Error::new(ErrorKind::ReservedName, message).hint("Give it another one, with AS."));
    }
    match delta_type(field.data_type()) {
        Some(to) => Ok(Arc::new(Field::new(name, to, true))),
        None => {
            let message = format!("a Parquet folder cannot hold column \"{name}\" of type {}", field.data_type());
            Err(Error::new(ErrorKind::Unsupported, message).hint("Cast it to text in the SELECT."))
        }
    }
}

/// The type, of those that Delta knows, that holds all values of this one.
fn delta_type(data_type: &DataType) -> Option<DataType> {
    use DataType::*;
    let inner = |f: &FieldRef, name: &str| Some(Arc::new(Field::new(name, delta_type(f.data_type())?, true)));
    Some(match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64 | Date32 => data_type.clone(),
        UInt8 => Int16,
        UInt16 => Int32,
        UInt32 => Int64,
        UInt64 => Decimal128(20, 0),
        Float16 => Float32,
        Date64 => Date32,
        Null | Utf8 | LargeUtf8 | Utf8View => Utf8,
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => Binary,
        Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s) | Decimal256(p, s) if *p <= 38 && *s >= 0 => {
            Decimal128(*p, *s)
        }
        Timestamp(_, None) => Timestamp(TimeUnit::Microsecond, None),
        Timestamp(_, Some(_)) => Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Dictionary(_, value) => delta_type(value)?,
        List(item) => List(inner(item, "element")?),
        LargeList(item) => LargeList(inner(item, "element")?),
        Struct(fields) => Struct(fields.iter().map(|f| inner(f, f.name())).collect::<Option<Vec<_>>>()?.into()),
        _ => return None,
    })
}

fn is_zoneless(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::List(item) | DataType::LargeList(item) => is_zoneless(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| is_zoneless(f.data_type())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};

    use serde_json::Value;

    use super::*;

    fn schema(columns: &[(&str, DataType)]) -> Schema {
        Schema::new(columns.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>())
    }

    #[test]
    fn sink_columns_have_delta_type_names() {
        let item = Arc::new(Field::new("item", DataType::UInt64, false));
        let zoneless = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let all = schema(&[("l", DataType::List(item)), ("t", zoneless), ("n", DataType::Decimal128(10, 2))]);
        let columns = SinkColumns::new(&all, &["n".to_string()], true).unwrap();
        assert!(columns.has_zoneless);
        assert_eq!(columns.stored.fields().len(), 2);
        let list = r#"{"type":"array","elementType":"decimal(20,0)","containsNull":true}"#;
        let member = |name: &str, t: &str| format!(r#"{{"name":"{name}","type":{t},"nullable":true,"metadata":{{}}}}"#);
        let members = [member("l", list), member("t", "\"timestamp_ntz\""), member("n", "\"decimal(10,2)\"")].join(",");
        let expected: Value = serde_json::from_str(&format!(r#"{{"type":"struct","fields":[{members}]}}"#)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&columns.schema_string).unwrap(), expected);
    }

    #[test]
    fn sink_rows_are_split_by_partition_values() {
        let all = schema(&[("a", DataType::Int32), ("b c", DataType::Utf8), ("v", DataType::Int32)]);
        let by = ["a".to_string(), "b c".to_string()];
        let columns = SinkColumns::new(&all, &by, false).unwrap();
        let a = Int32Array::from(vec![Some(1), Some(1), None, Some(1)]);
        let b = StringArray::from(vec![Some("x/y"), None, Some("ü"), Some("x/y")]);
        let v = Int32Array::from(vec![1, 2, 3, 4]);
        let rows = RecordBatch::try_new(Arc::new(all), vec![Arc::new(a), Arc::new(b), Arc::new(v)]).unwrap();
        let shares = columns.split(&rows, 3).unwrap();
        let shown: Vec<_> = shares.iter().map(|s| (s.folder.as_str(), s.rows.num_rows())).collect();
        let null = "__HIVE_DEFAULT_PARTITION__";
        let expected = [
            ("a=__HIVE_DEFAULT_PARTITION__/b%20c=%C3%BC/".to_string(), 1),
            (format!("a=1/b%20c={null}/"), 1),
            ("a=1/b%20c=x%2Fy/".to_string(), 2),
        ];
        assert_eq!(shown, expected.iter().map(|(f, n)| (f.as_str(), *n)).collect::<Vec<_>>());
        assert_eq!(shares[0].values.get("a"), Some(&None));
        assert_eq!(columns.split(&rows, 2).unwrap_err().kind(), ErrorKind::LimitExceeded);
    }

    #[test]
    fn unsupported_sink_columns_and_partitions_are_refused() {
        let time = DataType::Time64(TimeUnit::Microsecond);
        let refused = |name: &str, t: DataType, by: &[&str]| {
            let by: Vec<_> = by.iter().map(|b| b.to_string()).collect();
            SinkColumns::new(&schema(&[(name, t), ("v", DataType::Int32)]), &by, true).unwrap_err().kind()
        };
        assert_eq!(refused("t", time, &[]), ErrorKind::Unsupported);
        assert_eq!(refused("?column (1)", DataType::Int32, &[]), ErrorKind::ReservedName);
        assert_eq!(refused("a", DataType::Float64, &["a"]), ErrorKind::Unsupported);
        assert_eq!(refused("a", DataType::Int32, &["b"]), ErrorKind::UndefinedColumn);
        assert_eq!(refused("a", DataType::Int32, &["a", "v"]), ErrorKind::InvalidTableDefinition);
    }
}
