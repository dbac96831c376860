//! What is limited: clients, time, memory. Who asks for more is told, and nobody else notices.

use std::time::Duration;

use super::harness::{Home, eventually, fails, rows, run};

/// The hundred-and-first client is told so, and the others stay.
#[tokio::test(flavor = "multi_thread")]
async fn client_beyond_max_sessions_gets_too_many_connections() {
    let home = Home::new();
    std::fs::write(home.path("tidemark.yaml"), "sessions: { max: 2 }\n").unwrap();
    let server = home.start();
    let (one, _two) = (server.connect().await, server.connect().await);
    let error = super::harness::connect(server.port).await.map(drop).expect_err("a third client was let in");
    assert_eq!(error.code().map(|c| c.code()), Some("53300"), "{error}");
    drop(_two);
    eventually("a place is free again", async || super::harness::connect(server.port).await.ok()).await;
    assert_eq!(rows(&one, "SELECT 1").await, ["1"]);
}

/// A statement_timeout ends a statement and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn statement_timeout_ends_a_statement_and_the_session_continues() {
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "SET statement_timeout = '1 s'").await;
    let started = tokio::time::Instant::now();
    let error = fails(&client, super::restart::LONG).await;
    assert_eq!(error.code().code(), "57014", "{error}");
    assert!(started.elapsed() >= Duration::from_secs(1));
    run(&client, "SET statement_timeout = 0").await;
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

/// A view whose groups never end, beside one that stays small: the first stops, all that it had is there, and it goes
/// on when there is room.
#[tokio::test(flavor = "multi_thread")]
async fn view_beyond_the_state_memory_fails_alone_and_resumes_with_more() {
    let home = Home::new();
    let configure = |limit: &str| {
        let text = format!("state: {{ memory_limit: {limit} }}\n");
        std::fs::write(home.path("tidemark.yaml"), text).unwrap();
    };
    configure("4 MB");
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SOURCE s (n BIGINT) WITH (connector = 'datagen', rows_per_second = 0, number_of_rows = 100000,
           fields.n.kind = 'sequence', fields.n.start = 1, max_rows_per_trigger = 1000);
         CREATE TABLE t (n BIGINT) APPEND ONLY;
         CREATE TABLE ballast (n BIGINT) APPEND ONLY;
         INSERT INTO ballast SELECT i FROM generate_series(1, 50000) AS s(i);
         CREATE MATERIALIZED VIEW wide AS SELECT n, count(*) AS c FROM s GROUP BY n",
    )
    .await;
    let failed = "SELECT last_error FROM tidemark.queries WHERE name = 'wide' AND state = 'failed'";
    let error = eventually("it fails", async || rows(&client, failed).await.pop()).await;
    assert!(error.starts_with("view \"wide\" would hold ") && error.ends_with("at most 4194304"), "{error}");
    let kept = rows(&client, "SELECT count(*) >= 1000, count(*) = max(n), sum(c) = count(*) FROM wide").await;
    assert_eq!(kept, ["t|t|t"]);
    // A table meets the same limit before its rows are durable.
    let error = fails(&client, "INSERT INTO t SELECT i FROM generate_series(1, 400000) AS s(i)").await;
    assert_eq!((error.code().code(), error.message().starts_with("table \"t\"")), ("53400", true), "{error}");
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"]);
    run(&client, "DROP TABLE ballast; INSERT INTO t VALUES (1)").await;
    run(&client, "CREATE MATERIALIZED VIEW narrow AS SELECT count(*) AS c FROM s").await;
    eventually("another one has room", async || {
        (rows(&client, "SELECT c FROM narrow").await == ["100000"]).then_some(())
    })
    .await;
    assert!(server.terminate().await.success());

    configure("1 GB");
    let server = home.start();
    let client = server.connect().await;
    eventually("it goes on", async || (rows(&client, "SELECT count(*) FROM wide").await == ["100000"]).then_some(()))
        .await;
    assert_eq!(rows(&client, "SELECT n FROM t").await, ["1"]);
}

/// Joins make far more of few rows than there is memory for, without a key, of rows that are there many times, and where
/// only whether they meet is shown: they stop, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn join_beyond_the_query_memory_fails_alone() {
    let home = Home::new();
    std::fs::write(home.path("tidemark.yaml"), "query: { memory_limit: 32 MB }\n").unwrap();
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE a (n BIGINT) APPEND ONLY; CREATE TABLE b (n BIGINT) APPEND ONLY;
         CREATE MATERIALIZED VIEW every AS SELECT a.n, b.n AS m FROM a, b WHERE a.n <> b.n;
         CREATE MATERIALIZED VIEW same AS SELECT a.n FROM a JOIN b ON a.n = b.n;
         CREATE MATERIALIZED VIEW others AS SELECT n FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.n <> a.n);
         CREATE TABLE copies (n BIGINT); CREATE TABLE more (n BIGINT);
         CREATE MATERIALIZED VIEW copied AS SELECT copies.n FROM copies JOIN more ON copies.n = more.n;
         INSERT INTO a SELECT i FROM generate_series(1, 3000) AS s(i)",
    )
    .await;
    run(
        &client,
        "INSERT INTO copies SELECT 1 FROM generate_series(1, 20000);
         INSERT INTO b SELECT i FROM generate_series(1, 3000) AS s(i);
         INSERT INTO more SELECT 1 FROM generate_series(1, 20000)",
    )
    .await;
    let error = "the pairs of a join in one epoch would hold more than query.memory_limit";
    let failed =
        format!("SELECT name FROM tidemark.queries WHERE state = 'failed' AND last_error = '{error}' ORDER BY name");
    eventually("they fail", async || (rows(&client, &failed).await == ["copied", "every", "others"]).then_some(()))
        .await;
    eventually("the other one is there", async || {
        (rows(&client, "SELECT count(*) FROM same").await == ["3000"]).then_some(())
    })
    .await;
    // Nothing of the epoch that failed is there.
    assert_eq!(rows(&client, "SELECT count(*) FROM every").await, ["0"]);
    assert!(server.terminate().await.success());
    std::fs::write(home.path("tidemark.yaml"), "query: { memory_limit: 2 GB }\n").unwrap();
    let server = home.start();
    let client = server.connect().await;
    let counts = "SELECT (SELECT count(*) FROM every), (SELECT count(*) FROM others)";
    eventually("they go on", async || (rows(&client, counts).await == ["8997000|3000"]).then_some(())).await;
    eventually("what is still too much stops again", async || {
        (rows(&client, &failed).await == ["copied"]).then_some(())
    })
    .await;
}

/// Each is minutes of one call that looks up at nothing: as a constant while the query is planned, in a projection, a
/// filter and a key. The only thread for queries serves everybody else meanwhile, and whoever asked may go.
#[tokio::test(flavor = "multi_thread")]
async fn uninterruptible_function_call_blocks_no_other_session() {
    let home = Home::new();
    home.put("tidemark.yaml", "threads: { network: 1, query: 1, aside: 5 }\n");
    let server = home.start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE long (t TEXT); INSERT INTO long VALUES (repeat('A', 2000000))").await;
    for sql in [
        "SELECT regexp_count(repeat('A', 2000000), '.*[^A-Z]|[A-Z]')",
        "SELECT regexp_replace(t, '.*[^A-Z]|[A-Z]', '', 'g') FROM long",
        "SELECT count(*) FROM long WHERE regexp_count(t, '.*[^A-Z]|[A-Z]') = 0",
        "SELECT regexp_instr(t, '.*[^A-Z]|[A-Z]', 1, 100000), count(*) FROM long GROUP BY 1",
        "UPDATE long SET t = regexp_replace(t, '.*[^A-Z]|[A-Z]', '', 'g')",
    ] {
        let other = server.connect().await;
        let cancel = other.cancel_token();
        let asked = tokio::spawn(async move { other.simple_query(sql).await.map(drop) });
        for _ in 0..50 {
            assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
        }
        assert!(!asked.is_finished(), "{sql} is not slow");
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{sql}: {error}");
        // It may be computed on, to the end.
        assert_eq!(rows(&client, "SELECT count(*) FROM long").await, ["1"]);
    }
    // Which is so of five, and the next one waits for them. It is cancelled as any other.
    run(&client, "SET statement_timeout = '500ms'").await;
    assert_eq!(fails(&client, "SELECT t ~ 'B' FROM long").await.code().code(), "57014");
    assert_eq!(fails(&client, "SELECT 'A' ~ 'B'").await.code().code(), "57014");
    run(&client, "SET statement_timeout = 0").await;
    assert_eq!(rows(&client, "SELECT count(*) FROM long").await, ["1"]);
    // What PostgreSQL takes, so that no call takes long.
    for long in [255, 256] {
        let sql = format!("SELECT levenshtein(repeat('a', {long}), repeat('b', 3))");
        match long {
            255 => assert_eq!(rows(&client, &sql).await, ["255"]),
            _ => assert_eq!(fails(&client, &sql).await.code().code(), "22023"),
        }
    }
    server.kill();
}

/// What takes the place of other rows is never refused, and so it is at every start: after a kill, from the log; after
/// that, from files of changes.
#[tokio::test(flavor = "multi_thread")]
async fn table_updated_at_its_memory_limit_is_restored_at_every_start() {
    let home = Home::new();
    home.put("tidemark.yaml", "state: { memory_limit: 20 MB }\n");
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, s TEXT);
         INSERT INTO t SELECT i, repeat('a', 1000) FROM generate_series(1, 5000) AS g(i)",
    )
    .await;
    for letter in ["b", "c", "d", "e"] {
        run(&client, &format!("UPDATE t SET s = repeat('{letter}', 1000)")).await;
    }
    server.kill();
    for changed in ["f", "g", "h"] {
        let server = home.start();
        let client = server.connect().await;
        assert_eq!(rows(&client, "SELECT count(*), min(s) = max(s) FROM t").await, ["5000|t"], "before {changed}");
        run(&client, &format!("UPDATE t SET s = repeat('{changed}', 1000)")).await;
        assert!(server.terminate().await.success());
    }
}
