//! A disk that is full or fails for a while: what was acknowledged stays, and the server goes on by itself.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use tidemark::{
    engine::EngineOptions,
    error::ErrorKind,
    storage::{Fault, MemoryStorage, Operation},
};

use crate::harness::{PATIENCE, Plan, Rig, eventually, run};

fn options() -> EngineOptions {
    EngineOptions { checkpoint_interval: Duration::from_millis(1), ..EngineOptions::default() }
}

async fn rig(options: EngineOptions, plan: Plan) -> Rig {
    let mut rig = Rig::on(MemoryStorage::default(), options);
    rig.plan = Some(plan);
    rig.open().await.unwrap();
    rig
}

/// A plan that fails what it is told to, while a switch is on.
fn switched(fails: impl Fn(Operation, &str) -> Option<Fault> + Send + Sync + 'static) -> (Arc<AtomicBool>, Plan) {
    let on = Arc::new(AtomicBool::new(false));
    let switch = on.clone();
    (on, Arc::new(move |operation, path| fails(operation, path).filter(|_| switch.load(Ordering::SeqCst))))
}

fn disk_is_full(operation: Operation, _: &str) -> Option<Fault> {
    match operation {
        Operation::Append => Some(Fault::Short(20)),
        Operation::Create => Some(Fault::Refused(ErrorKind::DiskFull)),
        _ => None,
    }
}

/// Runs a statement until the storage takes it.
async fn at_last(rig: &Rig, sql: &str) {
    let taken = async || match rig.sql(sql).await {
        Ok(_) => Some(()),
        Err(error) => {
            assert!(
                matches!(error.kind(), ErrorKind::Io | ErrorKind::DiskFull | ErrorKind::CannotConnectNow),
                "{sql}: {error}"
            );
            None
        }
    };
    let taken = tokio::time::timeout(PATIENCE, eventually(sql, taken)).await;
    taken.unwrap_or_else(|_| panic!("{sql}: it hangs"));
}

async fn lines(rig: &Rig, sql: &str) -> Vec<String> {
    rig.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).lines()
}

async fn state(rig: &Rig, name: &str) -> String {
    lines(rig, &format!("SELECT state FROM tidemark.queries WHERE name = '{name}'")).await.concat()
}

#[test]
fn server_after_a_full_disk_continues_without_a_restart() {
    run(2, async || {
        let (full, plan) = switched(disk_is_full);
        let mut rig = rig(options(), plan).await;
        let create = "CREATE TABLE t (id BIGINT PRIMARY KEY, a BIGINT); INSERT INTO t VALUES (1, 1);
            CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c, sum(a) AS s FROM t;
            CREATE MATERIALIZED VIEW above AS SELECT c FROM v; FLUSH";
        rig.sql(create).await.unwrap();
        for round in 1..4 {
            full.store(true, Ordering::SeqCst);
            for n in 0..3 {
                let insert = format!("INSERT INTO t VALUES ({round}{n}, 5)");
                assert!(rig.sql(&insert).await.is_err(), "{insert}");
            }
            assert!(rig.sql("CREATE TABLE u (a BIGINT)").await.is_err());
            // What was acknowledged is read as ever.
            assert_eq!(lines(&rig, "SELECT count(*) FROM t").await, [round.to_string()]);
            full.store(false, Ordering::SeqCst);
            at_last(&rig, &format!("INSERT INTO t VALUES (1000 + {round}, 10)")).await;
            at_last(&rig, "FLUSH").await;
            let rows = round + 1;
            assert_eq!(lines(&rig, "SELECT c, s FROM v").await, [format!("{rows} | {}", 1 + round * 10)]);
            assert_eq!(lines(&rig, "SELECT c FROM above").await, [rows.to_string()]);
        }
        rig.crash().await;
        rig.sql("FLUSH").await.unwrap();
        assert_eq!(lines(&rig, "SELECT c, s FROM v").await, ["4 | 31"]);
        assert_eq!(lines(&rig, "SELECT count(*) FROM t").await, ["4"]);
    });
}

#[test]
fn view_whose_commit_or_checkpoint_fails_keeps_its_state_in_memory() {
    run(2, async || {
        let loads = Arc::new(AtomicUsize::new(0));
        for what in ["state/", "log/", "relations/"] {
            let (failing, plan) = switched(move |operation, path| {
                let writes = matches!(operation, Operation::Append | Operation::Create);
                (writes && path.starts_with(what)).then_some(Fault::Refused(ErrorKind::DiskFull))
            });
            let counted = loads.clone();
            let plan: Plan = Arc::new(move |operation, path| {
                if operation == Operation::List && path.starts_with("state/") {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                plan(operation, path)
            });
            let rig = rig(options(), plan).await;
            let folder = tempfile::tempdir().unwrap();
            let land = |n: usize| {
                std::fs::write(folder.path().join("draft"), format!("{n}\n")).unwrap();
                std::fs::rename(folder.path().join("draft"), folder.path().join(format!("{n}.csv"))).unwrap();
            };
            let create = format!(
                "CREATE SOURCE s (a BIGINT) WITH (connector = 'directory', path = '{}', format = 'csv');
                 CREATE MATERIALIZED VIEW v AS SELECT a % 2 AS k, count(*) AS c FROM s GROUP BY a % 2; FLUSH",
                folder.path().display()
            );
            rig.sql(&create).await.unwrap();
            land(1);
            rig.sql("FLUSH").await.unwrap();
            let before = loads.load(Ordering::SeqCst);
            failing.store(true, Ordering::SeqCst);
            for n in 2..6 {
                land(n);
                // It waits for the log, and for nothing else.
                assert_eq!(rig.sql("FLUSH").await.is_ok(), what != "log/", "{what}");
            }
            failing.store(false, Ordering::SeqCst);
            land(6);
            at_last(&rig, "FLUSH").await;
            assert_eq!(lines(&rig, "SELECT k, c FROM v ORDER BY k").await, ["0 | 3", "1 | 3"], "{what}");
            assert_eq!(loads.load(Ordering::SeqCst), before, "{what}: it was loaded again");
        }
    });
}

#[test]
fn dead_letter_committed_during_log_rotation_survives() {
    run(3, async || {
        let folder = tempfile::tempdir().unwrap();
        let (armed, gate) = (Arc::new(AtomicBool::new(false)), Mutex::new(None::<mpsc::Receiver<()>>));
        let (reached, waits) = mpsc::channel();
        let (open, opened) = mpsc::channel();
        *gate.lock().unwrap() = Some(opened);
        let arm = armed.clone();
        let plan: Plan = Arc::new(move |operation, path| {
            if operation == Operation::Append && path.starts_with("log/") && arm.swap(false, Ordering::SeqCst) {
                let _ = reached.send(());
                let _ = gate.lock().unwrap().take().map(|opened| opened.recv());
            }
            None
        });
        let mut rig = rig(EngineOptions { log_file_bytes: 1, ..options() }, plan).await;
        let create = format!(
            "CREATE SOURCE s (a BIGINT) WITH (connector = 'directory', path = '{}', format = 'csv');
             CREATE MATERIALIZED VIEW v WITH (checkpoint_interval = '1 hour') AS SELECT sum(a) AS s FROM s; FLUSH",
            folder.path().display()
        );
        rig.sql(&create).await.unwrap();
        // The next append is the commit of the epoch that reads the bad line.
        let engine = rig.engine().clone();
        std::fs::write(folder.path().join("draft"), "1\nbad\n").unwrap();
        armed.store(true, Ordering::SeqCst);
        std::fs::rename(folder.path().join("draft"), folder.path().join("1.csv")).unwrap();
        tokio::task::spawn_blocking(move || waits.recv().unwrap()).await.unwrap();
        let mut shorten = tokio::spawn(async move { engine.shorten_log().await });
        // It may come to its end before the commit is written, or wait for it.
        let early = tokio::time::timeout(Duration::from_millis(300), &mut shorten).await;
        open.send(()).unwrap();
        match early {
            Ok(done) => done.unwrap().unwrap(),
            Err(_) => shorten.await.unwrap().unwrap(),
        }
        rig.sql("FLUSH").await.unwrap();
        let letters = "SELECT count(*) FROM tidemark.dead_letters";
        assert_eq!(lines(&rig, letters).await, ["1"]);
        rig.crash().await;
        assert_eq!(lines(&rig, letters).await, ["1"]);
        assert_eq!(lines(&rig, "SELECT s FROM v").await, ["1"]);
    });
}

#[test]
fn view_failing_recovery_does_not_block_log_compaction_and_recovers_later() {
    run(2, async || {
        let mut rig = Rig::new(EngineOptions { log_file_bytes: 2_000, ..options() }).await;
        let create = "CREATE TABLE t (a BIGINT, b TEXT) APPEND ONLY; INSERT INTO t VALUES (1, 'x');
            CREATE TABLE lost (a BIGINT); INSERT INTO lost VALUES (1);
            CREATE MATERIALIZED VIEW v WITH (checkpoint_interval = '1 hour') AS
                SELECT b, count(*) AS c FROM t GROUP BY b; FLUSH;
            INSERT INTO t VALUES (2, 'y'); FLUSH; INSERT INTO lost VALUES (2)";
        rig.sql(create).await.unwrap();
        rig.die();
        // Its checkpoint is away for a while, and so are the rows of a table.
        let (mut files, whole) = (rig.storage.files(), rig.storage.files());
        files.retain(|path, _| !path.starts_with("state/"));
        rig.storage = Arc::new(MemoryStorage::from(files));
        rig.open().await.unwrap();
        let error = rig.sql("SELECT * FROM v").await.unwrap_err();
        assert!(error.message().contains("state/3"), "{error}");
        for round in 0..6 {
            for n in 0..20 {
                rig.sql(&format!("INSERT INTO t VALUES ({round}, 'row number {n} of a round')")).await.unwrap();
            }
            rig.engine().shorten_log().await.unwrap();
        }
        let log: usize =
            rig.storage.files().iter().filter(|(path, _)| path.starts_with("log/")).map(|(_, b)| b.len()).sum();
        assert!(log < 20_000, "the log has {log} bytes");
        rig.die();
        let mut files = rig.storage.files();
        files.extend(whole.into_iter().filter(|(path, _)| path.starts_with("state/")));
        rig.storage = Arc::new(MemoryStorage::from(files));
        rig.open().await.unwrap();
        rig.sql("FLUSH").await.unwrap();
        let batch = lines(&rig, "SELECT b, count(*) FROM t GROUP BY b ORDER BY b").await;
        assert_eq!(lines(&rig, "SELECT b, c FROM v ORDER BY b").await, batch);
        assert_eq!(lines(&rig, "SELECT a FROM lost ORDER BY a").await, ["1", "2"]);
        rig.engine().shorten_log().await.unwrap();
    });
}

#[test]
fn query_shown_as_finished_is_finished_after_a_crash() {
    run(2, async || {
        for write in 1..40 {
            let mut rig = Rig::new(options()).await;
            rig.sql("CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1)").await.unwrap();
            rig.storage.fail_at(rig.storage.writes() + write);
            if rig.sql("CREATE MATERIALIZED VIEW v WITH (trigger = 'once') AS SELECT sum(a) AS s FROM t").await.is_err()
            {
                continue;
            }
            let mut shown = state(&rig, "v").await;
            while shown == "running" || shown == "recovering" {
                tokio::task::yield_now().await;
                shown = state(&rig, "v").await;
            }
            rig.crash().await;
            let after = state(&rig, "v").await;
            // One that is not known to have finished would begin again.
            assert!(shown != "finished" || after == "paused", "write {write}: it was {shown}, and is {after}");
            if shown == "finished" {
                return;
            }
        }
        panic!("it never finishes");
    });
}
