//! What is encoded decodes to the same rows, message by message and file by file.

use std::sync::{Arc, Mutex};

use arrow::{
    array::*,
    datatypes::{DataType, Field, Fields, Float64Type, Int32Type, Schema, TimeUnit},
};
use proptest::prelude::*;

use super::*;
use crate::{
    formats::{FileFormat, Format, Request},
    options::Options,
};

fn options(pairs: &[(&str, &str)]) -> Options {
    let mut options = Options::default();
    for (key, value) in pairs {
        options.insert(*key, *value);
    }
    options
}

fn message_format(pairs: &[(&str, &str)]) -> MessageFormat {
    let options = options(pairs);
    let mut taker = options.taker("sink \"s\"");
    let format = MessageFormat::from_options(&mut taker).unwrap();
    taker.finish().unwrap();
    format
}

fn decode(pairs: &[(&str, &str)], bytes: Vec<u8>, schema: &SchemaRef) -> RecordBatch {
    let options = options(pairs);
    let format = Format::from_options(&mut options.taker("source \"s\"")).unwrap();
    let projection = (0..schema.fields().len()).collect();
    let request = Request { schema: schema.clone(), projection, batch_rows: 1 << 20 };
    let bad = Arc::new(Mutex::new(Vec::new()));
    let sink = bad.clone();
    let part = 0..bytes.len() as u64;
    let sink = Box::new(move |b| sink.lock().unwrap().push(b));
    let batches = format.read("f", Arc::new(Bytes::from(bytes)), part, &request, sink).unwrap();
    let batches: Vec<_> = batches.map(|rows| rows.unwrap().batch).collect();
    assert_eq!(*bad.lock().unwrap(), []);
    arrow::compute::concat_batches(schema, &batches).unwrap()
}

/// By messages, each decoded on its own as well, and by a file.
fn round_trip(write: &[(&str, &str)], read: &[(&str, &str)], rows: &RecordBatch) {
    let schema = rows.schema();
    let messages = message_format(write).encoder(&schema).unwrap().encode(rows).unwrap();
    assert_eq!(messages.len(), rows.num_rows());
    for (row, message) in messages.iter().enumerate() {
        let one = decode(read, message.as_ref().unwrap().to_vec(), &schema);
        assert_eq!(one, rows.slice(row, 1), "{}", String::from_utf8_lossy(message.as_ref().unwrap()));
    }
    assert_eq!(file_round_trip(write, read, rows), *rows);
}

fn file_round_trip(write: &[(&str, &str)], read: &[(&str, &str)], rows: &RecordBatch) -> RecordBatch {
    let options = options(write);
    let format = FileFormat::from_options(&mut options.taker("sink \"s\"")).unwrap();
    let mut writer = format.writer(&rows.schema()).unwrap();
    let half = rows.num_rows() / 2;
    writer.write(&rows.slice(0, half)).unwrap();
    writer.write(&rows.slice(half, rows.num_rows() - half)).unwrap();
    decode(read, writer.finish().unwrap(), &rows.schema())
}

type Row = (Option<i64>, Option<f64>, Option<String>, Option<i128>, Option<i64>, Option<Vec<u8>>);

/// Columns of every flat type that SQL has a word for.
fn flat(rows: &[Row]) -> RecordBatch {
    let ints = || rows.iter().map(|r| r.0);
    let micros = || rows.iter().map(|r| r.4);
    let day = 86_400_000_000;
    let decimals = rows.iter().map(|r| r.3).collect::<Decimal128Array>().with_precision_and_scale(38, 9).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i", Arc::new(ints().collect::<Int64Array>())),
        ("small", Arc::new(ints().map(|i| i.map(|i| i as i16)).collect::<Int16Array>())),
        ("int", Arc::new(ints().map(|i| i.map(|i| i as i32)).collect::<Int32Array>())),
        ("b", Arc::new(ints().map(|i| i.map(|i| i % 2 == 0)).collect::<BooleanArray>())),
        ("f", Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>())),
        ("real", Arc::new(rows.iter().map(|r| r.1.map(|f| f as f32)).collect::<Float32Array>())),
        ("s", Arc::new(rows.iter().map(|r| r.2.as_deref()).collect::<StringArray>())),
        ("n", Arc::new(decimals)),
        ("t", Arc::new(micros().collect::<TimestampMicrosecondArray>())),
        ("tz", Arc::new(micros().collect::<TimestampMicrosecondArray>().with_timezone("UTC"))),
        ("d", Arc::new(micros().map(|m| m.map(|m| m.div_euclid(day) as i32)).collect::<Date32Array>())),
        ("time", Arc::new(micros().map(|m| m.map(|m| m.rem_euclid(day))).collect::<Time64MicrosecondArray>())),
        ("bytes", Arc::new(rows.iter().map(|r| r.5.as_deref()).collect::<BinaryArray>())),
    ];
    let fields: Vec<_> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, a)| a).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn row() -> impl Strategy<Value = Row> {
    let digits = 10_i128.pow(38) - 1;
    (
        proptest::option::of(any::<i64>()),
        proptest::option::of(prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(-f64::INFINITY)]),
        proptest::option::of("(?s).{0,9}|[\"',\\\\N {}\n\r]{0,9}"),
        proptest::option::of(-digits..=digits),
        // From 1800 to 2200.
        proptest::option::of(-5_364_662_400_000_000_i64..7_258_118_400_000_000),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..5)),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn encoded_rows_decode_to_the_same_rows(rows in proptest::collection::vec(row(), 1..6)) {
        let mut rows = rows;
        round_trip(&[("format", "json")], &[("format", "json")], &flat(&rows));
        assert_eq!(file_round_trip(&[("format", "parquet")], &[("format", "parquet")], &flat(&rows)), flat(&rows));
        // What stands for NULL stands for nothing else.
        rows.iter_mut().for_each(|r| r.2 = r.2.take().filter(|s| s != "\\N"));
        let write = [("format", "csv"), ("null", "\\N"), ("header", "false")];
        let csv = MessageFormat::Csv(CsvDialect::from_options(&mut options(&write).taker("a test")).unwrap());
        let read = [("format", "csv"), ("null", "\\N"), ("multiline", "true")];
        let all = flat(&rows);
        let messages = csv.encoder(&all.schema()).unwrap().encode(&all).unwrap();
        for (row, message) in messages.into_iter().enumerate() {
            assert_eq!(decode(&read, message.unwrap().to_vec(), &all.schema()), all.slice(row, 1));
        }
        assert_eq!(file_round_trip(&write, &read, &all), all);
        let text = flat(&rows).project(&[6]).unwrap();
        assert_eq!(file_round_trip(&write, &read, &text), text);
    }
}

#[test]
fn encoded_nested_json_decodes_to_the_same_rows() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let floats = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(f64::NAN)]), None, Some(vec![])]);
    let fields = Fields::from(vec![
        Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("f", floats.data_type().clone(), true),
    ]);
    let times = TimestampMicrosecondArray::from(vec![Some(1), None, Some(1_704_164_645_000_000)]);
    let inner = StructArray::new(fields, vec![Arc::new(times), Arc::new(floats)], None);
    let columns: Vec<(&str, ArrayRef)> = vec![("l", Arc::new(list)), ("s\"", Arc::new(inner))];
    let fields: Vec<_> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, a)| a).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    round_trip(&[("format", "json")], &[("format", "json")], &rows);
}

#[test]
fn encoded_text_of_json_csv_and_text_is_as_expected() {
    let rows = flat(&[
        (
            Some(1),
            Some(f64::NAN),
            Some("a,\"b\"".into()),
            Some(1_500_000_000),
            Some(86_400_000_001),
            Some(vec![1, 255]),
        ),
        (None, None, None, None, None, None),
    ]);
    let text = |format: MessageFormat, columns: &[usize]| {
        let rows = rows.project(columns).unwrap();
        let messages = format.encoder(&rows.schema()).unwrap().encode(&rows).unwrap();
        let text = |m: Option<Bytes>| m.map(|m| String::from_utf8(m.to_vec()).unwrap());
        messages.into_iter().map(text).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_string());
    let json = message_format(&[("format", "json")]);
    let first = r#"{"f":"NaN","s":"a,\"b\"","n":1.500000000,"t":"1970-01-02T00:00:00.000001","bytes":"\\x01ff"}"#;
    let second = r#"{"f":null,"s":null,"n":null,"t":null,"bytes":null}"#;
    assert_eq!(text(json, &[4, 6, 7, 8, 12]), [some(first), some(second)]);
    let csv = message_format(&[("format", "csv"), ("delimiter", ";"), ("null", "-")]);
    assert_eq!(text(csv, &[0, 6, 9, 12]), [some(r#"1;"a,""b""";1970-01-02T00:00:00.000001Z;\x01ff"#), some("-;-;-;-")]);
    assert_eq!(text(message_format(&[("format", "text")]), &[6]), [some("a,\"b\""), None]);
}

#[test]
fn encoder_refuses_columns_the_format_cannot_hold() {
    let rows = flat(&[]);
    let error = message_format(&[("format", "text")]).encoder(&rows.schema()).unwrap_err();
    assert_eq!(error.message(), "format text takes exactly one column, of type text or bytea");
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let nested = Arc::new(Schema::new(vec![Field::new("l", DataType::List(item), true)]));
    let error = message_format(&[("format", "csv")]).encoder(&nested).unwrap_err();
    assert!(error.message().starts_with("format csv cannot hold column \"l\" of type List"), "{}", error.message());
}

#[test]
fn avro_messages_decode_by_the_derived_schema() {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some(""), None]));
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(1_767_225_600_000_001), None, Some(-1)]));
    let rows =
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true), ("at", times, true)]);
    let rows = rows.unwrap();
    let schema = r#"{"type": "record", "name": "topLevelRecord", "fields": [
        {"name": "id", "type": ["null", "long"]},
        {"name": "name", "type": ["null", "string"]},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "local-timestamp-micros"}]}
    ]}"#;
    for framing in ["single_object", "none"] {
        let write = message_format(&[("format", "avro"), ("avro.framing", framing)]);
        let mut encoder = write.encoder(&rows.schema()).unwrap();
        let read = options(&[("format", "avro"), ("avro.schema", schema), ("avro.framing", framing)]);
        let read = Format::from_options(&mut read.taker("source \"s\"")).unwrap();
        let request = Request { schema: rows.schema(), projection: vec![0, 1, 2], batch_rows: 100 };
        let mut decoder = read.decoder(&request).unwrap();
        // An encoder is used again, epoch after epoch.
        for _ in 0..2 {
            for message in encoder.encode(&rows).unwrap() {
                decoder.push(crate::formats::RawRecord::from(message.unwrap().as_ref()));
            }
            let decoded = decoder.flush();
            assert_eq!((decoded.rows, decoded.errors.len()), (rows.clone(), 0), "{framing}");
        }
    }
}
