//! `+ - * /` of real and double precision: as `float.h` of PostgreSQL checks them.

use arrow::array::{ArrowNativeTypeOp, ArrowPrimitiveType};
use datafusion::{
    common::{Result, internal_err},
    logical_expr::{ColumnarValue, Operator},
};

use super::{integers::division_by_zero, operands::Operands};
use crate::error::{Error, ErrorKind};

/// A float's infinities and zero, which Arrow's native types do not tell.
pub trait Float: ArrowNativeTypeOp {
    fn is_unbounded(self) -> bool;
    fn is_no_number(self) -> bool;
    fn is_nothing(self) -> bool;
}

macro_rules! floats {
    ($($native:ty)*) => {$(
        impl Float for $native {
            fn is_unbounded(self) -> bool {
                self.is_infinite()
            }

            fn is_no_number(self) -> bool {
                self.is_nan()
            }

            fn is_nothing(self) -> bool {
                self == 0.0
            }
        }
    )*};
}

floats! { f32 f64 }

fn overflow() -> Error {
    Error::new(ErrorKind::NumericOutOfRange, "value out of range: overflow")
}

fn underflow() -> Error {
    Error::new(ErrorKind::NumericOutOfRange, "value out of range: underflow")
}

/// An infinite result is an overflow unless an operand is infinite; a zero one an underflow where no operand says so.
pub fn compute<T: ArrowPrimitiveType<Native: Float>>(
    operator: Operator,
    operands: &Operands,
    rows: usize,
) -> Result<ColumnarValue> {
    let overflows =
        |value: T::Native, a: T::Native, b: T::Native| value.is_unbounded() && !a.is_unbounded() && !b.is_unbounded();
    let vanishes =
        |value: T::Native, a: T::Native, b: T::Native| value.is_nothing() && !a.is_nothing() && !b.is_nothing();
    let in_range = |value: T::Native, fails: bool| if fails { Err(overflow()) } else { Ok(value) };
    match operator {
        Operator::Plus => operands.map::<T>(
            rows,
            |a, b| (a.add_wrapping(b), overflows(a.add_wrapping(b), a, b)),
            |a, b| in_range(a.add_wrapping(b), overflows(a.add_wrapping(b), a, b)),
        ),
        Operator::Minus => operands.map::<T>(
            rows,
            |a, b| (a.sub_wrapping(b), overflows(a.sub_wrapping(b), a, b)),
            |a, b| in_range(a.sub_wrapping(b), overflows(a.sub_wrapping(b), a, b)),
        ),
        Operator::Multiply => operands.map::<T>(
            rows,
            |a, b| {
                let product = a.mul_wrapping(b);
                (product, overflows(product, a, b) || vanishes(product, a, b))
            },
            |a, b| match a.mul_wrapping(b) {
                product if vanishes(product, a, b) => Err(underflow()),
                product => in_range(product, overflows(product, a, b)),
            },
        ),
        Operator::Divide => operands.map::<T>(
            rows,
            |a, b| {
                let ratio = a.div_wrapping(b);
                (ratio, b.is_nothing() || overflows(ratio, a, b) || vanishes(ratio, a, b))
            },
            |a, b| match a.div_wrapping(b) {
                _ if b.is_nothing() && !a.is_no_number() => Err(division_by_zero()),
                ratio if ratio.is_nothing() && !a.is_nothing() && !b.is_unbounded() => Err(underflow()),
                ratio => in_range(ratio, ratio.is_unbounded() && !a.is_unbounded()),
            },
        ),
        other => internal_err!("{other} of floats"),
    }
}
