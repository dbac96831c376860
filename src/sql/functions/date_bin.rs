//! `date_bin(stride, ts [, origin])`: the start of the bin that contains a timestamp, in microseconds: DataFusion's own
//! counts in nanoseconds, which end in 2262.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, PrimitiveArray},
    datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, Datelike, Months, Utc};
use datafusion::{
    common::{Result, ScalarValue, plan_err},
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
        sort_properties::{ExprProperties, SortProperties},
    },
};

use crate::{
    error::{Error, ErrorKind},
    time::{DAY_US, Micros, TIMESTAMPS, out_of_range},
};

const DATE_BIN: &str = "date_bin";

/// Bins start at every multiple of the stride since the origin, by default 1970. Strides of months are an extension; a
/// stride that is not positive is an error, as in Postgres.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct DateBin {
    signature: Signature,
}

impl Default for DateBin {
    fn default() -> Self {
        DateBin { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for DateBin {
    fn name(&self) -> &str {
        DATE_BIN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let usage = "No function matches the given name and argument types 'date_bin";
        let [stride, time, origin @ ..] = types else { return plan_err!("{usage}()'. ") };
        let given = || types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let text =
            |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null);
        let moment =
            |t: &DataType| text(t) || matches!(t, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
        let known = (text(stride) || matches!(stride, DataType::Interval(_)))
            && moment(time)
            && origin.len() <= 1
            && origin.iter().all(moment);
        if !known {
            return plan_err!("{usage}({})'. ", given());
        }
        let zone = match time {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let time = DataType::Timestamp(TimeUnit::Microsecond, zone);
        let mut coerced = vec![DataType::Interval(IntervalUnit::MonthDayNano), time.clone()];
        coerced.extend(origin.iter().map(|_| time.clone()));
        Ok(coerced)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.get(1) {
            Some(time @ DataType::Timestamp(..)) => Ok(time.clone()),
            _ => plan_err!("{DATE_BIN} takes an interval and a timestamp"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [stride, time, origin @ ..] = args.args.as_slice() else {
            return plan_err!("{DATE_BIN} takes an interval and a timestamp");
        };
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let times = time.to_array(rows)?;
        let binned = match (stride, origin.first().unwrap_or(&NO_ORIGIN)) {
            (ColumnarValue::Scalar(stride), ColumnarValue::Scalar(origin)) => with_stride(stride, &times, origin)?,
            (stride, origin) => {
                let (strides, origins) = (stride.to_array(rows)?, origin.to_array(rows)?);
                let one = |row: usize| {
                    let stride = ScalarValue::try_from_array(&strides, row)?;
                    let origin = ScalarValue::try_from_array(&origins, row)?;
                    with_stride(&stride, &times.slice(row, 1), &origin)
                };
                let all = (0..rows).map(one).collect::<Result<Vec<_>>>()?;
                match all.is_empty() {
                    true => times.slice(0, 0),
                    false => arrow::compute::concat(&all.iter().map(AsRef::as_ref).collect::<Vec<_>>())?,
                }
            }
        };
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&binned, 0)?)),
            false => Ok(ColumnarValue::Array(binned)),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        // The function is monotonic in its timestamp.
        let [stride, time, origin @ ..] = input else { return Ok(SortProperties::Unordered) };
        let constant = |of: &ExprProperties| of.sort_properties == SortProperties::Singleton;
        Ok(match constant(stride) && origin.iter().all(constant) {
            true => time.sort_properties,
            false => SortProperties::Unordered,
        })
    }
}

const NO_ORIGIN: ColumnarValue = ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(Some(0), None));

/// A stride, in microseconds or in months.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stride {
    Micros(Micros),
    Months(i64),
}

impl Stride {
    fn of(interval: IntervalMonthDayNano) -> Result<Stride, Error> {
        let IntervalMonthDayNano { months, days, nanoseconds } = interval;
        let (stride, positive) = match (months, days, nanoseconds) {
            (0, ..) => {
                let micros = i64::from(days).checked_mul(DAY_US).and_then(|d| d.checked_add(nanoseconds / 1_000));
                let micros = micros.ok_or_else(|| Error::new(ErrorKind::DatetimeOverflow, "interval out of range"))?;
                (Stride::Micros(micros), micros > 0)
            }
            (months, 0, 0) => (Stride::Months(months.into()), months > 0),
            _ => return Err(Error::unsupported("a stride of months and days").hint("Say it in days.")),
        };
        match positive {
            true => Ok(stride),
            false => Err(Error::new(ErrorKind::DatetimeOverflow, "stride must be greater than zero")),
        }
    }

    /// The start of the bin that contains `time`; `None` if it is out of range.
    fn start(self, time: Micros, origin: Micros) -> Option<Micros> {
        let start = match self {
            Stride::Micros(stride) => time.checked_sub(time.checked_sub(origin)?.rem_euclid(stride))?,
            Stride::Months(stride) => {
                let (at, from) = (DateTime::from_timestamp_micros(time)?, DateTime::from_timestamp_micros(origin)?);
                let month = |of: DateTime<Utc>| i64::from(of.year()) * 12 + i64::from(of.month0());
                let months = month(at) - month(from);
                let bin = months - months.rem_euclid(stride);
                let mut start = later(from, bin)?;
                if start > at {
                    // The origin is not the start of its month.
                    start = later(from, bin - stride)?;
                }
                start.timestamp_micros()
            }
        };
        TIMESTAMPS.contains(&start).then_some(start)
    }
}

fn later(from: DateTime<Utc>, months: i64) -> Option<DateTime<Utc>> {
    let distance = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    if months < 0 { from.checked_sub_months(distance) } else { from.checked_add_months(distance) }
}

fn with_stride(stride: &ScalarValue, times: &ArrayRef, origin: &ScalarValue) -> Result<ArrayRef> {
    let nothing = || arrow::array::new_null_array(times.data_type(), times.len());
    let ScalarValue::IntervalMonthDayNano(stride) = stride else { return Ok(nothing()) };
    let ScalarValue::TimestampMicrosecond(origin, _) = origin else { return Ok(nothing()) };
    let (Some(stride), Some(origin)) = (stride, origin) else { return Ok(nothing()) };
    let stride = Stride::of(*stride)?;
    let start = |time: Micros| stride.start(time, *origin).ok_or_else(|| out_of_range(times.data_type()));
    let starts: PrimitiveArray<TimestampMicrosecondType> =
        times.as_primitive::<TimestampMicrosecondType>().try_unary(start)?;
    Ok(Arc::new(starts.with_data_type(times.data_type().clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(stride: IntervalMonthDayNano, time: &str, origin: &str) -> String {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time").timestamp_micros();
        match Stride::of(stride).map(|stride| stride.start(at(time), at(origin))) {
            Ok(Some(start)) => DateTime::from_timestamp_micros(start).expect("in range").to_rfc3339(),
            Ok(None) => "out of range".to_string(),
            Err(error) => format!("{} {error}", error.kind().sqlstate()),
        }
    }

    const EPOCH: &str = "1970-01-01T00:00:00Z";

    #[test]
    fn date_bin_handles_far_years_and_times_before_the_origin() {
        let hour = IntervalMonthDayNano::new(0, 0, 3_600_000_000_000);
        for (time, expected) in [
            ("3031-05-06T07:08:09Z", "3031-05-06T07:00:00+00:00"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:00:00+00:00"),
            ("0001-01-01T00:00:00.000001Z", "0001-01-01T00:00:00+00:00"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:00:00+00:00"),
        ] {
            assert_eq!(start(hour, time, EPOCH), expected);
        }
        assert_eq!(start(hour, "2024-01-01T00:10:00Z", "2024-06-01T00:30:00Z"), "2023-12-31T23:30:00+00:00");
        let quarter = IntervalMonthDayNano::new(3, 0, 0);
        assert_eq!(start(quarter, "3031-05-06T07:08:09Z", EPOCH), "3031-04-01T00:00:00+00:00");
        assert_eq!(start(quarter, "1969-11-06T00:00:00Z", EPOCH), "1969-10-01T00:00:00+00:00");
        assert_eq!(start(quarter, "2024-04-10T00:00:00Z", "2024-01-15T00:00:00Z"), "2024-01-15T00:00:00+00:00");
    }

    #[test]
    fn date_bin_non_positive_stride_is_a_postgres_error() {
        for nanos in [0, -1_000, 999] {
            let stride = IntervalMonthDayNano::new(0, 0, nanos);
            assert_eq!(start(stride, EPOCH, EPOCH), "22008 stride must be greater than zero", "{nanos}");
        }
        assert_eq!(start(IntervalMonthDayNano::new(-1, 0, 0), EPOCH, EPOCH), "22008 stride must be greater than zero");
        let both = IntervalMonthDayNano::new(1, 1, 0);
        assert_eq!(start(both, EPOCH, EPOCH), "0A000 a stride of months and days is not supported");
    }
}
