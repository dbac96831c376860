//! `connector = 'postgres'`: the rows of a query in a table of a PostgreSQL server.
//!
//! ```text
//! BEGIN ─ "epoch 6 by this holder" ─ COPY ─ delete, insert or update ─ COMMIT      one transaction an epoch
//! ```
//! The number of the last epoch stands in table `tidemark_sinks`, beside the rows and written with them: after any crash
//! it says what is there. Its row also names the holder. Whoever opens the sink becomes it; from then on the transaction
//! of another fails at its first statement.

mod cells;
mod options;
mod sink;
mod table;

pub use options::PostgresOptions;

use tokio_postgres::error::SqlState;

use crate::error::{Error, ErrorKind};

/// The longest message of Postgres that is passed on: it quotes rows.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// An error of Postgres as ours. `Io` and `CannotConnectNow` may pass; all others stay until somebody does something.
fn postgres_error(error: tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else { return lost(error) };
    let code = db.code();
    let kind = match code.code() {
        c if ["08", "40", "53", "57"].iter().any(|class| c.starts_with(class)) => ErrorKind::CannotConnectNow,
        // Somebody holds a lock; a session was ended for being idle; its disk or its memory fails.
        "55P03" | "25P03" | "58030" => ErrorKind::CannotConnectNow,
        _ if *code == SqlState::UNIQUE_VIOLATION => ErrorKind::UniqueViolation,
        _ if *code == SqlState::NOT_NULL_VIOLATION => ErrorKind::NotNullViolation,
        _ if *code == SqlState::NUMERIC_VALUE_OUT_OF_RANGE => ErrorKind::NumericOutOfRange,
        _ if *code == SqlState::UNDEFINED_TABLE => ErrorKind::UndefinedTable,
        _ if *code == SqlState::UNDEFINED_COLUMN => ErrorKind::UndefinedColumn,
        _ if *code == SqlState::INVALID_SCHEMA_NAME => ErrorKind::UndefinedObject,
        _ if *code == SqlState::INVALID_CATALOG_NAME => ErrorKind::UndefinedDatabase,
        c if c.starts_with("28") || c == "42501" => ErrorKind::InvalidAuthorization,
        _ => ErrorKind::InvalidParameterValue,
    };
    // The detail quotes the row; where there is none, the place in a COPY quotes the value.
    let row = db.detail().or(db.where_()).map(|row| format!(" ({})", row.trim())).unwrap_or_default();
    let message = format!("postgres: {}{row}", db.message());
    let error = Error::new(kind, message.chars().take(MESSAGE_CHARS_MAX).collect::<String>());
    match db.hint() {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// An error of the connection. What it says never has the password in it.
fn lost(error: tokio_postgres::Error) -> Error {
    use std::error::Error as _;
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    let text = format!("{error}{cause}");
    let failed = |kind, text| Error::new(kind, format!("postgres: {text}"));
    if text.starts_with("invalid configuration") || text.starts_with("authentication error") {
        return failed(ErrorKind::InvalidAuthorization, text);
    }
    failed(ErrorKind::CannotConnectNow, text)
}

/// A name as SQL writes it.
fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Several of them, with commas.
fn names<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    all.into_iter().map(name).collect::<Vec<_>>().join(", ")
}

/// A text as SQL writes it, whatever the session's settings.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests;
