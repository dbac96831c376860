//! Where in a statement an error stands, as a client counts.

use datafusion::sql::sqlparser::tokenizer::Location;

use crate::{error::Error, sql::statement::Statement};

/// The planner tells lines and columns, a client is told characters.
pub(super) fn placed(error: Error, statement: &Statement) -> Error {
    error.placed(|line, column| statement.position(Location { line, column }))
}
