//! Limits on the number of columns: each column is a field in every schema of a plan, whatever its rows hold. The
//! limits are Postgres' own.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, Select, SetExpr, VisitMut, VisitorMut};

use crate::error::{Error, ErrorKind, Result};

/// Postgres' `MaxTupleAttributeNumber`.
const TARGETS_MAX: usize = 1664;
/// Postgres' `MaxHeapAttributeNumber`.
const COLUMNS_MAX: usize = 1600;

/// Refuses a SELECT list or column list that is too long.
pub(super) fn limit<V: VisitMut>(node: &mut V) -> Result<()> {
    match node.visit(&mut WidthLimit) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Refuses more columns than a query may return.
pub fn check_targets(columns: usize) -> Result<()> {
    match columns <= TARGETS_MAX {
        true => Ok(()),
        false => {
            Err(Error::new(ErrorKind::TooManyColumns, format!("target lists can have at most {TARGETS_MAX} entries")))
        }
    }
}

/// Refuses more columns than a table may have.
pub fn check_columns(columns: usize) -> Result<()> {
    match columns <= COLUMNS_MAX {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::TooManyColumns, format!("tables can have at most {COLUMNS_MAX} columns"))),
    }
}

struct WidthLimit;

impl WidthLimit {
    fn check(done: Result<()>) -> ControlFlow<Error> {
        done.map_or_else(ControlFlow::Break, ControlFlow::Continue)
    }
}

impl VisitorMut for WidthLimit {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let widest = match query.body.as_ref() {
            SetExpr::Values(values) => values.rows.iter().map(|row| row.content.len()).max().unwrap_or(0),
            _ => 0,
        };
        WidthLimit::check(check_targets(widest))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        WidthLimit::check(check_targets(select.projection.len()))
    }
}
