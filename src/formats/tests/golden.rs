//! Files that other libraries made (`tests/golden/make.py`), and their malformed twins.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use bytes::Bytes;
use proptest::prelude::*;

use super::{ByteInput, Decoder, Format, RawRecord, Read, Request, format, read, schema, show};

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/", $name)).as_slice()
    };
}

fn flat() -> Vec<(&'static str, DataType)> {
    vec![
        ("id", DataType::Int64),
        ("origin", DataType::Utf8),
        ("delay", DataType::Float64),
        ("landed_at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("day", DataType::Date32),
        ("kind", DataType::Utf8),
        ("price", DataType::Decimal128(9, 2)),
    ]
}

fn nested() -> SchemaRef {
    let mut columns = flat();
    columns.push(("stops", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))));
    let plane = vec![Field::new("seats", DataType::Int32, true), Field::new("model", DataType::Utf8, true)];
    columns.push(("plane", DataType::Struct(plane.into())));
    schema(&columns)
}

fn avro(framing: &str) -> Format {
    let schema = std::str::from_utf8(golden!("flights.avsc")).unwrap();
    format(&[("format", "avro"), ("avro.schema", schema), ("avro.framing", framing)])
}

fn decoder(framing: &str, projection: &[usize]) -> Box<dyn Decoder> {
    avro(framing).decoder(&Request { schema: nested(), projection: projection.to_vec(), batch_rows: 20 }).unwrap()
}

fn messages(hex: &[u8]) -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let lines = hex.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| line.chunks(2).map(byte).collect()).collect()
}

/// The rows, and the numbers and reasons of what was rejected.
fn decoded(decoder: &mut dyn Decoder, messages: &[Vec<u8>]) -> (Vec<String>, Vec<(usize, String)>) {
    messages.iter().for_each(|message| decoder.push(RawRecord::from(message.as_slice())));
    let decoded = decoder.flush();
    let mut rows = Vec::new();
    show(&decoded.rows, &mut rows);
    (rows, decoded.errors.into_iter().map(|r| (r.record, r.reason)).collect())
}

#[test]
fn golden_table_reads_the_same_from_every_format() {
    let json = format(&[("format", "json")]);
    let csv = format(&[("format", "csv"), ("header", "true")]);
    let avro = format(&[("format", "avro")]);
    let whole = read(&json, "f.json", golden!("flights.json"), &nested(), 3);
    assert_eq!((whole.rows.len(), &whole.bad, &whole.damage), (300, &vec![], &None));
    assert!(
        whole.rows[2]
            .starts_with("2|airport é 2|0.5|2024-01-02T03:06:05.000678|2024-01-04|CARGO|2.02|[stop 0, stop 1]|")
    );
    assert_eq!(read(&avro, "f.avro", golden!("flights.avro"), &nested(), 3), whole);
    let (from_json, from_csv) = (
        read(&json, "f.json", golden!("flights.json"), &schema(&flat()), 1),
        read(&csv, "f.csv", golden!("flights.csv"), &schema(&flat()), 1),
    );
    assert!(from_json.rows == from_csv.rows && from_csv.bad.is_empty());
    assert_eq!((from_csv.rows.len(), from_csv.at[0], from_json.at[0]), (300, 2, 1));
}

#[test]
fn golden_malformed_files_lose_only_the_malformed_records() {
    let good = read(&format(&[("format", "json")]), "f.json", golden!("flights.json"), &nested(), 1);
    let json = read(&format(&[("format", "json")]), "f.json", golden!("flights_bad.json"), &nested(), 1);
    let csv = format(&[("format", "csv"), ("header", "true")]);
    let csv = read(&csv, "f.csv", golden!("flights_bad.csv"), &schema(&flat()), 1);
    for (twin, line) in [(&json, 2), (&csv, 3)] {
        assert_eq!((twin.rows.len(), twin.bad.len(), &twin.damage), (299, 1, &None));
        assert_eq!(twin.bad[0].position, line);
        assert!(twin.bad[0].reason.contains("soon") || twin.bad[0].reason.contains("delay"), "{:?}", twin.bad);
    }
    let avro = read(&format(&[("format", "avro")]), "f.avro", golden!("flights_bad.avro"), &nested(), 1);
    assert!(avro.damage.is_some() && avro.bad.is_empty());
    // Every row of the blocks before the one that is cut off.
    assert!((200..300).contains(&avro.rows.len()), "{}", avro.rows.len());
    assert_eq!(avro.rows, good.rows[..avro.rows.len()]);
}

#[test]
fn avro_messages_decode_with_and_without_a_header() {
    let good = read(&format(&[("format", "json")]), "f.json", golden!("flights.json"), &nested(), 1).rows;
    let all: Vec<usize> = (0..nested().fields().len()).collect();
    let with_header = messages(golden!("flights.avro.hex"));
    let (rows, bad) = decoded(decoder("auto", &all).as_mut(), &with_header);
    assert_eq!((rows.as_slice(), bad), (&good[..30], vec![]));
    let bare: Vec<Vec<u8>> =
        with_header.iter().enumerate().map(|(n, m)| m[if n % 2 == 0 { 10 } else { 5 }..].to_vec()).collect();
    let (rows, bad) = decoded(decoder("none", &all).as_mut(), &bare);
    assert_eq!((rows.as_slice(), bad), (&good[..30], vec![]));
    for (framing, first) in [("single_object", 0), ("confluent", 1)] {
        let (rows, bad) = decoded(decoder(framing, &[0, 2]).as_mut(), &with_header);
        assert_eq!((rows.len(), bad.len()), (15, 15), "{framing}");
        assert_eq!(rows[0], format!("{first}|{:?}", first as f64 / 4.0));
    }
    let (rows, bad) = decoded(decoder("auto", &[]).as_mut(), &with_header);
    assert_eq!((rows.len(), bad), (30, vec![]));
}

#[test]
fn avro_malformed_message_is_one_bad_record() {
    let good = read(&format(&[("format", "json")]), "f.json", golden!("flights.json"), &nested(), 1).rows;
    let all: Vec<usize> = (0..nested().fields().len()).collect();
    let mut twin = messages(golden!("flights_bad.avro.hex"));
    twin.push(Vec::new());
    twin.push([twin[2].as_slice(), b"more"].concat());
    let (rows, bad) = decoded(decoder("auto", &all).as_mut(), &twin);
    assert_eq!(rows[..1], good[..1]);
    assert_eq!(rows[1..], good[2..30]);
    assert_eq!(bad.iter().map(|(record, _)| *record).collect::<Vec<_>>(), [1, 30, 31], "{bad:?}");
}

#[test]
fn avro_schema_implies_the_columns() {
    let implied = avro("auto").implied().unwrap();
    let names: Vec<_> = implied.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["id", "origin", "delay", "landed_at", "day", "kind", "stops", "plane", "price"]);
    assert_eq!(implied.field(5).data_type(), &DataType::Utf8);
    assert_eq!(implied.field(8).data_type(), &DataType::Decimal128(9, 2));
    let file = Arc::new(Bytes::from_static(golden!("flights.avro"))) as Arc<dyn ByteInput>;
    assert_eq!(format(&[("format", "avro")]).infer(&[("f.avro".to_string(), file)]), Some(implied));
}

#[test]
fn avro_invalid_options_are_refused() {
    let taken = |options: &[(&str, &str)]| {
        let mut all = crate::options::Options::default();
        options.iter().for_each(|(key, value)| {
            all.insert(*key, *value);
        });
        Format::from_options(&mut all.taker("a test"))
    };
    let message = |options: &[(&str, &str)]| taken(options).unwrap_err().message().to_string();
    assert!(message(&[("format", "avro"), ("avro.schema", "{")]).contains("no usable Avro schema"));
    assert!(message(&[("format", "avro"), ("avro.schema", "\"long\"")]).contains("no usable Avro schema"));
    assert!(message(&[("format", "avro"), ("avro.framing", "none")]).contains("needs option"));
    assert!(message(&[("format", "avro"), ("avro.schema", "1"), ("avro.schema_file", "f")]).contains("exclude"));
    let without = taken(&[("format", "avro")]).unwrap();
    assert!(without.check_files().is_ok() && without.check_messages().is_err());
    assert!(avro("none").check_files().is_err());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/flights.avsc");
    assert!(taken(&[("format", "avro"), ("avro.schema_file", file)]).unwrap().implied().is_some());
    let gone = taken(&[("format", "avro"), ("avro.schema_file", "/no/such/file")]).unwrap();
    assert!(gone.check_messages().unwrap_err().message().contains("cannot be read") && gone.implied().is_none());
    let no = schema(&[("id", DataType::Timestamp(TimeUnit::Microsecond, None))]);
    let error = avro("none").decoder(&Request { schema: no, projection: vec![0], batch_rows: 1 }).err().unwrap();
    assert!(error.message().contains("cannot be cast"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever becomes of the bytes, every message is a row or a bad record, and the others are what they were.
    #[test]
    fn avro_damaged_message_is_a_row_or_a_bad_record(
        at in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut all = messages(golden!("flights.avro.hex"));
        let good = decoded(decoder("auto", &[0, 1, 7]).as_mut(), &all).0;
        let which = at.index(all.len());
        for (place, byte) in changes {
            let place = place.index(all[which].len());
            all[which][place] = byte;
        }
        let (rows, bad) = decoded(decoder("auto", &[0, 1, 7]).as_mut(), &all);
        prop_assert_eq!(rows.len() + bad.len(), all.len());
        prop_assert!(bad.iter().all(|(record, _)| *record == which));
        prop_assert_eq!(&rows[..which], &good[..which]);
        prop_assert_eq!(&rows[rows.len() - (all.len() - which - 1)..], &good[which + 1..]);
    }

    /// Whatever becomes of a file, it is read to some end.
    #[test]
    fn avro_damaged_file_is_read_to_an_end(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut file = golden!("flights.avro").to_vec();
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        let Read { rows, .. } = read(&format(&[("format", "avro")]), "f.avro", &file, &nested(), 1);
        prop_assert!(rows.len() <= 300);
    }
}
