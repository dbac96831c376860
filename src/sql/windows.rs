//! Windows over event time, brought to what every query planner knows.
//!
//! Three neighbours' spellings become two expressions, and none of them is left for the planner to see:
//!
//! - a tumbling window starts at `date_bin(size, ts [, origin])`;
//! - sliding windows start at `unnest(hop_starts(ts, slide, size [, offset]))`, one row for each window;
//! - either ends at its start `+ size`.
//!
//! An ASOF join is one with rows that count until the next: see `asof`.
//! A session is what two window functions tell of a row: see `session`.
//!
//! They stay these very expressions over a column, so that whoever looks at a plan can tell when a window closes.
//! A row without an event time lies in the tumbling window NULL, and in no sliding one.

mod asof;
mod session;
mod spark;
mod table;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{
        BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
        ObjectName, Query, Select, Spanned, TableFactor, Value, VisitMut, VisitorMut,
    },
    tokenizer::Location,
};

use super::{
    functions,
    interval::{self, Interval},
    names::fold,
};
use crate::error::{Error, ErrorKind, Result};

pub(super) use self::session::PARTITION_BY;

/// Lowers all windows in a query or a part of a statement. `locate` tells the positions that errors are given.
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

/// The windows that come later, refused by name.
pub(super) fn unsupported(function: &str) -> Error {
    Error::unsupported(function.to_uppercase())
        .hint("TUMBLE and HOP make windows of a fixed size, SESSION windows that end with a gap.")
}

fn or_break(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

/// The windows that one call describes.
#[derive(Debug, Clone, PartialEq)]
struct Windows {
    /// The event time: an expression over the rows.
    time: Expr,
    size: Interval,
    /// How far each window starts after the one before; `None` where they tumble.
    slide: Option<Interval>,
    /// By how much they are moved from 1970.
    offset: Option<Interval>,
}

impl Windows {
    /// Refuses what would be no windows, or too many.
    fn check(self) -> Result<Self> {
        let refuse = |message: String| Error::new(ErrorKind::InvalidParameterValue, message);
        let parts = [("size", Some(self.size)), ("slide", self.slide)];
        for (what, length) in parts.into_iter().filter_map(|(what, length)| Some((what, length?))) {
            if !length.is_positive() {
                return Err(refuse(format!("the {what} of a window must be positive, not {length}")));
            }
            if length.months != 0 && (length.micros != 0 || self.slide.is_some()) {
                let what = if self.slide.is_some() { "a sliding window" } else { "a window of months and days" };
                return Err(Error::unsupported(format!("{what} of {length}")).hint("Say it in days."));
            }
        }
        if self.offset.is_some_and(|offset| offset.months != 0) || (self.offset.is_some() && self.size.months != 0) {
            return Err(Error::unsupported("the offset of a window of months"));
        }
        if let Some(offset) =
            self.offset.filter(|offset| chrono::DateTime::from_timestamp_micros(offset.micros).is_none())
        {
            return Err(Error::new(
                ErrorKind::DatetimeOverflow,
                format!("the offset of a window ({offset}) is out of range"),
            ));
        }
        let Some(slide) = self.slide else { return Ok(self) };
        if slide.micros > self.size.micros {
            return Err(refuse(format!("the slide of a window ({slide}) is greater than its size ({})", self.size))
                .hint("HOP(t, ts, slide, size) takes the slide first; window(ts, size, slide) takes it last."));
        }
        if self.size.micros / slide.micros > functions::WINDOWS_MAX {
            let message = format!("a row lies in {} windows", self.size.micros / slide.micros);
            return Err(Error::new(ErrorKind::LimitExceeded, message)
                .detail(format!(
                    "Each row is copied into each of its windows; at most {} are allowed.",
                    functions::WINDOWS_MAX
                ))
                .hint("Slide by more, or make the windows smaller."));
        }
        Ok(self)
    }

    /// Where a tumbling window starts; `None` for sliding ones.
    fn tumbling_start(&self) -> Option<Expr> {
        if self.slide.is_some() {
            return None;
        }
        let mut args = vec![self.size.literal(), self.time.clone()];
        args.extend(self.offset.map(origin));
        Some(call("date_bin", args))
    }

    /// A row for each sliding window's start.
    fn sliding_starts(&self) -> Option<Expr> {
        let mut args = vec![self.time.clone(), self.slide?.literal(), self.size.literal()];
        args.extend(self.offset.map(Interval::literal));
        Some(call("unnest", vec![call(functions::HOP_STARTS, args)]))
    }

    /// Where the window that starts at `start` ends.
    fn end(&self, start: Expr) -> Expr {
        Expr::BinaryOp { left: Box::new(start), op: BinaryOperator::Plus, right: Box::new(self.size.literal()) }
    }
}

/// 1970 moved by `offset`, as a string: it takes the type of the timestamps that it is compared with.
fn origin(offset: Interval) -> Expr {
    let moment = chrono::DateTime::from_timestamp_micros(offset.micros).unwrap_or_default();
    let text = moment.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    Expr::Value(Value::SingleQuotedString(text).with_empty_span())
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(Ident::new(name)),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// The name of a function that was called by one bare word, in lowercase.
fn bare_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(fold),
        _ => None,
    }
}

/// The constant interval of an argument.
fn length(expr: &Expr, locate: &dyn Fn(Location) -> usize) -> Result<Interval> {
    interval::constant(expr).map_err(|error| placed(error, expr, locate))
}

/// Gives the error the place of what it is about, if that has one.
fn placed(error: Error, about: &impl Spanned, locate: &dyn Fn(Location) -> usize) -> Error {
    let start = about.span().start;
    if start.line > 0 { error.at(locate(start)) } else { error }
}
