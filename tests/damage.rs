//! A data directory one file of which is lost, cut short, changed, an older one, or a copy of another one: the server refuses it and names what
//! is wrong, or it is whole. It never answers with other rows, and removes nothing that it has not written off.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tidemark::{engine::EngineOptions, storage::MemoryStorage};

use crate::harness::{Rig, run};

type Files = BTreeMap<String, Vec<u8>>;

const RELATIONS: [&str; 7] = ["keyed", "plain", "grows", "counts", "above", "joined", "of_files"];

/// How long anything may take before the test says that it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> EngineOptions {
    EngineOptions {
        checkpoint_interval: Duration::from_millis(1),
        log_file_bytes: 3_000,
        record_bytes_max: 256,
        partitions: 1,
        ..EngineOptions::default()
    }
}

/// A data directory with a history, and what is right.
struct Lived {
    folder: TempDir,
    /// What a `kill -9` leaves, and what earlier moments had.
    files: Files,
    older: Vec<Files>,
    contents: Vec<Vec<String>>,
}

async fn contents(rig: &Rig, relation: &str) -> tidemark::error::Result<Vec<String>> {
    let mut lines = rig.contents(relation).await?.lines();
    lines.sort();
    Ok(lines)
}

async fn populated_data_directory() -> Lived {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(options()).await;
    let sql = |text: &str| text.replace("$DIR", folder.path().to_str().unwrap());
    std::fs::write(folder.path().join("1.csv"), "1\n2\n").unwrap();
    let create = "CREATE TABLE keyed (id BIGINT PRIMARY KEY, v TEXT);
        CREATE TABLE plain (a BIGINT, b TEXT);
        CREATE TABLE grows (a BIGINT, b TEXT) APPEND ONLY;
        CREATE SOURCE files (a BIGINT) WITH (connector = 'directory', path = '$DIR', format = 'csv');
        CREATE MATERIALIZED VIEW counts AS SELECT b, count(*) AS c, sum(a) AS s FROM plain GROUP BY b;
        CREATE MATERIALIZED VIEW above AS SELECT count(*) AS groups, sum(c) AS rows FROM counts;
        CREATE MATERIALIZED VIEW joined AS SELECT k.v, g.a FROM keyed k JOIN grows g ON k.id = g.a;
        CREATE MATERIALIZED VIEW of_files AS SELECT count(*) AS c, sum(a) AS s FROM files;
        CREATE TABLE dropped (a BIGINT); INSERT INTO dropped VALUES (1); DROP TABLE dropped";
    rig.sql(&sql(create)).await.unwrap();
    let mut older = Vec::new();
    for round in 0..6 {
        let change = format!(
            "INSERT INTO keyed VALUES ({round}, 'v{round}'), ({round} + 100, 'w');
             UPDATE keyed SET v = v || '+' WHERE id % 2 = 0;
             INSERT INTO plain VALUES ({round}, 'x'), ({round} + 1, 'y'), ({round}, 'z{round}');
             DELETE FROM plain WHERE a = {round} - 2;
             INSERT INTO grows VALUES ({round}, 'some text'), ({round}, 'more text')"
        );
        rig.sql(&change).await.unwrap();
        if round == 3 {
            std::fs::write(folder.path().join("2.csv"), "10\n").unwrap();
            rig.restart().await;
        }
        rig.sql("FLUSH").await.unwrap();
        if round % 2 == 0 {
            rig.engine().shorten_log().await.unwrap();
        }
        older.push(rig.storage.files());
    }
    let mut right = Vec::new();
    for relation in RELATIONS {
        right.push(contents(&rig, relation).await.unwrap());
    }
    rig.die();
    Lived { folder, files: rig.storage.files(), older, contents: right }
}

/// Where the frames of a journal file end.
fn frame_ends(bytes: &[u8]) -> Vec<usize> {
    const HEAD: usize = 17;
    let (mut at, mut ends) = (4, vec![4]);
    while let Some(length) = bytes.get(at..at + 4) {
        at += HEAD + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        ends.push(at);
    }
    ends.retain(|end| *end < bytes.len());
    ends
}

/// Every kind of damage to one file: what it is, and the bytes that are left.
fn damages(path: &str, bytes: &[u8], older: &[Files], others: &Files) -> Vec<(String, Option<Vec<u8>>)> {
    let mut found = vec![("is gone".to_string(), None)];
    let is_log = path.ends_with(".log");
    let last = bytes.len().saturating_sub(1);
    let mut cuts = if is_log { frame_ends(bytes) } else { vec![bytes.len() / 2] };
    cuts.extend([0, last]);
    let mut flips: Vec<usize> =
        if is_log { frame_ends(bytes).iter().map(|end| end + 20).collect() } else { Vec::new() };
    flips.extend([0, bytes.len() / 3, bytes.len() / 2, last]);
    for numbers in [&mut cuts, &mut flips] {
        numbers.retain(|n| *n < bytes.len());
        numbers.sort_unstable();
        numbers.dedup();
    }
    found.extend(cuts.into_iter().map(|cut| (format!("is cut to {cut} bytes"), Some(bytes[..cut].to_vec()))));
    for flip in flips {
        let mut changed = bytes.to_vec();
        changed[flip] ^= 0x10;
        found.push((format!("is changed at byte {flip}"), Some(changed)));
    }
    let mut copies: Vec<&Vec<u8>> = older.iter().filter_map(|files| files.get(path)).collect();
    copies.retain(|copy| *copy != bytes);
    copies.dedup();
    found.extend(copies.into_iter().map(|copy| ("is an older one".to_string(), Some(copy.clone()))));
    let others = others_of_kind(path, bytes, others).into_iter();
    found.extend(others.map(|(other, copy)| (format!("is a copy of {other}"), Some(copy.clone()))));
    found
}

/// Files that could be taken for this one: the next one of its kind, that of its name elsewhere, those of its length.
fn others_of_kind<'a>(path: &str, bytes: &[u8], files: &'a Files) -> Vec<(&'a String, &'a Vec<u8>)> {
    let extension = |path: &str| path.rsplit_once('.').map(|(_, extension)| extension.to_string());
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_string();
    let is_kind = |other: &&String| extension(other).is_some() && extension(other) == extension(path);
    let mut next = files.range(path.to_string()..).map(|(path, _)| path).chain(files.keys());
    let next = next.find(|other| is_kind(other) && *other != path).cloned();
    let others = files.iter().filter(|(other, copy)| is_kind(other) && *copy != bytes);
    let alike = |other: &String, copy: &Vec<u8>| {
        next.as_ref() == Some(other) || name(other) == name(path) || copy.len() == bytes.len()
    };
    others.filter(|(other, copy)| alike(other, copy)).take(4).collect()
}

/// What is wrong with the server on damaged files; nothing where it refuses them or is whole.
async fn problem_of_start(lived: &Lived, path: &str, damaged: Files) -> Option<String> {
    let mut rig = Rig::on(MemoryStorage::from(damaged.clone()), options());
    let named =
        |error: &tidemark::error::Error| format!("{error} {}", error.detail_text().unwrap_or("")).contains(path);
    if let Err(error) = rig.open().await {
        let left = rig.storage.files();
        let lost = damaged.keys().find(|path| !left.contains_key(*path));
        return match (named(&error), lost) {
            (true, None) => None,
            (_, Some(lost)) => Some(format!("refuses the start and has removed {lost}")),
            (false, _) => Some(format!("the start does not name it: {error}")),
        };
    }
    let flushed = rig.sql("FLUSH").await;
    let mut errors: Vec<tidemark::error::Error> = flushed.err().into_iter().collect();
    for (relation, right) in RELATIONS.iter().zip(&lived.contents) {
        match contents(&rig, relation).await {
            Ok(rows) if rows == *right => {}
            Ok(rows) => return Some(format!("{relation} holds {rows:?}, not {right:?}")),
            Err(error) => errors.push(error),
        }
    }
    match errors.is_empty() || errors.iter().any(named) {
        true => None,
        false => Some(format!("no error names it: {errors:?}")),
    }
}

#[test]
fn start_with_any_damaged_file_names_it_or_answers_right() {
    let lived = run(2, populated_data_directory);
    let mut cases = Vec::new();
    for (path, bytes) in &lived.files {
        cases.extend(
            damages(path, bytes, &lived.older, &lived.files).into_iter().map(|(what, left)| (path, what, left)),
        );
    }
    let kinds = ["log/", "state/", "relations/", "server/", "sources/", "marks/"];
    kinds.iter().for_each(|kind| assert!(lived.files.keys().any(|path| path.starts_with(kind)), "no {kind}"));
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        while let Some((path, what, left)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut damaged = lived.files.clone();
            match left {
                Some(bytes) => damaged.insert(path.to_string(), bytes.clone()),
                None => damaged.remove(*path),
            };
            let judgement =
                run(1, async || tokio::time::timeout(PATIENCE, problem_of_start(&lived, path, damaged)).await);
            if let Some(wrong) = judgement.unwrap_or_else(|_| Some("it hangs".to_string())) {
                failures.lock().unwrap().push(format!("{path} {what}: {wrong}"));
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(worker);
        scope.spawn(worker);
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} cases\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert!(lived.folder.path().exists());
}

/// A whole folder of it is gone, as after an incomplete copy.
#[test]
fn start_without_a_folder_of_the_data_directory_names_it_or_answers_right() {
    let lived = run(2, populated_data_directory);
    for folder in ["log", "marks", "state", "relations", "server", "sources"] {
        let mut damaged = lived.files.clone();
        damaged.retain(|path, _| !path.starts_with(&format!("{folder}/")));
        let wrong = run(1, async || problem_of_start(&lived, folder, damaged).await);
        assert_eq!(wrong, None, "without {folder}");
    }
    // The log and what vouches for it.
    let mut damaged = lived.files.clone();
    damaged.retain(|path, _| !path.starts_with("log/") && !path.starts_with("marks/"));
    assert_eq!(run(1, async || problem_of_start(&lived, "log", damaged).await), None);
}
