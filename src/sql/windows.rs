//! Windows over event time, lowered to plain SQL expressions.
//!
//! The syntax of three other systems is reduced to two expressions; the planner sees no window calls:
//!
//! - a tumbling window starts at `date_bin(size, ts [, origin])`;
//! - sliding windows start at `unnest(hop_starts(ts, slide, size [, offset]))`, one row for each window;
//! - both end at their start `+ size`.
//!
//! An ASOF join becomes a join with the validity interval of each row: see `asof`.
//! A session is computed by two window functions: see `session`.
//!
//! The expressions stay unchanged over a column, so that the incremental rewrite can tell when a window closes.
//! A row without an event time is in the tumbling window NULL, and in no sliding window.

mod asof;
mod ast;
mod fixed;
mod session;
mod spark;
mod table;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{Query, Select, TableFactor, VisitMut, VisitorMut},
    tokenizer::Location,
};

use crate::error::{Error, Result};

pub(super) use self::session::PARTITION_BY;

/// Lowers all windows in a query or a part of a statement. `locate` gives the positions of errors.
pub fn lower<V: VisitMut>(node: &mut V, locate: &dyn Fn(Location) -> usize) -> Result<()> {
    match node.visit(&mut Lowering { locate }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Lowering<'a> {
    locate: &'a dyn Fn(Location) -> usize,
}

impl VisitorMut for Lowering<'_> {
    type Break = Error;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        or_break(table::lower(factor, self.locate))
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        or_break(asof::lower(select))
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        or_break(spark::lower(query, self.locate))
    }
}

fn or_break(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}
