//! Casts of numbers as PostgreSQL does them: a fraction is rounded, where DataFusion cuts it off, and what does not fit
//! the type is an error (22003). Floats round half to even, decimals half away from zero.

use std::{cmp::Ordering, str::FromStr, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Float32Array, ListArray, PrimitiveArray, new_null_array},
    compute,
    datatypes::{
        DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
        UInt16Type, UInt32Type, UInt64Type,
    },
};
use datafusion::{
    common::{Result, ScalarValue, internal_datafusion_err, internal_err},
    logical_expr::{
        ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::{ScalarFunction, schema_name_from_exprs},
    },
};

use num_traits::{Float, FromPrimitive};

use super::range_errors::{out_of_range, overflow, underflow};
use crate::error;

/// Whether a cast is one of these.
pub(super) fn is_ours(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::List(from), DataType::List(to)) => is_ours(from.data_type(), to.data_type()),
        (DataType::Float64, DataType::Float32) => true,
        (DataType::Decimal128(..), DataType::Float32 | DataType::Float64) => true,
        (DataType::Float32 | DataType::Float64 | DataType::Decimal128(..), to) => to.is_integer(),
        // Ours say which type is out of range.
        (from, to) if from.is_signed_integer() && to.is_signed_integer() => {
            to.primitive_width() < from.primitive_width()
        }
        _ => false,
    }
}

/// A cast that [`is_ours`].
pub(super) fn cast(of: Expr, to: DataType) -> Expr {
    let function = CastNumber { to, signature: Signature::user_defined(Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), vec![of]))
}

/// Whether a function is such a cast.
pub(super) fn is_cast(function: &ScalarUDF) -> bool {
    function.inner().is::<CastNumber>()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CastNumber {
    to: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for CastNumber {
    fn name(&self) -> &str {
        "cast_number"
    }

    /// Not that of its argument: a join may have both as columns.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("CAST({} AS {})", schema_name_from_exprs(args)?, self.to))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(numbers(values, &self.to)?)),
            [ColumnarValue::Scalar(value)] => {
                let value = numbers(&value.to_array()?, &self.to)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?))
            }
            _ => internal_err!("a cast of {} values", args.args.len()),
        }
    }
}

/// Numbers, or arrays of them, as numbers of another type.
fn numbers(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    match to {
        // As the optimizer puts one in place of a column.
        _ if *values.data_type() == DataType::Null => Ok(new_null_array(to, values.len())),
        DataType::List(item) => {
            let (_, offsets, items, nulls) = values.as_list::<i32>().clone().into_parts();
            Ok(Arc::new(ListArray::try_new(item.clone(), offsets, numbers(&items, item.data_type())?, nulls)?))
        }
        DataType::Int8 => integers::<Int8Type>(values),
        DataType::Int16 => integers::<Int16Type>(values),
        DataType::Int32 => integers::<Int32Type>(values),
        DataType::Int64 => integers::<Int64Type>(values),
        DataType::UInt8 => integers::<UInt8Type>(values),
        DataType::UInt16 => integers::<UInt16Type>(values),
        DataType::UInt32 => integers::<UInt32Type>(values),
        DataType::UInt64 => integers::<UInt64Type>(values),
        DataType::Float32 if values.data_type().is_decimal() => Ok(Arc::new(floats::<Float32Type>(values)?)),
        DataType::Float32 => Ok(Arc::new(reals(values.as_primitive::<Float64Type>())?)),
        DataType::Float64 => Ok(Arc::new(floats::<Float64Type>(values)?)),
        other => internal_err!("a cast of numbers to {other}"),
    }
}

/// Numbers as integers.
fn integers<T: ArrowPrimitiveType<Native: TryFrom<i64> + TryFrom<i128>>>(values: &ArrayRef) -> Result<ArrayRef> {
    let fit = |value: Option<T::Native>| value.ok_or_else(|| out_of_range(&T::DATA_TYPE));
    // Beyond 128 bits `as` gives the least or the greatest value, which fits no type either.
    let of_float = |value: f64| match value.is_nan() {
        true => fit(None),
        false => fit(T::Native::try_from(value.round_ties_even() as i128).ok()),
    };
    let made: PrimitiveArray<T> = match values.data_type() {
        DataType::Float64 => values.as_primitive::<Float64Type>().try_unary(of_float)?,
        DataType::Float32 => values.as_primitive::<Float32Type>().try_unary(|value| of_float(f64::from(value)))?,
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            let of = |value: i128| fit(rounded(value, scale).and_then(|value| T::Native::try_from(value).ok()));
            values.as_primitive::<Decimal128Type>().try_unary(of)?
        }
        _ => {
            let values = compute::cast(values, &DataType::Int64)?;
            let of = |value: i64| fit(T::Native::try_from(value).ok());
            values.as_primitive::<Int64Type>().try_unary(of)?
        }
    };
    Ok(Arc::new(made))
}

/// A decimal's unscaled value as the integer nearest to it; a half goes away from zero.
fn rounded(value: i128, scale: i8) -> Option<i128> {
    let power = 10i128.checked_pow(u32::from(scale.unsigned_abs()));
    match scale.cmp(&0) {
        Ordering::Equal => Some(value),
        Ordering::Less => value.checked_mul(power?),
        // One unit of so many digits is less than a half of anything.
        Ordering::Greater => Some(power.map_or(0, |unit| {
            let (whole, rest) = (value / unit, value % unit);
            whole + if rest.unsigned_abs() >= unit.unsigned_abs().div_ceil(2) { value.signum() } else { 0 }
        })),
    }
}

/// Decimals as the nearest floats.
fn floats<T: ArrowPrimitiveType<Native: FromStr + FromPrimitive + Float>>(
    values: &ArrayRef,
) -> Result<PrimitiveArray<T>> {
    let DataType::Decimal128(_, scale) = values.data_type() else { return internal_err!("a cast of {values:?}") };
    let decimals = values.as_primitive::<Decimal128Type>();
    // Two exact floats have one quotient that is rounded once. A double's digits hold 15 decimal ones, a real's 6.
    let (digits, powers) = if T::DATA_TYPE == DataType::Float64 { (15, 22) } else { (6, 10) };
    let limit = 10u128.pow(digits);
    let unit = (0..=powers).contains(scale).then(|| T::Native::from_f64(10f64.powi(i32::from(*scale)))).flatten();
    decimals.try_unary(|value| {
        let exact = match (unit, value.unsigned_abs() < limit) {
            (Some(unit), true) => T::Native::from_i128(value).map(|value| value / unit),
            _ => format!("{value}e{}", -i32::from(*scale)).parse().ok(),
        };
        exact.ok_or_else(|| internal_datafusion_err!("{value} is no number"))
    })
}

/// Doubles as reals.
fn reals(values: &PrimitiveArray<Float64Type>) -> error::Result<Float32Array> {
    values.try_unary(|value| match value as f32 {
        real if real.is_infinite() && !value.is_infinite() => Err(overflow()),
        real if real == 0.0 && value != 0.0 => Err(underflow()),
        real => Ok(real),
    })
}
