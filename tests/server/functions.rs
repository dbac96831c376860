//! Functions, operators and casts on Tidemark and on a real PostgreSQL: equal values, types and SQLSTATEs.
//!
//! `functions/*.txt` hold sets of edge values, and expressions that take one of each set: `{int4} + {int8}`. All are
//! crossed, up to a limit for each expression.

use std::{collections::HashMap, fmt, fs, sync::Arc};

use futures::stream::{self, StreamExt};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{
    harness::{Home, checkout},
    postgres::Postgres,
};

/// How many values of one expression are compared.
const CROSSED_MAX: usize = 300;

/// How many expressions stand in one SELECT, until one of them fails.
const TOGETHER: usize = 16;

/// What a server says to an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Value(Option<String>),
    Error(String),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Value(None) => f.write_str("NULL"),
            Answer::Value(Some(text)) => write!(f, "'{text}'"),
            Answer::Error(error) => f.write_str(error),
        }
    }
}

/// The expressions of one line: the same functions and types, of other values.
struct Crossed {
    line: String,
    expressions: Vec<String>,
}

fn crossings(text: &str) -> Vec<Crossed> {
    let (mut sets, mut name): (HashMap<&str, Vec<&str>>, &str) = (HashMap::new(), "");
    let mut all = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name = section;
        } else if name == "expressions" {
            all.push(Crossed { line: line.into(), expressions: crossed(line, &sets) });
        } else {
            sets.entry(name).or_default().push(line);
        }
    }
    all
}

/// Every combination of the values of a line's sets; every so many where there are more than the limit.
fn crossed(line: &str, sets: &HashMap<&str, Vec<&str>>) -> Vec<String> {
    let parts: Vec<(&str, Option<&str>)> = line
        .split('}')
        .map(|part| part.split_once('{').map_or((part, None), |(before, set)| (before, Some(set))))
        .collect();
    let values = |set: &str| sets.get(set).unwrap_or_else(|| panic!("no set {set}: {line}"));
    let total: usize = parts.iter().filter_map(|part| part.1).map(|set| values(set).len()).product();
    let count = total.min(CROSSED_MAX);
    let nth = |n: usize| {
        let mut place = n * total / count;
        let mut expression = String::new();
        for (before, set) in &parts {
            expression.push_str(before);
            if let Some(set) = set {
                let values = values(set);
                expression.push_str(values[place % values.len()]);
                place /= values.len();
            }
        }
        expression
    };
    (0..count).map(nth).collect()
}

/// The answers of a server, one for each expression.
async fn answers(client: &Client, expressions: &[String]) -> Vec<Answer> {
    let mut all = Vec::new();
    for part in expressions.chunks(TOGETHER) {
        match select(client, &part.join(", ")).await {
            Ok(values) => all.extend(values),
            Err(_) => {
                for expression in part {
                    all.extend(select(client, expression).await.unwrap_or_else(|error| vec![error]));
                }
            }
        }
    }
    all
}

async fn select(client: &Client, expressions: &str) -> Result<Vec<Answer>, Answer> {
    let messages = client.simple_query(&format!("SELECT {expressions}")).await.map_err(|error| {
        let state = error.code().map_or("no answer", |state| state.code());
        Answer::Error(state.to_string())
    })?;
    let row = messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.expect("a row");
    Ok((0..row.len()).map(|n| Answer::Value(row.get(n).map(str::to_string))).collect())
}

async fn type_of(client: &Client, expression: &str) -> String {
    match client.prepare(&format!("SELECT {expression}")).await {
        Ok(statement) => statement.columns()[0].type_().name().to_string(),
        Err(error) => error.to_string(),
    }
}

/// What differs for one line.
async fn differences(ours: &Client, theirs: &Client, crossed: &Crossed) -> Vec<String> {
    let (mine, right) = (answers(ours, &crossed.expressions).await, answers(theirs, &crossed.expressions).await);
    let mut differing = Vec::new();
    for ((expression, mine), right) in crossed.expressions.iter().zip(&mine).zip(&right) {
        if mine != right {
            differing.push(format!("{expression} is {mine}, and {right} in PostgreSQL"));
        }
    }
    let told = crossed
        .expressions
        .iter()
        .zip(mine.iter().zip(&right))
        .find(|(_, (mine, right))| matches!((mine, right), (Answer::Value(Some(_)), Answer::Value(Some(_)))));
    if let Some((expression, _)) = told {
        let (mine, right) = (type_of(ours, expression).await, type_of(theirs, expression).await);
        if mine != right {
            differing.push(format!("{} is of type {mine}, and {right} in PostgreSQL", crossed.line));
        }
    }
    differing
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_and_operators_with_edge_values_answer_as_postgresql() {
    let Some(postgres) = Postgres::shared() else { return };
    let server = Home::new().start();
    let mut lines = Vec::new();
    for file in fs::read_dir(checkout("tests/server/functions")).unwrap() {
        lines.extend(crossings(&fs::read_to_string(file.unwrap().path()).unwrap()));
    }
    let count: usize = lines.iter().map(|line| line.expressions.len()).sum();
    assert!(count > 5_000, "{count} expressions");
    let lines = Arc::new(lines);
    let differing: Vec<Vec<String>> = stream::iter(0..4)
        .map(|part| {
            let (lines, server) = (lines.clone(), &server);
            async move {
                let (ours, theirs) = (server.connect().await, postgres.connect().await);
                let mut all = Vec::new();
                for line in lines.iter().skip(part).step_by(4) {
                    all.extend(differences(&ours, &theirs, line).await);
                }
                all
            }
        })
        .buffer_unordered(4)
        .collect()
        .await;
    let differing = differing.concat();
    println!("{count} expressions compared");
    assert!(differing.is_empty(), "{} of {count} differ:\n{}", differing.len(), differing.join("\n"));
}
