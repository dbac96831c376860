//! `date_trunc(unit, ts)`: the start of the unit that contains a timestamp, in microseconds: DataFusion's own counts in
//! nanoseconds, which end in 2262. The units and their names are PostgreSQL's.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, PrimitiveArray},
    datatypes::{DataType, TimeUnit, TimestampMicrosecondType},
};
use datafusion::{
    common::{Result, ScalarValue, plan_err},
    functions::datetime::date_trunc::DateTruncFunc,
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
        sort_properties::{ExprProperties, SortProperties},
    },
};

use crate::{
    error::{Error, ErrorKind},
    time::{CivilDate, DAY_US, Micros, TIMESTAMPS, out_of_range},
};

const DATE_TRUNC: &str = "date_trunc";

/// A timestamp and a time of day keep their type; a date or a text becomes a timestamp without time zone. Columns with
/// a time zone are in UTC. An unknown unit is an error, as in Postgres.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct DateTrunc {
    signature: Signature,
    /// Handles times of day.
    inner: DateTruncFunc,
}

impl Default for DateTrunc {
    fn default() -> Self {
        DateTrunc { signature: Signature::user_defined(Volatility::Immutable), inner: DateTruncFunc::new() }
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        DATE_TRUNC
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let text =
            |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null);
        let timestamp = |zone: &Option<Arc<str>>| DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
        let value = match types {
            [unit, value] if text(unit) => match value {
                DataType::Timestamp(_, zone) => Some(timestamp(zone)),
                DataType::Date32 | DataType::Date64 => Some(timestamp(&None)),
                DataType::Time32(_) | DataType::Time64(_) => Some(value.clone()),
                other if text(other) => Some(timestamp(&None)),
                _ => None,
            },
            _ => None,
        };
        match value {
            Some(value) => Ok(vec![DataType::Utf8, value]),
            None => {
                let given = types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                plan_err!("No function matches the given name and argument types '{DATE_TRUNC}({given})'. ")
            }
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, value] => Ok(value.clone()),
            _ => plan_err!("{DATE_TRUNC} takes a unit and a timestamp"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [unit, time] = args.args.as_slice() else {
            return plan_err!("{DATE_TRUNC} takes a unit and a timestamp");
        };
        if !matches!(time.data_type(), DataType::Timestamp(..)) {
            return self.inner.invoke_with_args(args);
        }
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let times = time.to_array(rows)?;
        let starts = match unit {
            ColumnarValue::Scalar(unit) => starts(unit, &times)?,
            ColumnarValue::Array(units) => {
                let one = |row: usize| starts(&ScalarValue::try_from_array(units, row)?, &times.slice(row, 1));
                let all = (0..rows).map(one).collect::<Result<Vec<_>>>()?;
                match all.is_empty() {
                    true => times.slice(0, 0),
                    false => arrow::compute::concat(&all.iter().map(AsRef::as_ref).collect::<Vec<_>>())?,
                }
            }
        };
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&starts, 0)?)),
            false => Ok(ColumnarValue::Array(starts)),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        // The function is monotonic in its timestamp.
        let [unit, time] = input else { return Ok(SortProperties::Unordered) };
        Ok(match unit.sort_properties {
            SortProperties::Singleton => time.sort_properties,
            _ => SortProperties::Unordered,
        })
    }
}

fn starts(unit: &ScalarValue, times: &ArrayRef) -> Result<ArrayRef> {
    let unit = match unit.try_as_str() {
        Some(Some(unit)) => Unit::of(unit, times.data_type())?,
        _ => return Ok(arrow::array::new_null_array(times.data_type(), times.len())),
    };
    let start = |time: Micros| unit.start(time).ok_or_else(|| out_of_range(times.data_type()));
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let starts: PrimitiveArray<TimestampMicrosecondType> = times.try_unary(start)?;
    Ok(Arc::new(starts.with_data_type(times.data_type().clone())))
}

/// The unit that a timestamp is truncated to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A fixed number of microseconds, counted from 1970-01-01, a Thursday.
    Micros(Micros),
    /// Starts on Monday.
    Week,
    Months(u32),
    Years(i64),
    /// This many years, the first of which ends in 1: a century, or a millennium.
    Ages(i64),
}

impl Unit {
    /// Parses a unit name of PostgreSQL.
    pub fn of(name: &str, of: &DataType) -> Result<Unit, Error> {
        Unit::named(name).ok_or_else(|| {
            let of = match of {
                DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
                _ => "timestamp without time zone",
            };
            let name = name.to_lowercase();
            Error::new(ErrorKind::InvalidParameterValue, format!("unit \"{name}\" not recognized for type {of}"))
                .hint("Known are microseconds to millennium, among them second, minute, hour, day, week, month, quarter, year.")
        })
    }

    pub fn named(name: &str) -> Option<Unit> {
        Some(match name.to_lowercase().as_str() {
            "microseconds" | "microsecond" | "us" | "usec" | "usecond" | "useconds" | "usecs" => Unit::Micros(1),
            "milliseconds" | "millisecond" | "ms" | "msec" | "msecond" | "mseconds" | "msecs" => Unit::Micros(1_000),
            "second" | "seconds" | "s" | "sec" | "secs" => Unit::Micros(1_000_000),
            "minute" | "minutes" | "m" | "min" | "mins" => Unit::Micros(60_000_000),
            "hour" | "hours" | "h" | "hr" | "hrs" => Unit::Micros(3_600_000_000),
            "day" | "days" | "d" => Unit::Micros(DAY_US),
            "week" | "weeks" | "w" => Unit::Week,
            "month" | "months" | "mon" | "mons" => Unit::Months(1),
            "quarter" | "qtr" => Unit::Months(3),
            "year" | "years" | "y" | "yr" | "yrs" => Unit::Years(1),
            "decade" | "decades" | "dec" | "decs" => Unit::Years(10),
            "century" | "centuries" | "c" | "cent" => Unit::Ages(100),
            "millennium" | "millennia" | "mil" | "mils" => Unit::Ages(1_000),
            _ => return None,
        })
    }

    /// The start of the unit that contains `time`; `None` if it is out of range.
    pub fn start(self, time: Micros) -> Option<Micros> {
        let day = time.div_euclid(DAY_US);
        let date = || CivilDate::of_days(day);
        let year = |year: i64| CivilDate { year, month: 1, day: 1 }.days();
        let first = match self {
            Unit::Micros(micros) => return in_range(time.checked_sub(time.rem_euclid(micros))?),
            // 1970 began on a Thursday.
            Unit::Week => day - (day + 3).rem_euclid(7),
            Unit::Months(months) => {
                let CivilDate { year, month, .. } = date();
                CivilDate { year, month: month - (month - 1) % months, day: 1 }.days()
            }
            Unit::Years(years) => {
                let of = date().year;
                year(of - of.rem_euclid(years))
            }
            Unit::Ages(years) => {
                let of = date().year - 1;
                year(of - of.rem_euclid(years) + 1)
            }
        };
        in_range(first.checked_mul(DAY_US)?)
    }
}

fn in_range(time: Micros) -> Option<Micros> {
    TIMESTAMPS.contains(&time).then_some(time)
}
