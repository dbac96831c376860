//! Powers, exponentials, logarithms and signs of double precision, checked as `float.c` of PostgreSQL does.

use super::range::checked;
use crate::error::{Error, ErrorKind, Result};

/// `base` raised to `exponent`, as POSIX has it for NaN and infinities. Fails with 2201F for zero to a negative power
/// and for a negative number to a fraction, with 22003 if the result overflows or underflows.
pub fn power(base: f64, exponent: f64) -> Result<f64> {
    if base.is_nan() {
        return Ok(if exponent == 0.0 { 1.0 } else { base });
    }
    if exponent.is_nan() {
        return Ok(if base == 1.0 { 1.0 } else { exponent });
    }
    if base == 0.0 && exponent < 0.0 {
        return Err(invalid_power("zero raised to a negative power is undefined"));
    }
    if base < 0.0 && exponent.floor() != exponent {
        return Err(invalid_power("a negative number raised to a non-integer power yields a complex result"));
    }
    let is_finite = base.is_finite() && exponent.is_finite();
    checked(base.powf(exponent), !is_finite, !is_finite || base == 0.0)
}

/// e raised to a power. Fails with 22003 if the result overflows or underflows.
pub fn exp(exponent: f64) -> Result<f64> {
    checked(exponent.exp(), exponent.is_infinite(), exponent.is_infinite())
}

/// The natural logarithm. Fails with 2201E for zero and for negative numbers.
pub fn ln(value: f64) -> Result<f64> {
    logarithm(value, f64::ln)
}

/// The logarithm to base 10. Fails with 2201E for zero and for negative numbers.
pub fn log10(value: f64) -> Result<f64> {
    logarithm(value, f64::log10)
}

fn logarithm(value: f64, of: impl Fn(f64) -> f64) -> Result<f64> {
    let fail = |message: &str| Err(Error::new(ErrorKind::InvalidLogArgument, message));
    if value == 0.0 {
        return fail("cannot take logarithm of zero");
    }
    if value < 0.0 {
        return fail("cannot take logarithm of a negative number");
    }
    checked(of(value), value.is_infinite(), value == 1.0)
}

/// 1 for numbers above zero, -1 for those below, and 0 for zeros and NaN.
pub fn sign(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        0.0
    }
}

fn invalid_power(message: &str) -> Error {
    Error::new(ErrorKind::InvalidPowerArgument, message)
}
