//! Queries, parameters, transactions, settings, prepared statements and cursors.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_postgres::types::Type;

use super::*;

#[tokio::test]
async fn simple_query_statements_answer_in_order() {
    let server = Server::start().await;
    let client = server.connect().await;
    let answer =
        simple(&client, "SELECT 1 AS a, 'x' AS b, NULL AS c; SELECT count(*) FROM numbers; SELECT 1 WHERE false").await;
    assert_eq!(answer, ["1|x|NULL", "(1)", "1000", "(1)", "(0)"]);
    assert_eq!(simple(&client, "").await, ["(0)"], "the empty query is answered");
    assert_eq!(simple(&client, "SELECT true, 1.5::double precision, 'a'::bytea").await, ["t|1.5|\\x61", "(1)"]);
    assert_eq!(
        simple(&client, "SELECT timestamp '2024-01-02 03:04:05.6', date '2024-01-02', interval '1 day 2 hours'").await,
        ["2024-01-02 03:04:05.6|2024-01-02|1 day 02:00:00", "(1)"]
    );
}

#[tokio::test]
async fn extended_query_parameters_are_described_and_bound_in_binary() {
    let server = Server::start().await;
    let client = server.connect().await;
    let statement = client.prepare("SELECT n, n * 2 AS twice FROM numbers WHERE n = $1").await.expect("prepared");
    assert_eq!(statement.params(), &[Type::INT8]);
    let columns: Vec<_> = statement.columns().iter().map(|c| (c.name(), c.type_().clone())).collect();
    assert_eq!(columns, [("n", Type::INT8), ("twice", Type::INT8)]);
    for n in [1i64, 7, 1000] {
        let row = client.query_one(&statement, &[&n]).await.expect("one row");
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (n, 2 * n));
    }
    assert!(client.query(&statement, &[&1001i64]).await.expect("no row").is_empty());
    let row = client
        .query_one(
            "SELECT $1::text AS t, n, n = $2 AS same, n * 1.5 AS f, NULL::int AS none FROM numbers WHERE n = $3",
            &[&"text", &7i64, &7i64],
        )
        .await
        .expect("a row");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, bool>(2)), ("text", true));
    assert_eq!((row.get::<_, f64>(3), row.get::<_, Option<i32>>(4)), (10.5, None));
    let typed =
        client.prepare_typed("SELECT $1 AS a, $2 AS b, $3 AS c", &[Type::BYTEA, Type::INT4_ARRAY, Type::TIMESTAMPTZ]);
    let typed = typed.await.expect("prepared");
    let when = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_123);
    let row = client.query_one(&typed, &[&&b"\x00\x01"[..], &vec![Some(1), None], &when]).await.expect("a row");
    assert_eq!(row.get::<_, &[u8]>(0), b"\x00\x01");
    assert_eq!(row.get::<_, Vec<Option<i32>>>(1), [Some(1), None]);
    assert_eq!(row.get::<_, std::time::SystemTime>(2), when);
}

#[tokio::test]
async fn portal_with_a_row_limit_is_read_in_steps() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let transaction = client.transaction().await.expect("begun");
    let portal = transaction.bind("SELECT n FROM numbers ORDER BY n", &[]).await.expect("bound");
    let mut all: Vec<i64> = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 300).await.expect("rows");
        if rows.is_empty() {
            break;
        }
        assert!(rows.len() <= 300);
        all.extend(rows.iter().map(|r| r.get::<_, i64>(0)));
    }
    assert_eq!(all, (1..=1000).collect::<Vec<i64>>());
    transaction.commit().await.expect("committed");
}

#[tokio::test]
async fn endless_query_rows_are_streamed_and_end_on_disconnect() {
    use futures::TryStreamExt;
    let server = Server::start().await;
    let client = server.connect().await;
    let none: [i64; 0] = [];
    let rows = client.query_raw("SELECT n FROM endless", none).await.expect("begun");
    let mut rows = std::pin::pin!(rows);
    for _ in 0..5000 {
        rows.try_next().await.expect("no error").expect("a row");
    }
    // The client disconnects: the query is cancelled.
    drop(client);
    server.door.watch.begun.notified().await;
    server.shutdown.cancel();
    server.door.watch.gone.notified().await;
}

#[tokio::test]
async fn errors_have_sqlstate_hint_and_position() {
    let server = Server::start().await;
    let client = server.connect().await;
    assert!(failure(&client, "SELEC 1").await.starts_with("42601 "));
    assert!(failure(&client, "SELECT * FROM nowhere").await.starts_with("42P01 "));
    assert_eq!(failure(&client, "SELECT 1 / 0").await, "22012 division by zero");
    let error = client.simple_query("COPY nowhere FROM STDIN").await.expect_err("no such table");
    let error = error.as_db_error().expect("of the server");
    assert_eq!(error.code().code(), "42P01");
    assert_eq!(error.hint(), Some("CREATE TABLE makes one."));
    assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(6)));
    assert_eq!(simple(&client, "SELECT 1").await, ["1", "(1)"]);
}

#[tokio::test]
async fn failed_transaction_refuses_statements_until_it_ends() {
    let server = Server::start().await;
    let client = server.connect().await;
    simple(&client, "BEGIN").await;
    failure(&client, "SELECT 1 / 0").await;
    let aborted = "25P02 current transaction is aborted, commands ignored until end of transaction block";
    assert_eq!(failure(&client, "SELECT 1").await, aborted);
    assert_eq!(error_text(&client.query("SELECT 1", &[]).await.expect_err("refused")), aborted);
    simple(&client, "ROLLBACK").await;
    assert_eq!(simple(&client, "SELECT 1").await, ["1", "(1)"]);
    simple(&client, "BEGIN; SAVEPOINT s").await;
    failure(&client, "SELECT 1 / 0").await;
    simple(&client, "ROLLBACK TO SAVEPOINT s; SELECT 1; COMMIT").await;
}

/// Every statement that makes a durable change, and its command tag.
const WRITES: [(&str, &str); 26] = [
    ("INSERT INTO t VALUES (1)", "INSERT"),
    ("UPDATE t SET n = 1", "UPDATE"),
    ("DELETE FROM t", "DELETE"),
    ("COPY t FROM STDIN", "COPY FROM"),
    ("CREATE SOURCE s (n INT) WITH (connector = 'datagen')", "CREATE SOURCE"),
    ("CREATE EXTERNAL TABLE s STORED AS CSV LOCATION 'x'", "CREATE SOURCE"),
    ("CREATE TABLE t (n INT)", "CREATE TABLE"),
    ("CREATE TABLE t AS SELECT 1", "CREATE TABLE"),
    ("CREATE STREAM s AS SELECT 1", "CREATE STREAM"),
    ("CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
    ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE MATERIALIZED VIEW"),
    ("CREATE SINK s WITH (connector = 'console') AS SELECT 1", "CREATE SINK"),
    ("CREATE SECRET s AS 'x'", "CREATE SECRET"),
    ("CREATE OR REPLACE SECRET s AS 'x'", "CREATE SECRET"),
    ("CREATE FUNCTION f(n INT) RETURNS INT LANGUAGE SQL AS 'SELECT n'", "CREATE FUNCTION"),
    ("CREATE AGGREGATE a (INT) (SFUNC = f, STYPE = INT)", "CREATE AGGREGATE"),
    ("DROP TABLE t", "DROP TABLE"),
    ("DROP SOURCE IF EXISTS s", "DROP SOURCE"),
    ("DROP MATERIALIZED VIEW v CASCADE", "DROP MATERIALIZED VIEW"),
    ("DROP SINK s", "DROP SINK"),
    ("DROP SECRET s", "DROP SECRET"),
    ("DROP FUNCTION f", "DROP FUNCTION"),
    ("DROP AGGREGATE a (INT)", "DROP AGGREGATE"),
    ("ALTER MATERIALIZED VIEW v PAUSE", "ALTER MATERIALIZED VIEW"),
    ("ALTER SOURCE s RESET OFFSETS", "ALTER SOURCE"),
    ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", "INSERT"),
];

#[tokio::test]
async fn read_only_transaction_refuses_statements_that_write() {
    let server = Server::start().await;
    let client = server.connect().await;
    let begins = [
        "BEGIN READ ONLY",
        "BEGIN; SET TRANSACTION READ ONLY",
        "BEGIN; SET transaction_read_only = on",
        "BEGIN READ ONLY; RESET ALL",
        "SET default_transaction_read_only = on; BEGIN",
    ];
    for begin in begins {
        for (sql, verb) in WRITES {
            simple(&client, begin).await;
            let refused = format!("25006 cannot execute {verb} in a read-only transaction");
            assert_eq!(failure(&client, sql).await, refused, "{begin}: {sql}");
            simple(&client, "ROLLBACK").await;
        }
        simple(&client, "RESET default_transaction_read_only").await;
    }
    // Whichever way it is run.
    simple(&client, "PREPARE p AS INSERT INTO t VALUES (1)").await;
    simple(&client, "BEGIN READ ONLY").await;
    assert_eq!(failure(&client, "EXECUTE p").await, "25006 cannot execute INSERT in a read-only transaction");
    simple(&client, "ROLLBACK; BEGIN READ ONLY").await;
    let extended = client.query("DROP SECRET s", &[]).await.expect_err("refused");
    assert_eq!(error_text(&extended), "25006 cannot execute DROP SECRET in a read-only transaction");
    simple(&client, "ROLLBACK; SET default_transaction_read_only = on").await;
    assert_eq!(failure(&client, "DROP TABLE t").await, "25006 cannot execute DROP TABLE in a read-only transaction");
}

#[tokio::test]
async fn read_only_transaction_allows_statements_that_read() {
    let server = Server::start().await;
    let client = server.connect().await;
    simple(&client, "PREPARE p AS SELECT 1; BEGIN READ ONLY").await;
    for sql in [
        "SELECT n FROM numbers LIMIT 1",
        "EXECUTE p",
        "PREPARE w AS INSERT INTO t VALUES (1)",
        "DEALLOCATE w",
        "DECLARE c CURSOR FOR SELECT 1",
        "FETCH 1 FROM c",
        "CLOSE c",
        "SET application_name = 'a'",
        "RESET application_name",
        "SHOW application_name",
        "SAVEPOINT s",
        "SHOW transaction_read_only",
    ] {
        simple(&client, sql).await;
    }
    assert_eq!(simple(&client, "SHOW transaction_read_only").await, ["on", "(0)"]);
    let stays = "25001 transaction read-write mode must be set before any query";
    assert_eq!(failure(&client, "SET TRANSACTION READ WRITE").await, stays);
    simple(&client, "ROLLBACK; SET default_transaction_read_only = on").await;
    for begin in ["BEGIN READ WRITE", "BEGIN; SET TRANSACTION READ WRITE"] {
        simple(&client, begin).await;
        // Let in, and then refused by who knows the table.
        assert!(failure(&client, "COPY nowhere FROM STDIN").await.starts_with("42P01 "), "{begin}");
        simple(&client, "ROLLBACK").await;
    }
}

#[tokio::test]
async fn settings_are_shown_validated_and_reported() {
    let server = Server::start().await;
    let (client, mut connection) = tokio_postgres::connect(&server.config(), NoTls).await.expect("connected");
    assert_eq!(connection.parameter("server_version"), Some("16.6"));
    assert_eq!(connection.parameter("application_name"), Some("test"));
    let asked = async {
        let set = simple(&client, "SET TimeZone = 'Asia/Tokyo'; SHOW timezone; SHOW server_version").await;
        let shown = simple(&client, "SELECT to_timestamp(0) AT TIME ZONE 'UTC'").await;
        let failed = failure(&client, "SET colour = 'red'").await;
        let described = client.query("SHOW TimeZone", &[]).await.expect("shown");
        (set, shown, failed, described[0].columns()[0].name().to_string(), described[0].get::<_, String>(0))
    };
    let answer = tokio::select! {
        answer = asked => answer,
        ended = &mut connection => panic!("the connection ended: {ended:?}"),
    };
    assert_eq!(answer.0, ["(0)", "Asia/Tokyo", "(0)", "16.6", "(0)"]);
    assert_eq!(answer.1, ["1970-01-01 09:00:00+09", "(1)"]);
    assert_eq!(answer.2, "42704 unrecognized configuration parameter \"colour\"");
    assert_eq!((answer.3.as_str(), answer.4.as_str()), ("TimeZone", "Asia/Tokyo"));
    assert_eq!(connection.parameter("TimeZone"), Some("Asia/Tokyo"));
}

#[tokio::test]
async fn sql_prepare_execute_and_deallocate_work() {
    let server = Server::start().await;
    let client = server.connect().await;
    simple(&client, "PREPARE p AS SELECT n FROM numbers WHERE n > $1 AND n <= $2 ORDER BY n").await;
    assert_eq!(simple(&client, "EXECUTE p(3, 2 + 3)").await, ["4", "5", "(2)"]);
    assert!(failure(&client, "EXECUTE p(1)").await.starts_with("42601 wrong number of parameters"));
    let rows = client.query("EXECUTE p(998, 1000)", &[]).await.expect("described and run");
    assert_eq!(rows.len(), 2);
    simple(&client, "PREPARE \"q \"\"1\" AS SELECT n FROM numbers WHERE n = 1 AND 'it''s \"x\" \\' = $1").await;
    assert_eq!(simple(&client, "EXECUTE \"q \"\"1\"('it''s \"x\" \\')").await, ["1", "(1)"]);
    simple(&client, "DEALLOCATE p").await;
    assert_eq!(failure(&client, "EXECUTE p(1, 2)").await, "26000 prepared statement \"p\" does not exist");
}

#[tokio::test]
async fn sql_cursors_are_fetched_moved_and_closed() {
    let server = Server::start().await;
    let client = server.connect().await;
    assert!(failure(&client, "DECLARE c CURSOR FOR SELECT 1").await.starts_with("25000 "));
    simple(&client, "BEGIN; DECLARE c CURSOR FOR SELECT n FROM numbers ORDER BY n").await;
    assert_eq!(simple(&client, "FETCH 2 FROM c").await, ["1", "2", "(2)"]);
    assert_eq!(simple(&client, "MOVE 996 FROM c").await, ["(996)"]);
    let rows = client.query("FETCH 1 FROM c", &[]).await.expect("through the extended protocol too");
    assert_eq!(rows[0].get::<_, i64>(0), 999);
    assert_eq!(simple(&client, "FETCH ALL FROM c").await, ["1000", "(1)"]);
    assert_eq!(simple(&client, "FETCH ALL FROM c").await, ["(0)"]);
    simple(&client, "COMMIT").await;
    assert_eq!(failure(&client, "FETCH 1 FROM c").await, "34000 cursor \"c\" does not exist");
    simple(&client, "DECLARE h CURSOR WITH HOLD FOR SELECT n FROM endless").await;
    assert_eq!(simple(&client, "FETCH 1 FROM h").await, ["0", "(1)"]);
    simple(&client, "CLOSE h").await;
    server.door.watch.gone.notified().await;
}

#[tokio::test]
async fn extended_query_error_skips_messages_until_sync() {
    let server = Server::start().await;
    let mut socket = opened(&server).await;
    let mut sent = Vec::new();
    let mut put = |kind: u8, body: &[u8]| {
        sent.push(kind);
        sent.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
        sent.extend_from_slice(body);
    };
    put(b'P', b"\0SELECT * FROM nowhere\0\0\0");
    put(b'D', b"S\0");
    put(b'P', b"skipped\0SELECT 1\0\0\0");
    put(b'S', b"");
    put(b'P', b"\0\0\0\0");
    put(b'B', b"\0\0\0\0\0\0\0\0");
    put(b'E', b"\0\0\0\0\0");
    put(b'S', b"");
    put(b'C', b"Pno such portal\0");
    put(b'D', b"Sskipped\0");
    put(b'S', b"");
    socket.write_all(&sent).await.expect("sent");
    assert_eq!(kinds(&mut socket, 3).await, "1EZ12IZ3EZ");
}

#[tokio::test]
async fn malformed_protocol_bytes_end_only_their_connection() {
    let server = Server::start().await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\x08\x7f\x7f\x7f\x7f", b"\0\0\0\x04", &[0xff; 64]] {
        let mut socket = TcpStream::connect(server.address).await.expect("connected");
        socket.write_all(bytes).await.expect("sent");
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer[0] == b'E', "{answer:?}");
    }
    let mut socket = opened(&server).await;
    socket.write_all(b"Z\0\0\0\x04").await.expect("sent");
    assert_eq!(kinds(&mut socket, 1).await, "E");
    assert_eq!(simple(&server.connect().await, "SELECT 1").await, ["1", "(1)"]);
}

/// A session by hand, up to its first ReadyForQuery.
pub(super) async fn opened(server: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).await.expect("connected");
    // First encryption is asked for and refused, as libpq does.
    socket.write_all(b"\0\0\0\x08\x04\xd2\x16\x2f").await.expect("sent");
    let mut no = [0];
    socket.read_exact(&mut no).await.expect("an answer");
    assert_eq!(&no, b"N");
    socket.write_all(b"\0\0\0\x12\0\x03\0\0user\0ann\0\0").await.expect("sent");
    assert!(kinds(&mut socket, 1).await.ends_with("KZ"));
    socket
}

/// The types of the messages up to the n-th ReadyForQuery, or the end.
pub(super) async fn kinds(socket: &mut TcpStream, ready: usize) -> String {
    let mut kinds = String::new();
    while kinds.matches('Z').count() < ready {
        let mut head = [0; 5];
        if socket.read_exact(&mut head).await.is_err() {
            break;
        }
        let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        socket.read_exact(&mut body).await.expect("the whole message");
        kinds.push(char::from(head[0]));
    }
    kinds
}
