//! Orderly and disorderly ends of a server, and what is there afterwards.

use tokio_postgres::NoTls;

use super::harness::{Home, error_text, eventually, finished, rows, run, signal};

#[tokio::test(flavor = "multi_thread")]
async fn server_sigterm_ends_sessions_commits_and_exits_zero() {
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT);
         CREATE MATERIALIZED VIEW v AS SELECT n, count(*) AS c FROM t GROUP BY n;
         INSERT INTO t SELECT i, i % 3 FROM generate_series(1, 1000) AS s(i)",
    )
    .await;
    let parameters = format!("host=127.0.0.1 port={} user=tidemark dbname=tidemark", server.port);
    let (_idle, connection) = tokio_postgres::connect(&parameters, NoTls).await.unwrap();
    let idle = tokio::spawn(connection);
    let busy = server.connect().await;
    // More of them than there are threads, none of which gives a row: they must not keep the end waiting.
    let mut joins = Vec::new();
    for _ in 0..4 {
        let client = server.connect().await;
        joins.push(tokio::spawn(async move { client.simple_query(JOIN).await.map(|_| ()) }));
    }

    let (query, status) = tokio::join!(busy.simple_query(LONG), server.terminate());
    for join in joins {
        let error = join.await.unwrap().expect_err("the join cannot have ended");
        assert_eq!(error.code().map(|c| c.code()), Some("57P01"), "{}", error_text(&error));
    }
    assert_eq!(status.code(), Some(0), "{}", home.log());
    let error = idle.await.unwrap().expect_err("the connection ended without a word");
    assert_eq!(error.code().map(|c| c.code()), Some("57P01"), "{error}");
    let error = query.expect_err("the query cannot have ended");
    assert_eq!(error.code().map(|c| c.code()), Some("57P01"), "{}", error_text(&error));

    let server = home.start();
    let client = server.connect().await;
    // No FLUSH: what a drained server had read is there at once.
    assert_eq!(rows(&client, "SELECT sum(c) FROM v").await, ["1000"]);
    run(&client, "INSERT INTO t VALUES (5000, 0); FLUSH").await;
    assert_eq!(rows(&client, "SELECT c FROM v WHERE n = 0").await, ["334"]);
    assert_eq!(rows(&client, "SELECT rows_in FROM tidemark.queries").await, ["1001"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sighup_is_logged_and_ignored() {
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (n INT); INSERT INTO t VALUES (1)").await;
    signal("-HUP", server.pid());
    eventually("it is logged", async || home.log().contains("SIGHUP ignored").then_some(())).await;
    // The same session goes on, and the end is still an orderly one.
    run(&client, "INSERT INTO t VALUES (2)").await;
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["2"]);
    assert_eq!(server.terminate().await.code(), Some(0), "{}", home.log());
}

/// A query that nobody waits for the end of.
pub const LONG: &str = "SELECT count(*) FROM generate_series(1, 100000000000) AS a(i) WHERE i % 7 = 3";
/// The same of two tables that are small.
const JOIN: &str = "SELECT count(*) FROM generate_series(1, 200000) a(i) JOIN generate_series(1, 200000) b(i) \
                    ON a.i * b.i % 7 = 9";

#[tokio::test(flavor = "multi_thread")]
async fn timed_out_joins_do_not_block_other_sessions() {
    let home = Home::new();
    let server = home.start();
    let mut late = Vec::new();
    for _ in 0..4 {
        let client = server.connect().await;
        run(&client, "SET statement_timeout = '500ms'").await;
        late.push(tokio::spawn(async move { client.simple_query(JOIN).await.map(|_| ()) }));
    }
    // While they run, and after.
    let client = server.connect().await;
    assert_eq!(rows(&client, "SELECT count(*) FROM generate_series(1, 10)").await, ["10"]);
    for late in late {
        let error = late.await.unwrap().expect_err("late");
        assert_eq!(error.code().map(|c| c.code()), Some("57014"), "{}", error_text(&error));
    }
    assert_eq!(rows(&client, "SELECT count(*) FROM generate_series(1, 10)").await, ["10"]);
    assert!(server.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sigterm_without_clients_exits_zero() {
    let home = Home::new();
    let server = home.start();
    assert!(server.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_statements_survive_kill_9() {
    let home = Home::new();
    let mut server = home.start();
    let steps = [
        "CREATE TABLE t (id BIGINT PRIMARY KEY, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '1 minute')",
        "INSERT INTO t VALUES (1, '2026-01-01 00:00:00')",
        "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t",
        "INSERT INTO t VALUES (2, '2026-01-01 00:00:00')",
        "CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT count(*) AS n, max(id) AS last FROM t",
        "CREATE VIEW plain AS SELECT id + 1 AS next FROM t",
        "UPDATE t SET id = 20 WHERE id = 2",
        "CREATE STREAM s AS SELECT id FROM t WHERE id > 1",
        "CREATE MATERIALIZED VIEW gone AS SELECT * FROM s",
        "DROP MATERIALIZED VIEW gone",
        "ALTER MATERIALIZED VIEW v PAUSE",
        "INSERT INTO t VALUES (3, '2026-01-01 00:00:00')",
    ];
    for step in steps {
        let client = server.connect().await;
        run(&client, step).await;
        server.kill();
        server = home.start();
    }
    let client = server.connect().await;
    assert_eq!(rows(&client, "SELECT id FROM t ORDER BY id").await, ["1", "3", "20"]);
    assert_eq!(rows(&client, "SELECT next FROM plain ORDER BY next").await, ["2", "4", "21"]);
    assert_eq!(rows(&client, "SELECT id FROM s ORDER BY id").await, ["3", "20"]);
    assert_eq!(rows(&client, "SHOW MATERIALIZED VIEWS").await, ["v"]);
    assert_eq!(rows(&client, "SELECT state FROM tidemark.queries").await, ["paused"]);
    run(&client, "ALTER MATERIALIZED VIEW v RESUME; FLUSH").await;
    assert_eq!(rows(&client, "SELECT * FROM v").await, ["3|20"]);
}

/// A trigger that has ended stays so; late rows, dead letters and counts are not forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn query_trigger_state_late_rows_and_dead_letters_survive_restarts() {
    let home = Home::new();
    home.put("in/a.csv", "1,2026-01-01 00:10:00\nx,2026-01-01 00:10:00\n");
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SOURCE s (n INT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '1 minute')
           WITH (connector = 'directory', path = 'in', format = 'csv', max_files_per_trigger = 1);
         CREATE MATERIALIZED VIEW once WITH (trigger = 'once') AS SELECT count(n) AS n FROM s;
         CREATE MATERIALIZED VIEW closed AS SELECT window_start, count(n) AS n
           FROM TUMBLE(s, at, INTERVAL '1 minute') GROUP BY window_start EMIT ON WINDOW CLOSE;
         FLUSH",
    )
    .await;
    eventually("it has run once", async || {
        (rows(&client, "SELECT state FROM tidemark.queries WHERE name = 'once'").await == ["finished"]).then_some(())
    })
    .await;
    home.put("in/b.csv", "2,2026-01-01 00:20:00\n");
    run(&client, "FLUSH").await;
    home.put("in/c.csv", "3,2026-01-01 00:05:00\n");
    run(&client, "FLUSH").await;
    let all = "SELECT name, rows_in, late, dead_letters FROM tidemark.queries ORDER BY name";
    let (counts, late) = (rows(&client, all).await, rows(&client, "SELECT query, row FROM tidemark.late_rows").await);
    let dead = rows(&client, "SELECT line, raw, reason FROM tidemark.dead_letters").await;
    assert_eq!(counts, ["closed|3|1|1", "once|1|0|1"]);
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!(dead.len(), 1, "one, however many read it: {dead:?}");
    server.kill();
    for orderly in [false, true] {
        let server = home.start();
        let client = server.connect().await;
        assert_eq!(rows(&client, all).await, counts);
        assert_eq!(rows(&client, "SELECT query, row FROM tidemark.late_rows").await, late);
        assert_eq!(rows(&client, "SELECT line, raw, reason FROM tidemark.dead_letters").await, dead);
        assert_eq!(rows(&client, "SELECT n FROM once").await, ["1"]);
        assert_eq!(rows(&client, "SELECT n FROM closed").await, ["1"]);
        match orderly {
            true => assert!(server.terminate().await.success()),
            false => server.kill(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_server_on_a_data_directory_is_refused() {
    let home = Home::new();
    let server = home.start();
    let (status, _, stderr) = finished(&mut home.serve()).await;
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("data") && stderr.contains("another"), "not clear: {stderr}");
    let client = server.connect().await;
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    server.kill();
    // The lock went with the process.
    home.start();
}

/// A port that is taken, a configuration that is wrong: told, and no server.
#[tokio::test(flavor = "multi_thread")]
async fn server_with_a_taken_port_or_wrong_configuration_exits_with_an_error() {
    let home = Home::new();
    let server = home.start();
    let mut command = home.command();
    command.args(["serve", "--data-dir", "other", "--listen", &format!("127.0.0.1:{}", server.port)]);
    let (status, _, stderr) = finished(&mut command).await;
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("cannot listen on 127.0.0.1:{}", server.port)), "{stderr}");
    std::fs::write(home.path("tidemark.yaml"), "listen: 127.0.0.1:0\nsesions: { max: 3 }\n").unwrap();
    let (status, _, stderr) = finished(&mut home.serve()).await;
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("tidemark.yaml:2:1") && stderr.contains("sesions"), "{stderr}");
    std::fs::write(home.path("file"), "").unwrap();
    let mut command = home.command();
    let (status, _, stderr) = finished(command.args(["serve", "--data-dir", "file", "--listen", "127.0.0.1:0"])).await;
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("file"), "{stderr}");
}
