//! Functions of integers: absolute values, remainders, common divisors and multiples, and shifts.

use num_traits::{CheckedNeg, PrimInt};

use super::range::integer_out_of_range;
use crate::error::{Error, ErrorKind, Result};

/// The absolute value. Fails with 22003 for the least value of the type.
pub fn absolute<T: PrimInt + CheckedNeg>(value: T) -> Result<T> {
    match value < T::zero() {
        true => value.checked_neg().ok_or_else(integer_out_of_range::<T>),
        false => Ok(value),
    }
}

/// The remainder of a division that truncates: it has the sign of the dividend. Fails with 22012 for a divisor of zero.
pub fn remainder<T: PrimInt + CheckedNeg>(dividend: T, divisor: T) -> Result<T> {
    if divisor.is_zero() {
        return Err(Error::new(ErrorKind::DivisionByZero, "division by zero"));
    }
    // The least value divided by -1 has no quotient, but a remainder.
    let is_minus_one = divisor.checked_neg().is_some_and(|opposite| opposite.is_one());
    Ok(if is_minus_one { T::zero() } else { dividend % divisor })
}

/// The greatest common divisor, never negative; zero of two zeros. Fails with 22003 where that is the least value's
/// opposite.
pub fn gcd<T: Into<i64> + TryFrom<u64>>(left: T, right: T) -> Result<T> {
    let divisor = common_divisor(left.into().unsigned_abs(), right.into().unsigned_abs());
    T::try_from(divisor).map_err(|_| integer_out_of_range::<T>())
}

/// The least common multiple, never negative; zero if an argument is. Fails with 22003 if it does not fit the type.
pub fn lcm<T: Into<i64> + TryFrom<u64>>(left: T, right: T) -> Result<T> {
    let (left, right) = (left.into().unsigned_abs(), right.into().unsigned_abs());
    let multiple = match common_divisor(left, right) {
        0 => Some(0),
        divisor => (left / divisor).checked_mul(right),
    };
    multiple.and_then(|multiple| T::try_from(multiple).ok()).ok_or_else(integer_out_of_range::<T>)
}

/// By Euclid.
fn common_divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

/// `<<` of int2: of its value in 32 bits, by the lowest five bits of the count, and cut to 16 bits.
pub fn shift_left2(value: i16, count: i32) -> i16 {
    i32::from(value).wrapping_shl(count.cast_unsigned()) as i16
}

/// `>>` of int2, which keeps the sign; the count as for [`shift_left2`].
pub fn shift_right2(value: i16, count: i32) -> i16 {
    i32::from(value).wrapping_shr(count.cast_unsigned()) as i16
}

/// `<<` of int4, by the lowest five bits of the count, as the processor does it.
pub fn shift_left4(value: i32, count: i32) -> i32 {
    value.wrapping_shl(count.cast_unsigned())
}

/// `>>` of int4, which keeps the sign; the count as for [`shift_left4`].
pub fn shift_right4(value: i32, count: i32) -> i32 {
    value.wrapping_shr(count.cast_unsigned())
}

/// `<<` of int8, by the lowest six bits of the count.
pub fn shift_left8(value: i64, count: i32) -> i64 {
    value.wrapping_shl(count.cast_unsigned())
}

/// `>>` of int8, which keeps the sign; the count as for [`shift_left8`].
pub fn shift_right8(value: i64, count: i32) -> i64 {
    value.wrapping_shr(count.cast_unsigned())
}
