//! Packed files count whole or not at all.

use super::*;

fn zstd_with_checksum(bytes: &[u8]) -> Vec<u8> {
    let mut packer = zstd::Encoder::new(Vec::new(), 1).unwrap();
    packer.include_checksum(true).unwrap();
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// Nothing but why.
#[track_caller]
fn assert_refused(got: &Read, what: &str) {
    assert!(got.rows.is_empty() && got.bad.is_empty() && got.damage.is_some(), "{what}: {got:?}");
}

#[test]
fn compressed_file_truncated_or_corrupted_anywhere_gives_no_row() {
    let text: String =
        (0..300).map(|i| if i % 50 == 7 { "bad\n".to_string() } else { format!("{i},row {i}\n") }).collect();
    for kind in ["csv", "json", "text"] {
        let (kind, columns) = match kind {
            "text" => (format(&[("format", kind)]), text::schema()),
            kind => (format(&[("format", kind)]), two()),
        };
        for (name, packed) in [("f.gz", gzip(text.as_bytes())), ("f.zst", zstd_with_checksum(text.as_bytes()))] {
            let whole = read(&kind, name, &packed, &columns, 1);
            assert_eq!((whole.rows.len() + whole.bad.len(), &whole.damage), (300, &None));
            for length in 1..packed.len() {
                assert_refused(
                    &read(&kind, name, &packed[..length], &columns, 1),
                    &format!("{name} of {length} bytes"),
                );
            }
            for at in 0..packed.len() {
                let mut spoiled = packed.clone();
                spoiled[at] ^= 0x10;
                let got = read(&kind, name, &spoiled, &columns, 1);
                // A header also has bytes that mean nothing for what is in the file.
                if got != whole {
                    assert_refused(&got, &format!("{name} spoiled at {at}"));
                }
            }
        }
    }
}

/// More than is unpacked into memory.
#[test]
fn compressed_large_file_corrupted_at_its_end_gives_no_row() {
    let line = format!("1,{}\n", "x".repeat(50_000));
    let text = line.repeat(400);
    let csv = format(&[("format", "csv"), ("header", "true")]);
    let text = format!("a,b\n\n{text}");
    for (name, packed) in [("f.csv.gz", gzip(text.as_bytes())), ("f.csv.zst", zstd_with_checksum(text.as_bytes()))] {
        let whole = read_projected(&csv, name, &packed, &two(), 1, &[0]);
        assert_eq!((whole.rows.len(), whole.at[0], whole.damage), (400, 3, None));
        let mut spoiled = packed.clone();
        *spoiled.last_mut().unwrap() ^= 1;
        for packed in [spoiled.as_slice(), &packed[..packed.len() - 1]] {
            assert_refused(&read_projected(&csv, name, packed, &two(), 1, &[0]), name);
        }
    }
}

#[test]
fn compressed_concatenated_members_are_one_file() {
    let csv = format(&[("format", "csv")]);
    for (name, pack) in [("f.gz", gzip as fn(&[u8]) -> Vec<u8>), ("f.zst", zstd_with_checksum)] {
        let packed = [pack(b"1,one\n2,"), pack(b"two\n")].concat();
        assert_eq!(read(&csv, name, &packed, &two(), 1).rows, ["1|one", "2|two"]);
    }
}
