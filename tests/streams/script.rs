//! The language of `tests/streams/*.st`.
//!
//! ```text
//! # a comment
//! cuts fixed                  what is expected depends on where epochs end: never cut anew
//! CREATE TABLE t (…);         any statement, up to a line that ends with a semicolon
//! insert t                    one INSERT, and with it one epoch: a line a row, its values as SQL says them
//!   1, 'a'
//! file in/1.csv               a file that lands under $DIR
//!   a,b
//! changes v                   what has changed in a relation since this was last asked: + came, - went
//!   + 1 | a
//! expect v                    what a relation, or a SELECT, holds
//!   1 | a
//! error does not exist        the statement below fails, and says so
//!   DROP TABLE nothing;
//! clock 90                    so many seconds pass
//! restart                     the server is stopped in peace and started again
//! ```

use std::{ops::Range, path::Path};

#[derive(Debug, Clone)]
pub struct Step {
    /// The line that it begins at, from 1.
    pub line: usize,
    /// Its indented lines, as indexes into the file's.
    pub body: Range<usize>,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    Statement(String),
    Insert { table: String, rows: Vec<String> },
    File { path: String, text: String },
    Changes { relation: String, expected: Vec<String> },
    Expect { relation: String, expected: Vec<String> },
    Fails { message: String, statement: String },
    Clock { seconds: i64 },
    Restart,
}

#[derive(Debug, Clone)]
pub struct Script {
    pub name: String,
    pub lines: Vec<String>,
    pub steps: Vec<Step>,
    pub cuts_fixed: bool,
}

impl Step {
    pub fn is_file(&self) -> bool {
        matches!(self.what, What::File { .. })
    }
}

impl Script {
    pub fn read(path: &Path) -> Script {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<String> = text.lines().map(ToString::to_string).collect();
        let mut script = Script { name, lines: lines.clone(), steps: Vec::new(), cuts_fixed: false };
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at].as_str();
            if line.trim().is_empty() || line.starts_with('#') {
                at += 1;
                continue;
            }
            if line == "cuts fixed" {
                script.cuts_fixed = true;
                at += 1;
                continue;
            }
            let step = step(&lines, at).unwrap_or_else(|| panic!("{}:{}: what is this?", script.name, at + 1));
            at = step.body.end;
            script.steps.push(step);
        }
        assert!(!script.steps.is_empty(), "{} says nothing", script.name);
        script
    }
}

fn step(lines: &[String], at: usize) -> Option<Step> {
    let (word, rest) = lines[at].split_once(' ').unwrap_or((&lines[at], ""));
    let rest = rest.trim().to_string();
    let indented = lines[at + 1..].iter().take_while(|line| line.starts_with("  ")).count();
    let body = at + 1..at + 1 + indented;
    let texts: Vec<String> = lines[body.clone()].iter().map(|line| line[2..].trim_end().to_string()).collect();
    let what = match word {
        "insert" => What::Insert { table: rest, rows: texts },
        "file" => What::File { path: rest, text: texts.join("\n") + "\n" },
        "changes" => What::Changes { relation: rest, expected: texts },
        "expect" => What::Expect { relation: rest, expected: texts },
        "error" => What::Fails { message: rest, statement: texts.join("\n") },
        "clock" => What::Clock { seconds: rest.parse().ok()? },
        "restart" => What::Restart,
        word if word.chars().all(|c| c.is_ascii_uppercase()) => {
            let length = lines[at..].iter().position(|line| line.trim_end().ends_with(';'))? + 1;
            let body = at..at + length;
            let text = lines[body.clone()].join("\n");
            return Some(Step { line: at + 1, body, what: What::Statement(text) });
        }
        _ => return None,
    };
    Some(Step { line: at + 1, body, what })
}
