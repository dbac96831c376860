//! Files of a folder through the whole server: each row of each file counts once, or a dead letter says why not.

use std::{fs, io::Write, path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray},
    buffer::NullBuffer,
    datatypes::{Field, Fields},
};
use arrow_avro::writer::AvroWriter;
use tokio_postgres::Client;

use super::harness::{Home, rows, run};

/// Lines of `width` bytes, and one more that fills the file up to `bytes`.
fn lines(bytes: usize, width: usize, mut line: impl FnMut(usize, usize) -> String) -> String {
    let mut text = String::new();
    let mut n = 0;
    while text.len() + 2 * width <= bytes {
        text.push_str(&line(n, width));
        n += 1;
    }
    text.push_str(&line(n, bytes - text.len()));
    assert_eq!(text.len(), bytes);
    text
}

/// The share of the first partition ends one byte behind the beginning of the second file.
#[tokio::test(flavor = "multi_thread")]
async fn directory_source_cut_one_byte_into_a_file_reads_each_row_once() {
    let home = Home::new();
    home.put("tidemark.yaml", "threads:\n  query: 2\n");
    let json = |n: usize, width: usize| format!("{:<1$}\n", format!("{{\"id\":{n}}}"), width - 1);
    let csv = |n: usize, width: usize| match n {
        0 => format!("id,{:<1$}\n", "filler", width - 4),
        _ => format!("{n},{:<1$}\n", "", width - 2 - n.to_string().len()),
    };
    let mut expected = [0, 0];
    for (file, bytes) in [("1", 200_000), ("2", 200_001)] {
        let (json, csv) = (lines(bytes, 59, json), lines(bytes, 59, csv));
        expected = [expected[0] + json.lines().count(), expected[1] + csv.lines().count() - 1];
        home.put(&format!("json/{file}"), json);
        home.put(&format!("csv/{file}"), csv);
    }
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SOURCE j (id INT) WITH (connector = 'directory', path = 'json', format = 'json');
         CREATE SOURCE c (id INT) WITH (connector = 'directory', path = 'csv', format = 'csv', header = true);
         CREATE MATERIALIZED VIEW vj AS SELECT count(*) AS n FROM j;
         CREATE MATERIALIZED VIEW vc AS SELECT count(*) AS n FROM c;
         FLUSH",
    )
    .await;
    let counted = rows(&client, "SELECT vj.n, vc.n FROM vj, vc").await;
    assert_eq!(counted, [format!("{}|{}", expected[0], expected[1])]);
    assert_eq!(rows(&client, "SELECT file, line, reason FROM tidemark.dead_letters").await, [""; 0]);
}

/// What a folder's owner may do with a file that was read.
type Fate = fn(&Path);

#[tokio::test(flavor = "multi_thread")]
async fn directory_source_whose_file_vanishes_after_reading_recovers_from_kill_9() {
    let fates: [(&str, Fate); 3] = [
        ("deleted", |file| fs::remove_file(file).unwrap()),
        ("renamed", |file| fs::rename(file, file.with_file_name("_done")).unwrap()),
        ("replaced", |file| {
            let draft = file.with_file_name(".draft");
            fs::write(&draft, "70\n80\n90\n").unwrap();
            fs::rename(draft, file).unwrap();
        }),
    ];
    for (what, fate) in fates {
        let home = Home::new();
        home.put("in/a.csv", "1\n2\n");
        let server = home.start();
        let client = server.connect().await;
        run(
            &client,
            "CREATE SOURCE s (id INT) WITH (connector = 'directory', path = 'in', format = 'csv');
             CREATE MATERIALIZED VIEW v WITH (checkpoint_interval = '1 hour') AS SELECT sum(id) AS n FROM s;
             FLUSH",
        )
        .await;
        assert_eq!(rows(&client, "SELECT n FROM v").await, ["3"]);
        fate(&home.path("in/a.csv"));
        server.kill();
        let server = home.start();
        let client = server.connect().await;
        run(&client, "FLUSH").await;
        let expected = if what == "replaced" { "243" } else { "3" };
        assert_eq!(rows(&client, "SELECT n FROM v").await, [expected], "{what}");
        assert_eq!(rows(&client, "SELECT state, last_error FROM tidemark.queries").await, ["running|NULL"], "{what}");
        assert_eq!(rows(&client, "SELECT reason FROM tidemark.dead_letters").await, [""; 0], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directory_source_reads_a_new_file_under_a_reused_name() {
    let home = Home::new();
    home.put("in/a.csv", "1\n");
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SOURCE s (id INT) WITH (connector = 'directory', path = 'in', format = 'csv');
         CREATE MATERIALIZED VIEW v AS SELECT sum(id) AS n FROM s;
         FLUSH",
    )
    .await;
    fs::remove_file(home.path("in/a.csv")).unwrap();
    home.put("in/a.csv", "20\n");
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT n FROM v").await, ["21"]);
    // While nobody looks, too.
    assert!(server.terminate().await.success());
    fs::remove_file(home.path("in/a.csv")).unwrap();
    home.put("in/a.csv", "300\n");
    let server = home.start();
    let client = server.connect().await;
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT n FROM v").await, ["321"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_file_with_carriage_return_line_ends_is_read() {
    let home = Home::new();
    home.put("in/a.csv", "id,n\r1,10\rx,20\r3,30\r");
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SOURCE s (id INT, n INT) WITH (connector = 'directory', path = 'in', format = 'csv', header = true);
         CREATE MATERIALIZED VIEW v AS SELECT id, n FROM s;
         FLUSH",
    )
    .await;
    assert_eq!(rows(&client, "SELECT id, n FROM v ORDER BY id").await, ["1|10", "3|30"]);
    assert_eq!(rows(&client, "SELECT line FROM tidemark.dead_letters").await, ["3"]);
}

/// A file of an optional record whose fields are not optional, and of rows without it.
fn optional_records() -> Vec<u8> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(1..=4));
    let fields: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(vec![10, 0, 30, 0]))),
        ("t", Arc::new(StringArray::from(vec!["a", "", "c", ""]))),
        ("b", Arc::new(BooleanArray::from(vec![true, false, true, false]))),
    ];
    let types: Fields = fields.iter().map(|(name, a)| Field::new(*name, a.data_type().clone(), false)).collect();
    let fields = fields.into_iter().map(|(_, array)| array).collect();
    let there = NullBuffer::from(vec![true, false, true, false]);
    let records: ArrayRef = Arc::new(StructArray::new(types, fields, Some(there)));
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("u", records, true)]).unwrap();
    let mut writer = AvroWriter::new(Vec::new(), batch.schema().as_ref().clone()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn avro_fields_of_a_null_record_are_null_in_view_and_select() {
    let home = Home::new();
    home.put("in/a.avro", optional_records());
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SOURCE s (id BIGINT, u STRUCT<n BIGINT, t TEXT, b BOOLEAN>)
             WITH (connector = 'directory', path = 'in', format = 'avro');
         CREATE SOURCE inferred WITH (connector = 'directory', path = 'in', format = 'avro');
         CREATE MATERIALIZED VIEW v AS
             SELECT count(u -> 'n') AS c, avg(u -> 'n')::int AS a, count(*) FILTER (WHERE u ->> 't' = '') AS e,
                    count(*) FILTER (WHERE NOT (u -> 'b')) AS f, count(*) AS n FROM s;
         CREATE MATERIALIZED VIEW shown AS SELECT id, u -> 'n' AS n, u ->> 't' AS t, u -> 'b' AS b FROM inferred;
         FLUSH",
    )
    .await;
    assert_eq!(rows(&client, "SELECT * FROM v").await, ["2|20|0|0|4"]);
    let expected = ["1|10|a|t", "2|NULL|NULL|NULL", "3|30|c|t", "4|NULL|NULL|NULL"];
    assert_eq!(rows(&client, "SELECT * FROM shown ORDER BY id").await, expected);
    for source in ["s", "inferred"] {
        let select = format!("SELECT id, u -> 'n', u ->> 't', u -> 'b' FROM {source} ORDER BY id");
        assert_eq!(rows(&client, &select).await, expected, "{source}");
        assert_eq!(rows(&client, &format!("SELECT id FROM {source} WHERE u -> 'n' = 0")).await, [""; 0]);
    }
}

/// A file of Avro whose only block is a byte longer than its rows: decoding it once never came to an end.
#[tokio::test(flavor = "multi_thread")]
async fn avro_file_with_a_block_longer_than_its_rows_does_not_hang() {
    let schema = r#"{"type": "record", "name": "r", "fields": [{"name": "id", "type": "long"}]}"#;
    let mut file = b"Obj\x01\x02\x16avro.schema".to_vec();
    let length = schema.len() * 2;
    file.extend([((length & 0x7f) | 0x80) as u8, (length >> 7) as u8]);
    file.extend_from_slice(schema.as_bytes());
    // No more of the header, its mark, a block of two rows in three bytes, and the mark.
    file.extend_from_slice(b"\0sixteen letters!\x04\x06\x02\x04\x06sixteen letters!");
    let home = Home::new();
    home.put("in/1.avro", &file);
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SOURCE s (id BIGINT) WITH (connector = 'directory', path = 'in', format = 'avro');
         CREATE MATERIALIZED VIEW v AS SELECT sum(id) AS n FROM s;
         FLUSH",
    )
    .await;
    let check = async |client: &Client| {
        assert_eq!(rows(client, "SELECT n FROM v").await, ["3"]);
        assert_eq!(rows(client, "SELECT id FROM s ORDER BY id").await, ["1", "2"]);
        let letters = rows(client, "SELECT file, reason FROM tidemark.dead_letters").await;
        assert!(letters.len() == 1 && letters[0].contains("1.avro|the block at byte "), "{letters:?}");
        assert!(letters[0].ends_with("1 bytes are left behind its 2 rows"), "{letters:?}");
    };
    check(&client).await;
    server.kill();
    let server = home.start();
    let client = server.connect().await;
    check(&client).await;
    run(&client, "DROP MATERIALIZED VIEW v; DROP SOURCE s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_beyond_the_epoch_limit_are_summed_in_one() {
    let home = Home::new();
    home.put("tidemark.yaml", "threads:\n  query: 2\ndead_letters:\n  epoch_max_rows: 1_000\n");
    let text: String = (1..=50_000).map(|n| format!("this is line {n}, which is bad\n")).collect();
    home.put("in/a.csv", format!("{text}7\n"));
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SOURCE s (id INT) WITH (connector = 'directory', path = 'in', format = 'csv');
         CREATE MATERIALIZED VIEW v AS SELECT sum(id) AS n FROM s;
         FLUSH",
    )
    .await;
    let summary = "49000 more bad records of this epoch are counted and not kept: see dead_letters.epoch_max_rows and \
                dead_letters.epoch_max_bytes";
    let check = async |client: &Client| {
        assert_eq!(rows(client, "SELECT n FROM v").await, ["7"]);
        // The first lines, although two threads read the file.
        let kept = "SELECT count(*), min(line), max(line) FROM tidemark.dead_letters WHERE line IS NOT NULL";
        assert_eq!(rows(client, kept).await, ["1000|1|1000"]);
        let rest = "SELECT source, query, reason FROM tidemark.dead_letters WHERE line IS NULL";
        assert_eq!(rows(client, rest).await, [format!("s|v|{summary}")]);
        assert_eq!(rows(client, "SELECT dead_letters FROM tidemark.queries").await, ["50000"]);
    };
    check(&client).await;
    server.kill();
    let server = home.start();
    check(&server.connect().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_file_failing_its_checksum_is_a_dead_letter_without_rows() {
    let home = Home::new();
    let text: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
    zstd.include_checksum(true).unwrap();
    zstd.write_all(text.as_bytes()).unwrap();
    let zstd = zstd.finish().unwrap();
    for (name, packed) in [("gz", gzip), ("zst", zstd)] {
        let mut spoiled = packed.clone();
        let last = spoiled.len() - if name == "gz" { 5 } else { 1 };
        spoiled[last] ^= 1;
        home.put(&format!("in/spoiled.csv.{name}"), spoiled);
        home.put(&format!("in/cut.csv.{name}"), &packed[..packed.len() - 1]);
        home.put(&format!("in/whole.csv.{name}"), &packed);
    }
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SOURCE s (id INT) WITH (connector = 'directory', path = 'in', format = 'csv');
         CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(id) AS s FROM s;
         FLUSH",
    )
    .await;
    assert_eq!(rows(&client, "SELECT n, s FROM v").await, ["20000|99990000"]);
    let letters =
        "SELECT file, line FROM tidemark.dead_letters WHERE reason LIKE 'the file cannot be read: %' ORDER BY file";
    let files = ["cut.csv.gz", "cut.csv.zst", "spoiled.csv.gz", "spoiled.csv.zst"];
    assert_eq!(rows(&client, letters).await, files.map(|file| format!("in/{file}|NULL")));
}
