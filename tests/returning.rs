//! Queries that come back late after a start, or never: nobody waits for them but who wants their rows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tidemark::{
    checkpoint::{Log, LogRecord, Logged},
    engine::EngineOptions,
    error::ErrorKind,
    storage::MemoryStorage,
};
use tokio::time::timeout;

use crate::harness::{Gate, Rig, run};

const PATIENCE: Duration = Duration::from_secs(60);

const CREATE: &str = "CREATE TABLE t (id BIGINT PRIMARY KEY, a BIGINT);
    CREATE MATERIALIZED VIEW late AS SELECT a % 2 AS k, count(*) AS c FROM t GROUP BY a % 2;
    CREATE MATERIALIZED VIEW above AS SELECT sum(c) AS c FROM late;
    CREATE STREAM through AS SELECT c FROM late;
    CREATE MATERIALIZED VIEW fine AS SELECT sum(a) AS s FROM t;
    INSERT INTO t VALUES (1, 1), (2, 2), (3, 3); FLUSH; INSERT INTO t VALUES (4, 4); FLUSH";

const STATES: &str = "SELECT name, state FROM tidemark.queries ORDER BY name";

async fn lines(rig: &Rig, sql: &str) -> Vec<String> {
    let done = timeout(PATIENCE, rig.sql(sql)).await.unwrap_or_else(|_| panic!("{sql}: it hangs"));
    done.unwrap_or_else(|error| panic!("{sql}: {error}")).lines()
}

/// One that died with a view whose rows are on disk; and the folder that they are in.
async fn crashed_rig(checkpoint_interval: Duration) -> (Rig, String) {
    let mut rig = Rig::new(EngineOptions { checkpoint_interval, ..EngineOptions::default() }).await;
    lines(&rig, CREATE).await;
    let id = rig.engine().relations().iter().find(|relation| relation.name == "late").unwrap().id;
    if checkpoint_interval < Duration::from_secs(1) {
        // Its files are known to the log: nothing but its recovery looks at them.
        rig.engine().shutdown().await;
    }
    rig.die();
    // Its rows, by the number of their epoch.
    let folder = format!("relations/{id}/0");
    assert!(rig.storage.files().keys().any(|path| path.starts_with(&folder)));
    (rig, folder)
}

#[test]
fn hanging_recovery_of_a_query_blocks_no_other_statement() {
    for interval in [Duration::from_millis(1), Duration::from_secs(3600)] {
        run(2, async || {
            let (mut rig, folder) = crashed_rig(interval).await;
            let gate = Gate::closed(folder);
            rig.gate = Some(gate.clone());
            timeout(PATIENCE, rig.open()).await.expect("the server does not listen").unwrap();
            assert_eq!(lines(&rig, "SELECT s FROM fine").await, ["10"]);
            let others = "INSERT INTO t VALUES (5, 5); FLUSH fine; CREATE TABLE u (a BIGINT); DROP TABLE u;
                CREATE MATERIALIZED VIEW new AS SELECT count(*) AS c FROM t; FLUSH new";
            lines(&rig, others).await;
            assert_eq!(lines(&rig, "SELECT s, c FROM fine, new").await, ["15 | 5"]);
            assert!(lines(&rig, STATES).await.contains(&"late | recovering".to_string()));
            let reads = ["SELECT k, c FROM late ORDER BY k", "SELECT sum(c) FROM through", "SELECT c FROM above"];
            for sql in reads {
                let read = timeout(Duration::from_millis(20), rig.sql(sql)).await;
                // What has nothing to run again over it may be back before it.
                assert!(read.is_err() || sql.contains("above"), "{sql} does not wait: {read:?}");
            }
            // A view over it begins when it is back, and one that nobody wants any more goes at once.
            lines(&rig, "CREATE MATERIALIZED VIEW over AS SELECT max(c) AS c FROM late; DROP MATERIALIZED VIEW above")
                .await;
            gate.open();
            lines(&rig, "FLUSH").await;
            for (sql, expected) in
                [(reads[0], vec!["0 | 2", "1 | 3"]), (reads[1], vec!["5"]), ("SELECT c FROM over", vec!["3"])]
            {
                assert_eq!(lines(&rig, sql).await, expected, "{sql}");
            }
            rig.gate = None;
            rig.crash().await;
            assert_eq!(lines(&rig, reads[0]).await, ["0 | 2", "1 | 3"]);
        });
    }
}

#[test]
fn recovering_query_can_be_dropped_and_the_server_stopped() {
    run(2, async || {
        let (mut rig, folder) = crashed_rig(Duration::from_millis(1)).await;
        let gate = Gate::closed(folder);
        rig.gate = Some(gate.clone());
        rig.open().await.unwrap();
        lines(&rig, "DROP MATERIALIZED VIEW late CASCADE").await;
        assert_eq!(lines(&rig, STATES).await, ["fine | running"]);
        assert_eq!(rig.sql("SELECT * FROM late").await.unwrap_err().kind(), ErrorKind::UndefinedTable);
        gate.open();
        timeout(PATIENCE, rig.restart()).await.expect("it does not stop");
        assert_eq!(lines(&rig, "SELECT s FROM fine").await, ["10"]);
    });
}

#[test]
fn unrecoverable_query_is_shown_as_failed_and_others_run() {
    run(2, async || {
        let (mut rig, folder) = crashed_rig(Duration::from_millis(1)).await;
        let mut files = rig.storage.files();
        files.iter_mut().filter(|(path, _)| path.starts_with(&folder)).for_each(|(_, bytes)| bytes.truncate(3));
        rig.storage = Arc::new(files.into());
        timeout(PATIENCE, rig.open()).await.expect("the server does not listen").unwrap();
        let failed = lines(&rig, "SELECT state, last_error FROM tidemark.queries WHERE name = 'late'").await;
        assert!(failed[0].starts_with("failed | ") && failed[0].contains(&folder), "{failed:?}");
        let error = timeout(PATIENCE, rig.sql("SELECT * FROM late")).await.expect("it is known").unwrap_err();
        assert!(error.message().contains("\"late\" has not recovered") && error.tells(&folder), "{error}");
        lines(&rig, "INSERT INTO t VALUES (5, 5); FLUSH fine").await;
        assert_eq!(lines(&rig, "SELECT s FROM fine").await, ["15"]);
    });
}

/// For each view whether its commits in the log have a hash of their changes.
fn hashed(rig: &Rig) -> BTreeMap<String, bool> {
    let names: BTreeMap<u64, String> = rig.engine().relations().into_iter().map(|r| (r.id, r.name)).collect();
    let (_, records) = Log::open(Arc::new(MemoryStorage::from(rig.storage.files())), 0).unwrap();
    let of = |logged: Logged| match logged.record {
        LogRecord::Commit(commit) => Some((names[&commit.query].clone(), commit.hash.is_some())),
        _ => None,
    };
    records.into_iter().filter_map(of).collect()
}

#[test]
fn commit_has_a_hash_unless_digits_of_the_answer_depend_on_the_order_of_rows() {
    run(2, async || {
        let rig = Rig::new(EngineOptions::default()).await;
        let sql = "CREATE TABLE t (k BIGINT, x DOUBLE PRECISION);
            CREATE MATERIALIZED VIEW rows AS SELECT k, x * 2 AS y FROM t;
            CREATE MATERIALIZED VIEW exact AS SELECT k, sum(x) AS s, avg(x) AS a, count(*) AS n FROM t GROUP BY k;
            CREATE MATERIALIZED VIEW spread AS SELECT k, stddev(x) AS d FROM t GROUP BY k;
            CREATE MATERIALIZED VIEW middle AS SELECT approx_median(x) AS m FROM t;
            CREATE MATERIALIZED VIEW moving AS SELECT k, var_pop(x) OVER (PARTITION BY k) AS v FROM t;
            CREATE MATERIALIZED VIEW nested AS SELECT k FROM t WHERE x > (SELECT corr(x, k) FROM t);
            CREATE MATERIALIZED VIEW over_exact AS SELECT max(s) AS s FROM exact;
            CREATE MATERIALIZED VIEW over_spread AS SELECT d FROM spread;
            CREATE VIEW through AS SELECT d FROM over_spread;
            CREATE MATERIALIZED VIEW over_through AS SELECT count(d) AS n FROM through;
            INSERT INTO t VALUES (1, 0.1), (1, 0.7), (2, 3); FLUSH; INSERT INTO t VALUES (2, 4); FLUSH";
        lines(&rig, sql).await;
        let exact = ["exact", "over_exact", "rows"];
        let inexact = ["middle", "moving", "nested", "over_spread", "over_through", "spread"];
        let expected = exact.map(|name| (name.to_string(), true)).into_iter();
        let expected = expected.chain(inexact.map(|name| (name.to_string(), false)));
        assert_eq!(hashed(&rig), expected.collect());
    });
}
