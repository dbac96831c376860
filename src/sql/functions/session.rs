//! `session_start(ts, end [, max [, timeout]]) OVER (… ORDER BY ts)` and `session_end(…)`: bounds of each row's
//! session.
//!
//! ```text
//! ts    ●──●─●───────● ●──●            each row reaches from ts to its end, which is ts + gap
//!       └─────┘      └────┘            rows that reach each other are of one session
//! ```

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array},
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit},
};
use datafusion::{
    common::{Result, exec_err, plan_err},
    logical_expr::{
        PartitionEvaluator, Signature, Volatility, WindowUDFImpl,
        function::{PartitionEvaluatorArgs, WindowUDFFieldArgs},
    },
};

/// The function's name.
pub const SESSION_START: &str = "session_start";
pub const SESSION_END: &str = "session_end";

/// One bound of each row's session, for rows sorted by time. A session starts at a row that is later than the ends of
/// all rows before it, or `max` or more after the session's start; it ends at the greatest end of its rows, at most
/// `max` after its start. A row without a time is in no session.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SessionBound {
    end: bool,
    signature: Signature,
}

impl SessionBound {
    pub fn new(end: bool) -> Self {
        SessionBound { end, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl WindowUDFImpl for SessionBound {
    fn name(&self) -> &str {
        if self.end { SESSION_END } else { SESSION_START }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let (time, rest) = match types {
            [time @ DataType::Timestamp(..), _, rest @ ..] => (time.clone(), rest),
            [DataType::Date32 | DataType::Date64, _, rest @ ..] => {
                (DataType::Timestamp(TimeUnit::Microsecond, None), rest)
            }
            [other, ..] => return plan_err!("SESSION takes a timestamp, not {other}"),
            [] => return plan_err!("{} takes a timestamp, an end and perhaps a duration", self.name()),
        };
        let mut coerced = vec![time.clone(), time];
        coerced.extend(rest.iter().map(|_| DataType::Interval(IntervalUnit::MonthDayNano)));
        Ok(coerced)
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let time = args.input_fields().first().map(|field| field.data_type().clone());
        Ok(Arc::new(Field::new(args.name(), time.unwrap_or(DataType::Null), true)))
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(SessionFunction { end: self.end }))
    }
}

#[derive(Debug)]
struct SessionFunction {
    end: bool,
}

impl PartitionEvaluator for SessionFunction {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let [times, ends, rest @ ..] = values else { return exec_err!("a session has a time and an end") };
        let DataType::Timestamp(unit, _) = times.data_type() else { return exec_err!("a session has a timestamp") };
        // The timeout after it is only used by operators.
        let max = rest.first().filter(|max| !max.is_empty() && max.is_valid(0));
        let max = max.map(|max| in_unit(max, *unit)).transpose()?;
        let numbers = |column: &ArrayRef| {
            Ok::<_, datafusion::error::DataFusionError>(
                cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
            )
        };
        let bounds = bounds(&numbers(times)?, &numbers(ends)?, max, rows);
        let of = |row: usize| bounds[row].map(|(start, end)| if self.end { end } else { start });
        Ok(cast(&(0..rows).map(of).collect::<Int64Array>(), times.data_type())?)
    }
}

/// A constant interval without months, in the unit of the timestamps.
fn in_unit(max: &ArrayRef, unit: TimeUnit) -> Result<i64> {
    let max = max.as_primitive::<IntervalMonthDayNanoType>().value(0);
    if max.months != 0 {
        return exec_err!("the longest duration of a session has no months");
    }
    let ns = i128::from(max.days) * 86_400_000_000_000 + i128::from(max.nanoseconds);
    let per = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    Ok(i64::try_from(ns / per).unwrap_or(i64::MAX))
}

/// Start and end of each row's session; the rows are sorted by time, with NULLs first or last.
fn bounds(times: &Int64Array, ends: &Int64Array, max: Option<i64>, rows: usize) -> Vec<Option<(i64, i64)>> {
    let mut bounds = vec![None; rows];
    let latest = |start: i64| max.map_or(i64::MAX, |max| start.saturating_add(max));
    let mut session: Option<(usize, i64, i64)> = None;
    let mut close = |session: Option<(usize, i64, i64)>, to: usize| {
        if let Some((first, start, end)) = session {
            bounds[first..to].fill(Some((start, end.min(latest(start)))));
        }
    };
    for row in 0..rows {
        if times.is_null(row) {
            close(session.take(), row);
            continue;
        }
        let time = times.value(row);
        let reach = if ends.is_null(row) { time } else { ends.value(row).max(time) };
        session = match session {
            Some((first, start, end)) if time <= end && time < latest(start) => Some((first, start, end.max(reach))),
            before => {
                close(before, row);
                Some((row, time, reach))
            }
        };
    }
    close(session, rows);
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(times: &[i64], gap: i64, max: Option<i64>) -> Vec<(i64, i64)> {
        let ends: Int64Array = times.iter().map(|time| time + gap).collect::<Vec<_>>().into();
        let all = bounds(&times.to_vec().into(), &ends, max, times.len());
        let mut all: Vec<_> = all.into_iter().flatten().collect();
        all.dedup();
        all
    }

    #[test]
    fn session_rows_within_the_gap_share_bounds() {
        assert_eq!(sessions(&[1, 3, 8, 14, 14], 5, None), [(1, 13), (14, 19)]);
        assert_eq!(sessions(&[1, 6, 11, 17], 5, None), [(1, 16), (17, 22)], "a row at the very end is still in it");
        assert_eq!(sessions(&[], 5, None), []);
    }

    #[test]
    fn session_at_its_maximum_length_ends_and_the_next_row_starts_another() {
        assert_eq!(sessions(&[0, 4, 8, 10, 12], 5, Some(10)), [(0, 10), (10, 17)]);
        assert_eq!(sessions(&[0, 4, 8, 30], 5, Some(10)), [(0, 10), (30, 35)]);
    }

    #[test]
    fn session_gap_may_differ_by_row_and_null_time_has_no_session() {
        let times = Int64Array::from(vec![Some(0), Some(2), Some(9), Some(20), None]);
        let ends = Int64Array::from(vec![Some(10), Some(3), None, Some(15), Some(1)]);
        let all = bounds(&times, &ends, None, 5);
        assert_eq!(all, [Some((0, 10)), Some((0, 10)), Some((0, 10)), Some((20, 20)), None]);
    }
}
