//! What was acknowledged stays, and counts once: through clients that go away, statements that fail, files that are
//! lost and found, and the deaths between.

use std::{fs, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::harness::{Home, Server, eventually, fails, rows, run, seed, try_rows};

/// A log that is cut often.
const SMALL: &str = "journal: { segment_size: 64 kB }\n";

fn configured(text: &str) -> Home {
    let home = Home::new();
    fs::write(home.path("tidemark.yaml"), text).unwrap();
    home
}

async fn killed(server: Server, home: &Home) -> (Server, Client) {
    server.kill();
    let server = home.start();
    let client = server.connect().await;
    (server, client)
}

/// What the server has saved of the logs that it has cut, by name: one, but for the moment in which it cuts once more.
fn cuts(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.path("tidemark-data/server")).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".json"));
    names.sort();
    names
}

/// Runs what fills the log, and waits until it is cut, with all that is done then.
async fn until_cut(home: &Home, client: &Client, sql: &str) {
    let before = cuts(home).pop();
    run(client, sql).await;
    eventually("the log is cut", async || {
        let now = cuts(home);
        (now.len() == 1 && now.last() > before.as_ref()).then_some(())
    })
    .await;
}

/// Enough for the log to be cut, in a table that nobody else looks at.
async fn fill_the_log(home: &Home, client: &Client) {
    run(client, "CREATE TABLE IF NOT EXISTS filler (s TEXT) APPEND ONLY").await;
    until_cut(home, client, "INSERT INTO filler SELECT repeat('x', 100) FROM generate_series(1, 1000)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn insert_aborted_by_its_client_is_atomic_and_blocks_no_others() {
    let mut rng = SmallRng::seed_from_u64(seed());
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (n INT, s TEXT) APPEND ONLY").await;
    for n in 0..80 {
        let hasty = server.connect().await;
        let large = format!("INSERT INTO t VALUES (-1, '{}')", "x".repeat(200_000));
        // Cut off anywhere between its first byte and its answer.
        let _ = timeout(Duration::from_micros(rng.random_range(200..20_000)), hasty.batch_execute(&large)).await;
        drop(hasty);
        run(&client, &format!("INSERT INTO t VALUES ({n}, '')")).await;
    }
    let before = rows(&client, "SELECT count(*) FROM t WHERE n >= 0").await;
    let (_server, client) = killed(server, &home).await;
    assert_eq!(
        (before, rows(&client, "SELECT count(*) FROM t WHERE n >= 0").await),
        (vec!["80".into()], vec!["80".into()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_aborted_by_its_client_is_atomic() {
    let mut rng = SmallRng::seed_from_u64(seed());
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    let mut there = Vec::new();
    for n in 0..30 {
        run(&client, &format!("CREATE TABLE t{n} (a INT); INSERT INTO t{n} VALUES (1)")).await;
        let hasty = server.connect().await;
        let statement = match n % 2 {
            0 => format!("DROP TABLE t{n}"),
            _ => format!("CREATE OR REPLACE TABLE t{n} (a INT, b INT) WITH (discard_rows = true)"),
        };
        let _ = timeout(Duration::from_micros(rng.random_range(200..15_000)), hasty.batch_execute(&statement)).await;
        drop(hasty);
        if client.batch_execute(&format!("INSERT INTO t{n} VALUES (2)")).await.is_ok() {
            there.push(n);
        }
    }
    let (_server, client) = killed(server, &home).await;
    for n in there {
        let found = try_rows(&client, &format!("SELECT max(a) FROM t{n}")).await;
        // It may have been replaced or dropped after the answer, but then by a statement, not by the restart.
        let gone = found.as_ref().is_err_and(|e| e.code().is_some_and(|c| c.code() == "42P01"));
        assert!(gone && n % 2 == 0 || found.is_ok(), "t{n}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_or_replace_changes_nothing() {
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE t (a INT);
         INSERT INTO t VALUES (1), (2), (3);
         CREATE TABLE u (a INT, at TIMESTAMP) APPEND ONLY;
         INSERT INTO u VALUES (1, '2026-01-01 00:00:00');
         CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c, sum(a) AS s FROM u;
         FLUSH;
         INSERT INTO u VALUES (2, '2026-01-01 00:00:00');
         FLUSH",
    )
    .await;
    fails(&client, "CREATE OR REPLACE TABLE t (a INT, b INT DEFAULT nosuch(1)) WITH (discard_rows = true)").await;
    fails(&client, "CREATE OR REPLACE TABLE t WITH (discard_rows = true) AS SELECT 1 / (a - 3) AS b FROM t").await;
    fails(&client, "CREATE TABLE made AS SELECT 1 / (a - 3) AS b FROM t").await;
    fails(&client, "CREATE OR REPLACE MATERIALIZED VIEW v WITH WATERMARK FOR nope AS nope AS SELECT a FROM u").await;
    let error = fails(&client, "CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT * FROM v").await;
    assert_eq!(
        (error.code().code(), error.message()),
        ("42P17", "materialized view \"v\" cannot read what it replaces")
    );
    run(&client, "INSERT INTO t VALUES (4); INSERT INTO u VALUES (3, '2026-01-01 00:00:00'); FLUSH").await;
    let (server, client) = killed(server, &home).await;
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT a FROM t ORDER BY a").await, ["1", "2", "3", "4"]);
    assert_eq!(rows(&client, "SELECT c, s FROM v").await, ["3|6"]);
    assert_eq!(fails(&client, "SELECT * FROM made").await.code().code(), "42P01");
    // A table may be made of what it was.
    run(&client, "CREATE OR REPLACE TABLE t WITH (discard_rows = true) AS SELECT a + 1 AS a FROM t").await;
    let (_server, client) = killed(server, &home).await;
    assert_eq!(rows(&client, "SELECT a FROM t ORDER BY a").await, ["2", "3", "4", "5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn view_too_far_behind_fails_with_an_error_after_a_restart() {
    let home = configured("journal: { segment_size: 64 kB }\nchangelog: { max_rows: 500, max_disk: 64 kB }\n");
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, s TEXT);
         INSERT INTO t VALUES (0, 0, '');
         CREATE MATERIALIZED VIEW v WITH (checkpoint_interval = '100 ms') AS SELECT a, count(*) AS c FROM t GROUP BY a;
         FLUSH;
         INSERT INTO t VALUES (-1, 0, '');
         FLUSH;
         ALTER MATERIALIZED VIEW v PAUSE",
    )
    .await;
    for n in 1..5 {
        let range = format!("generate_series({n}000, {n}399)");
        let insert = format!("INSERT INTO t SELECT value, {n}, repeat('x', 200) FROM {range}");
        // With the log that is cut the table is saved.
        until_cut(&home, &client, &insert).await;
    }
    let (_server, client) = killed(server, &home).await;
    run(&client, "ALTER MATERIALIZED VIEW v RESUME").await;
    let state = "SELECT last_error FROM tidemark.queries WHERE state = 'failed'";
    let error = eventually("it says so", async || rows(&client, state).await.pop()).await;
    assert!(error.contains("the reader is too far behind"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn file_is_cleaned_away_once_all_readers_have_consumed_it() {
    let home = Home::new();
    let folder = home.folder("in");
    let count = || fs::read_dir(&folder).unwrap().count();
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SOURCE s (a INT) WITH (connector = 'directory', path = 'in', format = 'csv', clean_source = 'delete');
         CREATE STREAM st AS SELECT a FROM s WHERE a > 0;
         CREATE MATERIALIZED VIEW slow WITH (checkpoint_interval = '1 hour') AS SELECT count(*) AS c FROM st;
         CREATE MATERIALIZED VIEW quick WITH (checkpoint_interval = '200 ms') AS SELECT count(*) AS c FROM s",
    )
    .await;
    for n in 1..4 {
        home.put(&format!("in/{n}.csv"), format!("{n}\n"));
    }
    run(&client, "FLUSH").await;
    let read = rows(&client, "SELECT c FROM slow").await;
    eventually("the quick one is saved", async || {
        let saved = "SELECT 1 FROM tidemark.queries WHERE name = 'quick' AND checkpoint > 0";
        rows(&client, saved).await.pop()
    })
    .await;
    assert_eq!(count(), 3, "the slow one has no checkpoint");
    // It reads again what it had read.
    let (_server, client) = killed(server, &home).await;
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT c FROM quick").await, ["3"]);
    assert_eq!(rows(&client, "SELECT c FROM slow").await, read);
    // Who reads through a stream lets go like any other.
    run(&client, "DROP MATERIALIZED VIEW slow").await;
    home.put("in/5.csv", "5\n");
    run(&client, "FLUSH").await;
    eventually("all is cleaned away", async || (count() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn view_whose_first_recovery_fails_is_right_later() {
    let home = configured(SMALL);
    let server = home.start();
    let client = server.connect().await;
    home.folder("in");
    run(
        &client,
        "CREATE SOURCE s (k INT, a INT) WITH (connector = 'directory', path = 'in', format = 'csv');
         CREATE MATERIALIZED VIEW below WITH (checkpoint_interval = '1 s') AS SELECT k, sum(a) AS s FROM s GROUP BY k;
         CREATE MATERIALIZED VIEW above WITH (checkpoint_interval = '100 ms') AS SELECT count(*) AS c, sum(s) AS s
           FROM below",
    )
    .await;
    let land = async |client: &Client, n: u32| {
        home.put(&format!("in/{n}.csv"), format!("{n},{n}\n"));
        run(client, "FLUSH").await;
    };
    land(&client, 1).await;
    let saved = "SELECT 1 FROM tidemark.queries WHERE name = 'below' AND checkpoint > 0";
    eventually("there is a checkpoint", async || rows(&client, saved).await.pop()).await;
    for n in 2..6 {
        land(&client, n).await;
    }
    let saved = "SELECT 1 FROM tidemark.queries WHERE name = 'above' AND checkpoint = epoch";
    eventually("all of the other is saved", async || rows(&client, saved).await.pop()).await;
    server.kill();
    // What it would read again is away, and the log is cut meanwhile.
    let away: Vec<u32> = (2..6).filter(|n| home.path(&format!("in/{n}.csv")).exists()).collect();
    for n in &away {
        fs::rename(home.path(&format!("in/{n}.csv")), home.path(&format!("{n}.away"))).unwrap();
    }
    let server = home.start();
    let client = server.connect().await;
    for _ in 0..3 {
        fill_the_log(&home, &client).await;
    }
    for n in &away {
        fs::rename(home.path(&format!("{n}.away")), home.path(&format!("in/{n}.csv"))).unwrap();
    }
    let (_server, client) = killed(server, &home).await;
    for n in 6..9 {
        home.put(&format!("in/{n}.csv"), format!("{n},{n}\n"));
    }
    run(&client, "FLUSH").await;
    let batch = rows(&client, "SELECT count(*), sum(s) FROM (SELECT k, sum(a) AS s FROM s GROUP BY k) AS x").await;
    assert_eq!((rows(&client, "SELECT c, s FROM above").await, batch), (vec!["8|36".into()], vec!["8|36".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_rows_are_counted_once_through_kills() {
    let home = configured(SMALL);
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE t (at TIMESTAMP, a INT, WATERMARK FOR at AS at - INTERVAL '1 minute') APPEND ONLY;
         CREATE MATERIALIZED VIEW v WITH (checkpoint_interval = '1 hour') AS SELECT window_start, count(*) AS c
           FROM TUMBLE(t, at, INTERVAL '1 minute') GROUP BY window_start;
         INSERT INTO t VALUES ('2026-01-02 00:00:00', 1);
         FLUSH;
         INSERT INTO t VALUES ('2026-01-02 00:00:01', 1);
         FLUSH;
         INSERT INTO t SELECT TIMESTAMP '2026-01-01 00:00:00', 7 FROM generate_series(1, 900);
         FLUSH",
    )
    .await;
    let counts = "SELECT (SELECT late FROM tidemark.queries), (SELECT count(*) FROM tidemark.late_rows)";
    assert_eq!(rows(&client, counts).await, ["900|900"]);
    fill_the_log(&home, &client).await;
    let (_server, client) = killed(server, &home).await;
    assert_eq!(rows(&client, counts).await, ["900|900"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_waits_for_running_views_and_not_for_paused_ones() {
    let home = Home::new();
    let server = home.start();
    let (client, other) = (server.connect().await, server.connect().await);
    run(
        &client,
        "CREATE TABLE t (n INT) APPEND ONLY;
         CREATE MATERIALIZED VIEW slow WITH (trigger = '1 hour') AS SELECT count(*) AS c FROM t;
         CREATE MATERIALIZED VIEW broken AS SELECT 1 / n AS x FROM t;
         CREATE MATERIALIZED VIEW last AS SELECT count(*) AS c FROM t;
         FLUSH;
         INSERT INTO t VALUES (1), (0)",
    )
    .await;
    let flush = tokio::spawn(async move { client.batch_execute("FLUSH").await });
    run(&other, "ALTER MATERIALIZED VIEW slow PAUSE").await;
    timeout(Duration::from_secs(30), flush).await.expect("it hangs").unwrap().expect("one that has failed is told");
    assert_eq!(rows(&other, "SELECT c FROM last").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_checkpoint_fails_only_its_view() {
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE t (n INT) APPEND ONLY;
         CREATE MATERIALIZED VIEW a AS SELECT count(*) AS c FROM t;
         CREATE MATERIALIZED VIEW b AS SELECT count(*) AS c FROM t;
         INSERT INTO t VALUES (1);
         FLUSH",
    )
    .await;
    assert!(server.terminate().await.success());
    let state = home.path("tidemark-data/state/2");
    for entry in fs::read_dir(state).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let server = home.start();
    let client = server.connect().await;
    run(&client, "INSERT INTO t VALUES (2)").await;
    eventually("the other goes on", async || (rows(&client, "SELECT c FROM b").await == ["2"]).then_some(())).await;
    let error = fails(&client, "SELECT c FROM a").await;
    assert_eq!(error.code().code(), "XX001", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn or_replace_of_a_table_keeps_rows_inserted_meanwhile() {
    let home = Home::new();
    let server = home.start();
    let (client, writer) = (server.connect().await, server.connect().await);
    for n in 0..20 {
        run(&client, &format!("CREATE TABLE t{n} (a INT)")).await;
        let (insert, replace) =
            (format!("INSERT INTO t{n} (a) VALUES (1)"), format!("CREATE OR REPLACE TABLE t{n} (a INT, b INT)"));
        let (inserted, _replaced) = tokio::join!(writer.batch_execute(&insert), client.batch_execute(&replace));
        let expected = if inserted.is_ok() { "1" } else { "0" };
        assert_eq!(rows(&client, &format!("SELECT count(*) FROM t{n}")).await, [expected], "t{n}: {inserted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn or_replace_of_a_view_over_cleaned_files_is_refused() {
    let home = Home::new();
    home.put("in/a.csv", "1\n2\n");
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SOURCE files (n INT) WITH (connector = 'directory', path = 'in', format = 'csv', clean_source = 'delete');
         CREATE VIEW between AS SELECT n FROM files;
         CREATE MATERIALIZED VIEW v WITH (checkpoint_interval = '50 ms') AS SELECT n FROM between;
         FLUSH",
    )
    .await;
    eventually("the file is cleaned away", async || (!home.path("in/a.csv").exists()).then_some(())).await;
    let refused = eventually("its number is forgotten", async || {
        // Until then it is only replaced by what reads the same rows.
        client.batch_execute("CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT n, 1 AS one FROM between").await.err()
    })
    .await;
    let refused = refused.as_db_error().unwrap();
    assert_eq!(
        (refused.code().code(), refused.message()),
        ("55000", "replacing materialized view \"v\" would discard rows that source \"files\" does not give again")
    );
    assert_eq!(rows(&client, "SELECT n FROM v ORDER BY n").await, ["1", "2"]);
    // What the hint says first loses nothing.
    run(&client, "CREATE MATERIALIZED VIEW w AS SELECT n, 1 AS one FROM v; FLUSH").await;
    assert_eq!(rows(&client, "SELECT n, one FROM w ORDER BY n").await, ["1|1", "2|1"]);
    run(&client, "DROP MATERIALIZED VIEW w").await;
    run(
        &client,
        "CREATE OR REPLACE MATERIALIZED VIEW v WITH (discard_rows = true) AS SELECT n, 1 AS one FROM between; FLUSH",
    )
    .await;
    assert_eq!(rows(&client, "SELECT count(*) FROM v").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn or_replace_of_a_socket_source_with_journalled_lines_is_refused() {
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let source = |more: &str| {
        format!(
            "CREATE OR REPLACE SOURCE lines (line TEXT) \
             WITH (connector = 'socket', host = '127.0.0.1', port = {port}, format = 'text'{more})"
        )
    };
    run(&client, &source("")).await;
    let (mut peer, _) = timeout(Duration::from_secs(60), listener.accept()).await.unwrap().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut peer, b"one\ntwo\n").await.unwrap();
    eventually("both lines are there", async || {
        (rows(&client, "SELECT count(*) FROM lines").await == ["2"]).then_some(())
    })
    .await;
    let refused = fails(&client, &source(", max_line_bytes = 100")).await;
    assert_eq!(
        (refused.code().code(), refused.message()),
        ("55000", "replacing source \"lines\" would discard its 2 records")
    );
    run(&client, &source(", max_line_bytes = 100, discard_rows = true")).await;
    assert_eq!(rows(&client, "SELECT count(*) FROM lines").await, ["0"]);
}
