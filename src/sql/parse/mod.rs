//! Text to statements.
//!
//! Queries and expressions are parsed by sqlparser; statements by us, from the same tokens. What other databases
//! support and Tidemark does not is refused by name (0A000); anything else is a syntax error with a position in the
//! whole text. Invalid input never panics, and takes time in proportion to its length.

mod columns;
mod copy;
mod create;
mod cursor;
mod cursors;
mod depth;
mod dialect;
mod foreign;
mod functions;
mod numbers;
mod objects;
mod options;
mod other_objects;
mod query;
mod row_in;
mod session;
mod show;
mod spellings;
mod subscribe;
mod syntax;
mod text;
mod tokens;
mod watermark;
mod weight;
mod width;

#[cfg(test)]
mod tests;

use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

pub use query::as_bytes;
pub use text::line_column;
pub use weight::Weight;
pub use width::{check_columns, check_targets};

use self::{cursor::TokenCursor, dialect::Postgres, text::StatementText};
use super::statement::{Body, Statement, StatementStart};
use crate::{
    error::{Error, ErrorKind, Result},
    options::nearest,
};

/// Maximum length of a text: its tokens take about a hundred times as much memory.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// All statements of a text, in order; empty ones are skipped.
///
/// The first error fails the whole text, as in Postgres: no statement is run if one of them cannot be parsed.
pub fn parse(text: &str) -> Result<Vec<Statement>> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, "statement is too long")
            .detail(format!("It has {} bytes; at most {TEXT_BYTES_MAX} can be parsed.", text.len()))
            .hint("Send rows with COPY … FROM STDIN, or several statements one after the other."));
    }
    let places = StatementText::new(text);
    let tokens = Tokenizer::new(&Postgres::new(0), text)
        .tokenize_with_location()
        .map_err(|error| syntax::unreadable(error, &places))?
        .into_iter()
        .filter(|t| !matches!(t.token, Token::Whitespace(_)))
        .collect::<Vec<_>>();
    tokens
        .split(|t| t.token == Token::SemiColon)
        .filter(|tokens| !tokens.is_empty())
        .map(|tokens| one(tokens.to_vec(), &places))
        .collect()
}

fn one(mut tokens: Vec<TokenWithSpan>, text: &StatementText) -> Result<Statement> {
    tokens::check(&tokens, text)?;
    let end = tokens.last().map_or(Location::empty(), |t| t.span.end);
    let mut emit = tokens::cut_emit(&mut tokens);
    tokens::order_sink(&mut tokens);
    if emit.is_none() {
        emit = tokens::cut_emit(&mut tokens);
    }
    tokens::spell_out_table(&mut tokens);
    tokens::spell_out_partitions(&mut tokens);
    tokens::spell_out_trim(&mut tokens);
    tokens::spell_out_system_time(&mut tokens, text)?;
    let dialect = Postgres::new(tokens.len());
    let mut cursor = TokenCursor::new(tokens, end, text, &dialect);
    cursor.emit = emit.map(|(emit, token)| (emit, text.position(token.span.start)));
    let statement = statement(&mut cursor)?;
    if let Some((_, position)) = cursor.emit {
        return Err(Error::unsupported("EMIT outside CREATE STREAM, MATERIALIZED VIEW and SINK")
            .hint("Create a materialized view with it, and SELECT from that.")
            .at(position));
    }
    Ok(statement)
}

/// Parses the statement from here to the end.
fn statement(c: &mut TokenCursor) -> Result<Statement> {
    let span = c.rest();
    let start = StatementStart { line: span.start.line, column: span.start.column, position: c.here() };
    let body = body(c)?;
    c.expect_end()?;
    Ok(Statement { body, text: c.text.slice(span).to_string(), start })
}

fn body(c: &mut TokenCursor) -> Result<Body> {
    if *c.peek(0) == Token::LParen {
        return query::query(c).map(Body::Query);
    }
    let Some(word) = c.word(0) else { return Err(c.unexpected("a statement")) };
    match word.as_str() {
        "SELECT" | "WITH" | "VALUES" => query::query(c).map(Body::Query),
        "INSERT" | "UPDATE" | "DELETE" => query::change(c),
        "CREATE" => create::create(c, parse),
        "DROP" => objects::drop(c),
        "ALTER" => objects::alter(c),
        "COPY" => copy::copy(c),
        "EXPLAIN" => show::explain(c, statement),
        "SHOW" => show::show(c),
        "DESCRIBE" | "DESC" => show::describe(c),
        "SET" => session::set(c),
        "RESET" => session::reset(c),
        "DISCARD" => session::discard(c),
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" => session::transaction(c),
        "SAVEPOINT" | "RELEASE" | "LISTEN" | "UNLISTEN" | "ANALYZE" | "VACUUM" | "CHECKPOINT" | "LOCK" => {
            session::no_op(c)
        }
        "PREPARE" => cursors::prepare(c, statement),
        "EXECUTE" => cursors::execute(c),
        "DEALLOCATE" => cursors::deallocate(c),
        "DECLARE" => cursors::declare(c),
        "FETCH" | "MOVE" => cursors::fetch(c),
        "CLOSE" => cursors::close(c),
        "SUBSCRIBE" => subscribe::subscribe(c).map(Body::Subscribe),
        "FLUSH" => {
            c.skip(1);
            Ok(Body::Flush(if c.at_end() { None } else { Some(c.name()?) }))
        }
        _ => Err(stranger(c, &word)),
    }
}

/// The error of an unknown statement: refused by name if another database has it, else a syntax error.
fn stranger(c: &TokenCursor, word: &str) -> Error {
    const HINTS: &[(&str, &str)] = &[
        ("TAIL", "SUBSCRIBE TO v gives the changes of a view as they come."),
        ("TRUNCATE", "DELETE FROM t removes all rows."),
        ("MERGE", "INSERT … ON CONFLICT writes over rows that exist."),
        ("REFRESH", "A materialized view is always up to date; FLUSH waits until all that was available is in it."),
    ];
    const OTHERS: &[&str] = &[
        "CALL", "CLUSTER", "COMMENT", "DO", "GRANT", "IMPORT", "KILL", "LOAD", "NOTIFY", "REASSIGN", "REINDEX",
        "REVOKE", "SECURITY", "USE", "ATTACH", "DETACH", "OPTIMIZE", "PRAGMA", "MSCK", "UNLOAD", "EXPORT", "INSTALL",
    ];
    const OURS: &[&str] = &[
        "SELECT",
        "WITH",
        "VALUES",
        "TABLE",
        "INSERT",
        "UPDATE",
        "DELETE",
        "CREATE",
        "DROP",
        "ALTER",
        "COPY",
        "EXPLAIN",
        "SHOW",
        "DESCRIBE",
        "SET",
        "RESET",
        "DISCARD",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "PREPARE",
        "EXECUTE",
        "DEALLOCATE",
        "DECLARE",
        "FETCH",
        "CLOSE",
        "FLUSH",
        "SUBSCRIBE",
    ];
    if let Some((word, hint)) = HINTS.iter().find(|(w, _)| *w == word) {
        return c.unsupported(word).hint(*hint);
    }
    if OTHERS.contains(&word) {
        return c.unsupported(word);
    }
    let known: Vec<String> = OURS.iter().map(|w| w.to_string()).collect();
    let error = c.unexpected("a statement");
    match nearest(word, &known) {
        Some(near) => error.hint(format!("Perhaps you meant {near}.")),
        None => error,
    }
}
