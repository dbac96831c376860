//! `+ - * / %` of integers, signed and unsigned.

use arrow::array::{ArrowNativeTypeOp, ArrowPrimitiveType};
use datafusion::{
    common::{Result, internal_err},
    logical_expr::{ColumnarValue, Operator},
};

use super::operands::Operands;
use crate::sql::builtins::range_errors::{division_by_zero, out_of_range};

/// A division's result goes towards zero. `x % -1` is 0, for the least integer too.
pub fn compute<T: ArrowPrimitiveType>(operator: Operator, operands: &Operands, rows: usize) -> Result<ColumnarValue> {
    let overflow = |value: Option<T::Native>| value.ok_or_else(|| out_of_range(&T::DATA_TYPE));
    let (zero, one) = (T::Native::ZERO, T::Native::ONE);
    // Of an unsigned type it is its greatest value, and like any other.
    let minus_one = zero.sub_wrapping(one);
    let is_minus_one = |value: T::Native| minus_one.is_lt(zero) && value.is_eq(minus_one);
    match operator {
        Operator::Plus => operands.map::<T>(
            rows,
            |a, b| {
                let sum = a.add_wrapping(b);
                // It overflows where it is less than an operand although the other is not negative, and the reverse.
                (sum, sum.is_lt(a) != b.is_lt(zero))
            },
            |a, b| overflow(a.add_checked(b).ok()),
        ),
        Operator::Minus => operands.map::<T>(
            rows,
            |a, b| {
                let difference = a.sub_wrapping(b);
                (difference, difference.is_gt(a) != b.is_lt(zero))
            },
            |a, b| overflow(a.sub_checked(b).ok()),
        ),
        Operator::Multiply => operands.map::<T>(
            rows,
            |a, b| match a.mul_checked(b) {
                Ok(product) => (product, false),
                Err(_) => (zero, true),
            },
            |a, b| overflow(a.mul_checked(b).ok()),
        ),
        Operator::Divide => operands.map::<T>(
            rows,
            |a, b| match b.is_zero() {
                true => (zero, true),
                false => (a.div_wrapping(b), is_minus_one(b) && a.is_eq(T::Native::MIN_TOTAL_ORDER)),
            },
            |a, b| match b.is_zero() {
                true => Err(division_by_zero()),
                false => overflow(a.div_checked(b).ok()),
            },
        ),
        Operator::Modulo => operands.map::<T>(
            rows,
            |a, b| match b.is_zero() || is_minus_one(b) {
                true => (zero, b.is_zero()),
                false => (a.mod_wrapping(b), false),
            },
            |a, b| match b.is_zero() || is_minus_one(b) {
                true if b.is_zero() => Err(division_by_zero()),
                true => Ok(zero),
                false => Ok(a.mod_wrapping(b)),
            },
        ),
        other => internal_err!("{other} of integers"),
    }
}
