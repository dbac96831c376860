//! Avro files whose blocks are not what they say.

use super::*;

/// A number as Avro writes it.
fn long(number: i64) -> Vec<u8> {
    let mut bits = ((number << 1) ^ (number >> 63)) as u64;
    let mut bytes = Vec::new();
    while bits >= 0x80 {
        bytes.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    bytes.push(bits as u8);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [long(text.len() as i64), text.as_bytes().to_vec()].concat()
}

const SYNC: &[u8; 16] = b"sixteen letters!";

/// A file of blocks, each with the number of rows that it says.
fn container(schema: &str, codec: &str, blocks: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let mut file = [b"Obj\x01".to_vec(), long(2), text("avro.schema"), text(schema)].concat();
    file.extend([text("avro.codec"), text(codec), long(0), SYNC.to_vec()].concat());
    for (rows, data) in blocks {
        let data = pack(codec, data);
        file.extend([long(*rows), long(data.len() as i64), data, SYNC.to_vec()].concat());
    }
    file
}

fn pack(codec: &str, data: &[u8]) -> Vec<u8> {
    match codec {
        "deflate" => {
            let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(data).unwrap();
            packer.finish().unwrap()
        }
        "zstandard" => zstd::encode_all(data, 1).unwrap(),
        "snappy" => {
            let packed = snap::raw::Encoder::new().compress_vec(data).unwrap();
            [packed, crc32fast::hash(data).to_be_bytes().to_vec()].concat()
        }
        _ => data.to_vec(),
    }
}

const SCHEMA: &str = r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": ["null", "string"]}]}"#;

/// Rows of [`SCHEMA`].
fn rows(numbers: std::ops::Range<i64>) -> Vec<u8> {
    numbers.flat_map(|n| [long(n), long(1), text(&format!("row {n}"))].concat()).collect()
}

fn avro() -> Format {
    format(&[("format", "avro")])
}

/// Of each block of three what is read of it where its second one is `broken`.
fn read_with_second_block(codec: &str, broken: (i64, Vec<u8>)) -> (Vec<i64>, Vec<(i64, String)>, Option<String>) {
    let file = container(SCHEMA, codec, &[(2, rows(0..2)), broken, (2, rows(5..7))]);
    for columns in [&[1][..], &[], &[0]] {
        let got = read_projected(&avro(), "f.avro", &file, &two(), 1, columns);
        assert_eq!(got.rows.len(), got.at.len());
        if columns == [0] {
            let rows = got.rows.iter().map(|row| row.parse().unwrap()).collect();
            return (rows, got.bad.into_iter().map(|b| (b.position, b.reason)).collect(), got.damage);
        }
    }
    unreachable!("the last columns are those")
}

#[test]
fn avro_block_longer_than_its_rows_is_one_bad_record() {
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        assert_eq!(read_with_second_block(codec, (3, rows(2..5))), ((0..7).collect(), vec![], None), "{codec}");
        for left in [vec![0], vec![2], vec![2; 40]] {
            let (rows, bad, damage) = read_with_second_block(codec, (3, [rows(2..5), left.clone()].concat()));
            assert_eq!((rows, damage), ((0..7).collect(), None), "{codec}");
            assert_eq!((bad.len(), bad[0].0), (1, 6), "{codec}: {bad:?}");
            let reason = format!("{} bytes are left behind its 3 rows", left.len());
            assert!(bad[0].1.starts_with("the block at byte ") && bad[0].1.ends_with(&reason), "{bad:?}");
        }
        // Rows that end with the block, but are more or fewer than it says.
        let (rows, bad, damage) = read_with_second_block(codec, (4, self::rows(2..5)));
        assert_eq!((rows, bad.len(), bad[0].0, damage), ((0..7).collect(), 1, 6, None));
        let (rows, bad, _) = read_with_second_block(codec, (2, self::rows(2..5)));
        assert_eq!((rows, bad.len()), (vec![0, 1, 2, 3, 5, 6], 1));
        for none in [(0, self::rows(2..5)), (i64::MAX, self::rows(2..5)), (i64::MAX, vec![])] {
            let (rows, bad, damage) = read_with_second_block(codec, none);
            assert_eq!((rows.first(), rows.last(), bad.len(), damage), (Some(&0), Some(&6), 1, None));
        }
    }
    assert_eq!(read_with_second_block("null", (0, vec![])), (vec![0, 1, 5, 6], vec![], None));
}

#[test]
fn avro_block_that_cannot_be_unpacked_is_one_bad_record() {
    let file = |codec: &str| container(SCHEMA, codec, &[(2, rows(0..2)), (3, rows(2..5)), (2, rows(5..7))]);
    for codec in ["deflate", "snappy", "zstandard"] {
        let mut file = file(codec);
        let marks: Vec<_> = (0..file.len() - 15).filter(|at| file[*at..*at + 16] == *SYNC).collect();
        // The second block, behind its two numbers.
        file[marks[1] + 18..marks[2]].fill(0xff);
        let got = read(&avro(), "f.avro", &file, &two(), 1);
        assert_eq!((got.rows.len(), got.bad.len(), &got.damage), (4, 1, &None), "{codec}: {got:?}");
        assert_eq!(got.at, [1, 2, 6, 7], "{codec}");
        assert!(got.bad[0].reason.contains("the block at byte"), "{}", got.bad[0].reason);
    }
    let bomb = vec![0; 65 << 20];
    let file = container(SCHEMA, "zstandard", &[(2, rows(0..2)), (3, bomb), (2, rows(5..7))]);
    let got = read(&avro(), "f.avro", &file, &two(), 1);
    assert_eq!((got.rows.len(), got.bad.len(), got.damage), (4, 1, None));
    assert!(got.bad[0].reason.contains("is longer than 64 MiB"), "{}", got.bad[0].reason);
}

#[test]
fn avro_file_truncated_or_corrupted_anywhere_terminates() {
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let file = container(SCHEMA, codec, &[(2, rows(0..2)), (3, rows(2..5)), (2, rows(5..7))]);
        let whole = read(&avro(), "f.avro", &file, &two(), 1);
        assert_eq!(whole.rows.len(), 7);
        for length in 0..file.len() {
            let got = read(&avro(), "f.avro", &file[..length], &two(), 1);
            assert_eq!(got.rows, whole.rows[..got.rows.len()], "{codec} of {length} bytes");
            assert!(got.damage.is_some() || [2, 5].contains(&got.rows.len()) || got.rows.is_empty(), "{got:?}");
        }
        for at in 0..file.len() {
            for mask in [0x01, 0x40, 0x80, 0xff] {
                let mut spoiled = file.clone();
                spoiled[at] ^= mask;
                let got = read(&avro(), "f.avro", &spoiled, &two(), 1);
                assert!(got.rows.len() <= 1 << 20);
            }
        }
    }
}

#[test]
fn avro_rows_of_zero_bytes_are_counted_by_their_block() {
    let schema = r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "null"}]}"#;
    let file = container(schema, "null", &[(5, vec![]), (i64::MAX, vec![]), (2, vec![])]);
    let got = read(&avro(), "f.avro", &file, &schema_of_text(), 1);
    assert_eq!((got.rows.len(), got.bad.len(), got.damage), (7, 1, None));
    assert!(got.bad[0].reason.contains("9223372036854775807 rows in 0 bytes"), "{}", got.bad[0].reason);
}

fn schema_of_text() -> SchemaRef {
    schema(&[("a", DataType::Utf8)])
}

#[test]
fn avro_schema_with_zero_byte_array_items_is_refused() {
    let items = [
        r#""null""#,
        r#"{"type": "record", "name": "e", "fields": []}"#,
        r#"{"type": "fixed", "name": "z", "size": 0}"#,
    ];
    for item in items {
        let array = format!(r#"{{"type": "array", "items": {item}}}"#);
        let schema = format!(r#"{{"type": "record", "name": "r", "fields": [{{"name": "a", "type": {array}}}]}}"#);
        let endless = [long(i64::MAX), long(0)].concat();
        let file = container(&schema, "null", &[(1, endless)]);
        let got = read(&avro(), "f.avro", &file, &schema_of_text(), 1);
        assert!(got.rows.is_empty() && got.damage.is_some(), "{item}: {got:?}");
        let mut options = Options::default();
        options.insert("format", "avro");
        options.insert("avro.schema", schema.as_str());
        assert!(Format::from_options(&mut options.taker("a test")).is_err(), "{item}");
    }
}

#[test]
fn avro_column_of_a_type_named_elsewhere_is_read_alone() {
    let schema = r#"{"type": "record", "name": "r", "fields": [
        {"name": "x", "type": {"type": "enum", "name": "kind", "symbols": ["A", "B"]}}, {"name": "a", "type": "kind"}]}"#;
    let file = container(schema, "null", &[(2, [long(0), long(1), long(1), long(0)].concat())]);
    assert_eq!(read(&avro(), "f.avro", &file, &schema_of_text(), 1).rows, ["B", "A"]);
}

/// Writers may make a block for each row, or one for all.
#[test]
fn avro_blocks_of_any_size_give_the_same_rows() {
    let blocks = |size: i64| {
        let each = (0..3_000 / size).map(|n| (size, rows(n * size..(n + 1) * size)));
        container(SCHEMA, "deflate", &each.collect::<Vec<_>>())
    };
    let whole = read(&avro(), "f.avro", &blocks(3_000), &two(), 1);
    assert_eq!((whole.rows.len(), whole.at.last()), (3_000, Some(&3_000)));
    for size in [1, 12, 100, 1_500] {
        assert_eq!(read(&avro(), "f.avro", &blocks(size), &two(), 1), whole, "{size} rows in a block");
    }
}
