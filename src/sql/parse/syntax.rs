//! Syntax errors, in Postgres' words.

use datafusion::sql::sqlparser::{
    parser::ParserError,
    tokenizer::{Location, Token, TokenWithSpan, TokenizerError},
};

use super::{text::StatementText, tokens::is_word};
use crate::error::{Error, ErrorKind};

/// The error of the tokenizer: an unterminated string or comment, or an unknown character.
pub(super) fn unreadable(error: TokenizerError, text: &StatementText) -> Error {
    Error::new(ErrorKind::Syntax, decapitalise(error.message.trim_end_matches(['.', ' '])))
        .at(text.position(error.location))
}

/// sqlparser's error in our words; it gives the position only within its message.
pub(super) fn refused(error: ParserError, tokens: &[TokenWithSpan], next: usize, text: &StatementText) -> Error {
    let message = match error {
        ParserError::RecursionLimitExceeded => {
            return Error::new(ErrorKind::LimitExceeded, "statement is nested too deeply")
                .hint("Break it into several common table expressions.");
        }
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
    };
    let (message, place) = split_place(&message);
    let (expected, end) = match message.strip_prefix("Expected: ").and_then(|m| m.rsplit_once(", found: ")) {
        Some((expected, found)) => (Some(format!("Expected {expected}.")), found.trim() == "EOF"),
        None => (Some(format!("{}.", message.trim_end_matches('.'))), false),
    };
    let index = match place {
        _ if end => tokens.len(),
        Some(place) => tokens.iter().position(|t| t.span.start == place).unwrap_or(tokens.len()),
        None => next,
    };
    unexpected(tokens, index, expected.as_deref(), text)
}

/// The error that the token at `index` is unexpected; past the last one, that the text ends too early.
pub(super) fn unexpected(
    tokens: &[TokenWithSpan],
    index: usize,
    expected: Option<&str>,
    text: &StatementText,
) -> Error {
    // After a superfluous comma, sqlparser takes FROM for a column and fails on the next token.
    let index = if index >= 2 && comma_too_many(tokens, index - 1) { index - 1 } else { index };
    let mut error = match tokens.get(index) {
        Some(token) => {
            let near = text.slice(token.span);
            Error::new(ErrorKind::Syntax, format!("syntax error at or near \"{}\"", shorten(near)))
                .at(text.position(token.span.start))
        }
        None => {
            let end = tokens.last().map_or(Location::empty(), |t| t.span.end);
            Error::new(ErrorKind::Syntax, "syntax error at end of input").at(text.position(end))
        }
    };
    if let Some(expected) = expected {
        error = error.detail(expected);
    }
    match hint(tokens, index) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A guess at the mistake.
fn hint(tokens: &[TokenWithSpan], index: usize) -> Option<&'static str> {
    let near = tokens.get(index).map(|t| &t.token);
    let before = index.checked_sub(1).and_then(|i| tokens.get(i)).map(|t| &t.token);
    let emit = |t: Option<&Token>| t.is_some_and(|t| is_word(t, "EMIT"));
    if emit(near) || emit(before) {
        return Some("A standing query ends in EMIT ON WINDOW CLOSE, EMIT ON UPDATE or EMIT COMPLETE.");
    }
    if before.is_some_and(|t| is_word(t, "WATERMARK")) {
        return Some(
            "A watermark belongs to a source, a table or a stream: CREATE STREAM s WITH WATERMARK FOR ts AS ….",
        );
    }
    match near {
        Some(Token::DoubleEq) => Some("Write = to compare."),
        Some(_) if comma_too_many(tokens, index) => Some("There is a comma too many before it."),
        None if unclosed(tokens) > 0 => Some("A parenthesis is not closed."),
        _ => None,
    }
}

/// Whether the token at `index` ends a list and follows a comma.
fn comma_too_many(tokens: &[TokenWithSpan], index: usize) -> bool {
    const WORDS: [&str; 8] = ["FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "AS", "WITH"];
    let ends = |token: &Token| *token == Token::RParen || WORDS.iter().any(|w| is_word(token, w));
    index.checked_sub(1).is_some_and(|before| tokens[before].token == Token::Comma)
        && tokens.get(index).is_some_and(|t| ends(&t.token))
}

fn unclosed(tokens: &[TokenWithSpan]) -> i64 {
    let sign = |t: &TokenWithSpan| match t.token {
        Token::LParen => 1,
        Token::RParen => -1,
        _ => 0,
    };
    tokens.iter().map(sign).sum()
}

/// Takes ` at Line: 1, Column: 8` off the end of a message.
fn split_place(message: &str) -> (&str, Option<Location>) {
    let Some((text, place)) = message.rsplit_once(" at Line: ") else { return (message, None) };
    let place = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some(Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?)));
    (text, place)
}

/// A token may be a string of megabytes; only its beginning is shown.
fn shorten(token: &str) -> String {
    const CHARS_MAX: usize = 60;
    match token.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &token[..at]),
        None => token.to_string(),
    }
}

fn decapitalise(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
