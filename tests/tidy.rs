//! The rules of the house that a machine can hold. A rule that is not here is advice.

mod circles;
mod dead;
mod docs;
mod functions;
mod hints;
mod names;
mod sleeps;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The order of the rooms, as the map in `src/lib.rs` tells it: a room may use those before it, and no other.
#[rustfmt::skip]
const ORDER: [&str; 30] = [
    "error", "functions", "time", "sync", "metrics", "memory", "options", "changes", "catalog",
    "storage", "formats",
    "state", "connectors", "checkpoint", "dead_letters",
    "exec", "operators", "relations",
    "sql", "query",
    "session", "pg_catalog", "engine",
    "wire", "config", "cli", "fuzzing",
    "lib", "main", "tests",
];

/// Lines of a file, less its tests. Past it, look for the second noun.
const FILE_LINES_MAX: usize = 600;

/// Words, the only places that may say them, and why.
const ONLY: &[(&str, &[&str], &str)] = &[
    ("rdkafka", &["src/connectors/kafka"], "Kafka is one connector among others"),
    ("pgwire", &["src/wire", "src/pg_catalog"], "the protocol is the wire's; pg_catalog may name its types"),
    (
        "tokio_postgres",
        &["src/cli", "src/wire", "src/connectors/postgres"],
        "a client is a part of the command line and of the sink to Postgres; its value forms are the wire's",
    ),
    ("arrow_pg", &["src/wire", "src/pg_catalog"], "Postgres' forms of values are the wire's"),
    ("serde_yaml", &["src/config"], "YAML is another spelling of SQL, and lowered at once"),
    ("clap", &["src/cli"], "arguments are the command line's"),
    (
        "tracing_subscriber",
        &["src/cli", "src/config"],
        "only the command line installs globals; config checks the filter",
    ),
    ("SystemTime::now", &["src/time.rs"], "only time.rs asks the clock"),
    ("Utc::now", &["src/time.rs"], "only time.rs asks the clock"),
    ("Local::now", &["src/time.rs"], "only time.rs asks the clock"),
    (
        "Instant::now",
        &[
            "src/time.rs",
            "src/connectors",
            "src/checkpoint",
            "src/exec",
            "src/query",
            "src/engine",
            "src/wire",
            "src/cli",
        ],
        "durations may be measured where work is done and waited for; they never reach an answer",
    ),
    ("ExecutionPlan", &["src/exec"], "others hold a plan and have it run: nodes and walks over plans are in one room"),
    ("PhysicalOptimizerRule", &["src/exec"], "which rules make a plan is said in one place"),
    (
        "RowConverter",
        &["src/state", "src/sql/functions/sort_key.rs"],
        "rows as bytes are what state finds them by; one function of SQL is an order of values",
    ),
    (
        "ReadOnlyTransaction",
        &["src/error.rs", "src/engine/authorize.rs"],
        "one place decides whether a session may run a statement",
    ),
    ("process::exit", &["src/cli"], "nobody else ends the process"),
    ("println", &["src/cli"], "whoever is not the command line logs"),
    ("unsafe", &["src/connectors/kafka"], "librdkafka is called where its wrapper lacks a call; nothing else needs it"),
];

/// What no code says. In two pieces, so that this file may be read too.
const NEVER: &[(&str, &str)] = &[
    (concat!("to", "do!"), "finish it, or refuse it by name"),
    (concat!("unimple", "mented!"), "finish it, or refuse it by name"),
    (concat!("d", "bg!"), "a trace event says where it comes from"),
    (concat!("#[ig", "nore"), "a test that does not run tests nothing"),
];

struct Source {
    path: String,
    text: String,
    /// Comments and the contents of literals blanked, of equal length.
    code: String,
    /// `code` less what is compiled for tests only.
    production: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder of the checkout, in order; none if there is no such folder.
fn everything(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => walk(&path, found),
                path => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    everything(folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

fn sources(folder: &str) -> Vec<Source> {
    let relative = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code = blank_literals(&text);
        let path = relative(&path);
        let whole = path.ends_with("/tests.rs") || path.contains("/tests/");
        let production = if whole { String::new() } else { blank_tests(&code) };
        Source { path, text, code, production }
    };
    let all: Vec<Source> = files(folder, "rs").into_iter().map(read).collect();
    assert!(!all.is_empty(), "no Rust in {folder}");
    all
}

/// Which room a file of `src/` belongs to.
fn room(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap();
    inside.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Fails with all of what was found, one a line.
#[track_caller]
fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn rooms_use_only_rooms_above_them() {
    let place = |room: &str| ORDER.iter().position(|r| *r == room);
    let mut found = Vec::new();
    for source in sources("src") {
        let Some(here) = place(room(&source.path)) else {
            found.push(format!("{} is in no room of the order", source.path));
            continue;
        };
        for used in rooms_used(&source.production) {
            match place(&used) {
                Some(there) if there <= here => {}
                Some(_) => found.push(format!("{} uses crate::{used}, which comes after it", source.path)),
                None => found.push(format!("{} uses crate::{used}, which is in no room of the order", source.path)),
            }
        }
    }
    none(found, "rooms depend on rooms above them only");
}

#[test]
fn source_files_stay_below_the_line_limit() {
    let long = sources("src").into_iter().filter(|s| !s.production.is_empty()).filter_map(|s| {
        let of_tests = |(code, production): &(&str, &str)| !code.trim().is_empty() && production.trim().is_empty();
        let tests = s.code.lines().zip(s.production.lines()).filter(of_tests).count();
        let lines = s.text.lines().count() - tests;
        (lines > FILE_LINES_MAX).then(|| format!("{} has {lines} lines", s.path))
    });
    none(long.collect(), "a file longer than this has a second noun in it");
}

#[test]
fn source_files_open_with_a_module_comment() {
    let mut silent = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let of_tests = source.path.starts_with("src/") && source.production.is_empty();
        if !of_tests && !source.text.starts_with("//! ") {
            silent.push(source.path);
        }
    }
    none(silent, "a file opens with //!");
}

#[test]
fn words_of_one_room_are_used_only_there() {
    let mut found = Vec::new();
    for source in sources("src") {
        for (word, rooms, why) in ONLY {
            if says(&source.production, word) && !rooms.iter().any(|room| source.path.starts_with(room)) {
                found.push(format!("{} says {word}: {why}", source.path));
            }
        }
    }
    none(found, "words that belong to one room");
}

#[test]
fn unfinished_markers_are_nowhere_in_the_code() {
    let mut found = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        for (word, why) in NEVER {
            if source.code.contains(word) {
                found.push(format!("{} says {word}: {why}", source.path));
            }
        }
        for mark in [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X:")] {
            if says(&source.text, mark) {
                found.push(format!("{} says {mark}: do it, or write down that it is not done", source.path));
            }
        }
    }
    none(found, "words that no code says");
}

#[test]
fn production_code_has_no_unwrap() {
    let found = sources("src").into_iter().flat_map(|source| {
        let unwraps = |(number, line): (usize, &str)| {
            line.contains(".unwrap()").then(|| format!("{}:{}", source.path, number + 1))
        };
        source.production.lines().enumerate().filter_map(unwraps).collect::<Vec<_>>()
    });
    none(found.collect(), "return the error, or `expect` with why it cannot happen");
}

#[test]
fn map_of_lib_rs_names_every_room() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let map: Vec<&str> = lib.lines().filter(|line| line.starts_with("//!")).collect();
    let production = blank_tests(&lib);
    let rooms: BTreeSet<&str> = production
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ").or(line.strip_prefix("mod ")))
        .map(|room| room.trim_end_matches(';'))
        .collect();
    let unnamed = rooms.iter().filter(|room| !map.iter().any(|line| line.contains(&format!("[`{room}`]"))));
    none(unnamed.map(|room| room.to_string()).collect(), "rooms that the map of src/lib.rs does not name");
    let listed: BTreeSet<&str> = ORDER.iter().copied().filter(|room| !["lib", "main"].contains(room)).collect();
    let unlisted = rooms.difference(&listed).map(|room| room.to_string()).collect();
    none(unlisted, "rooms that the order of rooms does not have");
}

/// Each by its own name, in a test: an example that nobody runs is a guess.
#[test]
fn examples_are_each_named_by_a_test() {
    let texts: String = sources("src")
        .into_iter()
        .filter(|s| s.production != s.code)
        .chain(sources("tests"))
        .filter(|s| s.path != "tests/tidy.rs")
        .map(|s| s.text)
        .collect();
    let examples = files("sql/examples", "sql").into_iter().chain(files("config/pipelines", "yaml"));
    let unnamed = examples.filter_map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        (!texts.contains(&name)).then_some(name)
    });
    none(unnamed.collect(), "examples that no test names");
}

/// What README shows as SQL is a part of an example, so that it is run too.
#[test]
fn readme_sql_blocks_are_parts_of_examples() {
    let squeeze = |text: &str| {
        let lines = text.lines().map(|line| line.split(" -- ").next().unwrap_or(line));
        let code = lines.filter(|line| !line.trim_start().starts_with("--"));
        code.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    };
    let examples: Vec<String> =
        files("sql/examples", "sql").iter().map(|path| squeeze(&fs::read_to_string(path).unwrap())).collect();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks: Vec<&str> =
        readme.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(blocks.len() >= 2, "README shows SQL");
    let strange = blocks.iter().filter(|block| !examples.iter().any(|example| example.contains(&squeeze(block))));
    none(strange.map(|block| block.to_string()).collect(), "SQL of README that is in no sql/examples/*.sql");
    let pipeline = fs::read_to_string(root().join("config/pipelines/flights.yaml")).unwrap();
    let yaml = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    assert!(!yaml.is_empty() && pipeline.contains(yaml), "YAML of README that is not in config/pipelines/flights.yaml");
}

/// The rooms that code names: `crate::room`, `crate::{room::x, other}`, and `tidemark::…` in `main.rs`.
fn rooms_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for start in ["crate::", "tidemark::"] {
        for (at, _) in code.match_indices(start) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = code[at + start.len()..].trim_start();
            match rest.strip_prefix('{') {
                Some(group) => used.extend(group_heads(group)),
                None => {
                    used.insert(word(rest));
                }
            }
        }
    }
    used.remove("");
    used
}

/// The first word of each item of a `use` group, its opening brace already read.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut at_head) = (1, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => at_head = true,
            c if at_head && !c.is_whitespace() => {
                heads.push(word(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Whether `text` has `what` as a word of its own.
fn says(text: &str, what: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(what).any(|(at, _)| !text[..at].ends_with(part) && !text[at + what.len()..].starts_with(part))
}

/// Rust less its comments and what stands in its literals, each byte of them a space; lines stay lines.
fn blank_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = match rest[0] {
            b'/' if rest.starts_with(b"//") => at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with(b"/*") => at + text[at..].find("*/").map_or(rest.len(), |n| n + 2),
            b'"' => at + string_length(rest),
            b'r' | b'b' | b'c' if !(at > 0 && part(bytes[at - 1])) => match raw_string_length(rest) {
                Some(length) => at + length,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' if rest.get(1) == Some(&b'\\') => {
                at + 2 + rest.iter().skip(3).position(|b| *b == b'\'').map_or(0, |n| n + 2)
            }
            b'\'' => match text[at + 1..].chars().next() {
                Some(c) if rest.get(1 + c.len_utf8()) == Some(&b'\'') => at + 2 + c.len_utf8(),
                _ => at + 1,
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end.min(bytes.len())] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).unwrap()
}

fn part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The bytes of a string literal that begins here.
fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The bytes of `r"…"`, `r#"…"#`, `br"…"` and the like, if one begins here.
fn raw_string_length(rest: &[u8]) -> Option<usize> {
    let letters = rest.iter().take_while(|b| matches!(b, b'r' | b'b' | b'c')).count();
    if letters > 2 || !rest[..letters].contains(&b'r') {
        return None;
    }
    let hashes = rest[letters..].iter().take_while(|b| **b == b'#').count();
    if rest.get(letters + hashes) != Some(&b'"') {
        return None;
    }
    let closing = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let body = letters + hashes + 1;
    let found = rest[body..].windows(closing.len()).position(|w| w == closing);
    Some(found.map_or(rest.len(), |n| body + n + closing.len()))
}

/// Code less each item that stands behind `#[cfg(test)]`.
fn blank_tests(code: &str) -> String {
    let mut out = code.to_string();
    while let Some(start) = out.find("#[cfg(test)]") {
        let rest = &out[start..];
        let opening = rest.find('{').unwrap_or(rest.len());
        let end = match rest.find(';') {
            Some(semicolon) if semicolon < opening => semicolon + 1,
            _ => {
                let mut depth = 0;
                let closing = rest.char_indices().skip_while(|(at, _)| *at < opening).find(|(_, c)| {
                    depth += i32::from(*c == '{') - i32::from(*c == '}');
                    depth == 0
                });
                closing.map_or(rest.len(), |(at, _)| at + 1)
            }
        };
        let blank: String = rest[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..start + end, &blank);
    }
    out
}

#[test]
fn blanking_of_literals_comments_and_tests_is_exact() {
    let code = r##"let a = "crate::cli"; // crate::wire
/* crate::web */ let c = '"'; let d = r#"crate::x " crate::y"#; let l: &'static str = "\"crate::z"; use crate::error;
#[cfg(test)] mod tests { use crate::engine; fn f() { x.unwrap() } }
use crate::{storage::{self, Storage}, time::Epoch};"##;
    let blanked = blank_literals(code);
    assert_eq!(blanked.lines().count(), code.lines().count());
    let all = rooms_used(&blanked).into_iter().collect::<Vec<_>>();
    assert_eq!(all, ["engine", "error", "storage", "time"]);
    let production = rooms_used(&blank_tests(&blanked)).into_iter().collect::<Vec<_>>();
    assert_eq!(production, ["error", "storage", "time"]);
    assert!(says("a pgwire::x", "pgwire") && !says("my_pgwire", "pgwire"));
}
