//! `interval_micros(length)`: a duration as a number of microseconds, by which durations are compared. As in Postgres a
//! month has 30 days and a day 24 hours.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array},
    compute::cast,
    datatypes::{DataType, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit},
};
use datafusion::{
    common::{Result, ScalarValue, exec_err, plan_err},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};

use crate::time::{DAY_US, Micros};

pub const INTERVAL_MICROS: &str = "interval_micros";

/// Takes an interval or a difference of timestamps; one beyond 64 bits saturates.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct IntervalMicros {
    signature: Signature,
}

impl Default for IntervalMicros {
    fn default() -> Self {
        IntervalMicros { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for IntervalMicros {
    fn name(&self) -> &str {
        INTERVAL_MICROS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [length @ DataType::Duration(_)] => Ok(vec![length.clone()]),
            [DataType::Interval(_) | DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View] => {
                Ok(vec![DataType::Interval(IntervalUnit::MonthDayNano)])
            }
            _ => plan_err!("{INTERVAL_MICROS} takes an interval"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [length] = args.args.as_slice() else { return exec_err!("{INTERVAL_MICROS} takes an interval") };
        match length {
            ColumnarValue::Scalar(length) => {
                let micros: ArrayRef = Arc::new(micros(&length.to_array()?)?);
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&micros, 0)?))
            }
            ColumnarValue::Array(lengths) => Ok(ColumnarValue::Array(Arc::new(micros(lengths)?))),
        }
    }
}

fn micros(lengths: &ArrayRef) -> Result<Int64Array> {
    Ok(match lengths.data_type() {
        DataType::Duration(unit) => {
            let (times, by) = match unit {
                TimeUnit::Second => (1_000_000, 1),
                TimeUnit::Millisecond => (1_000, 1),
                TimeUnit::Microsecond => (1, 1),
                TimeUnit::Nanosecond => (1, 1_000),
            };
            let numbers = cast(lengths, &DataType::Int64)?;
            numbers.as_primitive::<Int64Type>().unary(|n| n.saturating_mul(times) / by)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            lengths.as_primitive::<IntervalMonthDayNanoType>().unary(of_interval)
        }
        other => return exec_err!("{INTERVAL_MICROS} takes an interval, not {other}"),
    })
}

/// As Postgres compares intervals.
fn of_interval(interval: IntervalMonthDayNano) -> Micros {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    let micros = days * i128::from(DAY_US) + i128::from(interval.nanoseconds / 1_000);
    micros.clamp(Micros::MIN.into(), Micros::MAX.into()) as Micros
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_micros_adds_months_days_and_nanos() {
        let of =
            |months, days, hours: i64| of_interval(IntervalMonthDayNano::new(months, days, hours * 3_600_000_000_000));
        assert_eq!(of(0, 0, 24), of(0, 1, 0));
        assert_eq!(of(1, 0, 0), of(0, 30, 0));
        assert!(of(0, 1, -1) < of(0, 0, 24) && of(3_000_000, 0, 0) > of(3_000_000, -1, 0));
        assert_eq!(of(i32::MAX, 0, 0), Micros::MAX, "what cannot be counted is the longest");
    }
}
