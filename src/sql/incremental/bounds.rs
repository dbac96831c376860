//! The time bounds of a join: until which watermark a row can still have new matches.
//!
//! ```text
//! l.x - r.y >= lo   what l meets has y <= l.x - lo: once the right side is complete up to there, l can go
//! l.x - r.y <= hi   what r meets has x <= r.y + hi: once the left side is complete up to there, r can go
//! ```
//!
//! An equality of two times is both, with 0. (Interval joins: as in Spark's and Flink's streaming joins.)

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::{
    common::DFSchema,
    logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, utils::split_conjunction},
};

use super::time_bounds::{TimeBound, TimeBounds, is_utc, micros_of};
use crate::{state::Close, time::Micros};

/// The bounds that a join condition implies, for the left and right side.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Bounds {
    /// When a row can have no new match.
    pub close: [Option<Close>; 2],
    /// When a row is late: some of its matches may have been dropped.
    pub late: [Option<Close>; 2],
}

/// One side of a join: schema and time bounds.
pub(super) struct Times<'a> {
    /// Its own columns.
    pub schema: &'a DFSchema,
    pub time_bounds: &'a TimeBounds,
}

/// A time expression of one side: a column plus a constant.
struct Time {
    side: usize,
    column: usize,
    shift: Micros,
    /// Offset from a time in this column to the watermark at which its rows are complete.
    complete: Micros,
    /// Whether it may have been rounded down to the microsecond.
    rounded: bool,
}

/// The bounds that follow from equal keys and from the rest of a join's condition.
pub(super) fn bounds(sides: [Times; 2], on: &[(Expr, Expr)], filter: Option<&Expr>) -> Bounds {
    let mut bounds = Bounds::default();
    for (left, right) in on {
        bounds.compare(&sides, left, Operator::Eq, right);
    }
    for part in filter.into_iter().flat_map(split_conjunction) {
        if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = part {
            bounds.compare(&sides, left, *op, right);
        }
    }
    bounds
}

impl Bounds {
    fn compare(&mut self, sides: &[Times; 2], a: &Expr, op: Operator, b: &Expr) {
        let (Some(a), Some(b)) = (time(sides, a), time(sides, b)) else { return };
        let (left, right, op) = match (a.side, b.side) {
            (0, 1) => (a, b, op),
            (1, 0) => match op.swap() {
                Some(op) => (b, a, op),
                None => return,
            },
            _ => return,
        };
        // left.x + left.shift OP right.y + right.shift
        let Some(offset) = right.shift.checked_sub(left.shift) else { return };
        let slack = Micros::from(left.rounded || right.rounded);
        if matches!(op, Operator::Eq | Operator::Gt | Operator::GtEq) {
            self.keep(0, &left, &right, slack.checked_sub(offset));
        }
        if matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq) {
            self.keep(1, &right, &left, slack.checked_add(offset));
        }
    }

    /// Notes that a row of side `n` matches nothing later than its own time plus `reach`; ignored on overflow.
    fn keep(&mut self, n: usize, own: &Time, other: &Time, reach: Option<Micros>) {
        let Some(offset_us) = reach.and_then(|reach| reach.checked_add(other.complete)) else { return };
        if self.close[n].is_none_or(|known| offset_us < known.offset_us) {
            self.close[n] = Some(Close { column: own.column, field: None, offset_us });
            self.late[1 - n] = Some(Close { column: other.column, field: None, offset_us: other.complete });
        }
    }

    /// The time bounds of the columns of the pairs.
    pub fn time_bounds(&self, n: usize, own: &TimeBounds) -> TimeBounds {
        let time_bound = |(column, time_bound): (usize, &Option<TimeBound>)| match (self.close[n], time_bound) {
            (Some(close), Some(TimeBound::Offset(offset, step))) if close.column == column => {
                Some(TimeBound::Offset(close.offset_us.max(*offset), *step))
            }
            _ => None,
        };
        own.iter().enumerate().map(time_bound).collect()
    }
}

/// An expression as a time of one side, if its columns have time bounds.
fn time(sides: &[Times; 2], expr: &Expr) -> Option<Time> {
    match expr {
        Expr::Alias(alias) => time(sides, &alias.expr),
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Timestamp(..)) => {
            let inner = time(sides, &cast.expr)?;
            let fine =
                matches!(cast.field.data_type(), DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _));
            // Another time zone would shift it.
            let from = cast.expr.get_type(sides[inner.side].schema).ok()?;
            let same_zone = is_utc(cast.field.data_type()) && is_utc(&from);
            (fine && same_zone).then_some(Time { rounded: true, ..inner })
        }
        Expr::Column(column) => sides.iter().enumerate().find_map(|(side, Times { schema, time_bounds })| {
            let at = schema.index_of_column(column).ok()?;
            let Some(TimeBound::Offset(complete, _)) = time_bounds.get(at)? else { return None };
            let rounded = !matches!(schema.field(at).data_type(), DataType::Timestamp(TimeUnit::Microsecond, _));
            Some(Time { side, column: at, shift: 0, complete: *complete, rounded })
        }),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) => {
            let (inner, by) = (time(sides, left)?, micros_of(right)?);
            let shift = match op {
                Operator::Plus => inner.shift.checked_add(by)?,
                _ => inner.shift.checked_sub(by)?,
            };
            Some(Time { shift, ..inner })
        }
        _ => None,
    }
}
