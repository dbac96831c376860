//! One thing that a pipeline declares, and when two texts declare the same.

use datafusion::sql::sqlparser::{
    dialect::PostgreSqlDialect,
    tokenizer::{Token, Tokenizer},
};

use crate::{catalog::ObjectKind, sql::statement::Statement};

/// One thing that a pipeline declares.
#[derive(Debug, Clone)]
pub struct Definition {
    pub kind: ObjectKind,
    pub name: String,
    /// A `CREATE …`, as the parser gave it.
    pub statement: Statement,
    /// What it was parsed from: an index into what `lower` gave.
    pub lowered: usize,
}

/// A definition less what does not matter: layout, comments, the case of words, `OR REPLACE`, `IF NOT EXISTS`, and the
/// option `discard_rows`.
pub fn normalised(definition: &str) -> String {
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, definition).tokenize() else {
        return definition.split_whitespace().collect::<Vec<_>>().join(" ");
    };
    let mut words: Vec<String> = tokens.iter().filter_map(word).collect();
    while words.last().is_some_and(|w| w == ";") {
        words.pop();
    }
    if words.len() > 2 && words[1] == "or" && words[2] == "replace" {
        words.drain(1..3);
    }
    if let Some(at) = words.windows(3).take(4).position(|w| w == ["if", "not", "exists"]) {
        words.drain(at..at + 3);
    }
    drop_discard(&mut words);
    words.join(" ")
}

/// Takes `discard_rows = …` out of a `WITH (…)`, and with it the clause if there is nothing else in it.
fn drop_discard(words: &mut Vec<String>) {
    let Some(with) = words.windows(2).position(|w| w == ["with", "("]) else { return };
    let is_closed = |word: &String| word == ")";
    let Some(end) = words[with..].iter().position(is_closed).map(|at| with + at) else { return };
    let is_it = |word: &String| word.trim_matches('\'') == "discard_rows";
    let Some(at) = words[with..end].iter().position(is_it).map(|at| with + at) else { return };
    let next = (at..end).find(|i| words[*i] == ",").unwrap_or(end);
    match (words[at - 1].as_str(), words[next].as_str()) {
        (_, ",") => words.drain(at..=next),
        (",", _) => words.drain(at - 1..next),
        _ => words.drain(with..=end),
    };
}

fn word(token: &Token) -> Option<String> {
    match token {
        Token::Whitespace(_) => None,
        Token::Word(word) => Some(match word.quote_style {
            None => word.value.to_lowercase(),
            Some(_) if word.value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') => {
                word.value.clone()
            }
            Some(quote) => format!("{quote}{}{quote}", word.value),
        }),
        other => Some(other.to_string()),
    }
}
