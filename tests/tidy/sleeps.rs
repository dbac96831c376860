//! A test that sleeps for as long as something takes fails on a slow machine, or is slow on every one.
//!
//! It waits for what it can see: a `FLUSH`, a row of `tidemark.queries`, whatever comes after, all with `eventually`.
//! What else may sleep is listed here, with the reason why nothing waits for it.

use super::{none, part, sources};

/// What lets time pass.
const SLEEPS: [&str; 3] = ["sleep(", "sleep_until(", "park_timeout("];

/// Files of tests, how often each says so, and why.
const MAY: &[(&str, usize, &str)] = &[
    ("src/connectors/postgres/tests.rs", 1, "a random moment, at which a write is given up"),
    ("src/exec/yielding.rs", 1, "whoever sleeps is who is to have the thread"),
    ("tests/harness/eventually.rs", 1, "the pause between two looks"),
    ("tests/kafka/exactly_once.rs", 2, "random moments, at which the server is killed"),
    ("tests/kafka/guarantees.rs", 2, "a random moment, at which the server is killed; and the pace of one who talks"),
    ("tests/postgres/server.rs", 1, "the pause between two looks, of who has no runtime"),
    ("tests/server/kill.rs", 3, "random moments, at which the server is killed and files appear"),
    ("tests/server/lake.rs", 1, "a random moment, at which the server is killed"),
    ("tests/server/slt.rs", 1, "the pause between two looks, of a script's `retry`"),
];

/// How often code sleeps, by its calls.
fn sleeps(code: &str) -> usize {
    let calls = |word: &str| {
        let ends = |before: &str| before.bytes().last().is_some_and(part) || before.ends_with("fn ");
        code.match_indices(word).filter(|(at, _)| !ends(&code[..*at])).count()
    };
    SLEEPS.iter().map(|word| calls(word)).sum()
}

#[test]
fn tests_sleep_only_where_listed() {
    let (mut found, mut seen) = (Vec::new(), 0);
    for source in sources("src").into_iter().chain(sources("tests")) {
        let production = if source.path.starts_with("src/") { sleeps(&source.production) } else { 0 };
        let (count, path) = (sleeps(&source.code) - production, &source.path);
        let may = MAY.iter().find(|(file, ..)| file == path);
        seen += usize::from(may.is_some());
        match may.map_or(0, |(_, may, _)| *may) {
            may if count > may => found.push(format!("{path} sleeps {count} times, and may {may} times")),
            may if count < may => found.push(format!("{path} sleeps {count} times: the list says {may}")),
            _ => {}
        }
    }
    none(found, "a test waits for what it can see, with `eventually`, or tells here why it sleeps");
    assert_eq!(seen, MAY.len(), "a file of the list is not there any more");
}

#[test]
fn sleep_scanner_counts_calls_only() {
    assert_eq!(sleeps("async fn sleep(d: D) { time::sleep(d).await; std::thread::sleep(d) }"), 2);
    assert_eq!(sleeps("use tokio::time::sleep; asleep(1); sleep_until(at); thread::park_timeout(d)"), 2);
}
