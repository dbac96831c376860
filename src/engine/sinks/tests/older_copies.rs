//! Restarts from an older copy of the data directory, behind its sinks.

use super::*;

#[test]
fn sink_of_an_older_copy_does_not_overwrite_newer_epochs() {
    run(async {
        let mut stage = Stage::new().await;
        stage.sql("CREATE TABLE t (n INT) APPEND ONLY").await.unwrap();
        stage.sql("INSERT INTO t VALUES (0)").await.unwrap();
        stage.sql(&stage.create("s", "FROM t", "")).await.unwrap();
        stage.flush().await.unwrap();
        let copy = stage.storage.survivor();
        stage.sql("INSERT INTO t VALUES (1); FLUSH").await.unwrap();
        stage.die().await;
        stage.start_from(copy).await;
        stage.sql("INSERT INTO t VALUES (3)").await.unwrap();
        // The old server wrote one epoch that the copy does not have, so that the copy's next epoch has its number.
        for _ in 0..2 {
            let error = stage.flush().await.unwrap_err();
            assert!(error.message().starts_with("sink \"s\": the sink holds epoch "), "{error}");
            assert_eq!(folded(&locked(&stage.place("s")).written, &[]), ["0", "1"]);
            stage.crash().await;
        }
        // As the hint says: no row outside is removed, and new rows are added.
        stage.sql("ALTER SINK s RESET OFFSETS").await.unwrap();
        stage.wait_until_caught_up().await;
        assert_eq!(folded(&locked(&stage.place("s")).written, &[]), ["0", "1", "3"]);
        for row in ["4", "5"] {
            stage.crash().await;
            stage.sql(&format!("INSERT INTO t VALUES ({row})")).await.unwrap();
            stage.wait_until_caught_up().await;
        }
        assert_eq!(folded(&locked(&stage.place("s")).written, &[]), ["0", "1", "3", "4", "5"]);
    });
}

#[test]
fn sink_of_an_older_copy_in_complete_mode_continues() {
    run(async {
        let mut stage = Stage::new().await;
        stage.sql("CREATE TABLE t (id INT PRIMARY KEY, k TEXT)").await.unwrap();
        stage.sql("INSERT INTO t VALUES (1, 'a')").await.unwrap();
        stage.sql(&stage.create("s", "AS SELECT k, count(*) AS n FROM t GROUP BY k EMIT COMPLETE", "")).await.unwrap();
        stage.wait_until_caught_up().await;
        let copy = stage.storage.survivor();
        for id in 2..5 {
            stage.sql(&format!("INSERT INTO t VALUES ({id}, 'b'); FLUSH")).await.unwrap();
        }
        stage.die().await;
        stage.start_from(copy).await;
        for id in 7..9 {
            stage.sql(&format!("INSERT INTO t VALUES ({id}, 'c')")).await.unwrap();
            stage.wait_until_caught_up().await;
            assert_eq!(folded(&locked(&stage.place("s")).written, &[]), ["a|1".to_string(), format!("c|{}", id - 6)]);
            stage.crash().await;
        }
    });
}

/// Without new rows no epoch is written that would detect it.
#[test]
fn sink_of_an_older_copy_without_new_rows_fails_or_replaces_all() {
    run(async {
        let mut stage = Stage::new().await;
        stage.sql("CREATE TABLE t (id INT PRIMARY KEY, k TEXT)").await.unwrap();
        stage.sql("CREATE TABLE a (n INT) APPEND ONLY").await.unwrap();
        stage.sql("INSERT INTO t VALUES (1, 'a'); INSERT INTO a VALUES (1)").await.unwrap();
        stage.sql(&stage.create("c", "AS SELECT k, count(*) AS n FROM t GROUP BY k EMIT COMPLETE", "")).await.unwrap();
        stage.sql(&stage.create("s", "FROM a", "")).await.unwrap();
        stage.wait_until_caught_up().await;
        let copy = stage.storage.survivor();
        stage.sql("INSERT INTO t VALUES (2, 'b'); INSERT INTO a VALUES (2); FLUSH").await.unwrap();
        stage.die().await;
        stage.start_from(copy).await;
        let shown = |sink: &str| folded(&locked(&stage.place(sink)).written, &[]);
        eventually("it is replaced", async || (shown("c") == ["a|1"]).then_some(())).await;
        eventually("it is told", async || (stage.sql(FAILED).await.unwrap() == ["s"]).then_some(())).await;
        assert_eq!(shown("s"), ["1", "2"]);
        stage.sql("ALTER SINK s RESET OFFSETS; INSERT INTO a VALUES (3); INSERT INTO t VALUES (3, 'c')").await.unwrap();
        stage.wait_until_caught_up().await;
        assert_eq!(shown("c"), ["a|1", "c|1"]);
        assert_eq!(shown("s"), ["1", "2", "3"]);
    });
}

const FAILED: &str =
    "SELECT name FROM tidemark.queries WHERE state = 'failed' AND last_error LIKE 'the sink holds epoch%'";

/// The copy was made between intent and commit of an epoch, and the old server continued.
#[test]
fn sink_of_an_older_copy_does_not_rewrite_its_pending_epoch() {
    run(async {
        let mut stage = Stage::new().await;
        stage.sql("CREATE TABLE t (n INT) APPEND ONLY").await.unwrap();
        stage.sql(&stage.create("s", "FROM t", "")).await.unwrap();
        stage.sql("INSERT INTO t VALUES (0); FLUSH").await.unwrap();
        let place = stage.place("s");
        (locked(&place).fail_at, locked(&place).kind) = (Some((2, SinkFault::After)), Some(ErrorKind::ObjectInUse));
        stage.sql("INSERT INTO t VALUES (1)").await.unwrap();
        stage.flush().await.unwrap_err();
        let copy = stage.storage.survivor();
        stage.sql("ALTER SINK s RESUME; INSERT INTO t VALUES (2); FLUSH").await.unwrap();
        stage.die().await;
        stage.start_from(copy).await;
        assert_eq!(stage.sql("SELECT n FROM t").await.unwrap(), ["0", "1"]);
        stage.wait_until_caught_up().await;
        assert_eq!(folded(&locked(&place).written, &[]), ["0", "1", "2"]);
    });
}
