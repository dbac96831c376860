//! Every format, whole and in parts, good and bad.

mod containers;
mod cuts;
mod golden;
mod nulls;
mod packed;

use std::{
    io::Write,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{
        ArrayRef, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
        TimestampNanosecondArray,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    util::display::{ArrayFormatter, FormatOptions},
};
use bytes::Bytes;
use datafusion::parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use proptest::prelude::*;

use super::*;
use crate::{error::ErrorKind, options::Options};

fn format(options: &[(&str, &str)]) -> Format {
    let mut all = Options::default();
    for (key, value) in options {
        all.insert(*key, *value);
    }
    let mut taker = all.taker("a test");
    let format = Format::from_options(&mut taker).unwrap();
    taker.finish().unwrap();
    format
}

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>()))
}

/// What a file gave: its rows as text, its bad records by position, and why it could not be read to the end.
#[derive(Debug, Default, PartialEq)]
struct Read {
    rows: Vec<String>,
    /// Where each row stood.
    at: Vec<i64>,
    bad: Vec<Bad>,
    damage: Option<String>,
}

pub(super) fn show(batch: &RecordBatch, rows: &mut Vec<String>) {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    for row in 0..batch.num_rows() {
        rows.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
    }
}

fn read_projected(
    format: &Format,
    name: &str,
    bytes: &[u8],
    schema: &SchemaRef,
    parts: u64,
    columns: &[usize],
) -> Read {
    let size = bytes.len() as u64;
    let parts = if format.splits(name) { parts } else { 1 };
    let parts: Vec<_> = (0..parts).map(|part| size * part / parts..size * (part + 1) / parts).collect();
    read_parts(format, name, &Bytes::copy_from_slice(bytes), schema, &parts, columns)
}

/// Reads given parts of a file, in their order.
fn read_parts(
    format: &Format,
    name: &str,
    bytes: &Bytes,
    schema: &SchemaRef,
    parts: &[Range<u64>],
    columns: &[usize],
) -> Read {
    let request = Request { schema: schema.clone(), projection: columns.to_vec(), batch_rows: 100 };
    let bad = Arc::new(Mutex::new(Vec::new()));
    let mut read = Read::default();
    for part in parts {
        let sink = bad.clone();
        let sink = Box::new(move |b| sink.lock().unwrap_or_else(PoisonError::into_inner).push(b));
        match format.read(name, Arc::new(bytes.clone()), part.clone(), &request, sink) {
            Err(Damage(reason)) => read.damage = Some(reason),
            Ok(batches) => {
                for batch in batches {
                    match batch {
                        Ok(DecodedRows { batch, positions }) => {
                            assert_eq!(batch.schema(), request.output());
                            show(&batch, &mut read.rows);
                            read.at.extend((0..batch.num_rows()).map(|row| positions.of(row).unwrap()));
                        }
                        Err(Damage(reason)) => read.damage = Some(reason),
                    }
                }
            }
        }
    }
    read.bad = std::mem::take(&mut *bad.lock().unwrap_or_else(PoisonError::into_inner));
    read
}

fn read(format: &Format, name: &str, bytes: &[u8], schema: &SchemaRef, parts: u64) -> Read {
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    read_projected(format, name, bytes, schema, parts, &all)
}

fn two() -> SchemaRef {
    schema(&[("a", DataType::Int64), ("b", DataType::Utf8)])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[test]
fn csv_columns_are_matched_by_header_name_or_position() {
    let named = format(&[("format", "csv"), ("header", "true")]);
    let text = b"\xEF\xBB\xBFextra,B,a\nx,one,1\n\ny,\"two, too\",2\r\nz,,\n";
    let got = read(&named, "f.csv", text, &two(), 1);
    assert_eq!(got.rows, ["1|one", "2|two, too", "NULL|NULL"]);
    let got = read(&named, "f.csv", b"a\n1\n", &two(), 1);
    assert_eq!(got.rows, ["1|NULL"]);
    let got = read(&format(&[("format", "csv")]), "f.csv", b"1,one\n2,two", &two(), 1);
    assert_eq!(got.rows, ["1|one", "2|two"]);
    assert_eq!(read(&named, "f.csv", b"", &two(), 1), Read::default());
    assert_eq!(read(&named, "f.csv", b"a,b", &two(), 1), Read::default());
}

#[test]
fn csv_dialect_options_are_honoured() {
    let odd = format(&[
        ("format", "csv"),
        ("delimiter", "\\t"),
        ("quote", "'"),
        ("escape", "\\"),
        ("null", "N.A"),
        ("timestamp_format", "%d.%m.%Y %H:%M"),
    ]);
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = schema(&[("t", time), ("b", DataType::Boolean), ("c", DataType::Utf8)]);
    let got = read(&odd, "f", b"02.01.2024 03:04\tyes\t'it\\'s\ta'\nN.A\tN.A\tNxA\n", &columns, 1);
    assert_eq!(got.rows, ["2024-01-02T03:04:00|true|it's\ta", "NULL|NULL|NxA"]);
}

#[test]
fn csv_bad_line_among_ten_thousand_is_one_bad_record() {
    let mut text = String::new();
    for i in 1..=10_000 {
        text.push_str(&if i == 5_000 { "5000,x,y\n".to_string() } else { format!("{i},row {i}\n") });
    }
    for parts in 1..5 {
        let got = read(&format(&[("format", "csv")]), "f.csv", text.as_bytes(), &two(), parts);
        assert_eq!(got.rows.len(), 9_999);
        assert_eq!(got.bad.len(), 1);
        assert_eq!((got.bad[0].position, got.bad[0].raw.as_slice()), (5_000, b"5000,x,y".as_slice()));
        assert!(got.bad[0].reason.contains("incorrect number of fields"), "{}", got.bad[0].reason);
    }
}

#[test]
fn bad_lines_are_returned_raw_with_position_and_reason() {
    let csv = format(&[("format", "csv"), ("header", "true")]);
    let text = b"a,b\n1,one\nx,two\n3\n4,\xFF\n5,\"open\n6,six\n99999999999999999999,big\n8,eight\n";
    let got = read(&csv, "f.csv", text, &two(), 1);
    assert_eq!(got.rows, ["1|one", "6|six", "8|eight"]);
    assert_eq!(got.bad.iter().map(|b| b.position).collect::<Vec<_>>(), [3, 4, 5, 6, 8]);
    assert_eq!(got.bad[2].raw, b"4,\xFF");
    assert!(got.bad[0].reason.contains("'x'") && got.bad[0].reason.contains("\"a\""), "{}", got.bad[0].reason);
    assert!(got.bad[3].reason.contains("multiline"), "{}", got.bad[3].reason);

    let json = format(&[("format", "json")]);
    let text =
        b"{\"a\":1}\n{\"a\":\n{\"a\":3}\n\n[1]\n{\"a\":{}}\nnot json\n{\"a\":7}{\"a\":8}\n{\"a\":\"9\"}\n{\"a\":1";
    let got = read(&json, "f.json", text, &schema(&[("a", DataType::Int64)]), 1);
    assert_eq!(got.rows, ["1", "3", "9"]);
    assert_eq!(got.bad.iter().map(|b| b.position).collect::<Vec<_>>(), [2, 5, 6, 7, 8, 10]);
    assert_eq!(got.bad[0].raw, b"{\"a\":");
}

#[test]
fn garbage_file_is_all_bad_records() {
    let text: String = (0..2_000).map(|i| format!("garbage {i}\n")).collect();
    for kind in ["csv", "json"] {
        let got = read(&format(&[("format", kind)]), "f", text.as_bytes(), &two(), 3);
        assert!(got.rows.is_empty() && got.damage.is_none());
        assert_eq!(got.bad.iter().map(|b| b.position).collect::<Vec<_>>(), (1..=2_000).collect::<Vec<_>>());
    }
}

#[test]
fn projection_decodes_only_wanted_columns() {
    let csv = format(&[("format", "csv")]);
    let got = read_projected(&csv, "f.csv", b"1,one\nx,two\n", &two(), 1, &[1]);
    assert_eq!((got.rows, got.bad), (vec!["one".to_string(), "two".to_string()], vec![]));
    for (kind, text) in [("csv", "1,one\n2,two\n"), ("json", "{\"a\":1}\n{}\n")] {
        let got = read_projected(&format(&[("format", kind)]), "f", text.as_bytes(), &two(), 1, &[]);
        assert_eq!(got.rows, ["", ""]);
    }
}

#[test]
fn null_in_a_not_null_column_is_a_bad_record() {
    let strict = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
    let got = read(&format(&[("format", "csv"), ("header", "true")]), "f", b"a,b\n1,x\n,y\n", &strict, 1);
    assert_eq!((got.rows, got.bad[0].position), (vec!["1".to_string()], 3));
}

#[test]
fn csv_multiline_quoted_line_breaks_stay_in_their_record() {
    let csv = format(&[("format", "csv"), ("multiline", "true")]);
    let got = read(&csv, "f.csv", b"1,\"one\nand \"\"more\"\"\"\nbad\n3,\"three\"\n4,\"open\n5,five\n", &two(), 4);
    assert_eq!(got.rows, ["1|one\nand \"more\"", "3|three", "5|five"]);
    assert_eq!(got.at, [1, 4, 6]);
    assert_eq!(got.bad.iter().map(|b| b.position).collect::<Vec<_>>(), [3, 5]);
}

#[test]
fn json_values_over_several_lines_and_in_an_array_are_read() {
    let expected = ["1|one", "NULL|x", "3|true"];
    let array = b" [ {\"a\":1,\n\"b\":\"one\"},{\"b\":\"x\"}\n,\n{\"a\":3,\"b\":true}]\n";
    let got = read(&format(&[("format", "json")]), "f.json", array, &two(), 3);
    assert_eq!((got.rows, got.bad.len()), (expected.map(String::from).to_vec(), 0));
    assert_eq!(got.at, [1, 2, 4]);
    let values = b"{\"a\":1,\n\"b\":\"one\"}{\"b\":\"x\"}\n\n{\"a\":3,\n\"b\":true}\n{\"a\":";
    let got = read(&format(&[("format", "json"), ("multiline", "true")]), "f.json", values, &two(), 1);
    assert_eq!((got.rows.as_slice(), got.at), (expected.map(String::from).as_slice(), vec![1, 2, 4]));
    assert_eq!((got.bad.len(), got.bad[0].position), (1, 6));
}

#[test]
fn json_positions_are_lines_even_with_several_values_in_one() {
    let values = b"{\"a\":1} {\"a\":2}\n\n{\"a\":3}\n";
    let got = read(&format(&[("format", "json"), ("multiline", "true")]), "f.json", values, &two(), 1);
    assert_eq!(got.at, [1, 1, 3]);
    let lines = b"{\"a\":1}\n\n{\"a\":2}\n{\"a\":3}";
    for parts in 1..4 {
        let got = read(&format(&[("format", "json")]), "f.json", lines, &two(), parts);
        assert_eq!(got.at, [1, 3, 4]);
    }
}

#[test]
fn json_nested_values_are_read_and_excessive_depth_is_a_bad_record() {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let inner = DataType::Struct(vec![Field::new("c", DataType::Utf8, true)].into());
    let columns = schema(&[("a", DataType::List(item)), ("b", inner)]);
    let got = read(&format(&[("format", "json")]), "f", b"{\"a\":[1,2],\"b\":{\"c\":\"x\"}}\n", &columns, 1);
    assert_eq!(got.rows, ["[1, 2]|{c: x}"]);
    let deep = format!("{{\"a\":{}1{}}}\n{{\"a\":2}}\n", "[".repeat(100_000), "]".repeat(100_000));
    let got = read(&format(&[("format", "json")]), "f", deep.as_bytes(), &schema(&[("a", DataType::Int64)]), 1);
    assert_eq!((got.rows, got.bad[0].position), (vec!["2".to_string()], 1));
}

#[test]
fn json_timestamps_are_read_as_text_or_epoch() {
    let columns = schema(&[
        ("t", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("z", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
    ]);
    let text = b"{\"t\":\"2024-01-02 03:04:05\",\"z\":\"2024-01-02T03:04:05+01:00\"}\n";
    let got = read(&format(&[("format", "json")]), "f", text, &columns, 1);
    assert_eq!(got.rows, ["2024-01-02T03:04:05|2024-01-02T02:04:05Z"]);
    let epoch = format(&[("format", "json"), ("timestamp_format", "epoch_ms")]);
    let got = read(&epoch, "f", b"{\"t\":1500,\"z\":\"2500\"}\n", &columns, 1);
    assert_eq!(got.rows, ["1970-01-01T00:00:01.500|1970-01-01T00:00:02.500Z"]);
}

/// The rows of a file, and for each bad record its position.
fn rows_and_bad_positions(format: &Format, text: &str, columns: &[(&str, DataType)]) -> (Vec<String>, Vec<i64>) {
    let got = read(format, "f", text.as_bytes(), &schema(columns), 1);
    assert_eq!(got.damage, None);
    (got.rows, got.bad.iter().map(|b| b.position).collect())
}

#[test]
fn numerics_are_rounded_and_out_of_range_ones_are_bad_records() {
    let columns = [("n", DataType::Decimal128(10, 2))];
    let values = ["1.239", "-1.235", "1e2", "99999999.994", "99999999.999", "1e9", "", "7"];
    let csv: String = values.iter().map(|v| format!("{v},x\n")).collect();
    let json: String =
        values.iter().map(|v| format!("{{\"n\":{}}}\n", if v.is_empty() { "null" } else { v })).collect();
    let rows = ["1.24", "-1.24", "100.00", "99999999.99", "NULL", "7.00"].map(String::from).to_vec();
    let (got, bad) = rows_and_bad_positions(&format(&[("format", "json")]), &json, &columns);
    assert_eq!((&got, &bad), (&rows, &vec![5, 6]));
    let with_text = [columns[0].clone(), ("x", DataType::Utf8)];
    let (got, bad) = rows_and_bad_positions(&format(&[("format", "csv")]), &csv, &with_text);
    assert_eq!((got, bad), (rows.iter().map(|r| format!("{r}|x")).collect(), vec![5, 6]));
    let got = read(&format(&[("format", "json")]), "f", b"{\"n\":1e9}\n{\"n\":\"x\"}", &schema(&columns), 1);
    assert_eq!(got.bad[0].reason, "'1e9' in column \"n\" is out of range of numeric(10, 2)");
    assert_eq!(got.bad[1].reason, "'x' in column \"n\" is no number");
    let list = DataType::List(Arc::new(Field::new("item", DataType::Decimal128(4, 1), true)));
    let nested = [("l", list)];
    let json = "{\"l\":[1.25,null,1e1]}\n{\"l\":[1000]}\n{\"l\":[]}\n{}\n";
    assert_eq!(
        rows_and_bad_positions(&format(&[("format", "json")]), json, &nested),
        (["[1.3, NULL, 10.0]", "[]", "NULL"].map(String::from).to_vec(), vec![2])
    );
}

#[test]
fn json_fraction_for_an_integer_column_is_a_bad_record() {
    let json = format(&[("format", "json")]);
    let values = ["1", "-0", "1.9", "2.0", "1e2", "9007199254740993.0", "-9223372036854775809", "9223372036854775807"];
    let text: String = values.iter().map(|v| format!("{{\"v\":{v}}}\n")).collect();
    let (rows, bad) = rows_and_bad_positions(&json, &text, &[("v", DataType::Int64)]);
    assert_eq!((rows.join(" ").as_str(), bad), ("1 0 9223372036854775807", vec![3, 4, 5, 6, 7]));
    assert_eq!(rows_and_bad_positions(&json, "{\"v\":128}\n{\"v\":\"-128\"}\n", &[("v", DataType::Int8)]).1, [1]);
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let inner = DataType::Struct(vec![Field::new("n", DataType::Int32, true)].into());
    let columns = [("l", DataType::List(item)), ("s", inner)];
    let text = "{\"l\":[1.5],\"s\":{\"n\":1}}\n{\"l\":[1,2],\"s\":{\"n\":1.5}}\n{\"l\":[1,2],\"s\":{\"n\":3}}\n{}\n";
    let (rows, bad) = rows_and_bad_positions(&json, text, &columns);
    assert_eq!((rows, bad), (vec!["[1, 2]|{n: 3}".to_string(), "NULL|NULL".to_string()], vec![1, 2]));
}

#[test]
fn json_number_for_a_timestamp_needs_timestamp_format() {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let json = format(&[("format", "json")]);
    let got = read(&json, "f", b"{\"t\":1704067200}\n{\"t\":null}\n", &schema(&[("t", time.clone())]), 1);
    assert_eq!(got.rows, ["NULL"]);
    let reason = "'1704067200' in column \"t\" is a number, which needs timestamp_format = 'epoch' or the like";
    assert_eq!(got.bad.iter().map(|b| b.reason.as_str()).collect::<Vec<_>>(), [reason]);
    assert_eq!(
        rows_and_bad_positions(&json, "{\"d\":19723}\n{\"d\":\"2024-01-02\"}\n", &[("d", DataType::Date32)]).1,
        [1]
    );
    let hour = DataType::Time64(TimeUnit::Microsecond);
    assert_eq!(rows_and_bad_positions(&json, "{\"d\":3600000000}\n{\"d\":\"01:00:00\"}\n", &[("d", hour)]).1, [1]);
    let epoch = format(&[("format", "json"), ("timestamp_format", "epoch")]);
    let times = DataType::List(Arc::new(Field::new("item", time, true)));
    let (rows, bad) = rows_and_bad_positions(&epoch, "{\"t\":[1704067200, 1.5]}\n", &[("t", times)]);
    assert_eq!((rows.join(""), bad.len()), ("[2024-01-01T00:00:00, 1970-01-01T00:00:01.500]".to_string(), 0));
}

#[test]
fn malformed_record_is_bad_for_every_projection() {
    let csv = "1,one\n2\n3,three,3\n";
    let json = "{\"a\":1,\"b\":\"one\"}\n{\"a\":2,\"b\":}\n{\"a\":3,\"b\":nul}\n{\"a\":4,\"c\":[1}\n[5]\n6\n";
    for (kind, text, bad) in [("csv", csv, vec![2, 3]), ("json", json, vec![2, 3, 4, 5, 6])] {
        for columns in [&[0][..], &[1], &[]] {
            let got = read_projected(&format(&[("format", kind)]), "f", text.as_bytes(), &two(), 1, columns);
            assert_eq!(got.bad.iter().map(|b| b.position).collect::<Vec<_>>(), bad, "{kind} {columns:?}");
        }
    }
    for columns in [&[0][..], &[1], &[]] {
        let got = read_projected(&format(&[("format", "csv")]), "f", b"1,one\n2,\xFF\n", &two(), 1, columns);
        assert_eq!((got.rows.len(), got.bad.len()), (1, 1), "{columns:?}");
    }
}

#[test]
fn csv_header_without_known_columns_is_damage() {
    let csv = format(&[("format", "csv"), ("header", "true")]);
    for columns in [&[0][..], &[]] {
        let got = read_projected(&csv, "f", b"a;b\n1;one\n", &two(), 1, columns);
        assert_eq!(
            got.damage.as_deref(),
            Some("its header names none of the columns \"a\", \"b\"; is option delimiter right?")
        );
        assert!(got.rows.is_empty() && got.bad.is_empty());
    }
    assert_eq!(read_projected(&csv, "f", b"b,c\none,1\n", &two(), 1, &[0]).rows, ["NULL"]);
}

#[test]
fn csv_header_with_a_quoted_line_break_is_read() {
    let csv = format(&[("format", "csv"), ("header", "true"), ("multiline", "true")]);
    let columns = [("a", DataType::Int64), ("two\nlines", DataType::Utf8), ("c", DataType::Utf8)];
    let (rows, bad) = rows_and_bad_positions(&csv, "\n\"a\",\"two\nlines\",c\n1,\"x\ny\",z\n", &columns);
    assert_eq!((rows, bad), (vec!["1|x\ny|z".to_string()], vec![]));
    let got = read(&csv, "f", b"\"a,b\n1,2\n", &two(), 1);
    assert_eq!(got.damage.as_deref(), Some("its header cannot be read: a quote is never closed"));
}

#[test]
fn csv_line_of_delimiters_is_a_row_of_nulls() {
    let columns = [("a", DataType::Int64), ("b", DataType::Utf8), ("c", DataType::Utf8)];
    for more in [("header", "true"), ("multiline", "true")] {
        let tabs = format(&[("format", "csv"), ("delimiter", "tab"), more]);
        let header = if more.0 == "header" { "a\tb\t\n" } else { "" };
        let got = rows_and_bad_positions(&tabs, &format!("{header}1\tx\t\n\t\t\n \n\n2\ty\t\r\n\t\t"), &columns);
        assert_eq!(
            got,
            (["1|x|NULL", "NULL|NULL|NULL", "2|y|NULL", "NULL|NULL|NULL"].map(String::from).to_vec(), vec![])
        );
    }
}

#[test]
fn text_file_is_one_row_per_line() {
    let got = read(&format(&[("format", "text")]), "f.txt", b"one\r\n\n\xFF\nfour", &text::schema(), 1);
    assert_eq!(got.rows, ["one", "", "four"]);
    assert_eq!(got.bad, [Bad { position: 3, raw: b"\xFF".to_vec(), reason: "invalid UTF-8".to_string() }]);
    assert_eq!(format(&[("format", "text")]).check(&two()).unwrap_err().kind(), ErrorKind::InvalidTableDefinition);
}

#[test]
fn compressed_csv_equals_plain_and_truncated_is_damage() {
    let text: String = (0..5_000).map(|i| format!("{i},row {i}\n")).collect();
    let plain = read(&format(&[("format", "csv")]), "f.csv", text.as_bytes(), &two(), 1);
    assert_eq!(plain.rows.len(), 5_000);
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    for (name, packed) in [("f.csv.gz", gzip(text.as_bytes())), ("f.csv.zst", zstd)] {
        assert_eq!(read(&format(&[("format", "csv")]), name, &packed, &two(), 3), plain);
        let cut = read(&format(&[("format", "csv")]), name, &packed[..packed.len() / 2], &two(), 1);
        assert!(cut.damage.is_some() && cut.bad.is_empty(), "{name}: {cut:?}");
        assert_eq!(cut.rows, plain.rows[..cut.rows.len()]);
    }
}

#[test]
fn csv_line_beyond_the_record_limit_is_one_bad_record() {
    let mut text = b"1,one\n2,".to_vec();
    text.resize(text.len() + records::RECORD_BYTES_MAX + (3 << 20), b'x');
    text.extend_from_slice(b"\n3,three\n");
    let got = read(&format(&[("format", "csv")]), "f.csv", &text, &two(), 1);
    assert_eq!(got.rows, ["1|one", "3|three"]);
    assert_eq!((got.bad.len(), got.bad[0].position, got.bad[0].raw.len()), (1, 2, 64 << 10));
}

/// Whoever reads can stop between two batches, and so they come even where no row does.
#[test]
fn reader_without_rows_yields_empty_batches() {
    // More than is read for one batch, which is 8 MiB, or is in one of 1,000 records.
    let garbage = "this is no number\n".repeat(64_000);
    let plain = ["\n".repeat(17 << 20), "x".repeat(40 << 20), garbage].map(|text| ("f", text.into_bytes()));
    let packed = [("f.gz", gzip("x".repeat(40 << 20).as_bytes()))];
    for (name, bytes) in plain.into_iter().chain(packed) {
        let request = Request { schema: two(), projection: vec![0], batch_rows: 1_000 };
        let (part, first) = (0..bytes.len() as u64, bytes[0]);
        let csv = format(&[("format", "csv")]);
        let batches = csv.read(name, Arc::new(Bytes::from(bytes)), part, &request, Box::new(|_| ())).unwrap();
        let rows: Vec<_> = batches.map(|rows| rows.unwrap().batch.num_rows()).collect();
        assert!(rows.len() >= 2 && rows.iter().all(|rows| *rows == 0), "{name} of {first}: {rows:?}");
    }
}

fn parquet(rows: i64, group: usize) -> Vec<u8> {
    let columns = schema(&[
        ("a", DataType::Int64),
        ("b", DataType::Utf8),
        ("t", DataType::Timestamp(TimeUnit::Nanosecond, None)),
    ]);
    let batch = RecordBatch::try_new(
        columns.clone(),
        vec![
            Arc::new(Int64Array::from_iter_values(0..rows)),
            Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("row {i}")))),
            Arc::new(TimestampNanosecondArray::from_iter_values((0..rows).map(|i| i * 1_000))),
        ],
    );
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), columns, Some(properties)).unwrap();
    writer.write(&batch.unwrap()).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn parquet_columns_are_matched_by_name_cast_and_read_in_parts() {
    let file = parquet(1_000, 300);
    let declared = schema(&[
        ("t", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("none", DataType::Utf8),
        ("a", DataType::Utf8),
    ]);
    let parquet = format(&[("format", "parquet")]);
    let whole = read(&parquet, "f.parquet", &file, &declared, 1);
    assert_eq!(whole.rows.len(), 1_000);
    assert_eq!(whole.rows[7], "1970-01-01T00:00:00.000007|NULL|7");
    for parts in 2..9 {
        assert_eq!(read(&parquet, "f.parquet", &file, &declared, parts), whole);
    }
    assert_eq!(read_projected(&parquet, "f.parquet", &file, &declared, 3, &[]).rows.len(), 1_000);
}

#[test]
fn parquet_values_that_do_not_fit_are_bad_records() {
    let file = parquet(300, 100);
    let parquet = format(&[("format", "parquet")]);
    let got = read(&parquet, "f", &file, &schema(&[("a", DataType::Int8)]), 2);
    assert_eq!((got.rows.len(), got.bad.len(), got.bad[0].position), (128, 172, 129));
    assert_eq!(got.at, (1..=128).collect::<Vec<_>>());
    assert_eq!(got.bad[0].raw, b"128");
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let never = DataType::Struct(vec![Field::new("x", DataType::List(item.clone()), true)].into());
    let got = read(&parquet, "f", &file, &schema(&[("t", never)]), 1);
    assert!(got.damage.as_ref().is_some_and(|d| d.contains("cannot be cast")), "{got:?}");
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![5.0, 5.7]));
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("1"), None]);
    lists.append_value([Some("1"), Some("x")]);
    let lists: ArrayRef = Arc::new(lists.finish());
    let batch = RecordBatch::try_from_iter([("f", floats), ("l", lists)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let file = writer.into_inner().unwrap();
    for (name, data_type, row) in [("f", DataType::Int32, "5"), ("l", DataType::List(item), "[1, NULL]")] {
        let got = read(&parquet, "f", &file, &schema(&[(name, data_type)]), 1);
        assert_eq!((got.rows, got.bad.len(), got.bad[0].position), (vec![row.to_string()], 1, 2));
    }
}

#[test]
fn parquet_damaged_anywhere_does_not_panic() {
    let file = parquet(300, 100);
    let parquet = format(&[("format", "parquet")]);
    for cut in [0, 3, 7, file.len() / 2, file.len() - 1] {
        assert!(read(&parquet, "f", &file[..cut], &two(), 1).damage.is_some());
    }
    for at in (0..file.len()).step_by(7) {
        let mut changed = file.clone();
        changed[at] ^= 0x55;
        let got = read(&parquet, "f", &changed, &two(), 1);
        assert!(got.rows.len() <= 300 || got.damage.is_some());
    }
}

fn inferred(format: &Format, files: &[&[u8]]) -> Vec<(String, DataType)> {
    let input = |b: &&[u8]| ("f".to_string(), Arc::new(Bytes::copy_from_slice(b)) as Arc<dyn ByteInput>);
    let found = format.infer(&files.iter().map(input).collect::<Vec<_>>());
    let found = found.map(|s| s.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect());
    found.unwrap_or_default()
}

fn pairs(columns: &[(&str, DataType)]) -> Vec<(String, DataType)> {
    columns.iter().map(|(n, t)| (n.to_string(), t.clone())).collect()
}

#[test]
fn csv_schema_is_inferred_from_the_first_files() {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let text = b"i,f,b,t,d,s,n\n1,1.5,true,2024-01-02 03:04:05,2024-01-02,x,\n2,2,false,2024-01-02T03:04:05.5Z,2024-01-03,7,\nbroken\n";
    let csv = format(&[("format", "csv"), ("header", "true")]);
    let expected = [
        ("i", DataType::Int64),
        ("f", DataType::Float64),
        ("b", DataType::Boolean),
        ("t", time),
        ("d", DataType::Date32),
        ("s", DataType::Utf8),
        ("n", DataType::Utf8),
    ];
    let mut broken = expected.clone();
    broken[0].1 = DataType::Utf8;
    assert_eq!(inferred(&csv, &[text]), pairs(&broken));
    assert_eq!(inferred(&csv, &[&text[..text.len() - 7]]), pairs(&expected));
    assert_eq!(
        inferred(&csv, &[b"i,n\n1,\n", b"i,n\n1.5,2\n"]),
        pairs(&[("i", DataType::Float64), ("n", DataType::Int64)])
    );
    let bare = format(&[("format", "csv")]);
    assert_eq!(inferred(&bare, &[b"1,x\n"]), pairs(&[("column_1", DataType::Int64), ("column_2", DataType::Utf8)]));
    assert_eq!(inferred(&bare, &[b""]), []);
}

#[test]
fn json_and_parquet_schema_is_inferred_from_the_first_files() {
    let json = format(&[("format", "json")]);
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let expected =
        [("z", DataType::Int64), ("a", DataType::Utf8), ("l", DataType::List(item)), ("f", DataType::Float64)];
    let lines = b"{\"z\":1,\"a\":\"x\"}\nbroken\n{\"z\":2,\"l\":[1],\"f\":1}\n{\"f\":1.5}\n";
    assert_eq!(inferred(&json, &[lines]), pairs(&expected));
    assert_eq!(inferred(&json, &[b"[{\"z\":1,\n\"a\":null}]"]), pairs(&expected.clone()[..2]));
    assert_eq!(inferred(&json, &[b"broken\n"]), []);
    let parquet_file = parquet(3, 3);
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let expected = pairs(&[("a", DataType::Int64), ("b", DataType::Utf8), ("t", time)]);
    assert_eq!(inferred(&format(&[("format", "parquet")]), &[b"garbage", &parquet_file]), expected);
}

#[test]
fn format_invalid_options_are_refused() {
    for (key, value) in [("delimiter", "ab"), ("quote", ","), ("header", "perhaps"), ("compression", "rar")] {
        let mut options = Options::default();
        options.insert("format", "csv");
        options.insert(key, value);
        let error = Format::from_options(&mut options.taker("source \"s\"")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameterValue, "{key}");
    }
    let error = Format::from_options(&mut Options::default().taker("source \"s\"")).unwrap_err();
    assert!(error.message().contains("needs option \"format\""));
}

#[test]
fn csv_list_column_is_unsupported() {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let error = format(&[("format", "csv")]).check(&schema(&[("l", list.clone())])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(format(&[("format", "json")]).check(&schema(&[("l", list)])).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However a file is cut, its rows and bad records are the same, and they are all of its lines.
    #[test]
    fn csv_and_text_in_any_parts_give_the_whole_file(
        lines in prop::collection::vec(prop_oneof![
            8 => (any::<i16>(), "[a-z ]{0,12}").prop_map(|(a, b)| format!("{a},{b}")),
            1 => "[a-z]{1,5}",
            1 => Just(String::new()),
            1 => Just("1,\"x".to_string()),
        ], 0..400),
        parts in 1_u64..9,
        ending in prop_oneof![Just("\n"), Just("\r\n")],
        header in any::<bool>(),
    ) {
        let text = lines.join(ending);
        let text = if header { format!("a,b{ending}{text}") } else { text };
        let csv = format(&[("format", "csv"), ("header", if header { "true" } else { "false" })]);
        let whole = read(&csv, "f.csv", text.as_bytes(), &two(), 1);
        prop_assert_eq!(&read(&csv, "f.csv", text.as_bytes(), &two(), parts), &whole);
        let blank = lines.iter().filter(|l| l.trim().is_empty()).count();
        prop_assert_eq!(whole.rows.len() + whole.bad.len(), lines.len() - blank);
        for bad in &whole.bad {
            let line = &lines[bad.position as usize - 1 - usize::from(header)];
            prop_assert_eq!(line.trim_end().as_bytes(), bad.raw.as_slice());
        }
        let lines = read(&format(&[("format", "text")]), "f", text.as_bytes(), &text::schema(), parts);
        prop_assert_eq!(lines.rows.len(), text.lines().count());
    }
}
