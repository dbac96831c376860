//! `+ - * /` of real and double precision: as `float.h` of PostgreSQL checks them.

use arrow::array::{ArrowNativeTypeOp, ArrowPrimitiveType};
use datafusion::{
    common::{Result, internal_err},
    logical_expr::{ColumnarValue, Operator},
};
use num_traits::Float;

use super::operands::Operands;
use crate::{
    error,
    sql::builtins::range_errors::{division_by_zero, overflow, underflow},
};

/// An infinite result is an overflow unless an operand is infinite; a zero one an underflow where no operand says so.
pub fn compute<T: ArrowPrimitiveType<Native: Float>>(
    operator: Operator,
    operands: &Operands,
    rows: usize,
) -> Result<ColumnarValue> {
    let zero = T::Native::ZERO;
    let overflows =
        |value: T::Native, a: T::Native, b: T::Native| value.is_infinite() && !a.is_infinite() && !b.is_infinite();
    let vanishes = |value: T::Native, a: T::Native, b: T::Native| value == zero && a != zero && b != zero;
    let sum = |value: T::Native, a, b| -> error::Result<T::Native> {
        if overflows(value, a, b) { Err(overflow()) } else { Ok(value) }
    };
    match operator {
        Operator::Plus => operands.map::<T>(rows, |a, b| (a + b, overflows(a + b, a, b)), |a, b| sum(a + b, a, b)),
        Operator::Minus => operands.map::<T>(rows, |a, b| (a - b, overflows(a - b, a, b)), |a, b| sum(a - b, a, b)),
        Operator::Multiply => operands.map::<T>(
            rows,
            |a, b| (a * b, overflows(a * b, a, b) || vanishes(a * b, a, b)),
            |a, b| if vanishes(a * b, a, b) { Err(underflow()) } else { sum(a * b, a, b) },
        ),
        Operator::Divide => operands.map::<T>(
            rows,
            |a, b| (a / b, b == zero || overflows(a / b, a, b) || vanishes(a / b, a, b)),
            |a, b| match a / b {
                _ if b == zero && !a.is_nan() => Err(division_by_zero()),
                ratio if ratio == zero && a != zero && !b.is_infinite() => Err(underflow()),
                ratio => sum(ratio, a, b),
            },
        ),
        other => internal_err!("{other} of floats"),
    }
}
