//! Runs a script, one of several ways.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use tidemark::{
    engine::EngineOptions,
    error::{ErrorKind, Result},
};

use super::{
    folder::Folder,
    script::{Script, Step, What},
};
use crate::harness::{PATIENCE, Rig, Rows};

/// One performance of a script.
pub struct Play {
    pub(super) folder: Arc<Folder>,
    pub(super) name: String,
    /// What each relation held when its changes were last asked for.
    last: HashMap<String, Vec<String>>,
    /// What each expectation saw, step by step.
    pub seen: Vec<Option<Vec<String>>>,
    pub failures: Vec<String>,
}

/// Checkpoints come often, so that every script has some.
pub(super) fn options() -> EngineOptions {
    EngineOptions { checkpoint_interval: Duration::from_millis(1), partitions: 2, ..EngineOptions::default() }
}

impl Play {
    pub fn new(script: &Script) -> Play {
        let (name, folder) = (script.name.clone(), Arc::new(Folder::new()));
        Play { folder, name, last: HashMap::new(), seen: Vec::new(), failures: Vec::new() }
    }

    /// Another performance in the same folder.
    pub fn beside(other: &Play) -> Play {
        let (name, folder) = (other.name.clone(), other.folder.clone());
        Play { folder, name, last: HashMap::new(), seen: Vec::new(), failures: Vec::new() }
    }

    pub(super) fn fail(&mut self, step: &Step, what: String) {
        self.failures.push(format!("tests/streams/{}:{}: {what}", self.name, step.line));
    }

    /// Step by step, an epoch an insert.
    pub async fn as_written(&mut self, script: &Script) {
        let mut rig = Rig::new(options()).await;
        for step in &script.steps {
            if let What::Restart = step.what {
                rig.restart().await;
                self.seen.push(None);
                continue;
            }
            let outcome = patiently(self.step(&rig, step, true)).await;
            if let Err(error) = &outcome {
                self.fail(step, error.to_string());
            }
            self.seen.push(outcome.unwrap_or_default());
        }
        rig.engine().shutdown().await;
    }

    /// What the table that a step writes to holds; nothing for steps that can be done twice.
    pub(super) async fn tables(&self, rig: &Rig, step: &Step) -> Option<Vec<String>> {
        let table = match &step.what {
            What::Insert { table, .. } => table,
            What::Statement(sql) => written_table(sql)?,
            _ => return None,
        };
        Some(rig.contents(table).await.map_or_else(|e| vec![e.to_string()], |rows| rows.lines()))
    }

    /// Whether the step was acknowledged.
    pub(super) async fn try_step(&mut self, rig: &mut Rig, step: &Step, faults: &Faults) -> bool {
        if let What::Clock { seconds } = step.what {
            rig.clock.advance(seconds * 1_000_000);
        }
        if matches!(step.what, What::Changes { .. } | What::Clock { .. } | What::Restart) {
            return true;
        }
        let outcome = match &step.what {
            // Both need all queries to be caught up, for which those must be able to write.
            What::Expect { .. } => faults.unless_struck(rig, self.step(rig, step, true)).await,
            _ => {
                let done = patiently(self.step(rig, step, false)).await;
                if done.is_ok() {
                    let _ = faults.unless_struck(rig, rig.sql("FLUSH")).await;
                }
                Some(done)
            }
        };
        match outcome {
            None => false,
            Some(Ok(_)) => true,
            Some(Err(_)) if faults.struck(rig) => false,
            Some(Err(error)) if was_done(step, error.kind()) => true,
            Some(Err(error)) => {
                self.fail(step, error.to_string());
                true
            }
        }
    }

    /// Inserts are split and merged, and flushes left out.
    pub async fn cut_anew(&mut self, script: &Script, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rig = &mut Rig::new(options()).await;
        let mut waiting: Vec<(String, String)> = Vec::new();
        for step in &script.steps {
            if let What::Insert { table, rows } = &step.what {
                waiting.extend(rows.iter().map(|row| (table.clone(), row.clone())));
                if rng.random_bool(0.5) {
                    self.pour(rig, step, &mut waiting, &mut rng).await;
                }
                continue;
            }
            if let What::Changes { .. } = step.what {
                continue;
            }
            self.pour(rig, step, &mut waiting, &mut rng).await;
            if let What::Restart = step.what {
                rig.restart().await;
                continue;
            }
            let flush = matches!(step.what, What::Expect { .. }) || rng.random_bool(0.3);
            if let Err(error) = patiently(self.step(rig, step, flush)).await {
                self.fail(step, error.to_string());
            }
        }
    }

    async fn pour(&mut self, rig: &Rig, step: &Step, waiting: &mut Vec<(String, String)>, rng: &mut SmallRng) {
        while let Some((table, _)) = waiting.first().cloned() {
            let same = waiting.iter().take_while(|(t, _)| *t == table).count();
            let count = rng.random_range(1..=same);
            let rows: Vec<String> = waiting.drain(..count).map(|(_, row)| row).collect();
            let mut outcome = rig.sql(&insert(&table, &rows)).await;
            if outcome.is_ok() && *[true, false, false].choose(rng).unwrap() {
                outcome = patiently(rig.sql("FLUSH")).await;
            }
            if let Err(error) = outcome {
                self.fail(step, error.to_string());
            }
        }
    }

    /// One step, with all queries caught up afterwards if so wished; what an expectation saw.
    pub(super) async fn step(&mut self, rig: &Rig, step: &Step, flush: bool) -> Result<Option<Vec<String>>> {
        let mut seen = None;
        match &step.what {
            What::Statement(sql) => {
                rig.sql(&self.in_folder(sql)).await?;
            }
            What::Insert { table, rows } => {
                rig.sql(&insert(table, rows)).await?;
            }
            What::File { path, text } => self.folder.land(path, text),
            What::Fails { message, statement } => {
                let said = match rig.sql(&self.in_folder(statement)).await {
                    Ok(_) => "it did not fail".to_string(),
                    Err(error) if faulty(error.kind()) => return Err(error),
                    Err(error) => format!("{error} {:?} {:?}", error.detail_text(), error.hint_text()),
                };
                if !said.contains(message) {
                    self.fail(step, format!("expected an error: {message}\n  {said}"));
                }
            }
            What::Changes { relation, expected } => {
                rig.sql("FLUSH").await?;
                let now = rig.contents(relation).await?.lines();
                let changes = difference(&self.last.insert(relation.clone(), now.clone()).unwrap_or_default(), &now);
                self.compare(step, expected, &changes);
                seen = Some(changes);
            }
            What::Expect { relation, expected } => {
                rig.sql("FLUSH").await?;
                let now = rig.contents(&self.in_folder(relation)).await?.lines();
                self.compare(step, expected, &now);
                seen = Some(now);
            }
            What::Clock { seconds } => rig.clock.advance(seconds * 1_000_000),
            What::Restart => {}
        }
        if flush {
            rig.sql("FLUSH").await?;
        }
        Ok(seen)
    }

    fn compare(&mut self, step: &Step, expected: &[String], seen: &[String]) {
        let mut expected = expected.to_vec();
        let mut sorted = seen.to_vec();
        expected.sort();
        sorted.sort();
        if expected != sorted {
            let shown = |lines: &[String]| lines.iter().map(|line| format!("\n    {line}")).collect::<String>();
            self.fail(step, format!("expected{}\n  but there is{}", shown(&expected), shown(seen)));
        }
    }

    fn in_folder(&self, text: &str) -> String {
        text.replace("$DIR", self.folder.path().to_str().unwrap())
    }
}

/// The write that fails, which is met once.
pub(super) struct Faults {
    pub at: Option<u64>,
}

impl Faults {
    /// Opens a server that dies at the write; where that comes early, then the next.
    pub async fn start(&mut self, rig: &mut Rig) {
        if let Some(at) = self.at {
            rig.storage.fail_at(at);
        }
        while let Err(error) = patiently(rig.open()).await {
            assert!(self.struck(rig), "the survivor does not open: {error}");
            rig.die();
            self.at = None;
        }
    }

    pub fn struck(&self, rig: &Rig) -> bool {
        self.at.is_some_and(|at| rig.storage.writes() >= at)
    }

    /// What `work` gives, or nothing once the storage is broken.
    async fn unless_struck<T>(&self, rig: &Rig, work: impl Future<Output = T>) -> Option<T> {
        match self.at {
            Some(at) => rig.unless_struck(at, patiently(work)).await,
            None => Some(patiently(work).await),
        }
    }
}

/// Errors of a storage that fails, which say nothing of the statement.
fn faulty(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Io | ErrorKind::DiskFull | ErrorKind::AdminShutdown | ErrorKind::ObjectNotInState)
}

/// Whether an error says that an earlier try of a statement had come through.
pub(super) fn was_done(step: &Step, kind: ErrorKind) -> bool {
    let What::Statement(sql) = &step.what else { return false };
    match kind {
        ErrorKind::DuplicateTable | ErrorKind::DuplicateObject | ErrorKind::DuplicateFunction => {
            sql.starts_with("CREATE")
        }
        ErrorKind::UndefinedTable | ErrorKind::UndefinedObject | ErrorKind::UndefinedFunction => {
            sql.starts_with("DROP")
        }
        _ => false,
    }
}

pub(super) async fn patiently<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it hangs")
}

fn insert(table: &str, rows: &[String]) -> String {
    let rows: Vec<String> = rows.iter().map(|row| format!("({row})")).collect();
    format!("INSERT INTO {table} VALUES {}", rows.join(", "))
}

/// The table that a statement writes rows to.
fn written_table(sql: &str) -> Option<&str> {
    let words: Vec<&str> = sql.split_whitespace().collect();
    match words.first()?.to_uppercase().as_str() {
        "INSERT" | "DELETE" => words.get(2).copied(),
        "UPDATE" => words.get(1).copied(),
        _ => None,
    }
}

/// From some lines to others, each as often as it says.
fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let mut counts: std::collections::BTreeMap<&String, i64> = Default::default();
    before.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    after.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    let signed = |(line, count): (&&String, &i64)| {
        let sign = if *count > 0 { '+' } else { '-' };
        std::iter::repeat_n(format!("{sign} {line}"), count.unsigned_abs() as usize).collect::<Vec<_>>()
    };
    let mut changes: Vec<String> = counts.iter().flat_map(signed).collect();
    // What went before what came, as a person would tell it.
    changes.sort_by_key(|line| line.starts_with('+'));
    changes
}

/// For the tests of the harness itself.
#[test]
fn difference_counts_equal_rows() {
    let lines = |text: &str| text.split(' ').map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(difference(&lines("a b b"), &lines("b c c")), ["- a", "- b", "+ c", "+ c"]);
    assert_eq!(Rows::default().lines(), Vec::<String>::new());
}
