//! One meaning: each query of `shapes/queries.sql` is read once and is kept up to date, over rows that change, and both
//! answer alike; or both refuse it, with one SQLSTATE, and in words of SQL.
//!
//! `SHAPE=text` takes those queries alone that have the text in them; `ANSWERS=1` prints what they answer.

use crate::harness::{Rig, Rows, internal, run};
use tidemark::{engine::EngineOptions, error::Error};

/// Queries that a view refuses though a SELECT answers them, as README says. Each begins like this.
const ONLY_READ: &[&str] = &[];

/// The fewest queries that must be answered and compared.
const COMPARED_MIN: usize = 180;

const TABLES: &str = "
    CREATE TABLE t (id INT PRIMARY KEY, a INT, k INT, b TEXT, c INT);
    CREATE TABLE u (id INT PRIMARY KEY, a INT, k INT, b TEXT, d INT);
    CREATE TABLE nothing (a INT, k INT)";

/// Statements after each of which all views are compared.
const STEPS: &[&str] = &[
    "INSERT INTO t VALUES (1, 1, 1, 'x', 5), (2, 2, 1, 'y', 4), (3, 3, 2, 'x', 3), (4, 4, 3, NULL, NULL);
     INSERT INTO u VALUES (1, 1, 1, 'x', 3), (2, 5, 1, 'z', 4), (3, 3, 4, 'x', 1)",
    "INSERT INTO t VALUES (5, 5, 1, 'y', 1), (6, 6, NULL, 'y', 2), (7, 7, 1, 'y', 9);
     INSERT INTO u VALUES (4, 2, 2, 'x', NULL), (5, 9, NULL, NULL, 7)",
    "UPDATE t SET c = 10 - c; UPDATE u SET k = 1 WHERE id = 3",
    "DELETE FROM t WHERE id = 2; DELETE FROM u WHERE d IS NULL",
    "DELETE FROM u; UPDATE t SET k = 2 WHERE k = 1",
    "DELETE FROM t",
    "INSERT INTO t VALUES (8, 1, 1, 'x', 1); INSERT INTO u VALUES (6, 1, 1, 'x', 1)",
];

struct Shape {
    text: String,
    view: String,
}

fn shapes() -> Vec<Shape> {
    let only = std::env::var("SHAPE").unwrap_or_default();
    let lines = include_str!("shapes/queries.sql").lines().filter(|line| !line.starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let texts = text.split(';').map(str::trim).filter(|text| !text.is_empty() && text.contains(&only));
    texts.enumerate().map(|(n, text)| Shape { text: text.to_string(), view: format!("v{n}") }).collect()
}

fn said(error: &Error) -> String {
    let more = [error.detail_text(), error.hint_text()].into_iter().flatten().collect::<Vec<_>>().join("; ");
    format!("{} {error} ({more})", error.kind().sqlstate())
}

/// What is wrong with how a query is refused.
fn complaint(shape: &Shape, read: &Error, kept: &Error) -> Option<String> {
    if read.kind().sqlstate() != kept.kind().sqlstate() {
        return Some(format!("{}\n  read: {}\n  kept: {}", shape.text, said(read), said(kept)));
    }
    let texts = [said(read), said(kept)];
    let leaked = texts.iter().find_map(|text| Some((text, internal(text)?)));
    if let Some((text, word)) = leaked {
        return Some(format!("{}\n  says \"{word}\": {text}", shape.text));
    }
    None
}

#[test]
fn query_shape_answers_or_is_refused_alike_as_select_and_as_view() {
    run(2, async || {
        let rig = Rig::new(EngineOptions::default()).await;
        rig.sql(TABLES).await.unwrap();
        let (mut taken, mut wrong) = (Vec::new(), Vec::new());
        let mut refused = Vec::new();
        for shape in shapes() {
            let read = rig.sql(&shape.text).await;
            let kept = rig.sql(&format!("CREATE MATERIALIZED VIEW {} AS {}", shape.view, shape.text)).await;
            match (read, kept) {
                (Ok(_), Ok(_)) => taken.push(shape),
                (Err(read), Err(kept)) => {
                    wrong.extend(complaint(&shape, &read, &kept));
                    refused.push(format!("{}\n    {}", shape.text, said(&read)));
                }
                (Ok(_), Err(_)) if ONLY_READ.iter().any(|known| shape.text.starts_with(known)) => {}
                (Ok(_), Err(kept)) => wrong.push(format!("{}\n  read, but not kept: {}", shape.text, said(&kept))),
                (Err(read), Ok(_)) => wrong.push(format!("{}\n  kept, but not read: {}", shape.text, said(&read))),
            }
        }
        for step in STEPS {
            rig.sql(step).await.unwrap();
            // One that failed is told below.
            let _ = rig.sql("FLUSH").await;
            for shape in &taken {
                wrong.extend(differs(&rig, shape, step).await);
            }
        }
        if std::env::var_os("ANSWERS").is_some() {
            println!("refused:\n  {}", refused.join("\n  "));
        }
        wrong.dedup();
        assert!(wrong.is_empty(), "{} of {}:\n\n{}", wrong.len(), taken.len(), wrong.join("\n\n"));
        let whole = std::env::var_os("SHAPE").is_none();
        assert!(!whole || taken.len() >= COMPARED_MIN, "only {} queries were compared", taken.len());
    });
}

/// How a view differs from the answer of its query after a step.
async fn differs(rig: &Rig, shape: &Shape, step: &str) -> Option<String> {
    let read = rig.sql(&shape.text).await;
    let kept = rig.contents(&shape.view).await;
    if std::env::var_os("ANSWERS").is_some() {
        println!("{step}\n{}\n{}", shape.text, read.as_ref().map_or_else(said, Rows::to_string));
    }
    match (read, kept) {
        (Ok(read), Ok(kept)) if read.same(&kept) => None,
        (Ok(read), Ok(kept)) => Some(format!("{}\nafter {step}\nholds\n{kept}but is\n{read}", shape.text)),
        (read, kept) => {
            let described =
                |answer: Result<Rows, Error>| answer.map_or_else(|error| said(&error), |rows| rows.to_string());
            Some(format!("{}\nafter {step}\nread: {}kept: {}", shape.text, described(read), described(kept)))
        }
    }
}
