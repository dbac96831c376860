//! A file that is cut anywhere gives what the whole file gives.

use super::*;

/// Reads a file whole, then with every cut into two and into three parts, empty ones too, and compares.
#[track_caller]
fn assert_every_cut_reads_alike(format: &Format, name: &str, bytes: &[u8], schema: &SchemaRef) -> Read {
    assert!(format.splits(name));
    let (bytes, size) = (Bytes::copy_from_slice(bytes), bytes.len() as u64);
    let columns: Vec<usize> = (0..schema.fields().len()).collect();
    let read = |parts: &[Range<u64>]| read_parts(format, name, &bytes, schema, parts, &columns);
    #[expect(clippy::single_range_in_vec_init, reason = "one part that is all of the file")]
    let whole = read(&[0..size]);
    for first in 0..=size {
        for second in first..=size {
            let cut = read(&[0..first, first..second, second..size]);
            assert_eq!(cut, whole, "{:?} cut at {first} and {second}", bytes);
        }
    }
    whole
}

/// Texts whose lines end so.
fn endings(text: &str) -> [String; 4] {
    let ended = |end: &str| text.replace('\n', end);
    let open = text.trim_end_matches('\n').to_string();
    [ended("\n"), ended("\r\n"), ended("\r"), open]
}

#[test]
fn csv_cut_anywhere_gives_the_whole_file() {
    let bodies = [
        "1,one\n2,two\n3,three\n",
        "1,\"one\"\n\n2,\"a, \"\"b\"\"\"\nx,bad\n  \n3,é\n\n",
        "1,\"open\n2,x\n,\n\n",
        "7,7\n",
    ];
    for body in bodies {
        for (before, header) in [("", "false"), ("a,b\n", "true"), ("\n \nB,\"a\"\n", "true")] {
            let csv = format(&[("format", "csv"), ("header", header)]);
            for text in endings(&format!("{before}{body}")) {
                let plain = assert_every_cut_reads_alike(&csv, "f.csv", text.as_bytes(), &two());
                let marked = [b"\xEF\xBB\xBF", text.as_bytes()].concat();
                assert_eq!(assert_every_cut_reads_alike(&csv, "f.csv", &marked, &two()), plain, "{text:?}");
                assert_eq!(read(&csv, "f.csv.gz", &gzip(&marked), &two(), 3), plain, "{text:?}");
            }
        }
    }
}

#[test]
fn csv_without_rows_or_with_a_wrong_header_cut_anywhere_gives_the_whole_file() {
    let csv = format(&[("format", "csv"), ("header", "true")]);
    for text in ["a,b\n", "a,b", "\n\na,b\r\n", "\n\n", "c;d\n1;2\n"] {
        let got = assert_every_cut_reads_alike(&csv, "f.csv", text.as_bytes(), &two());
        assert_eq!((got.rows.len(), got.bad.len(), got.damage.is_some()), (0, 0, text.starts_with('c')), "{text:?}");
    }
}

#[test]
fn json_cut_anywhere_gives_the_whole_file() {
    let json = format(&[("format", "json")]);
    let lines = "{\"a\":1}\n\n{\"b\":\"é\"}\n{\"a\":\n{\"a\":3}{}\n {} \n";
    let array = "[{\"a\":1},\n{\"b\":\"x\"}\n,{\"a\":true}]";
    for text in endings(lines).into_iter().chain(endings(array)) {
        let plain = assert_every_cut_reads_alike(&json, "f.json", text.as_bytes(), &two());
        assert_eq!(plain.rows.len() + plain.bad.len(), if text.starts_with('[') { 3 } else { 5 }, "{text:?}");
        let marked = [b"\xEF\xBB\xBF", text.as_bytes()].concat();
        assert_eq!(assert_every_cut_reads_alike(&json, "f.json", &marked, &two()), plain, "{text:?}");
    }
}

#[test]
fn text_cut_anywhere_gives_the_whole_file() {
    let lines = format(&[("format", "text")]);
    for text in endings("one\n\n é \ntwo\n\n").into_iter().chain(endings("\n\n\n")) {
        let plain = assert_every_cut_reads_alike(&lines, "f.txt", text.as_bytes(), &text::schema());
        let marked = [b"\xEF\xBB\xBF", text.as_bytes()].concat();
        assert_eq!(assert_every_cut_reads_alike(&lines, "f.txt", &marked, &text::schema()), plain, "{text:?}");
    }
    assert_every_cut_reads_alike(&lines, "f.txt", b"one\n\xFF\xFE\ntwo", &text::schema());
}

#[test]
fn parquet_cut_in_two_anywhere_gives_the_whole_file() {
    let (file, parquet) = (Bytes::from(parquet(50, 20)), format(&[("format", "parquet")]));
    let size = file.len() as u64;
    let schema = schema(&[("a", DataType::Int8), ("b", DataType::Utf8)]);
    let read = |parts: &[Range<u64>]| read_parts(&parquet, "f", &file, &schema, parts, &[0, 1]);
    #[expect(clippy::single_range_in_vec_init, reason = "one part that is all of the file")]
    let whole = read(&[0..size]);
    assert_eq!(whole.rows.len(), 50);
    for at in 0..=size {
        assert_eq!(read(&[0..at, at..size]), whole, "cut at {at}");
    }
}

#[test]
fn csv_with_carriage_return_line_ends_is_read() {
    let named = format(&[("format", "csv"), ("header", "true")]);
    let got = read(&named, "f.csv", b"a,b\r1,one\r\rx,bad\r2,\"t\rwo\"", &two(), 1);
    assert_eq!((got.rows, got.at), (vec!["1|one".to_string()], vec![2]));
    assert_eq!(got.bad.iter().map(|b| b.position).collect::<Vec<_>>(), [4, 5, 6]);
    let many = format(&[("format", "csv"), ("multiline", "true")]);
    let got = read(&many, "f.csv", b"1,\"one\nand\rmore\"\r2,two\r", &two(), 1);
    assert_eq!(
        (got.rows, got.at, got.bad),
        (vec!["1|one\nand\rmore".to_string(), "2|two".to_string()], vec![1, 3], vec![])
    );
    // A carriage return that ends no line is a part of its record, and so told where it may not stand.
    let got = read(&named, "f.csv", b"a,b\n1,o\rne\n2,\"t\rwo\"\n", &two(), 1);
    assert_eq!((got.rows, got.bad.len()), (vec!["2|t\rwo".to_string()], 1));
    let got = read(&named, "f.csv", b"a,b\r1,one\n", &two(), 1);
    assert!(got.damage.is_some_and(|reason| reason.contains("a line break in the middle")));
    let text = format!("a,b\r{}", "1,one\r".repeat(20_000));
    assert_eq!(inferred(&named, &[text.as_bytes()]), pairs(&[("a", DataType::Int64), ("b", DataType::Utf8)]));
    assert_eq!(read(&named, "f.csv", text.as_bytes(), &two(), 5).rows.len(), 20_000);
}

/// Whether a record is too long does not hang on where the part begins that it is in.
#[test]
fn csv_record_of_the_maximum_length_is_good_wherever_the_file_is_cut() {
    let csv = format(&[("format", "csv")]);
    for (more, rows, bad) in [(0, 3, 0), (1, 2, 1)] {
        let mut text = b"1,one\n2,".to_vec();
        text.resize(6 + records::RECORD_BYTES_MAX - 1 + more, b'x');
        text.extend_from_slice(b"\n3,three\n");
        let (text, size) = (Bytes::from(text.clone()), text.len() as u64);
        for at in [1, 6, 7, 100_000, size - 1] {
            let got = read_parts(&csv, "f.csv", &text, &two(), &[0..at, at..size], &[0]);
            assert_eq!((got.rows.len(), got.bad.len()), (rows, bad), "cut at {at}");
        }
    }
}
