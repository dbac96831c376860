//! An outside system that lets everybody wait: what waits for it, and what does not.

use super::*;

/// A stage with a table, and the closed gate of a sink `s`.
async fn stage_with_gated_sink(options: EngineOptions) -> (Stage, Arc<Gate>) {
    let mut stage = Stage::new().await;
    stage.die().await;
    stage.storage = Arc::new(stage.storage.survivor());
    stage.open_with(options).await.unwrap();
    stage.sql("CREATE TABLE t (n INT) APPEND ONLY; INSERT INTO t VALUES (1)").await.unwrap();
    let gate = Gate::closed();
    locked(&stage.place("s")).gate = Some(gate.clone());
    (stage, gate)
}

fn options_without_timeouts() -> EngineOptions {
    let never = Duration::from_secs(100_000);
    EngineOptions { open_timeout: never, write_timeout: never, partitions: 2, ..EngineOptions::default() }
}

async fn within_patience<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it hangs")
}

/// Runs a statement beside others, as a client of its own.
fn spawn_statement(stage: &Stage, sql: &str) -> tokio::task::JoinHandle<Result<()>> {
    let (engine, statement) = (stage.engine.clone().unwrap(), parse(sql).unwrap().remove(0));
    tokio::spawn(async move {
        let session = Session::default();
        engine.execute(&session, &authorize(&session, statement)?, &[]).await.map(drop)
    })
}

#[test]
fn create_sink_waiting_for_its_destination_blocks_no_others_and_ends_on_disconnect() {
    run(async {
        let (stage, gate) = stage_with_gated_sink(options_without_timeouts()).await;
        let files = stage.storage.files();
        let creating = spawn_statement(&stage, &stage.create("s", "FROM t", ""));
        within_patience(gate.arrived.notified()).await;
        let others = "CREATE TABLE u (n INT); INSERT INTO t VALUES (2); CREATE MATERIALIZED VIEW v AS SELECT n FROM t;
            FLUSH; ALTER MATERIALIZED VIEW v PAUSE; CREATE SECRET x AS 'y'; DROP SECRET x;
            CREATE FUNCTION f (a INT) RETURNS INT RETURN a; DROP FUNCTION f; DROP TABLE u; DROP MATERIALIZED VIEW v";
        within_patience(stage.sql(others)).await.unwrap();
        let same = spawn_statement(&stage, "CREATE TABLE s (n INT)");
        assert_eq!(within_patience(stage.sql("SHOW SINKS")).await.unwrap(), [""; 0]);
        assert!(!creating.is_finished() && !same.is_finished(), "who is first comes first");
        creating.abort();
        within_patience(same).await.unwrap().unwrap();
        within_patience(stage.sql("DROP TABLE s")).await.unwrap();
        let left = async {
            let of = |files: &BTreeMap<String, Vec<u8>>| {
                let stays = |path: &&String| path.starts_with("log/") || *path == IDENTITY;
                files.keys().filter(|path| !stays(path)).cloned().collect::<BTreeSet<_>>()
            };
            while !of(&stage.storage.files()).is_subset(&of(&files)) {
                tokio::task::yield_now().await;
            }
        };
        within_patience(left).await;
    });
}

#[test]
fn create_sink_over_an_input_dropped_meanwhile_fails_and_leaves_nothing() {
    let gone = [
        ("DROP TABLE t CASCADE", "FROM t", "table \"t\" was dropped or replaced while sink \"s\" was being made"),
        ("DROP VIEW w; CREATE VIEW w AS SELECT n + 1 AS n FROM t", "FROM w", "view \"w\" was dropped or replaced"),
        ("DROP FUNCTION f", "AS SELECT f(n) AS n FROM t", "function \"f\" was dropped or replaced"),
        ("DROP SECRET x", "FROM t", "secret \"x\" does not exist"),
    ];
    for (drop, from, expected) in gone {
        run(async {
            let (stage, gate) = stage_with_gated_sink(options_without_timeouts()).await;
            let before = "CREATE VIEW w AS SELECT n FROM t; CREATE SECRET x AS 'y';
                CREATE FUNCTION f (a INT) RETURNS INT RETURN a";
            stage.sql(before).await.unwrap();
            locked(&stage.place("s")).password = drop.contains("SECRET").then(|| "y".to_string());
            let options = if drop.contains("SECRET") { "password = SECRET x" } else { "" };
            let creating = spawn_statement(&stage, &stage.create("s", from, options));
            within_patience(gate.arrived.notified()).await;
            within_patience(stage.sql(drop)).await.unwrap();
            gate.permits.add_permits(1);
            let error = within_patience(creating).await.unwrap().unwrap_err();
            assert!(error.message().contains(expected), "{drop}: {error}");
            assert_eq!(stage.sql("SHOW SINKS").await.unwrap(), [""; 0]);
            assert!(locked(&stage.place("s")).written.is_empty());
        });
    }
}

#[test]
fn sink_unresponsive_destination_times_out_and_is_retried() {
    run(async {
        let limit = Duration::from_millis(20);
        let (stage, gate) = stage_with_gated_sink(EngineOptions {
            open_timeout: limit,
            write_timeout: limit,
            ..options_without_timeouts()
        })
        .await;
        let create = stage.create("s", "FROM t", "");
        let error = within_patience(stage.sql(&create)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotConnectNow);
        assert_eq!(error.message(), "sink \"s\": what is outside did not answer within 20ms");
        assert!(error.hint_text().unwrap().starts_with("connectors.open_timeout "));
        gate.permits.add_permits(1);
        within_patience(stage.sql(&create)).await.unwrap();
        let state = "SELECT state, last_error FROM tidemark.queries";
        let expected = "retrying|sink \"s\": what is outside did not answer within 20ms";
        let retrying = async { while stage.sql(state).await.unwrap() != [expected] {} };
        within_patience(retrying).await;
        gate.permits.add_permits(1000);
        stage.wait_until_caught_up().await;
        assert_eq!(folded(&locked(&stage.place("s")).written, &[]), ["1"], "once");
    });
}

#[test]
fn drop_sink_during_a_write_does_not_wait_for_it() {
    run(async {
        let (stage, gate) = stage_with_gated_sink(options_without_timeouts()).await;
        let creating = spawn_statement(&stage, &stage.create("s", "FROM t", ""));
        within_patience(gate.arrived.notified()).await;
        gate.permits.add_permits(1);
        within_patience(creating).await.unwrap().unwrap();
        // It is opened, and now writes.
        within_patience(gate.arrived.notified()).await;
        within_patience(stage.sql("DROP SINK s; DROP TABLE t; CREATE TABLE s (n INT)")).await.unwrap();
        gate.permits.add_permits(1000);
        stage.wait_until_caught_up().await;
        assert!(locked(&stage.place("s")).written.is_empty(), "what was dropped writes no more");
    });
}
