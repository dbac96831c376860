//! What is below a NULL is NULL, in every format that has structs, at any depth.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, BooleanArray, ListArray, StructArray},
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::Fields,
};
use arrow_avro::writer::AvroWriter;

use super::*;

const ROWS: usize = 6;

/// Values without a NULL of their own, below structs of which each hides other rows: `depth` of them, inside lists or not.
fn column(depth: usize, listed: bool) -> ArrayRef {
    let leaves: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from_iter_values(1..=ROWS as i64))),
        ("t", Arc::new(StringArray::from_iter_values((0..ROWS).map(|i| format!("text {i}"))))),
        ("b", Arc::new(BooleanArray::from(vec![true; ROWS]))),
    ];
    let fields = leaves.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), false));
    let (fields, leaves): (Fields, Vec<_>) =
        (fields.collect(), leaves.iter().map(|(_, array)| array.clone()).collect());
    let valid = |level: usize| NullBuffer::from_iter((0..ROWS).map(|row| row % (depth + 1) != level));
    let mut array: ArrayRef = Arc::new(StructArray::new(fields, leaves, Some(valid(0))));
    for level in 1..depth {
        let field = Fields::from(vec![Field::new(format!("s{level}"), array.data_type().clone(), true)]);
        array = Arc::new(StructArray::new(field, vec![array], Some(valid(level))));
    }
    if listed {
        let item = Arc::new(Field::new("item", array.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(vec![1; ROWS]);
        array = Arc::new(ListArray::new(item, offsets, array, None));
    }
    array
}

/// Fails where a field is valid and its struct is not; counts the structs that are NULL.
fn check(array: &dyn Array, what: &str) -> usize {
    match array.data_type() {
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            for (field, part) in fields.iter().zip(parts.columns()) {
                for row in (0..array.len()).filter(|row| array.is_null(*row)) {
                    assert!(part.is_null(row), "{what}: field \"{}\" of row {row}", field.name());
                }
            }
            array.null_count() + parts.columns().iter().map(|part| check(part, what)).sum::<usize>()
        }
        DataType::List(_) => check(array.as_list::<i32>().values(), what),
        _ => 0,
    }
}

/// The type with fields that may be NULL, as SQL declares it.
fn declared(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => {
            let field = |f: &Arc<Field>| Field::new(f.name(), declared(f.data_type()), true);
            DataType::Struct(fields.iter().map(field).collect())
        }
        DataType::List(item) => DataType::List(Arc::new(Field::new("item", declared(item.data_type()), true))),
        other => other.clone(),
    }
}

fn avro(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = AvroWriter::new(Vec::new(), batch.schema().as_ref().clone()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner()
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn json(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner()
}

fn debezium(batch: &RecordBatch) -> Vec<u8> {
    let lines = String::from_utf8(json(batch)).unwrap();
    lines
        .lines()
        .map(|line| format!("{{\"op\":\"c\",\"before\":null,\"after\":{line}}}\n"))
        .collect::<String>()
        .into_bytes()
}

#[test]
fn fields_of_a_null_struct_are_null_in_every_format() {
    type Write = fn(&RecordBatch) -> Vec<u8>;
    let formats: BTreeMap<&str, Write> =
        [("avro", avro as Write), ("parquet", parquet), ("json", json), ("debezium_json", debezium)].into();
    for (depth, listed) in [(1, false), (2, false), (3, false), (1, true), (3, true)] {
        let array = column(depth, listed);
        let batch = RecordBatch::try_from_iter_with_nullable([("c", array.clone(), true)]).unwrap();
        for (name, write) in &formats {
            let kind = format(&[("format", name)]);
            let mut declarations = vec![declared(array.data_type())];
            let bytes = Bytes::from(write(&batch));
            if *name != "debezium_json" {
                match kind.infer(&[("f".to_string(), Arc::new(bytes.clone()))]) {
                    Some(inferred) => declarations.push(inferred.field(0).data_type().clone()),
                    // Of nested records Arrow's writer may make a schema that its reader refuses.
                    None if *name == "avro" && (depth > 1 || listed) => continue,
                    None => panic!("{name}, {depth} deep, listed: {listed}: no columns"),
                }
            }
            for declared in declarations {
                let what = format!("{name}, {depth} deep, listed: {listed}, {declared}");
                let mut columns = vec![Field::new("c", declared, true)];
                if *name == "debezium_json" {
                    columns.push(Field::new(crate::changes::OP, DataType::Int8, false));
                }
                let schema = Arc::new(Schema::new(columns));
                let request = Request { schema, projection: vec![0], batch_rows: 100 };
                let part = 0..bytes.len() as u64;
                let bad = Box::new(|bad: Bad| panic!("{bad:?}"));
                let read = kind.read("f", Arc::new(bytes.clone()), part, &request, bad).unwrap();
                let batches: Vec<_> = read.map(|rows| rows.unwrap().batch).collect();
                let nulls: usize = batches.iter().map(|batch| check(batch.column(0), &what)).sum();
                assert!(nulls >= 2 * depth, "{what}: {nulls} are NULL");
                assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), ROWS, "{what}");
            }
        }
    }
}
