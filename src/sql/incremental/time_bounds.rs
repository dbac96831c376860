//! Event time bounds of plan columns: at which watermark a group of them is complete.
//!
//! A watermark makes a column an event time. Expressions of it with bins and constant intervals have a bound: after the
//! watermark reaches `v` plus a known offset, no row with value `v` can arrive.

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::{
    common::{Column, DFSchema, ScalarValue},
    logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator},
};

use crate::{
    sql::functions::{HOP_STARTS, HOP_STARTS_OR_NULL, Unit},
    state::Close,
    time::{DAY_US, Micros},
};

/// The bound of one column.
#[derive(Debug, Clone, PartialEq)]
pub enum TimeBound {
    /// Rows with value `v` are complete at watermark `v + offset`, and every `v` is a multiple of the second number,
    /// which is positive. On overflow of 64 bits there is no bound.
    Offset(Micros, Micros),
    /// The start of a window of whole months, which has no fixed offset; its end has one.
    Months(IntervalMonthDayNano),
    /// A struct with the bounds of its fields.
    Fields(Vec<Option<TimeBound>>),
}

pub type TimeBounds = Vec<Option<TimeBound>>;

/// An event time itself: complete once the watermark is past it.
pub const EVENT: TimeBound = TimeBound::Offset(1, 1);

/// How a group with these time bounds of its keys closes, if ever.
pub fn close(keys: &TimeBounds) -> Option<Close> {
    keys.iter().enumerate().find_map(|(column, time_bound)| match time_bound.as_ref()? {
        TimeBound::Offset(offset_us, _) => Some(Close { column, field: None, offset_us: *offset_us }),
        TimeBound::Months(_) => None,
        TimeBound::Fields(fields) => fields.iter().enumerate().find_map(|(field, time_bound)| match time_bound {
            Some(TimeBound::Offset(offset_us, _)) => Some(Close { column, field: Some(field), offset_us: *offset_us }),
            _ => None,
        }),
    })
}

/// The time bound of an expression over an input whose columns have `time_bounds`.
pub fn of_expr(expr: &Expr, schema: &DFSchema, time_bounds: &TimeBounds) -> Option<TimeBound> {
    match expr {
        Expr::Column(column) => of_column(column, schema, time_bounds),
        Expr::Alias(alias) => of_expr(&alias.expr, schema, time_bounds),
        Expr::Cast(cast) => match cast.field.data_type() {
            // A coarser unit would round a time down and so close its group too early; a time zone would shift it.
            to @ DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
                if is_utc(to) && value_type(&cast.expr, schema).is_some_and(|from| is_utc(&from)) =>
            {
                of_expr(&cast.expr, schema, time_bounds)
            }
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let time_bound = of_expr(left, schema, time_bounds)?;
            let interval = interval(right)?;
            match op {
                Operator::Plus => shifted(time_bound, interval),
                Operator::Minus => shifted(time_bound, negated(interval)?),
                _ => None,
            }
        }
        Expr::ScalarFunction(call) => of_call(call.func.name(), &call.args, schema, time_bounds),
        _ => None,
    }
}

fn of_column(column: &Column, schema: &DFSchema, time_bounds: &TimeBounds) -> Option<TimeBound> {
    time_bounds.get(schema.index_of_column(column).ok()?)?.clone()
}

fn of_call(name: &str, args: &[Expr], schema: &DFSchema, time_bounds: &TimeBounds) -> Option<TimeBound> {
    match (name, args) {
        ("date_bin", [stride, time, origin @ ..]) => {
            let TimeBound::Offset(offset, step) = of_expr(time, schema, time_bounds)? else { return None };
            let stride = interval(stride)?;
            if stride.months != 0 {
                return (offset == 1).then_some(TimeBound::Months(stride));
            }
            let stride = micros(stride)?;
            binned(stride, if origin.is_empty() { stride } else { 1 }, offset, step)
        }
        ("date_trunc", [unit, time]) => {
            let TimeBound::Offset(offset, step) = of_expr(time, schema, time_bounds)? else { return None };
            // Weeks start on Monday, and 1970 on a Thursday.
            let (length, multiple) = match Unit::named(literal(unit)?.try_as_str()??)? {
                Unit::Micros(length) => (length, length),
                Unit::Week => (7 * DAY_US, DAY_US),
                Unit::Months(_) | Unit::Years(_) | Unit::Ages(_) => return None,
            };
            binned(length, multiple, offset, step)
        }
        // A list of window starts; the bound applies to its elements.
        (HOP_STARTS | HOP_STARTS_OR_NULL, [time, slide, size, rest @ ..]) => {
            let TimeBound::Offset(offset, step) = of_expr(time, schema, time_bounds)? else { return None };
            let slide = micros(interval(slide)?)?;
            binned(micros(interval(size)?)?, if rest.is_empty() { slide } else { 1 }, offset, step)
        }
        ("named_struct", pairs) => {
            let fields = pairs.chunks_exact(2).map(|pair| of_expr(&pair[1], schema, time_bounds)).collect();
            Some(TimeBound::Fields(fields))
        }
        ("get_field", [value, field]) => {
            let TimeBound::Fields(fields) = of_expr(value, schema, time_bounds)? else { return None };
            let ScalarValue::Utf8(Some(field)) = literal(field)? else { return None };
            let DataType::Struct(names) = value_type(value, schema)? else { return None };
            fields.get(names.find(&field)?.0)?.clone()
        }
        _ => None,
    }
}

/// The bound of starts of windows of a length, over times with an offset and a step. The starts are multiples of
/// `multiple`; the last time in a window is a step before its end. `None` for an empty length.
fn binned(length: Micros, multiple: Micros, offset: Micros, step: Micros) -> Option<TimeBound> {
    if length < 1 || multiple < 1 {
        return None;
    }
    let step = if length % step == 0 && multiple % step == 0 { step } else { 1 };
    Some(TimeBound::Offset(length.checked_add(offset)?.checked_sub(step)?, multiple))
}

/// Whether a timestamp is in UTC, or without a time zone, which counts as UTC.
pub(super) fn is_utc(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, Some(zone)) => matches!(zone.as_ref(), "UTC" | "Etc/UTC" | "Z" | "+00:00" | "+00"),
        _ => true,
    }
}

fn value_type(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    use datafusion::logical_expr::ExprSchemable;
    expr.get_type(schema).ok()
}

fn literal(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Alias(alias) => literal(&alias.expr),
        _ => None,
    }
}

fn interval(expr: &Expr) -> Option<IntervalMonthDayNano> {
    match literal(expr)? {
        ScalarValue::IntervalMonthDayNano(interval) => interval,
        ScalarValue::IntervalDayTime(Some(i)) => {
            Some(IntervalMonthDayNano::new(0, i.days, i64::from(i.milliseconds) * 1_000_000))
        }
        ScalarValue::IntervalYearMonth(Some(months)) => Some(IntervalMonthDayNano::new(months, 0, 0)),
        _ => None,
    }
}

fn negated(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    Some(IntervalMonthDayNano::new(months.checked_neg()?, days.checked_neg()?, nanoseconds.checked_neg()?))
}

/// A constant interval without months, in microseconds.
pub fn micros_of(expr: &Expr) -> Option<Micros> {
    micros(interval(expr)?)
}

/// An interval without months, in microseconds; `None` on overflow. A day is 24 hours: event times are in UTC or
/// without a time zone.
fn micros(interval: IntervalMonthDayNano) -> Option<Micros> {
    if interval.months != 0 {
        return None;
    }
    i64::from(interval.days).checked_mul(DAY_US)?.checked_add(interval.nanoseconds / 1_000)
}

/// The bound of `x + interval`.
fn shifted(time_bound: TimeBound, by: IntervalMonthDayNano) -> Option<TimeBound> {
    match time_bound {
        TimeBound::Offset(offset, step) => {
            let by = micros(by)?;
            Some(TimeBound::Offset(offset.checked_sub(by)?, if by % step == 0 { step } else { 1 }))
        }
        TimeBound::Months(length) if length == by => Some(TimeBound::Offset(0, 1)),
        _ => None,
    }
}

/// The time bounds of the expressions of a projection.
pub fn of_projection(exprs: &[Expr], input: &LogicalPlan, time_bounds: &TimeBounds) -> TimeBounds {
    exprs.iter().map(|expr| of_expr(expr, input.schema(), time_bounds)).collect()
}
