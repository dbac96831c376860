//! Casts of numbers as PostgreSQL does them: a fraction is rounded, where DataFusion cuts it off, and what does not fit
//! the type is an error (22003). Floats round half to even, decimals half away from zero.
//!
//! Each is a function that is displayed as the cast that it stands for.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Float32Array, PrimitiveArray, new_null_array},
    compute,
    datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type},
};
use datafusion::{
    common::{Result, ScalarValue, internal_err},
    logical_expr::{
        ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::{ScalarFunction, schema_name_from_exprs},
    },
};

use super::arithmetic::out_of_range;
use crate::error::{self, Error, ErrorKind};

/// Whether a cast is one of these.
pub(super) fn is_ours(from: &DataType, to: &DataType) -> bool {
    let to_integer = matches!(to, DataType::Int16 | DataType::Int32 | DataType::Int64);
    match from {
        DataType::Float64 => to_integer || *to == DataType::Float32,
        DataType::Float32 | DataType::Decimal128(..) => to_integer,
        // Ours say which type is out of range.
        DataType::Int32 => *to == DataType::Int16,
        DataType::Int64 => matches!(to, DataType::Int16 | DataType::Int32),
        _ => false,
    }
}

/// A cast that [`is_ours`].
pub(super) fn cast(of: Expr, to: DataType) -> Expr {
    let function = CastNumber { to, signature: Signature::user_defined(Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), vec![of]))
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

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let of: Vec<String> = args.iter().map(ToString::to_string).collect();
        Ok(format!("CAST({} AS {})", of.join(", "), self.to))
    }

    /// DataFusion leaves casts out of the names of columns.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(schema_name_from_exprs(args)?)
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
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(self.column(values)?)),
            [ColumnarValue::Scalar(value)] => {
                let value = self.column(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?))
            }
            _ => internal_err!("a cast of {} values", args.args.len()),
        }
    }
}

impl CastNumber {
    fn column(&self, values: &ArrayRef) -> Result<ArrayRef> {
        match self.to {
            // As the optimizer puts one in place of a column.
            _ if *values.data_type() == DataType::Null => Ok(new_null_array(&self.to, values.len())),
            DataType::Int16 => integers::<Int16Type>(values),
            DataType::Int32 => integers::<Int32Type>(values),
            DataType::Int64 => integers::<Int64Type>(values),
            DataType::Float32 => Ok(Arc::new(reals(values.as_primitive::<Float64Type>())?)),
            ref other => internal_err!("a cast of numbers to {other}"),
        }
    }
}

/// Numbers as integers.
fn integers<T: ArrowPrimitiveType<Native: TryFrom<i64> + TryFrom<i128>>>(values: &ArrayRef) -> Result<ArrayRef> {
    let fit = |value: Option<T::Native>| value.ok_or_else(|| out_of_range(&T::DATA_TYPE));
    // All 64 bits of a bigint fit a float but its greatest: the bound is beyond.
    let of_float = |value: f64| {
        let rounded = value.round_ties_even();
        let within = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded);
        fit(within.then_some(rounded as i64).and_then(|value| T::Native::try_from(value).ok()))
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

/// Doubles as reals.
fn reals(values: &PrimitiveArray<Float64Type>) -> error::Result<Float32Array> {
    let out_of_range = |how: &str| Err(Error::new(ErrorKind::NumericOutOfRange, format!("value out of range: {how}")));
    values.try_unary(|value| match value as f32 {
        real if real.is_infinite() && !value.is_infinite() => out_of_range("overflow"),
        real if real == 0.0 && value != 0.0 => out_of_range("underflow"),
        real => Ok(real),
    })
}
