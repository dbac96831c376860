//! Error positions in a statement, in characters.

use datafusion::sql::sqlparser::tokenizer::Location;

use crate::{error::Error, sql::statement::Statement};

/// Converts the planner's line and column of an error into a character position.
pub(super) fn placed(error: Error, statement: &Statement) -> Error {
    error.placed(|line, column| statement.position(Location { line, column }))
}
