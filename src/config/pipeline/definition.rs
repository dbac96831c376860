//! A definition of a pipeline, and when two texts are the same definition.

use datafusion::sql::sqlparser::{
    dialect::PostgreSqlDialect,
    tokenizer::{Token, Tokenizer},
};

use crate::{catalog::ObjectKind, sql::statement::Statement};

/// A definition of a pipeline: a named object.
#[derive(Debug, Clone)]
pub struct Definition {
    pub kind: ObjectKind,
    pub name: String,
    /// A `CREATE …` statement, as parsed.
    pub statement: Statement,
    /// The SQL text that it was parsed from: an index into the result of `lower`.
    pub lowered: usize,
}

/// A definition without what does not matter: layout, comments, case, `OR REPLACE`, `IF NOT EXISTS`, and the
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

/// Removes `discard_rows = …` from a `WITH (…)`, and the clause if nothing else is in it.
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
