//! Records one by one, good and bad.

use std::sync::Arc;

use arrow::{
    array::{Int64Array, cast::AsArray},
    datatypes::{DataType, Field, Int64Type, Schema, TimeUnit},
};
use proptest::prelude::*;

use super::*;
use crate::{
    changes::OP,
    formats::{Format, Request, tests::show},
    options::Options,
};

fn decoder(options: &[(&str, &str)], columns: &[(&str, DataType)], projection: &[usize]) -> Box<dyn Decoder> {
    let mut all = Options::default();
    options.iter().for_each(|(key, value)| {
        all.insert(*key, *value);
    });
    let format = Format::from_options(&mut all.taker("a test")).unwrap();
    let fields: Vec<_> = columns.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    format.check(&schema).unwrap();
    format.decoder(&Request { schema, projection: projection.to_vec(), batch_rows: 100 }).unwrap()
}

/// The rows, each with the number of its record, and the rejected records.
fn flushed(decoder: &mut dyn Decoder) -> (Vec<String>, Vec<(usize, String)>) {
    let pending = decoder.pending();
    let decoded = decoder.flush();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..pending as i64));
    let numbers = decoded.beside(&numbers).unwrap();
    assert_eq!(numbers.len(), decoded.rows.num_rows());
    let mut rows = Vec::new();
    show(&decoded.rows, &mut rows);
    let numbers = numbers.as_primitive::<Int64Type>().values().iter();
    let rows = numbers.zip(rows).map(|(number, row)| format!("{number}:{row}")).collect();
    (rows, decoded.errors.into_iter().map(|r| (r.record, r.reason)).collect())
}

fn decoded(decoder: &mut dyn Decoder, records: &[&[u8]]) -> (Vec<String>, Vec<(usize, String)>) {
    records.iter().for_each(|record| decoder.push(RawRecord::from(*record)));
    flushed(decoder)
}

const TWO: &[(&str, DataType)] = &[("a", DataType::Int64), ("b", DataType::Utf8)];

#[test]
fn json_decoder_record_over_several_lines_is_one_row() {
    let mut json = decoder(&[("format", "json")], TWO, &[1, 0]);
    let records: [&[u8]; 4] =
        [b"{\"a\":1,\"b\":\"x\"}", b" {\n\"b\": \"y\",\r\n\"a\":\n2\n}\n", b"{}", b"{\"a\":3,\"c\":[{}]}"];
    let (rows, bad) = decoded(json.as_mut(), &records);
    assert_eq!(rows, ["0:x|1", "1:y|2", "2:NULL|NULL", "3:NULL|3"]);
    assert_eq!(bad, []);
    assert_eq!(flushed(json.as_mut()), (vec![], vec![]));
}

#[test]
fn json_decoder_malformed_record_is_rejected_alone() {
    let mut json = decoder(&[("format", "json")], TWO, &[0]);
    let deep = "[".repeat(1_000_000);
    let records: [&[u8]; 14] = [
        b"{\"a\":1}",
        b"{\"a\":",
        b"2}",
        b"",
        b" \n",
        b"{\"a\":3}{\"a\":4}",
        b"{\"a\":5} {\"a\":",
        b"6}",
        b"{\"a\":\"}",
        b"{\"}",
        b"7",
        b"null",
        deep.as_bytes(),
        b"{\"a\":8}",
    ];
    let (rows, bad) = decoded(json.as_mut(), &records);
    assert_eq!(rows, ["0:1", "13:8"]);
    assert_eq!(bad.iter().map(|(record, _)| *record).collect::<Vec<_>>(), (1..13).collect::<Vec<_>>());
    let reasons = [(0, "the value is cut off"), (2, "the record is empty"), (4, "not one value to a record")];
    reasons.iter().for_each(|(at, reason)| assert_eq!(bad[*at].1, *reason));
    assert!(bad[11].1.contains("nested deeper"), "{}", bad[11].1);
}

#[test]
fn csv_decoder_record_is_one_row_and_malformed_ones_are_rejected() {
    let mut csv = decoder(&[("format", "csv"), ("delimiter", ";")], TWO, &[0, 1]);
    let records: [&[u8]; 12] = [
        b"1;x",
        b"2;\"y;\n\"\"z\"\"\"\r\n",
        b"3",
        b"4;x\n5;y",
        b"",
        b"6;\"x",
        b"y\"",
        b"7;",
        b"x;8",
        b"9;x\n\"",
        b"9;x\r\"",
        b"10;\"\n\r\"",
    ];
    let (rows, bad) = decoded(csv.as_mut(), &records);
    assert_eq!(rows, ["0:1|x", "1:2|y;\n\"z\"", "7:7|NULL", "11:10|\n\r"]);
    assert_eq!(bad.iter().map(|(record, _)| *record).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 8, 9, 10]);
    assert_eq!(bad[1].1, "a line break in the middle of a record");
    let refused = Format::from_options(&mut {
        let mut all = Options::default();
        all.insert("format", "csv");
        all.insert("header", "true");
        all.taker("a test")
    });
    assert_eq!(
        refused.unwrap().check_messages().unwrap_err().message(),
        "format csv cannot read messages with a header"
    );
}

#[test]
fn text_and_bytes_decoders_reject_only_missing_values_and_invalid_utf8() {
    let mut text = decoder(&[("format", "text")], &[("value", DataType::Utf8)], &[0]);
    text.push(RawRecord { key: Some(b"k"), value: None });
    let (rows, bad) = decoded(text.as_mut(), &[b"one\ntwo\n", b"", b"\xff"]);
    assert_eq!(rows, ["1:one\ntwo", "2:"]);
    assert_eq!(bad, [(0, "the record has no value".to_string()), (3, "invalid UTF-8".to_string())]);
    let mut bytes = decoder(&[("format", "bytes")], &[("value", DataType::Binary)], &[0]);
    let (rows, bad) = decoded(bytes.as_mut(), &[b"a\n", b"", b"\xff\x00"]);
    assert_eq!(rows, ["0:610a", "1:", "2:ff00"]);
    assert_eq!(bad, []);
    assert_eq!(
        decoded(decoder(&[("format", "bytes")], &[("v", DataType::Binary)], &[]).as_mut(), &[b"a", b"b"]).0,
        ["0:", "1:"]
    );
}

#[test]
fn decoder_is_full_at_a_batch_and_still_accepts_records() {
    let mut json = decoder(&[("format", "json")], TWO, &[0]);
    for n in 0..250 {
        assert_eq!(json.is_full(), n >= 100, "{n}");
        json.push(RawRecord::from(format!("{{\"a\":{n}}}").as_bytes()));
    }
    let (rows, bad) = flushed(json.as_mut());
    assert_eq!((rows.len(), bad.len(), json.is_full()), (250, 0, false));
    assert_eq!(rows[249], "249:249");
}

const KEYED: [(&str, DataType, bool); 4] = [
    ("id", DataType::Int64, false),
    ("a", DataType::Utf8, true),
    ("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    (OP, DataType::Int8, false),
];

fn keyed(options: &[(&str, &str)], keys: usize, projection: &[usize]) -> Box<dyn Decoder> {
    let mut all = Options::default();
    options.iter().for_each(|(key, value)| {
        all.insert(*key, *value);
    });
    assert!(crate::formats::upserts(&all));
    let format = Format::from_options(&mut all.taker("a test")).unwrap();
    let field =
        |(i, (n, t, nullable)): (usize, &(&str, DataType, bool))| Field::new(*n, t.clone(), *nullable && i >= keys);
    let schema = Arc::new(Schema::new(KEYED.iter().enumerate().map(field).collect::<Vec<_>>()));
    format.check(&schema).unwrap();
    format.decoder(&Request { schema, projection: projection.to_vec(), batch_rows: 100 }).unwrap()
}

#[test]
fn upsert_decoder_takes_key_columns_from_the_message_key() {
    let mut upserts = keyed(&[("format", "upsert_json"), ("timestamp_format", "epoch_ms")], 1, &[3, 0, 1, 2]);
    let records: [(Option<&str>, Option<&str>); 14] = [
        (Some("{\"id\":1}"), Some("{\"a\":\"x\",\"at\":1000}")),
        (Some("2"), Some(" {\"a\":\"y\",\"id\":2} ")),
        (None, Some("{\"id\":3,\"a\":null}")),
        (Some("4"), Some("{}")),
        (Some("{\"id\":1}"), None),
        (Some("2"), None),
        (None, None),
        (None, Some("{\"a\":\"no key\"}")),
        (Some("abc"), None),
        (Some("5"), Some("{\"a\":")),
        (Some("6"), Some("{\"a\":\"z\"}}")),
        (Some("7"), Some("")),
        (Some("{\"other\":8}"), None),
        (Some("9"), Some("{\"a\":\"last\"}")),
    ];
    for (key, value) in records {
        upserts.push(RawRecord { key: key.map(str::as_bytes), value: value.map(str::as_bytes) });
    }
    let decoded = upserts.flush();
    assert_eq!(decoded.errors[1].raw, b"{\"a\":\"no key\"}");
    assert_eq!(decoded.errors[4].raw, b"{\"a\":\"z\"}}");
    assert!(decoded.errors[2].reason.starts_with("its key: "), "{:?}", decoded.errors[2]);
    let failed: Vec<usize> = decoded.errors.iter().map(|r| r.record).collect();
    assert_eq!(failed, [6, 7, 8, 9, 10, 11, 12]);
    let mut rows = Vec::new();
    show(&decoded.rows, &mut rows);
    let expected = [
        "1|1|x|1970-01-01T00:00:01",
        "1|2|y|NULL",
        "1|3|NULL|NULL",
        "1|4|NULL|NULL",
        "-1|1|NULL|NULL",
        "-1|2|NULL|NULL",
        "1|9|last|NULL",
    ];
    assert_eq!(rows, expected);
    let mut composite = keyed(&[("format", "upsert_json")], 2, &[0, 1, 3]);
    composite.push(RawRecord { key: Some(b"{\"id\":1,\"a\":\"k\"}"), value: Some(b"{\"at\":null}") });
    composite.push(RawRecord { key: Some(b"1"), value: None });
    assert_eq!(flushed(composite.as_mut()).0, ["0:1|k|1"]);
}

#[test]
fn debezium_decoder_envelope_upserts_or_deletes_a_row() {
    let mut debezium = keyed(&[("format", "debezium_json")], 1, &[0, 1, 3]);
    debezium.push(RawRecord::from(b"{\"before\":null,\"after\":{\"id\":1,\"a\":\"x\"},\"op\":\"c\"}".as_slice()));
    debezium.push(RawRecord { key: Some(b"1"), value: None });
    let records: [&[u8]; 10] = [
        b"{\"schema\":{},\"payload\":{\"after\":{\"id\":2,\"a\":\"y\"},\"op\":\"r\"}}",
        b"{\"before\":{\"id\":1},\"after\":null,\"op\":\"d\"}",
        b"{\"payload\":{\"before\":{\"id\":2,\"a\":\"y\"},\"op\":\"d\"}}",
        b"{\"op\":\"t\"}",
        b"{\"after\":{\"id\":3},\"op\":\"d\"}",
        b"{\"before\":{\"id\":3},\"op\":\"u\"}",
        b"{\"after\":{\"a\":\"no key\"},\"op\":\"u\"}",
        b"{\"id\":3}",
        b"{\"op\":\"c\",\"after\":{\"id\":\"x\"}}",
        b"{\"after\":{\"id\":4},\"op\":\"u\"}",
    ];
    let (rows, bad) = decoded(debezium.as_mut(), &records);
    assert_eq!(rows, ["0:1|x|1", "2:2|y|1", "3:1|NULL|-1", "4:2|y|-1", "11:4|NULL|1"]);
    assert_eq!(bad.iter().map(|(record, _)| *record).collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10]);
    assert_eq!(bad[0].1, "a truncate cannot be followed");
    assert_eq!(bad[4].1, "it is no Debezium envelope: it has no op");
    // Only what is wanted.
    let mut only = keyed(&[("format", "debezium_json")], 1, &[3]);
    assert_eq!(decoded(only.as_mut(), &records[..2]).0, ["0:1", "1:-1"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A record comes to the same alone as among others, wherever it is flushed.
    #[test]
    fn decoder_record_decodes_the_same_alone_and_among_others(
        records in prop::collection::vec(prop_oneof![
            6 => any::<i16>().prop_map(|a| format!("{{\"a\":{a}}}")),
            1 => Just("{\"a\":1.5}".to_string()),
            1 => "[{}\",:a1\n ]{0,8}",
        ], 0..120),
        cut in 0_usize..120,
        csv in any::<bool>(),
    ) {
        let name = if csv { "csv" } else { "json" };
        let new = || decoder(&[("format", name), ("delimiter", ":")][..if csv { 2 } else { 1 }], &[("a", DataType::Utf8)], &[0]);
        let (mut all, mut rows, mut bad) = (new(), Vec::new(), Vec::new());
        let cut = cut.min(records.len());
        for (base, part) in [(0, &records[..cut]), (cut, &records[cut..])] {
            part.iter().for_each(|record| all.push(RawRecord::from(record.as_bytes())));
            let decoded = all.flush();
            let number = |row: usize| decoded.records.as_ref().map_or(row, |r| r.value(row) as usize);
            let mut shown = Vec::new();
            show(&decoded.rows, &mut shown);
            rows.extend(shown.into_iter().enumerate().map(|(row, text)| (base + number(row), text)));
            bad.extend(decoded.errors.into_iter().map(|r| (base + r.record, r.reason)));
        }
        let (mut alone_rows, mut alone_bad) = (Vec::new(), Vec::new());
        for (n, record) in records.iter().enumerate() {
            let mut one = new();
            one.push(RawRecord::from(record.as_bytes()));
            let decoded = one.flush();
            let mut shown = Vec::new();
            show(&decoded.rows, &mut shown);
            alone_rows.extend(shown.into_iter().map(|text| (n, text)));
            alone_bad.extend(decoded.errors.into_iter().map(|r| (n, r.reason)));
        }
        prop_assert_eq!(rows, alone_rows);
        prop_assert_eq!(bad, alone_bad);
    }
}
