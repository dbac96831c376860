//! `generate_series(from, to, step)` and `range(…)` of timestamps, in microseconds: DataFusion's own counts in
//! nanoseconds, which end in 2262. Series of numbers and dates are DataFusion's.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray, timezone::Tz},
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{
        DataType, Field, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
        TimestampMicrosecondType,
    },
};
use datafusion::{
    catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider, view::ViewTable},
    common::{Result, ScalarValue, exec_err, plan_err},
    functions_table::generate_series::{GenerateSeriesFunc, RangeFunc},
    logical_expr::{
        ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::ScalarFunction,
    },
};

use crate::error::{Error, ErrorKind};

/// Maximum timestamps per row.
const SERIES_MAX: usize = 10_000_000;

/// The timestamps from the first argument to the second, in steps of the third.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct TimestampSeries {
    name: &'static str,
    /// Whether the second argument is included.
    includes_end: bool,
    signature: Signature,
}

/// The function of this name for timestamps.
pub fn timestamp_series(name: &str) -> Option<Arc<ScalarUDF>> {
    let (name, includes_end) = match name {
        "generate_series" => ("generate_series", true),
        "range" => ("range", false),
        _ => return None,
    };
    let signature = Signature::user_defined(Volatility::Immutable);
    Some(Arc::new(ScalarUDF::from(TimestampSeries { name, includes_end, signature })))
}

impl ScalarUDFImpl for TimestampSeries {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::Timestamp(_, zone), _, _] => {
                let time = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                Ok(vec![time.clone(), time, DataType::Interval(IntervalUnit::MonthDayNano)])
            }
            _ => plan_err!("{} of timestamps takes two of them and an interval", self.name),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(time) => Ok(DataType::List(Arc::new(Field::new_list_field(time.clone(), true)))),
            None => plan_err!("{} takes a timestamp", self.name),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let [from, to, step] = columns.as_slice() else { return exec_err!("{} takes three arguments", self.name) };
        let lists = self.lists(from, to, step)?;
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::List(Arc::new(lists)))),
            false => Ok(ColumnarValue::Array(Arc::new(lists))),
        }
    }
}

impl TimestampSeries {
    fn lists(&self, from: &ArrayRef, to: &ArrayRef, step: &ArrayRef) -> Result<ListArray> {
        let zone: Tz = match from.data_type() {
            DataType::Timestamp(_, Some(zone)) => zone.parse()?,
            _ => "+00:00".parse()?,
        };
        let times = |column: &ArrayRef| column.as_primitive::<TimestampMicrosecondType>().clone();
        let (firsts, lasts, steps) = (times(from), times(to), step.as_primitive::<IntervalMonthDayNanoType>());
        let (mut all, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..from.len() {
            let before = all.len();
            let known = firsts.is_valid(row) && lasts.is_valid(row) && steps.is_valid(row);
            if known {
                self.push(firsts.value(row), lasts.value(row), steps.value(row), zone, &mut all)?;
            }
            valid.push(known);
            lengths.push(all.len() - before);
        }
        if i32::try_from(all.len()).is_err() {
            return Err(too_many().into());
        }
        let values =
            PrimitiveArray::<TimestampMicrosecondType>::from_iter_values(all).with_data_type(from.data_type().clone());
        let item = Arc::new(Field::new_list_field(from.data_type().clone(), true));
        let nulls = NullBuffer::from(valid);
        Ok(ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), Arc::new(values), Some(nulls))?)
    }

    fn push(&self, from: i64, to: i64, step: IntervalMonthDayNano, zone: Tz, all: &mut Vec<i64>) -> Result<()> {
        let later = |at: i64| TimestampMicrosecondType::add_month_day_nano(at, step, zone);
        let Some(second) = later(from) else {
            if from <= to {
                all.push(from);
            }
            return Ok(());
        };
        let forwards = match second.cmp(&from) {
            std::cmp::Ordering::Equal => {
                return Err(Error::new(ErrorKind::InvalidParameterValue, "step size cannot equal zero").into());
            }
            order => order.is_gt(),
        };
        let (mut at, begun) = (Some(from), all.len());
        while let Some(time) = at {
            let beyond = if forwards { time > to } else { time < to };
            if beyond || (time == to && !self.includes_end) {
                break;
            }
            if all.len() - begun >= SERIES_MAX {
                return Err(too_many().into());
            }
            all.push(time);
            // A step of months may be reduced by a short month, but never below zero.
            at = later(time).filter(|next| (*next > time) == forwards && *next != time);
        }
        Ok(())
    }
}

fn too_many() -> Error {
    Error::new(ErrorKind::LimitExceeded, format!("a series of more than {SERIES_MAX} times"))
        .hint("Take a longer step.")
}

/// The same as a table function.
#[derive(Debug)]
pub struct SeriesTable {
    name: &'static str,
}

impl SeriesTable {
    /// Both functions, by name.
    pub fn all() -> [(&'static str, SeriesTable); 2] {
        ["generate_series", "range"].map(|name| (name, SeriesTable { name }))
    }
}

impl TableFunctionImpl for SeriesTable {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let exprs = args.exprs();
        let of_times = |expr: &Expr| match expr {
            Expr::Literal(value, _) => matches!(value.data_type(), DataType::Timestamp(..)),
            _ => false,
        };
        let series = timestamp_series(self.name).filter(|_| exprs.first().is_some_and(of_times));
        let Some(series) = series else {
            return match self.name {
                "range" => RangeFunc {}.call_with_args(args),
                _ => GenerateSeriesFunc {}.call_with_args(args),
            };
        };
        let list = Expr::ScalarFunction(ScalarFunction::new_udf(series, exprs.to_vec())).alias("value");
        let plan = LogicalPlanBuilder::empty(true).project([list])?.unnest_column("value")?.build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{IntervalMonthDayNanoArray, TimestampMicrosecondArray};

    use super::*;

    fn series(name: &'static str, from: i64, to: i64, step: IntervalMonthDayNano) -> Result<Vec<i64>> {
        let includes_end = name == "generate_series";
        let function =
            TimestampSeries { name, includes_end, signature: Signature::user_defined(Volatility::Immutable) };
        let time = |at: i64| Arc::new(TimestampMicrosecondArray::from(vec![at])) as ArrayRef;
        let step: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![step]));
        let lists = function.lists(&time(from), &time(to), &step)?;
        Ok(lists.value(0).as_primitive::<TimestampMicrosecondType>().values().to_vec())
    }

    #[test]
    fn series_of_timestamps_steps_both_ways_in_any_year() {
        const FAR: i64 = 33_488_467_200_000_000;
        let micro = |n: i64| IntervalMonthDayNano::new(0, 0, n * 1_000);
        assert_eq!(series("generate_series", FAR, FAR + 4, micro(2)).unwrap(), [FAR, FAR + 2, FAR + 4]);
        assert_eq!(series("range", FAR, FAR + 4, micro(2)).unwrap(), [FAR, FAR + 2]);
        assert_eq!(series("generate_series", 5, 0, micro(-2)).unwrap(), [5, 3, 1]);
        assert_eq!(series("generate_series", 5, 0, micro(2)).unwrap(), [0; 0]);
        let day = 86_400_000_000;
        assert_eq!(
            series("generate_series", 0, 60 * day, IntervalMonthDayNano::new(1, 0, 0)).unwrap(),
            [0, 31 * day, 59 * day]
        );
        for (step, sqlstate) in [(micro(0), "22023"), (micro(1), "54000")] {
            let error = Error::from(series("range", 0, i64::MAX / 2, step).unwrap_err());
            assert_eq!(error.kind().sqlstate(), sqlstate);
        }
    }
}
