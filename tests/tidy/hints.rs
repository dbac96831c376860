//! A hint is followed by somebody in trouble, word for word: following it must lose nothing.
//!
//! So every sentence of the server that speaks of taking something away is listed here, with the reason why nothing is
//! lost by it, or where it says itself what is. A new one is to be weighed before it is listed.

use super::{none, raw_string_length, sources, string_length};

/// What a sentence says that may cost somebody what he has.
const TAKES_AWAY: [&str; 9] =
    ["drop", "delete", "truncate", "remove", "replace", "anew", "create it again", "reset offsets", "writes over"];

/// A part of each sentence that may say it, and why.
const WEIGHED: &[(&str, &str)] = &[
    ("Input data is missing padding, is truncated, or is otherwise corrupted.", "it says what is wrong with a text"),
    ("cast the fourth argument to integer explicitly", "a cast in a call; regexp_replace has it in its name"),
    ("There are no passwords yet", "it warns of it"),
    ("Where the topic is gone, create it again.", "of a topic of Kafka's that is gone already"),
    ("RESET OFFSETS goes on with what there is", "it gives up what Kafka has deleted already"),
    ("ALTER SINK … RESET OFFSETS goes on behind it", "nothing goes, and it says what comes twice"),
    ("What removes a row has the columns of its key only.", "it explains a format"),
    ("Use DROP {} to remove a {word}.", "of who has just sent a DROP of it, as Postgres says"),
    ("Use DROP … CASCADE to drop the dependent objects too.", "of who has just sent a DROP, as Postgres says"),
    ("If they may go: CREATE OR REPLACE {kind} … WITH (discard_rows = true).", "it says itself that rows go"),
    (
        "CREATE OR REPLACE {} puts it in the place of the old one.",
        "a function has no rows, and it says that the old one goes",
    ),
    ("Use DROP {other} to remove it.", "of who has just sent a DROP of it"),
    ("send the outside system the record that is right", "it explains a format"),
    ("CREATE OR REPLACE SECRET writes over the value that it has.", "it says that the old value goes"),
    ("CREATE OR REPLACE SECRET writes another value over the one that it has.", "it says that the old value goes"),
    ("A table that is created without APPEND ONLY", "it explains a clause"),
    ("It was dropped or replaced meanwhile.", "it tells what somebody did"),
    ("A line has no key beside it", "it explains a format"),
    ("Create a table and drop it after use.", "of a table that is made for it"),
    ("OR REPLACE and IF NOT EXISTS exclude each other.", "it explains two clauses"),
    ("Its format sets and removes rows by their key.", "it explains a format"),
    ("DELETE FROM t removes all rows.", "of who has just sent a TRUNCATE, and it says so"),
    ("INSERT … ON CONFLICT writes over rows that exist.", "of who has just sent a MERGE, and it says so"),
];

/// The sentences of a file's production code that begin with a capital and end with a period, as a client reads them.
fn sentences(source: &super::Source) -> Vec<String> {
    let (text, code) = (source.text.as_bytes(), source.code.as_bytes());
    let (mut found, mut at, mut last) = (Vec::new(), 0, 0);
    while at < text.len() {
        let blank = code[at] == b' ' && text[at] != b' ';
        let length = match text[at] {
            b'/' if blank => text[at..].iter().position(|b| *b == b'\n').unwrap_or(text.len() - at),
            b'"' if blank => string_length(&text[at..]),
            b'r' | b'b' | b'c' if blank => raw_string_length(&text[at..]).unwrap_or(1),
            b'\'' if blank && text[at + 1] == b'\\' => 4,
            b'\'' if blank => 2 + source.text[at + 1..].chars().next().map_or(0, char::len_utf8),
            _ => {
                if code[at] != b' ' && code[at] != b'\n' {
                    last = at;
                }
                at += 1;
                continue;
            }
        };
        // A test's own words are nobody's hint: there the code before the literal is blank in `production`.
        if text[at] == b'"' && source.production.as_bytes().get(last) == Some(&code[last]) {
            let literal = &source.text[at + 1..at + length - 1];
            let lines = literal.split("\\\n").map(str::trim_start).collect::<String>();
            if lines.starts_with(|c: char| c.is_uppercase() || c == '{') && lines.ends_with('.') {
                found.push(lines.replace("\\\"", "\""));
            }
        }
        at += length.max(1);
    }
    found
}

#[test]
fn hints_that_suggest_destructive_steps_are_reviewed() {
    let (mut count, mut used, mut unweighed) = (0, vec![false; WEIGHED.len()], Vec::new());
    for source in sources("src") {
        for sentence in sentences(&source) {
            count += 1;
            let lower = sentence.to_lowercase();
            if !TAKES_AWAY.iter().any(|word| lower.contains(word)) {
                continue;
            }
            match WEIGHED.iter().position(|(part, _)| sentence.contains(part)) {
                Some(n) => used[n] = true,
                None => unweighed.push(format!("{}: {sentence}", source.path)),
            }
        }
    }
    none(unweighed, "sentences that may cost somebody what he has");
    let gone = WEIGHED.iter().zip(used).filter(|(_, used)| !used).map(|((part, _), _)| part.to_string());
    none(gone.collect(), "sentences that nobody says any more");
    assert!(count > 250, "only {count} sentences were read");
}

#[test]
fn hints_in_scripts_are_found_in_the_source() {
    let mut all = Vec::new();
    for source in sources("src") {
        all.extend(sentences(&source));
    }
    // The words between the holes of a format.
    let is_said = |hint: &str| {
        all.iter().any(|sentence| {
            let pieces: Vec<&str> = sentence.split(['{', '}']).step_by(2).filter(|p| !p.is_empty()).collect();
            let longest = pieces.iter().max_by_key(|piece| piece.len());
            longest.is_some_and(|piece| piece.len() > 3 && hint.contains(*piece))
        })
    };
    let (mut count, mut unread) = (0, Vec::new());
    for file in super::files("tests/sql", "slt") {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let Some(hint) = line.strip_prefix("HINT: ").filter(|hint| hint.ends_with('.')) else { continue };
            count += 1;
            if !is_said(hint) {
                unread.push(format!("{}: {hint}", file.display()));
            }
        }
    }
    none(unread, "hints of which the sentence was not found in src");
    assert!(count > 100, "only {count} hints were read");
}
