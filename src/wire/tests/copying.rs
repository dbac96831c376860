//! COPY in both directions, and copies that go wrong.

use arrow::util::pretty::pretty_format_batches;
use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};

use super::*;

async fn copy_in(client: &Client, sql: &str, pieces: &[&[u8]]) -> std::result::Result<u64, String> {
    let sink = client.copy_in(sql).await.map_err(|e| error_text(&e))?;
    let mut sink = std::pin::pin!(sink);
    for piece in pieces {
        if let Err(e) = sink.send(Bytes::copy_from_slice(piece)).await {
            return Err(error_text(&e));
        }
    }
    sink.finish().await.map_err(|e| error_text(&e))
}

async fn copy_out(client: &Client, sql: &str) -> String {
    let chunks: Vec<Bytes> = client.copy_out(sql).await.expect(sql).try_collect().await.expect(sql);
    String::from_utf8_lossy(&chunks.concat()).into_owned()
}

fn copied(server: &Server) -> String {
    let batches = std::mem::take(&mut *server.door.copied.lock().expect("no panic"));
    pretty_format_batches(&batches).expect("a table").to_string()
}

const ROWS: &str = "\
+----+------+-------+---------------------+-------+
| id | name | price | at                  | ok    |
+----+------+-------+---------------------+-------+
| 1  | a\tb  | 1.50  | 2024-01-02T03:04:05 | true  |
| 2  |      |       |                     | false |
+----+------+-------+---------------------+-------+";

#[tokio::test]
async fn copy_in_text_in_any_chunks_gives_the_same_rows() {
    let server = Server::start().await;
    let client = server.connect().await;
    let text = b"1\ta\\tb\t1.5\t2024-01-02 03:04:05\tt\n2\t\\N\t\\N\t\\N\toff\n";
    for size in [1, 7, text.len()] {
        let pieces: Vec<&[u8]> = text.chunks(size).collect();
        assert_eq!(copy_in(&client, "COPY copied FROM STDIN", &pieces).await, Ok(2));
        assert_eq!(copied(&server), ROWS);
    }
}

#[tokio::test]
async fn copy_in_csv_reads_quotes_header_and_nulls() {
    let server = Server::start().await;
    let client = server.connect().await;
    let text = b"id,name,price,at,ok\r\n1,\"a\tb\",1.5,2024-01-02 03:04:05,t\r\n2,,,,f";
    assert_eq!(copy_in(&client, "COPY copied FROM STDIN WITH (FORMAT CSV, HEADER)", &[text]).await, Ok(2));
    assert_eq!(copied(&server), ROWS);
    let text = b"1,\"line one\nand \"\"two\"\"\",,,\n2,\"\",,,\n";
    for size in [1, text.len()] {
        let pieces: Vec<&[u8]> = text.chunks(size).collect();
        assert_eq!(copy_in(&client, "COPY copied FROM STDIN WITH (FORMAT CSV)", &pieces).await, Ok(2));
        let shown = copied(&server);
        assert!(shown.contains("and \"two\""), "{shown}");
    }
}

#[tokio::test]
async fn copy_binary_roundtrips_and_a_truncated_one_is_an_error() {
    let server = Server::start().await;
    let client = server.connect().await;
    let query = "SELECT 1::int, 'a' || chr(9) || 'b', 1.50::decimal(10, 2), timestamp '2024-01-02 03:04:05', true \
                 UNION ALL SELECT 2::int, NULL, NULL, NULL, false ORDER BY 1";
    let sql = format!("COPY ({query}) TO STDOUT WITH (FORMAT BINARY)");
    let chunks: Vec<Bytes> = client.copy_out(&sql).await.expect("out").try_collect().await.expect("out");
    let bytes = chunks.concat();
    for size in [1, 5, bytes.len()] {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        assert_eq!(copy_in(&client, "COPY copied FROM STDIN WITH (FORMAT BINARY)", &pieces).await, Ok(2));
        assert_eq!(copied(&server), ROWS);
    }
    let cut = copy_in(&client, "COPY copied FROM STDIN WITH (FORMAT BINARY)", &[&bytes[..bytes.len() - 3]]).await;
    assert_eq!(cut, Err("22P04 unexpected EOF in COPY data".into()));
}

#[tokio::test]
async fn copy_out_writes_text_and_csv() {
    let server = Server::start().await;
    let client = server.connect().await;
    let query = "SELECT 1 AS n, 'a' || chr(9) || 'b,' AS t UNION ALL SELECT 2, NULL ORDER BY 1";
    assert_eq!(copy_out(&client, &format!("COPY ({query}) TO STDOUT")).await, "1\ta\\tb,\n2\t\\N\n");
    assert_eq!(
        copy_out(&client, &format!("COPY ({query}) TO STDOUT WITH (FORMAT CSV, HEADER)")).await,
        "n,t\n1,\"a\tb,\"\n2,\n"
    );
    assert_eq!(copy_out(&client, "COPY (SELECT n FROM numbers) TO STDOUT").await.lines().count(), 1000);
}

#[tokio::test]
async fn copy_in_failed_adds_no_rows_and_names_line_and_column() {
    let server = Server::start().await;
    let client = server.connect().await;
    let sql = "COPY copied FROM STDIN";
    for (text, error) in [
        (&b"1\ta\t1\t2024-01-01\tt\nx\ta\t1\t\\N\tt\n"[..], "22P02 invalid input syntax for type integer: \"x\""),
        (b"1\ta\n", "22P04 missing data for column \"price\""),
        (b"1\ta\t1\t\\N\tt\tmore\n", "22P04 extra data after last expected column"),
        (b"\\N\ta\t1\t\\N\tt\n", "23502 null value in column \"id\" violates not-null constraint"),
        (b"1\ta\t1\t2024-13-01\tt\n", "22007 invalid input syntax for type timestamp: \"2024-13-01\""),
        (b"1\t\xff\t1\t\\N\tt\n", "22P04 invalid byte sequence for encoding \"UTF8\""),
    ] {
        assert_eq!(copy_in(&client, sql, &[text]).await, Err(error.into()));
        assert!(server.door.copied.lock().expect("no panic").is_empty());
    }
    let error = copy_in_error(&client, sql, b"1\ta\t1\t2024-01-01\tt\nx\ta\t1\t\\N\tt\n").await;
    assert_eq!(error.as_deref(), Some("COPY, line 2, column id"));
    assert_eq!(simple(&client, "SELECT 1").await, ["1", "(1)"]);
}

async fn copy_in_error(client: &Client, sql: &str, bytes: &'static [u8]) -> Option<String> {
    let sink = client.copy_in(sql).await.expect(sql);
    let mut sink = std::pin::pin!(sink);
    sink.send(Bytes::from_static(bytes)).await.expect("sent");
    let error = sink.finish().await.expect_err("a bad row");
    error.as_db_error().and_then(|e| e.detail()).map(str::to_string)
}

#[tokio::test]
async fn copy_in_aborted_by_the_client_adds_no_rows() {
    let server = Server::start().await;
    let client = server.connect().await;
    let sink = client.copy_in("COPY copied FROM STDIN").await.expect("begun");
    {
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from_static(b"1\ta\t1\t\\N\tt\n")).await.expect("sent");
    }
    assert_eq!(simple(&client, "SELECT 1").await, ["1", "(1)"]);
    assert!(server.door.copied.lock().expect("no panic").is_empty());
}
