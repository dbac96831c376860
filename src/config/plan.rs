//! What applying a pipeline would do, worked out before anything is done: a pure function of the file and the catalog.

use std::fmt;

use datafusion::sql::sqlparser::{
    dialect::PostgreSqlDialect,
    tokenizer::{Token, Tokenizer},
};

use super::pipeline::{Definition, Pipeline};
use crate::{
    catalog::{ObjectKind, RelationDef},
    error::{Error, ErrorKind, Result},
    sql::statement::{Body, IfExists},
};

/// What happens to one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedChange {
    Unchanged,
    Create,
    Replace,
}

/// The steps of applying a pipeline, in order, and what of the server the file does not name.
#[derive(Debug)]
pub struct PipelinePlan<'a> {
    pub steps: Vec<(PlannedChange, &'a Definition)>,
    /// Left alone: a pipeline never drops.
    pub others: Vec<(ObjectKind, String)>,
}

impl PipelinePlan<'_> {
    /// Whether applying it would do nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|(change, _)| *change == PlannedChange::Unchanged)
    }
}

/// Compares a pipeline with what exists. An object that would have to become something else, and a table whose rows
/// would be lost, are errors: those are decisions for a person.
pub fn plan<'a>(pipeline: &'a Pipeline, relations: &[RelationDef]) -> Result<PipelinePlan<'a>> {
    let mut steps = Vec::new();
    for definition in &pipeline.definitions {
        let existing = relations.iter().find(|r| r.kind != ObjectKind::System && r.name == definition.name);
        let change = change(definition, existing).map_err(|e| pipeline.blame(definition, e))?;
        steps.push((change, definition));
    }
    let named = |r: &&RelationDef| pipeline.definitions.iter().any(|d| d.name == r.name);
    let others = relations.iter().filter(|r| r.kind != ObjectKind::System && !named(r));
    Ok(PipelinePlan { steps, others: others.map(|r| (r.kind, r.name.clone())).collect() })
}

fn change(definition: &Definition, existing: Option<&RelationDef>) -> Result<PlannedChange> {
    let Some(existing) = existing else { return Ok(PlannedChange::Create) };
    let Definition { kind, name, .. } = definition;
    if existing.kind != *kind {
        let message = format!("\"{name}\" is a {kind} in the file and a {} in the server", existing.kind);
        let hint = "Give one of them another name.";
        return Err(Error::new(ErrorKind::WrongObjectType, message).hint(hint));
    }
    if normalised(&existing.definition) == normalised(&definition.statement.text) {
        return Ok(PlannedChange::Unchanged);
    }
    if *kind == ObjectKind::Table && !discards_rows(&definition.statement.body) {
        let message = format!("table \"{name}\" is defined differently, and replacing it would lose its rows");
        let hint = "Put the old definition back; or declare the new one under another name, and INSERT … SELECT takes the \
                    rows along.";
        return Err(Error::new(ErrorKind::ObjectNotInState, message).hint(hint));
    }
    Ok(PlannedChange::Replace)
}

/// Whether a statement says itself that the rows of an earlier table may go.
fn discards_rows(body: &Body) -> bool {
    matches!(body, Body::CreateTable(table) if table.exists == IfExists::Replace { discard_rows: true })
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

/// Puts each definition after those that its text names, and otherwise keeps the order. Where two name each other, the
/// order stays as it was, and the engine says what is wrong.
pub fn in_order(definitions: Vec<Definition>) -> Vec<Definition> {
    let names: Vec<String> = definitions.iter().map(|d| d.name.clone()).collect();
    let mentions: Vec<Vec<usize>> = definitions
        .iter()
        .map(|d| {
            let text = normalised(&d.statement.text);
            let words: Vec<&str> = text.split_whitespace().map(|w| w.trim_matches('"')).collect();
            (0..names.len()).filter(|i| names[*i] != d.name && words.contains(&names[*i].as_str())).collect()
        })
        .collect();
    let mut waiting: Vec<Option<Definition>> = definitions.into_iter().map(Some).collect();
    let mut ordered = Vec::new();
    while let Some(first) = waiting.iter().position(Option::is_some) {
        let ready = |i: &usize| waiting[*i].is_some() && mentions[*i].iter().all(|m| waiting[*m].is_none());
        let next = (0..waiting.len()).find(ready).unwrap_or(first);
        ordered.extend(waiting[next].take());
    }
    ordered
}

impl fmt::Display for PlannedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PlannedChange::Unchanged => "unchanged",
            PlannedChange::Create => "create",
            PlannedChange::Replace => "replace",
        })
    }
}

/// One line for each object. Names only: a definition may hold what came out of the environment.
impl fmt::Display for PipelinePlan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (change, definition) in &self.steps {
            writeln!(f, "{change:<10} {} \"{}\"", definition.kind, definition.name)?;
        }
        for (kind, name) in &self.others {
            writeln!(f, "{:<10} {kind} \"{name}\" (not in the file, left alone)", "other")?;
        }
        if self.is_empty() { writeln!(f, "nothing to do") } else { Ok(()) }
    }
}
