//! Bad rows, bad files, bad queries, bad clients: a clear error or a dead letter, nothing else lost, the server up.

use std::{fs, path::Path};

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::Client;

use super::{
    harness::{Home, Server, eventually, fails, finished, rows, run, tidemark, try_rows},
    slt::parquet,
};

async fn server() -> (Home, Server, Client) {
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    (home, server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_csv_line_is_a_dead_letter_and_its_neighbours_are_rows() {
    let (home, _server, client) = server().await;
    home.put("in/a.csv", "id,n\n1,10\nnot a number,20\n3\n4,40,400\n5,50\n");
    run(
        &client,
        "CREATE SOURCE s (id INT, n INT) WITH (connector = 'directory', path = 'in', format = 'csv', header = true);
         CREATE MATERIALIZED VIEW v AS SELECT id, n FROM s;
         FLUSH",
    )
    .await;
    assert_eq!(rows(&client, "SELECT id, n FROM v ORDER BY id").await, ["1|10", "5|50"]);
    // The same rows for who only asks.
    assert_eq!(rows(&client, "SELECT id, n FROM s ORDER BY id").await, ["1|10", "5|50"]);
    let letters =
        "SELECT source, query, line, convert_from(raw, 'UTF8'), reason FROM tidemark.dead_letters ORDER BY line";
    let letters = match client.simple_query(letters).await {
        Ok(_) => rows(&client, letters).await,
        Err(_) => {
            rows(&client, "SELECT source, query, line, raw, reason FROM tidemark.dead_letters ORDER BY line").await
        }
    };
    assert_eq!(letters.len(), 3, "{letters:?}");
    assert!(letters[0].starts_with("s|v|3|"), "{letters:?}");
    assert!(letters[0].contains("id") && letters[0].to_lowercase().contains("int"), "{letters:?}");
    assert!(letters[1].starts_with("s|v|4|") && letters[2].starts_with("s|v|5|"), "{letters:?}");
    let file = rows(&client, "SELECT DISTINCT file FROM tidemark.dead_letters").await;
    assert!(file.len() == 1 && file[0].ends_with("a.csv"), "{file:?}");
    assert_eq!(rows(&client, "SELECT state, dead_letters FROM tidemark.queries").await, ["running|3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_parquet_file_is_one_dead_letter() {
    let (home, _server, client) = server().await;
    let whole = home.path("whole.parquet");
    parquet(&whole);
    let bytes = fs::read(&whole).unwrap();
    home.put("in/a.parquet", &bytes);
    run(
        &client,
        "CREATE SOURCE s (id BIGINT, name TEXT) WITH (connector = 'directory', path = 'in', format = 'parquet');
         CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s;
         FLUSH",
    )
    .await;
    home.put("in/b.parquet", &bytes[..bytes.len() / 2]);
    home.put("in/c.parquet", b"");
    home.put("in/d.parquet", &bytes);
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT n FROM v").await, ["4"]);
    let letters = rows(&client, "SELECT file, line, reason FROM tidemark.dead_letters ORDER BY file").await;
    assert!(letters.iter().any(|letter| letter.contains("b.parquet|NULL|")), "{letters:?}");
    assert!(!letters.iter().any(|letter| letter.contains("a.parquet") || letter.contains("d.parquet")), "{letters:?}");
    assert_eq!(rows(&client, "SELECT state FROM tidemark.queries").await, ["running"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn file_deleted_before_reading_is_one_dead_letter() {
    let (home, server, client) = server().await;
    home.put("in/a.csv", "1\n");
    run(
        &client,
        "CREATE SOURCE s (id INT) WITH (connector = 'directory', path = 'in', format = 'csv');
         CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s;
         FLUSH;
         ALTER MATERIALIZED VIEW v PAUSE",
    )
    .await;
    home.put("in/b.csv", "2\n");
    home.put("in/c.csv", "3\n");
    // Found by who asks, not yet read by the view.
    eventually("both are found", async || (rows(&client, "SELECT id FROM s").await.len() == 3).then_some(())).await;
    fs::remove_file(home.path("in/b.csv")).unwrap();
    run(&client, "ALTER MATERIALIZED VIEW v RESUME; FLUSH").await;
    assert_eq!(rows(&client, "SELECT n FROM v").await, ["2"]);
    let letters = rows(&client, "SELECT query, file, line, reason FROM tidemark.dead_letters").await;
    assert!(letters.len() == 1 && letters[0].contains("b.csv|NULL|"), "{letters:?}");
    // Nor is the rest lost when it happens under a checkpoint.
    home.put("in/d.csv", "4\n");
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT n FROM v").await, ["3"]);
    assert!(server.terminate().await.success());
    let server = home.start();
    assert_eq!(rows(&server.connect().await, "SELECT n FROM v").await, ["3"]);
}

/// A view `v` has summed 1 and 2 of a file, without a checkpoint, when the server is killed and `change` is made to the
/// file. The restarted server, and the error of the view in it.
async fn restart_after_change(change: impl FnOnce(&Path)) -> (Home, Server, Client, String) {
    let (home, server, client) = server().await;
    home.put("in/a.csv", "1\n2\n");
    run(
        &client,
        "CREATE SOURCE s (id INT) WITH (connector = 'directory', path = 'in', format = 'csv');
         CREATE MATERIALIZED VIEW v WITH (checkpoint_interval = '1 hour') AS SELECT sum(id) AS n FROM s;
         FLUSH",
    )
    .await;
    assert_eq!(rows(&client, "SELECT n FROM v").await, ["3"]);
    server.kill();
    change(&home.path("in/a.csv"));
    let server = home.start();
    let client = server.connect().await;
    let error = "SELECT last_error FROM tidemark.queries WHERE last_error IS NOT NULL";
    let error = eventually("the query says so", async || rows(&client, error).await.pop()).await;
    (home, server, client, error)
}

/// Writes a file again; its time of modification stays as it is.
fn overwrite(path: &Path, text: &str) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, text).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn file_changed_after_a_crash_does_not_change_the_answer() {
    // As many bytes and rows, but others.
    let (_home, _server, client, failure) = restart_after_change(|path| fs::write(path, "3\n4\n").unwrap()).await;
    assert!(failure.contains("read 2 rows and gave 1, but now reads 0"), "{failure}");
    assert!(!try_rows(&client, "SELECT n FROM v").await.is_ok_and(|rows| rows == ["7"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn file_with_other_bytes_of_equal_size_and_time_is_told_on_recovery_and_put_back() {
    let (home, _server, client, failure) = restart_after_change(|path| overwrite(path, "3\n4\n")).await;
    assert!(failure.contains("epoch 1 of \"v\" gave 1 rows, but now gives others"), "{failure}");
    assert!(try_rows(&client, "SELECT n FROM v").await.is_err());
    overwrite(&home.path("in/a.csv"), "1\n2\n");
    run(&client, "ALTER MATERIALIZED VIEW v RESUME; FLUSH").await;
    assert_eq!(rows(&client, "SELECT n FROM v").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn number_is_rounded_the_same_in_a_file_and_an_insert() {
    let (home, _server, client) = server().await;
    home.put("csv/a.csv", "n,i\n1.235,1\n-1.235,2\n99999999.999,3\n0.5,1.9\n");
    let json = [("1.235", "1"), ("-1.235", "2"), ("99999999.999", "3"), ("0.5", "1.9")];
    home.put("json/a.json", json.map(|(n, i)| format!("{{\"n\": {n}, \"i\": {i}}}\n")).concat());
    run(
        &client,
        "CREATE TABLE t (n NUMERIC(10, 2), i INT);
         INSERT INTO t VALUES ('1.235', 1), ('-1.235', 2);
         CREATE SOURCE c (n NUMERIC(10, 2), i INT)
           WITH (connector = 'directory', path = 'csv', format = 'csv', header = true);
         CREATE SOURCE j (n NUMERIC(10, 2), i INT) WITH (connector = 'directory', path = 'json', format = 'json');
         CREATE MATERIALIZED VIEW vc AS SELECT n, i FROM c;
         CREATE MATERIALIZED VIEW vj AS SELECT n, i FROM j;
         FLUSH",
    )
    .await;
    for name in ["t", "c", "j", "vc", "vj"] {
        let answer = rows(&client, &format!("SELECT n, i FROM {name} ORDER BY i")).await;
        assert_eq!(answer, ["1.24|1", "-1.24|2"], "{name}");
    }
    let letters = rows(&client, "SELECT source, line FROM tidemark.dead_letters ORDER BY source, line").await;
    assert_eq!(letters, ["c|4", "c|5", "j|3", "j|4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn source_folder_must_exist_at_create_and_may_vanish_later() {
    let (home, server, client) = server().await;
    let error =
        fails(&client, "CREATE SOURCE s (id INT) WITH (connector = 'directory', path = 'missing', format = 'csv')")
            .await;
    assert_eq!(error.code().code(), "58P01", "{error}");
    assert!(error.message().contains("missing"), "{error}");
    assert!(rows(&client, "SHOW SOURCES").await.is_empty());

    home.put("in/a.csv", "1\n");
    run(
        &client,
        "CREATE SOURCE s (id INT) WITH (connector = 'directory', path = 'in', format = 'csv');
         CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s;
         CREATE TABLE t (id INT);
         CREATE MATERIALIZED VIEW other AS SELECT count(*) AS n FROM t;
         FLUSH",
    )
    .await;
    // The whole folder goes, the server too; both come back. Nobody else is stopped meanwhile.
    fs::rename(home.path("in"), home.path("out")).unwrap();
    server.kill();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "INSERT INTO t VALUES (1)").await;
    eventually("the other view goes on", async || (rows(&client, "SELECT n FROM other").await == ["1"]).then_some(()))
        .await;
    // What was read once is not there to be run again: better no answer than one that takes it back.
    let error = fails(&client, "SELECT n FROM v").await;
    assert_eq!(error.code().code(), "58P01", "{error}");
    let state = rows(&client, "SELECT state, last_error FROM tidemark.queries WHERE name = 'v'").await;
    assert!(state[0].contains("directory \"in\" does not exist"), "{state:?}");
    fs::rename(home.path("out"), home.path("in")).unwrap();
    home.put("in/b.csv", "2\n");
    eventually("the view goes on", async || {
        let answer = try_rows(&client, "SELECT n FROM v").await.ok()?;
        assert!(["1", "2"].contains(&answer[0].as_str()), "{answer:?}");
        (answer == ["2"]).then_some(())
    })
    .await;
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT state, dead_letters FROM tidemark.queries WHERE name = 'v'").await, ["running|0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn value_that_does_not_fit_is_an_error_in_insert_and_a_dead_letter_in_a_file() {
    let (home, _server, client) = server().await;
    run(&client, "CREATE TABLE t (id SMALLINT, at TIMESTAMP, n NUMERIC(4, 2))").await;
    for (values, state) in [
        ("70000, NULL, 1", "22003"),
        ("'x', NULL, 1", "22P02"),
        ("1, 'yesterday', 1", "22007"),
        ("1, NULL, 12345.6", "22003"),
    ] {
        let error = fails(&client, &format!("INSERT INTO t VALUES ({values})")).await;
        assert_eq!(error.code().code(), state, "{values}: {error}");
    }
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"]);
    home.put(
        "in/a.json",
        "{\"id\": 1}\n{\"id\": \"one\"}\n{\"id\": {}}\n[1]\n{\"id\": 99999999999999999999}\n{\"id\": 6}\n{\n",
    );
    run(
        &client,
        "CREATE SOURCE s (id INT) WITH (connector = 'directory', path = 'in', format = 'json');
         CREATE MATERIALIZED VIEW v AS SELECT id FROM s;
         FLUSH",
    )
    .await;
    assert_eq!(rows(&client, "SELECT id FROM v ORDER BY id").await, ["1", "6"]);
    let letters = rows(&client, "SELECT line, reason FROM tidemark.dead_letters ORDER BY line").await;
    assert!(letters.len() >= 4, "{letters:?}");
    // A Parquet file of another schema.
    parquet(&home.folder("columns").join("a.parquet"));
    run(
        &client,
        "CREATE SOURCE p (id BIGINT, name BIGINT) WITH (connector = 'directory', path = 'columns', format = 'parquet');
         CREATE MATERIALIZED VIEW w AS SELECT id, name FROM p;
         FLUSH",
    )
    .await;
    assert_eq!(rows(&client, "SELECT * FROM w").await, ["2|NULL"]);
    let letters = rows(&client, "SELECT reason FROM tidemark.dead_letters WHERE source = 'p'").await;
    assert!(letters.len() == 1 && letters[0].contains("one"), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_option_is_refused_with_the_nearest_one() {
    let (home, _server, client) = server().await;
    home.folder("in");
    let create =
        "CREATE SOURCE s (id INT) WITH (connector = 'directory', path = 'in', format = 'csv', delimeter = ';')";
    let error = fails(&client, create).await;
    assert_eq!(error.code().code(), "22023", "{error}");
    assert!(error.message().contains("delimeter") && error.message().contains("source \"s\""), "{error}");
    assert!(error.hint().unwrap().contains("delimiter"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn view_dividing_by_zero_fails_alone_and_resumes_once_the_row_is_gone() {
    let (home, server, client) = server().await;
    assert_eq!(fails(&client, "SELECT 1 / 0").await.code().code(), "22012");
    run(
        &client,
        "CREATE TABLE t (id INT PRIMARY KEY, n INT);
         CREATE MATERIALIZED VIEW shares AS SELECT id, 100 / n AS share FROM t;
         CREATE MATERIALIZED VIEW total AS SELECT sum(n) AS n FROM t;
         INSERT INTO t VALUES (1, 10), (2, 20);
         FLUSH",
    )
    .await;
    // The view reads a changelog: the row that it cannot stand is withdrawn by a later one.
    run(&client, "INSERT INTO t VALUES (3, 0)").await;
    let failed = "SELECT state, last_error FROM tidemark.queries WHERE name = 'shares'";
    eventually("it fails", async || rows(&client, failed).await[0].starts_with("failed|").then_some(())).await;
    let failure = rows(&client, failed).await;
    assert!(
        failure[0].contains("division by zero") || failure[0].to_lowercase().contains("divide by zero"),
        "{failure:?}"
    );
    let flush = fails(&client, "FLUSH shares").await;
    assert!(flush.message().contains("shares") && flush.message().contains("division by zero"), "{flush}");
    assert_eq!(flush.code().code(), "22012");

    run(&client, "INSERT INTO t VALUES (4, 5)").await;
    eventually("the other goes on", async || (rows(&client, "SELECT n FROM total").await == ["35"]).then_some(()))
        .await;
    assert_eq!(
        rows(&client, "SELECT id, share FROM shares ORDER BY id").await,
        ["1|10", "2|5"],
        "its last good answer"
    );

    // It stays so over a restart, and the reason is still told.
    server.kill();
    let server = home.start();
    let client = server.connect().await;
    eventually("it fails again", async || rows(&client, failed).await[0].starts_with("failed|").then_some(())).await;
    assert_eq!(rows(&client, "SELECT id, share FROM shares ORDER BY id").await, ["1|10", "2|5"]);
    assert_eq!(rows(&client, "SELECT n FROM total").await, ["35"]);

    run(&client, "DELETE FROM t WHERE id = 3; ALTER MATERIALIZED VIEW shares RESUME; FLUSH").await;
    assert_eq!(rows(&client, "SELECT id, share FROM shares ORDER BY id").await, ["1|10", "2|5", "4|20"]);
    assert_eq!(rows(&client, failed).await, ["running|NULL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_create_leaves_no_files() {
    let (home, server, client) = server().await;
    home.put("in/a.csv", "1\n");
    run(&client, "CREATE SOURCE s (id INT) WITH (connector = 'directory', path = 'in', format = 'csv')").await;
    run(&client, "CREATE MATERIALIZED VIEW first AS SELECT * FROM s; FLUSH").await;
    let list = || {
        let mut found = Vec::new();
        let mut folders: Vec<_> = ["state", "relations", "sources"].map(|f| home.path("tidemark-data").join(f)).into();
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path),
                }
            }
        }
        found.sort();
        found
    };
    let before = list();
    for bad in [
        "CREATE SOURCE x (id INT) WITH (connector = 'directory', path = 'in', format = 'csv', bad = 1)",
        "CREATE SOURCE x WITH (connector = 'directory', path = 'in', format = 'csv', glob = '*.none')",
        "CREATE SOURCE x (id INT, WATERMARK FOR id AS id - INTERVAL '1 s')
           WITH (connector = 'directory', path = 'in', format = 'csv')",
        "CREATE MATERIALIZED VIEW x AS SELECT nothing FROM s",
        "CREATE MATERIALIZED VIEW x AS SELECT a.id FROM s a JOIN s b ON a.id = b.id AND random() > 0.5",
        "CREATE MATERIALIZED VIEW x (a, b) AS SELECT id FROM s",
        "CREATE STREAM x WITH WATERMARK FOR id AS id - INTERVAL '1 s' AS SELECT id FROM s",
        "CREATE TABLE x (id INT, PRIMARY KEY (nothing))",
        "CREATE TABLE x (id WRONG)",
        "CREATE OR REPLACE MATERIALIZED VIEW first AS SELECT nothing FROM s",
    ] {
        fails(&client, bad).await;
        assert_eq!(fails(&client, "SELECT * FROM x").await.code().code(), "42P01", "{bad}");
    }
    assert_eq!(list(), before);
    let show = "SELECT name, state FROM tidemark.queries";
    assert_eq!(rows(&client, show).await, ["first|running"]);
    server.kill();
    let server = home.start();
    let client = server.connect().await;
    assert_eq!(rows(&client, show).await, ["first|running"]);
    assert_eq!(rows(&client, "SHOW SOURCES; SHOW TABLES").await, Vec::<String>::new());
    home.put("in/b.csv", "2\n");
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT id FROM first ORDER BY id").await, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_statement_error_has_sqlstate_and_position() {
    let (_home, _server, client) = server().await;
    for (sql, state) in [
        ("garbage", "42601"),
        ("SELECT * FROM", "42601"),
        ("CREATE MATERIALIZED VIEW", "42601"),
        ("CREATE SOURCE s (a INT) WITH (connector)", "42601"),
        ("SELECT 'no end", "42601"),
        ("SELECT ((((((1)", "42601"),
        ("\u{1F600}", "42601"),
        ("SELECT \u{0001}", "42601"),
        ("COPY nothing FROM STDIN", "42P01"),
        ("SELECT * FROM pg_catalog.nothing", "42P01"),
    ] {
        let error = fails(&client, sql).await;
        assert_eq!(error.code().code(), state, "{sql}: {error}");
    }
    let deep = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    assert!(!fails(&client, &deep).await.message().is_empty());
    let long = format!("SELECT {}", vec!["1"; 50_000].join(" + "));
    assert!(!fails(&client, &long).await.message().is_empty());
    // Several statements: those before the mistake were run, none after it.
    let error = fails(&client, "CREATE TABLE one (a INT); SELECT 1 / 0; CREATE TABLE two (a INT)").await;
    assert_eq!(error.code().code(), "22012");
    assert_eq!(rows(&client, "SHOW TABLES").await.iter().filter(|name| *name == "two").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_may_be_odd_but_not_too_long() {
    let (home, server, client) = server().await;
    let names = ["\"Sel\"\"ect\"", "\"a b\"", "\"ünïcødé\"", "\"../../etc\"", "\"1\"", "MiXeD", "\"select\""];
    for name in names {
        run(&client, &format!("CREATE TABLE {name} (\"Co\"\"l\" INT); INSERT INTO {name} VALUES (1)")).await;
        let view = format!("\"view of {}\"", name.trim_matches('"'));
        run(&client, &format!("CREATE MATERIALIZED VIEW {view} AS SELECT \"Co\"\"l\" + 1 AS \"x y\" FROM {name}"))
            .await;
        run(&client, "FLUSH").await;
        assert_eq!(rows(&client, &format!("SELECT \"x y\" FROM {view}")).await, ["2"]);
    }
    let huge = "x".repeat(100_000);
    run(&client, &format!("CREATE TABLE {huge} ({huge} INT); INSERT INTO {huge} VALUES (7)")).await;
    assert_eq!(rows(&client, &format!("SELECT {huge} FROM {huge}")).await, ["7"]);
    server.kill();
    let server = home.start();
    let client = server.connect().await;
    run(&client, &format!("DROP TABLE {huge}")).await;
    for name in names {
        assert_eq!(rows(&client, &format!("SELECT * FROM {name}")).await, ["1"]);
        let view = format!("\"view of {}\"", name.trim_matches('"'));
        assert_eq!(rows(&client, &format!("SELECT * FROM {view}")).await, ["2"]);
        run(&client, &format!("DROP TABLE {name} CASCADE")).await;
    }
    assert!(rows(&client, "SHOW TABLES").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn client_disconnect_at_any_point_leaves_the_server_running() {
    let (_home, server, client) = server().await;
    run(&client, "CREATE TABLE t (id BIGINT PRIMARY KEY, word TEXT)").await;
    // In the middle of a query.
    let mut socket = raw(&server).await;
    send(&mut socket, b'Q', b"SELECT count(*) FROM generate_series(1, 100000000000) AS a(i) WHERE i % 7 = 3\0").await;
    drop(socket);
    // In the middle of an answer.
    let mut socket = raw(&server).await;
    send(&mut socket, b'Q', b"SELECT i, repeat('x', 1000) FROM generate_series(1, 10000000) AS a(i)\0").await;
    socket.read_exact(&mut [0; 4096]).await.unwrap();
    drop(socket);
    // In the middle of COPY, with a whole row and a half sent.
    let mut socket = raw(&server).await;
    send(&mut socket, b'Q', b"COPY t FROM STDIN\0").await;
    assert_eq!(socket.read_u8().await.unwrap(), b'G');
    send(&mut socket, b'd', b"1\tone\n2\ttw").await;
    drop(socket);
    // In the middle of a message.
    let mut socket = raw(&server).await;
    socket.write_all(b"Q\0\0\xff\xffSELECT").await.unwrap();
    drop(socket);
    // With no message at all, and with nonsense.
    let nonsense: [&[u8]; 4] = [b"", b"GET / HTTP/1.1\r\n\r\n", &[0; 64], &[255; 64]];
    for bytes in nonsense {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        drop(socket);
    }
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"]);
    // COPY that the client gives up on purpose.
    let mut sink = Box::pin(client.copy_in("COPY t FROM STDIN").await.unwrap());
    sink.send(bytes::Bytes::from("7\tseven\n")).await.unwrap();
    drop(sink);
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"]);
    let mut sink = Box::pin(client.copy_in("COPY t FROM STDIN").await.unwrap());
    sink.send(bytes::Bytes::from("7\tseven\n8\t\\N\n")).await.unwrap();
    assert_eq!(sink.as_mut().finish().await.unwrap(), 2);
    let out = client.copy_out("COPY (SELECT * FROM t ORDER BY id) TO STDOUT").await.unwrap();
    let out: Vec<_> = out.map(|piece| piece.unwrap()).collect().await;
    assert_eq!(out.concat(), b"7\tseven\n8\t\\N\n");
    // Nobody's query is left to run: the server ends at once.
    assert!(server.terminate().await.success());
}

async fn raw(server: &Server) -> tokio::net::TcpStream {
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let parameters = b"\0\x03\0\0user\0tidemark\0database\0tidemark\0\0";
    socket.write_u32(parameters.len() as u32 + 4).await.unwrap();
    socket.write_all(parameters).await.unwrap();
    loop {
        let kind = socket.read_u8().await.unwrap();
        let length = socket.read_u32().await.unwrap() as usize - 4;
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.unwrap();
        match kind {
            b'Z' => return socket,
            b'E' => panic!("{}", String::from_utf8_lossy(&body)),
            _ => {}
        }
    }
}

async fn send(socket: &mut tokio::net::TcpStream, kind: u8, body: &[u8]) {
    socket.write_u8(kind).await.unwrap();
    socket.write_u32(body.len() as u32 + 4).await.unwrap();
    socket.write_all(body).await.unwrap();
}

/// COPY takes all rows of a statement or none.
#[tokio::test(flavor = "multi_thread")]
async fn copy_of_bad_rows_adds_none() {
    let (_home, _server, client) = server().await;
    run(&client, "CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP, n INT)").await;
    for (rows, state) in [
        ("1\t2026-01-01 01:02\t1\nx\t\\N\t2\n", "22P02"),
        ("1\t\\N\t1\n2\t\\N\n", "22P04"),
        ("1\t\\N\t1\n1\t\\N\t1\n", "23505"),
        ("1\tnoon\t1\n", "22007"),
        ("1\t\\N\t99999999999\n", "22003"),
    ] {
        let mut sink = Box::pin(client.copy_in("COPY t FROM STDIN").await.unwrap());
        // The server may have said no before all of it was sent.
        let _ = sink.send(bytes::Bytes::copy_from_slice(rows.as_bytes())).await;
        let error = sink.as_mut().finish().await.expect_err(rows);
        assert_eq!(error.code().map(|c| c.code()), Some(state), "{rows:?}: {error}");
    }
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"]);
    let mut sink = Box::pin(client.copy_in("COPY t (n, id, at) FROM STDIN WITH (FORMAT csv, HEADER)").await.unwrap());
    sink.send(bytes::Bytes::from("n,id,at\n5,1,2026-01-01 01:02\n,2,\n")).await.unwrap();
    assert_eq!(sink.as_mut().finish().await.unwrap(), 2);
    assert_eq!(rows(&client, "SELECT * FROM t ORDER BY id").await, ["1|2026-01-01 01:02:00|5", "2|NULL|NULL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_command_names_file_line_and_column_of_an_error() {
    let home = Home::new();
    for (name, text, said) in [
        ("a.sql", "SELECT 1;\nCREATE TABLE t (\n  id NOSUCHTYPE);\n", "a.sql:3:6"),
        ("b.sql", "SELECT 1;\n  garbage;\n", "b.sql:2:3"),
        ("c.yaml", "views:\n  v:\n    query: SELECT 1\n    emitt: update\n", "c.yaml:4:5"),
    ] {
        fs::write(home.path(name), text).unwrap();
        let (status, _, stderr) = finished(tidemark().arg("check").arg(home.path(name))).await;
        assert_eq!(status.code(), Some(1), "{name}: {stderr}");
        assert!(stderr.contains(said), "{name}: {stderr}");
    }
    fs::write(home.path("d.sql"), "CREATE TABLE t (id INT);").unwrap();
    let (status, _, stderr) = finished(tidemark().arg("check").arg(home.path("d.sql"))).await;
    assert!(status.success(), "{stderr}");
}
