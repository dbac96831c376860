//! Windows of a fixed size: their start and end.

use datafusion::sql::sqlparser::{
    ast::{BinaryOperator, Expr, Value},
    tokenizer::Location,
};

use super::ast::{call, placed};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::{
        functions,
        interval::{self, Interval},
    },
};

/// The windows of one call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Windows {
    /// The event time: an expression over the rows.
    pub time: Expr,
    pub size: Interval,
    /// The distance between the starts of adjacent windows; `None` for tumbling windows.
    pub slide: Option<Interval>,
    /// The shift of the window grid from 1970.
    pub offset: Option<Interval>,
}

impl Windows {
    /// Refuses invalid windows, and too many for a row.
    pub fn check(self) -> Result<Self> {
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

    /// The start of a tumbling window; `None` for sliding ones.
    pub fn tumbling_start(&self) -> Option<Expr> {
        if self.slide.is_some() {
            return None;
        }
        let mut args = vec![self.size.literal(), self.time.clone()];
        args.extend(self.offset.map(origin));
        Some(call("date_bin", args))
    }

    /// The starts of sliding windows, a row each.
    pub fn sliding_starts(&self) -> Option<Expr> {
        let mut args = vec![self.time.clone(), self.slide?.literal(), self.size.literal()];
        args.extend(self.offset.map(Interval::literal));
        Some(call("unnest", vec![call(functions::HOP_STARTS, args)]))
    }

    /// The end of the window that starts at `start`.
    pub fn end(&self, start: Expr) -> Expr {
        Expr::BinaryOp { left: Box::new(start), op: BinaryOperator::Plus, right: Box::new(self.size.literal()) }
    }
}

/// 1970 plus `offset`, as a string literal: it is coerced to the type of the timestamps.
fn origin(offset: Interval) -> Expr {
    let moment = chrono::DateTime::from_timestamp_micros(offset.micros).unwrap_or_default();
    let text = moment.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    Expr::Value(Value::SingleQuotedString(text).with_empty_span())
}

/// An argument that is a constant interval.
pub(super) fn length(expr: &Expr, locate: &dyn Fn(Location) -> usize) -> Result<Interval> {
    interval::constant(expr).map_err(|error| placed(error, expr, locate))
}

/// Window functions that are not supported yet, refused by name.
pub(super) fn unsupported(function: &str) -> Error {
    Error::unsupported(function.to_uppercase())
        .hint("TUMBLE and HOP make windows of a fixed size, SESSION windows that end with a gap.")
}
