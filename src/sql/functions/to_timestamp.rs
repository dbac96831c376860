//! `now()` and `to_timestamp(x)` with its kin, in microseconds: DataFusion's own give nanoseconds, which end in 2262.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray, TimestampMicrosecondArray},
    compute::{cast, cast_with_options, kernels::cast_utils::string_to_datetime},
    datatypes::{DataType, Decimal256Type, Field, FieldRef, Float64Type, Int64Type, TimeUnit, i256},
};
use chrono::{
    NaiveTime,
    format::{Parsed, StrftimeItems, parse},
};
use datafusion::{
    common::{Result, ScalarValue, exec_err, internal_err, plan_err},
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
};

use crate::{
    error::{Error, ErrorKind},
    sql::types::UTC,
    time::{Micros, TIMESTAMPS, out_of_range, with_seconds},
};

fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// The time of a statement, the same in all calls.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Now {
    signature: Signature,
    aliases: Vec<String>,
}

impl Default for Now {
    fn default() -> Self {
        Now { signature: Signature::nullary(Volatility::Stable), aliases: vec!["current_timestamp".to_string()] }
    }
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        "now"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(timestamptz())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), timestamptz(), false)))
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(now) = context.query_execution_start_time() else { return Ok(ExprSimplifyResult::Original(args)) };
        let now = ScalarValue::TimestampMicrosecond(Some(now.timestamp_micros()), Some(UTC.into()));
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(now, None)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("now() is a constant before it is run")
    }
}

/// A timestamp from a number of units since 1970, from text, or from another time type. For text, formats in strftime's
/// syntax may follow, of which the first that matches is used.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ToTimestamp {
    name: &'static str,
    /// Units of a number per second.
    per_second: i64,
    signature: Signature,
}

impl ToTimestamp {
    fn new(name: &'static str, per_second: i64) -> Self {
        ToTimestamp { name, per_second, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// The functions of this family.
    pub fn family() -> [ToTimestamp; 5] {
        [
            ToTimestamp::new("to_timestamp", 1),
            ToTimestamp::new("to_timestamp_seconds", 1),
            ToTimestamp::new("to_timestamp_millis", 1_000),
            ToTimestamp::new("to_timestamp_micros", 1_000_000),
            ToTimestamp::new("to_timestamp_nanos", 1_000_000_000),
        ]
    }

    fn whole(&self, n: i64) -> Option<Micros> {
        match self.per_second {
            per @ ..=1_000_000 => n.checked_mul(1_000_000 / per),
            per => Some(n.div_euclid(per / 1_000_000)),
        }
    }

    fn of_column(&self, values: &ArrayRef, formats: &[ArrayRef]) -> Result<TimestampMicrosecondArray> {
        let beyond = || out_of_range(&timestamptz());
        let checked = |us: Option<Micros>| us.filter(|us| TIMESTAMPS.contains(us)).ok_or_else(beyond);
        let micros: TimestampMicrosecondArray = match values.data_type() {
            DataType::Int64 => values.as_primitive::<Int64Type>().try_unary(|n| checked(self.whole(n)))?,
            DataType::Float64 => {
                let factor = 1_000_000.0 / self.per_second as f64;
                let whole = |n: f64| {
                    let us = (n * factor).round_ties_even();
                    checked((us.abs() < i64::MAX as f64).then_some(us as i64))
                };
                values.as_primitive::<Float64Type>().try_unary(whole)?
            }
            DataType::Decimal256(_, scale) => {
                let factor = i256::from(1_000_000);
                let divisor = i256::from(self.per_second).checked_mul(i256::from(10).wrapping_pow(*scale as u32));
                let whole = |n: i256| {
                    let us = n.checked_mul(factor).zip(divisor).and_then(|(n, divisor)| n.checked_div(divisor));
                    checked(us.and_then(i256::to_i128).and_then(|us| i64::try_from(us).ok()))
                };
                values.as_primitive::<Decimal256Type>().try_unary(whole)?
            }
            DataType::Utf8 => {
                let texts = values.as_string::<i32>();
                let formats: Vec<&StringArray> = formats.iter().map(|formats| formats.as_string()).collect();
                let parsed = texts.iter().enumerate().map(|(row, text)| match text {
                    None => Ok(None),
                    Some(text) => {
                        of_text(text, &formats, row).and_then(|us| us.map(|us| checked(Some(us))).transpose())
                    }
                });
                parsed.collect::<std::result::Result<_, Error>>()?
            }
            _ => {
                let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
                cast_with_options(values, &timestamptz(), &options)?.as_primitive().clone()
            }
        };
        Ok(micros.with_timezone(UTC))
    }
}

/// Parses a text; `None` if all formats are NULL.
fn of_text(text: &str, formats: &[&StringArray], row: usize) -> Result<Option<Micros>, Error> {
    let invalid =
        || Error::new(ErrorKind::InvalidDatetime, format!("invalid input syntax for type timestamp: \"{text}\""));
    if formats.is_empty() {
        let at = string_to_datetime(&chrono::Utc, &with_seconds(text.trim())).map_err(|_| invalid())?;
        return Ok(Some(at.timestamp_micros()));
    }
    let given: Vec<&str> = formats.iter().filter(|f| f.is_valid(row)).map(|f| f.value(row)).collect();
    match given.iter().find_map(|format| by_format(text, format)) {
        Some(at) => Ok(Some(at)),
        None if given.is_empty() => Ok(None),
        None => Err(invalid().detail(format!("It is not of the format {}.", given.join(" or ")))),
    }
}

fn by_format(text: &str, format: &str) -> Option<Micros> {
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, StrftimeItems::new(format)).ok()?;
    if let Ok(zoned) = parsed.to_datetime() {
        return Some(zoned.timestamp_micros());
    }
    let naive = parsed.to_naive_datetime_with_offset(0).ok();
    // A format without a time of day means midnight.
    let naive = naive.or_else(|| Some(parsed.to_naive_date().ok()?.and_time(NaiveTime::MIN)));
    naive.map(|naive| naive.and_utc().timestamp_micros())
}

impl ScalarUDFImpl for ToTimestamp {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, formats @ ..] = types else { return plan_err!("{} takes a value", self.name) };
        let taken = match value {
            DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
            t if t.is_integer() && *t != DataType::UInt64 => DataType::Int64,
            DataType::UInt64 => DataType::Decimal256(76, 0),
            DataType::Decimal32(_, scale)
            | DataType::Decimal64(_, scale)
            | DataType::Decimal128(_, scale)
            | DataType::Decimal256(_, scale) => DataType::Decimal256(76, *scale),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => timestamptz(),
            other => return plan_err!("{} takes a number, a text or a time, not {other}", self.name),
        };
        if !formats.is_empty() && taken != DataType::Utf8 {
            return plan_err!("{} takes formats for texts only", self.name);
        }
        Ok(std::iter::once(taken).chain(formats.iter().map(|_| DataType::Utf8)).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(timestamptz())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let Some((values, formats)) = columns.split_first() else { return exec_err!("{} takes a value", self.name) };
        let formats = formats.iter().map(|f| cast(f, &DataType::Utf8)).collect::<std::result::Result<Vec<_>, _>>()?;
        let times: ArrayRef = Arc::new(self.of_column(values, &formats)?);
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&times, 0)?)),
            false => Ok(ColumnarValue::Array(times)),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal256Array, Float64Array, Int64Array};

    use super::*;

    fn of(name: &str, values: ArrayRef, formats: &[&str]) -> Result<Vec<Option<Micros>>> {
        let function = ToTimestamp::family().into_iter().find(|f| f.name == name).expect("a function");
        let formats: Vec<ArrayRef> =
            formats.iter().map(|f| Arc::new(StringArray::from(vec![*f; values.len()])) as ArrayRef).collect();
        Ok(function.of_column(&values, &formats)?.iter().collect())
    }

    #[test]
    fn to_timestamp_of_numbers_counts_units_in_any_year() {
        let ints = |n| Arc::new(Int64Array::from(vec![n, None])) as ArrayRef;
        assert_eq!(of("to_timestamp", ints(Some(33_488_467_200)), &[]).unwrap(), [Some(33_488_467_200_000_000), None]);
        assert_eq!(of("to_timestamp_millis", ints(Some(-7)), &[]).unwrap()[0], Some(-7_000));
        assert_eq!(of("to_timestamp_nanos", ints(Some(-1)), &[]).unwrap()[0], Some(-1));
        let floats = Arc::new(Float64Array::from(vec![1.5]));
        assert_eq!(of("to_timestamp", floats, &[]).unwrap(), [Some(1_500_000)]);
        let decimals = Decimal256Array::from(vec![i256::from(15)]).with_precision_and_scale(76, 1).unwrap();
        assert_eq!(of("to_timestamp", Arc::new(decimals), &[]).unwrap(), [Some(1_500_000)]);
        for beyond in [i64::MAX, i64::MIN, 9_300_000_000_000] {
            let error = Error::from(of("to_timestamp", ints(Some(beyond)), &[]).unwrap_err());
            assert_eq!((error.kind().sqlstate(), error.message()), ("22008", "timestamp out of range"), "{beyond}");
        }
        assert!(of("to_timestamp", Arc::new(Float64Array::from(vec![f64::NAN])), &[]).is_err());
    }

    #[test]
    fn to_timestamp_of_text_uses_iso_or_the_first_matching_format() {
        let texts = |text| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        let at = Some(33_488_467_200_000_000);
        assert_eq!(of("to_timestamp", texts("3031-03-18 00:00"), &[]).unwrap(), [at]);
        assert_eq!(of("to_timestamp_micros", texts("18.03.3031"), &["%Y", "%d.%m.%Y"]).unwrap(), [at]);
        let error = Error::from(of("to_timestamp", texts("x"), &[]).unwrap_err());
        assert_eq!(error.kind().sqlstate(), "22007");
    }
}
