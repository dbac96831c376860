mod failed_checkpoint;
mod older_copies;
mod room;
mod waits;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow::{
    array::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::physical_plan::common::collect;
use tokio::runtime::Runtime;

use super::*;
use crate::{
    connectors::{
        Outgoing,
        sink::memory::{Gate, MemoryTarget, SinkFault, place},
    },
    engine::{Engine, EngineOptions, Env, Reply, authorize},
    session::Session,
    sql::parse,
    storage::{MemoryStorage, Storage},
    sync::locked,
    time::{
        Epoch, ManualClock,
        eventually::{PATIENCE, eventually},
    },
};

/// An engine on storage that can be crashed, with sinks whose writes are recorded.
struct Stage {
    storage: Arc<MemoryStorage>,
    engine: Option<Arc<Engine>>,
    /// The runtime of the engine's tasks, so that a crash ends them all.
    machine: Option<Runtime>,
    tag: String,
}

/// Per sink: name, the clause between name and options, options, key, and the query whose answer it must equal.
const SINKS: [(&str, &str, &str, &[usize], &str); 6] = [
    ("plain", "FROM log", "", &[], "SELECT * FROM log"),
    ("view", "FROM sums", "type = 'upsert'", &[0], "SELECT * FROM sums"),
    (
        "signs",
        "AS SELECT k, max(v) AS m FROM t GROUP BY k",
        "type = 'changes'",
        &[],
        "SELECT k, max(v) FROM t GROUP BY k",
    ),
    (
        "whole",
        "AS SELECT k, count(*) AS n FROM t GROUP BY k EMIT COMPLETE",
        "",
        &[],
        "SELECT k, count(*) FROM t GROUP BY k",
    ),
    // The query does not prove that `id` is unique.
    (
        "claim",
        "AS SELECT id, k FROM t UNION ALL SELECT id + 1000, k FROM t",
        "type = 'upsert', primary_key = 'id'",
        &[0],
        "SELECT id, k FROM t UNION ALL SELECT id + 1000, k FROM t",
    ),
    (
        "joined",
        "AS SELECT t.k, s.n FROM t JOIN fixed AS s ON t.v % 3 = s.id",
        "type = 'changes'",
        &[],
        "SELECT t.k, s.n FROM t JOIN fixed AS s ON t.v % 3 = s.id",
    ),
];

const STEPS: &[&str] = &[
    "CREATE TABLE t (id INT PRIMARY KEY, k TEXT, v INT)",
    "CREATE TABLE log (id INT, k TEXT) APPEND ONLY",
    "CREATE VIEW fixed AS SELECT * FROM (VALUES (0, 'zero'), (1, 'one'), (2, 'two')) AS f (id, n)",
    "CREATE MATERIALIZED VIEW sums AS SELECT k, count(*) AS c, sum(v) AS s FROM t GROUP BY k",
    "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'a', 3)",
    "INSERT INTO log VALUES (1, 'x'), (2, 'y')",
    "SINKS",
    "INSERT INTO t VALUES (4, 'b', 4), (5, 'c', 5)",
    "INSERT INTO log VALUES (3, 'z')",
    "UPDATE t SET v = 10 WHERE id = 1",
    "DELETE FROM t WHERE k = 'c'",
    "INSERT INTO log VALUES (4, 'x'), (5, 'x')",
    "INSERT INTO t VALUES (6, 'd', 6), (7, 'a', 0)",
];

impl Stage {
    async fn new() -> Stage {
        let mut stage = Stage::unopened();
        stage.open().await.unwrap();
        stage
    }

    fn unopened() -> Stage {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let tag = format!("stage{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Stage { storage: Arc::default(), engine: None, machine: None, tag }
    }

    async fn open(&mut self) -> Result<()> {
        let options =
            EngineOptions { checkpoint_interval: Duration::from_millis(1), partitions: 2, ..EngineOptions::default() };
        self.open_with(options).await
    }

    async fn open_with(&mut self, options: EngineOptions) -> Result<()> {
        self.open_over(self.storage.clone(), options).await
    }

    async fn open_over(&mut self, storage: Arc<dyn Storage>, options: EngineOptions) -> Result<()> {
        let machine = machine();
        let env = Env {
            storage,
            clock: Arc::new(ManualClock::new(1_704_067_200_000_000)),
            runtime: machine.handle().clone(),
            hidden: Arc::default(),
        };
        self.machine = Some(machine);
        self.engine = Some(Engine::open(env, options).await?);
        let count = "SELECT count(*) FROM tidemark.queries WHERE state = 'recovering'";
        let back = async || match self.sql(count).await {
            Ok(count) => (count == ["0"]).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        eventually("all queries are back", back).await
    }

    /// Simulates a crash: tasks of the engine write no more, neither to storage nor to sinks.
    async fn die(&mut self) {
        self.storage.fail_at(0);
        self.engine = None;
        let machine = self.machine.take().unwrap();
        tokio::task::spawn_blocking(move || machine.shutdown_timeout(PATIENCE)).await.unwrap();
    }

    /// A crash, then a restart from the surviving storage.
    async fn crash(&mut self) {
        self.die().await;
        self.start_from(self.storage.survivor()).await;
    }

    async fn start_from(&mut self, storage: MemoryStorage) {
        self.storage = Arc::new(storage);
        self.open().await.unwrap();
    }

    fn place(&self, sink: &str) -> Arc<Mutex<MemoryTarget>> {
        place(&format!("{}-{sink}", self.tag))
    }

    async fn sql(&self, text: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let engine = self.engine.as_ref().unwrap();
        for statement in parse(text)? {
            let session = Session::default();
            match engine.execute(&session, &authorize(&session, statement)?, &[]).await? {
                Reply::Rows { rows, .. } => lines = lines_of(&collect(rows).await?),
                _ => lines.clear(),
            }
        }
        lines.sort();
        Ok(lines)
    }

    /// Runs one step, idempotently.
    async fn step(&self, step: &str) -> Result<()> {
        let all: Vec<String> = match step {
            "SINKS" => SINKS.iter().map(|(name, from, options, ..)| self.create(name, from, options)).collect(),
            step => vec![step.to_string()],
        };
        for statement in all {
            let before = match statement.starts_with("INSERT INTO log") {
                true => Some(self.sql("SELECT count(*) FROM log").await?),
                false => None,
            };
            match self.sql(&statement).await {
                Err(error) if matches!(error.kind(), ErrorKind::DuplicateTable | ErrorKind::UniqueViolation) => {}
                Err(error) => {
                    // The insert may have been applied in spite of the error.
                    if before.is_some() && self.sql("SELECT count(*) FROM log").await? != before.unwrap_or_default() {
                        continue;
                    }
                    return Err(error);
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    fn create(&self, name: &str, from: &str, options: &str) -> String {
        let options = if options.is_empty() { String::new() } else { format!(", {options}") };
        format!("CREATE SINK {name} {from} WITH (connector = 'memory', place = '{}-{name}'{options})", self.tag)
    }

    /// FLUSH only warns about failed queries: here that is an error.
    async fn flush(&self) -> Result<()> {
        let flushed = async {
            for name in self.engine.as_ref().unwrap().catalog.objects().0.keys() {
                self.sql(&format!("FLUSH {name}")).await?;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, flushed).await.expect("it hangs")
    }

    /// Waits until all queries have caught up, including retries after transient faults.
    async fn wait_until_caught_up(&self) {
        let caught_up = eventually("it settles", async || self.flush().await.ok());
        if tokio::time::timeout(PATIENCE, caught_up).await.is_err() {
            let states = self.sql("SELECT name, state, epoch, last_error FROM tidemark.queries").await;
            panic!("it does not settle: {states:?}");
        }
    }

    /// Checks for each sink that the outside system equals the answer of the query.
    async fn check(&self, when: &str) {
        self.wait_until_caught_up().await;
        for (name, _, _, key, query) in SINKS.iter() {
            let place = self.place(name);
            let outside = folded(&locked(&place).written, key);
            let answer = self.sql(query).await.unwrap();
            assert_eq!(outside, answer, "{name} {when}");
        }
    }
}

fn lines_of(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        let options = FormatOptions::default();
        let cells: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            lines.push(cells.iter().map(|cell| cell.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    lines
}

/// The final rows that a reader of the outside system sees.
fn folded(written: &[(Epoch, Outgoing)], key: &[usize]) -> Vec<String> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let mut by_key: BTreeMap<String, String> = BTreeMap::new();
    for (_, rows) in written {
        if rows.whole {
            counts.clear();
        }
        if !key.is_empty() {
            let upserts = rows.upserts(key).unwrap();
            let keys = |batch: &RecordBatch| lines_of(&[batch.project(key).unwrap()]);
            keys(&upserts.gone).iter().for_each(|key| drop(by_key.remove(key).expect("what goes is there")));
            by_key.extend(keys(&upserts.put).into_iter().zip(lines_of(&[upserts.put])));
            continue;
        }
        for (row, line) in lines_of(&[rows.changes.rows().clone()]).into_iter().enumerate() {
            *counts.entry(line).or_default() += rows.changes.diff(row);
        }
    }
    let counted = counts.into_iter().flat_map(|(line, count)| {
        assert!(count >= 0, "{line} went more often than it came");
        vec![line; count as usize]
    });
    let mut all: Vec<String> = counted.chain(by_key.into_values()).collect();
    all.sort();
    all
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Dropping a runtime blocks, which panics within a task: shut down in the background.
        self.machine.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

fn machine() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_stack_size(16 << 20).enable_all().build().unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    machine().block_on(work)
}

#[test]
fn sink_contents_equal_the_answer_of_its_query() {
    run(async {
        let stage = Stage::new().await;
        for step in STEPS {
            stage.step(step).await.unwrap();
            stage.flush().await.unwrap();
        }
        stage.check("in peace").await;
        let epochs = locked(&stage.place("signs")).written.len();
        stage.step("INSERT INTO t VALUES (8, 'a', 0)").await.unwrap();
        stage.check("after a row that is no new maximum").await;
        assert_eq!(locked(&stage.place("signs")).written.len(), epochs, "what changed nothing is not written");
    });
}

#[test]
fn sink_crash_at_any_storage_write_is_exactly_once() {
    let writes = run(async {
        let stage = Stage::new().await;
        for step in STEPS {
            stage.step(step).await.unwrap();
            stage.flush().await.unwrap();
        }
        stage.storage.writes()
    });
    for write in 1..=writes {
        run(async {
            let mut stage = Stage::new().await;
            stage.storage.fail_at(write);
            for step in STEPS {
                let done = stage.step(step).await.is_ok();
                // Once the storage fails, waiting for a query may never end.
                let struck = async || (stage.storage.writes() >= write).then_some(());
                tokio::select! {
                    () = eventually("it is well", async || stage.flush().await.ok()) => {}
                    () = eventually("the storage is struck", struck) => {}
                }
                if stage.storage.writes() >= write && stage.engine.is_some() {
                    stage.crash().await;
                    stage.storage.fail_at(u64::MAX);
                    if !done {
                        stage.step(step).await.unwrap();
                    }
                }
            }
            // A write in the background may follow the last step.
            stage.storage.fail_at(u64::MAX);
            stage.crash().await;
            stage.check(&format!("crashed at write {write} of {writes}")).await;
        });
    }
}

/// Each fault of each sink once: reported to the query, which retries, or a crash of the server.
#[test]
fn sink_fault_at_any_sink_write_is_exactly_once() {
    let counts: Vec<u64> = run(async {
        let stage = Stage::new().await;
        for step in STEPS {
            stage.step(step).await.unwrap();
            stage.flush().await.unwrap();
        }
        SINKS.iter().map(|(name, ..)| locked(&stage.place(name)).writes).collect()
    });
    let most = counts.into_iter().max().unwrap();
    assert!(most > 3, "{most}");
    for write in 1..=most {
        for (fault, dies) in
            [(SinkFault::Before, false), (SinkFault::After, false), (SinkFault::Before, true), (SinkFault::After, true)]
        {
            run(async {
                let mut stage = Stage::new().await;
                SINKS.iter().for_each(|(name, ..)| locked(&stage.place(name)).fail_at = Some((write, fault)));
                let mut died = BTreeSet::new();
                for step in STEPS {
                    stage.step(step).await.unwrap();
                    if !dies {
                        // More rows may be inserted while the sink retries.
                        continue;
                    }
                    let _ = stage.flush().await;
                    let now: Vec<&str> = SINKS.iter().map(|(name, ..)| *name).collect();
                    let struck = now.into_iter().filter(|name| locked(&stage.place(name)).writes >= write);
                    let struck: Vec<&str> = struck.filter(|name| died.insert(*name)).collect();
                    if !struck.is_empty() {
                        stage.crash().await;
                    }
                }
                stage.check(&format!("write {write} failed {fault:?}, died: {dies}")).await;
            });
        }
    }
}

#[test]
fn sink_permanent_fault_stops_it_until_resumed() {
    run(async {
        let stage = Stage::new().await;
        for (number, fault) in [SinkFault::Before, SinkFault::After].into_iter().enumerate() {
            let name = format!("s{number}");
            stage.sql(&format!("CREATE TABLE t{number} (n INT) APPEND ONLY")).await.unwrap();
            stage.sql(&stage.create(&name, &format!("FROM t{number}"), "")).await.unwrap();
            let place = stage.place(&name);
            (locked(&place).fail_at, locked(&place).kind) = (Some((1, fault)), Some(ErrorKind::ObjectInUse));
            stage.sql(&format!("INSERT INTO t{number} VALUES (1)")).await.unwrap();
            assert_eq!(
                stage.flush().await.unwrap_err().message(),
                format!("sink \"{name}\": the outside system failed")
            );
            stage.sql(&format!("INSERT INTO t{number} VALUES (2)")).await.unwrap();
            let state = format!("SELECT kind, state, last_error FROM tidemark.queries WHERE name = '{name}'");
            assert_eq!(stage.sql(&state).await.unwrap(), ["sink|failed|the outside system failed"]);
            stage.sql(&format!("ALTER SINK {name} RESUME")).await.unwrap();
            stage.flush().await.unwrap();
            assert_eq!(folded(&locked(&place).written, &[]), ["1", "2"], "{fault:?}");
            assert_eq!(locked(&place).written.len(), 2, "the epoch that failed stays what it was");
        }
    });
}

#[test]
fn sink_paused_writes_nothing_and_resumes_where_it_was() {
    run(async {
        let mut stage = Stage::new().await;
        stage.sql("CREATE TABLE t (n INT) APPEND ONLY").await.unwrap();
        stage.sql(&stage.create("s", "FROM t", "")).await.unwrap();
        stage.sql("INSERT INTO t VALUES (1); FLUSH; ALTER SINK s PAUSE; INSERT INTO t VALUES (2)").await.unwrap();
        stage.crash().await;
        stage.flush().await.unwrap();
        let place = stage.place("s");
        assert_eq!(folded(&locked(&place).written, &[]), ["1"]);
        assert_eq!(stage.sql("SELECT state FROM tidemark.queries").await.unwrap(), ["paused"]);
        stage.sql("ALTER SINK s RESUME; FLUSH").await.unwrap();
        assert_eq!(folded(&locked(&place).written, &[]), ["1", "2"]);
    });
}

/// Options were changed: with the same place the sink continues, with another one it starts over.
#[test]
fn sink_replaced_with_other_options_resumes_where_it_was() {
    for crash in [false, true] {
        run(async {
            let mut stage = Stage::new().await;
            let place = stage.place("s");
            locked(&place).password = Some("one".to_string());
            stage.sql("CREATE SECRET pw AS 'three'; CREATE TABLE t (n INT) APPEND ONLY").await.unwrap();
            stage.sql(&stage.create("s", "FROM t", "password = 'one'")).await.unwrap();
            let replace = |password: &str| {
                let create =
                    stage.create("s", "FROM t", &format!("password = {password}, checkpoint_interval = '2 ms'"));
                create.replace("CREATE SINK", "CREATE OR REPLACE SINK")
            };
            let (two, three) = (replace("'two'"), replace("SECRET pw"));
            stage.sql("INSERT INTO t VALUES (1); FLUSH").await.unwrap();
            let mut written = vec!["1".to_string()];
            for (n, (password, statement)) in
                [("two", two.as_str()), ("three", three.as_str()), ("four", "CREATE OR REPLACE SECRET pw AS 'four'")]
                    .into_iter()
                    .enumerate()
            {
                locked(&place).password = Some(password.to_string());
                stage.sql(&format!("INSERT INTO t VALUES ({})", n + 2)).await.unwrap();
                let error = stage.flush().await.unwrap_err();
                assert!(error.message().contains("authentication failed"), "{error}");
                if crash {
                    stage.crash().await;
                }
                stage.sql(statement).await.unwrap();
                stage.wait_until_caught_up().await;
                written.push(format!("{}", n + 2));
                assert_eq!(folded(&locked(&place).written, &[]), written, "{statement}");
                if crash {
                    stage.crash().await;
                    stage.wait_until_caught_up().await;
                }
            }
            assert_eq!(locked(&place).written.len(), 4, "nothing was sent twice");
        });
    }
}

#[test]
fn sink_unchanged_row_is_not_written_again() {
    run(async {
        let stage = Stage::new().await;
        stage.sql("CREATE TABLE t (id INT PRIMARY KEY, k TEXT, v INT)").await.unwrap();
        stage
            .sql("CREATE MATERIALIZED VIEW names AS SELECT k FROM t WHERE v >= 0 UNION SELECT k FROM t WHERE v < 5")
            .await
            .unwrap();
        for (name, from) in [("sums", "AS SELECT k, sum(v) AS s FROM t GROUP BY k"), ("names", "FROM names")] {
            stage.sql(&stage.create(&format!("to_{name}"), from, "type = 'upsert'")).await.unwrap();
        }
        // Groups gain and lose rows, but their sums and names stay the same.
        for step in
            ["INSERT INTO t VALUES (1, 'a', 7)", "INSERT INTO t VALUES (2, 'a', 0)", "DELETE FROM t WHERE id = 2"]
        {
            stage.sql(step).await.unwrap();
            stage.flush().await.unwrap();
        }
        for (name, row) in [("to_sums", "a|7"), ("to_names", "a")] {
            let place = stage.place(name);
            assert_eq!(folded(&locked(&place).written, &[0]), [row]);
            assert_eq!(locked(&place).written.len(), 1, "{name}");
        }
        let view = "SELECT rows_out FROM tidemark.queries WHERE name = 'names'";
        assert_eq!(stage.sql(view).await.unwrap(), ["1"]);
    });
}

#[test]
fn sink_two_rows_of_one_primary_key_fail_the_sink() {
    run(async {
        let stage = Stage::new().await;
        stage.sql("CREATE TABLE t (id INT PRIMARY KEY, k TEXT)").await.unwrap();
        let (from, options) =
            ("AS SELECT k, id FROM t UNION ALL SELECT k, 0 FROM t", "type = 'upsert', primary_key = 'k'");
        stage.sql(&stage.create("s", from, options)).await.unwrap();
        stage.sql("INSERT INTO t VALUES (1, 'a')").await.unwrap();
        let error = stage.flush().await.unwrap_err();
        assert_eq!(error.message(), "sink \"s\": two rows have the same primary_key");
        assert_eq!(locked(&stage.place("s")).writes, 0);
    });
}

#[test]
fn sink_replaced_with_another_destination_starts_over() {
    run(async {
        let stage = Stage::new().await;
        stage.sql("CREATE TABLE t (n INT) APPEND ONLY; INSERT INTO t VALUES (1)").await.unwrap();
        stage.sql(&stage.create("s", "FROM t", "")).await.unwrap();
        stage.flush().await.unwrap();
        let again = format!("CREATE OR REPLACE SINK s FROM t WITH (connector = 'memory', place = '{}-r')", stage.tag);
        stage.sql(&again).await.unwrap();
        stage.sql("INSERT INTO t VALUES (2); FLUSH").await.unwrap();
        assert_eq!(folded(&locked(&stage.place("s")).written, &[]), ["1"]);
        assert_eq!(folded(&locked(&stage.place("r")).written, &[]), ["1", "2"]);
        stage.sql(&again).await.unwrap();
        assert_eq!(locked(&stage.place("r")).opens, 1, "the same definition again changes nothing");
        stage.sql("DROP SINK s; INSERT INTO t VALUES (3); FLUSH").await.unwrap();
        assert_eq!(folded(&locked(&stage.place("r")).written, &[]), ["1", "2"]);
        assert_eq!(stage.sql("SHOW SINKS").await.unwrap(), Vec::<String>::new());
    });
}

#[test]
fn directory_identity_is_created_once_and_kept() {
    let storage = MemoryStorage::default();
    let first = directory_identity(&storage).unwrap();
    assert_eq!(directory_identity(&storage.survivor()).unwrap(), first);
    assert_ne!(directory_identity(&MemoryStorage::default()).unwrap(), first);
    let broken = MemoryStorage::default();
    broken.create(IDENTITY, b"").unwrap();
    assert_eq!(directory_identity(&broken).unwrap_err().kind(), ErrorKind::DataCorrupted);
}
