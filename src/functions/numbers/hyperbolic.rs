//! Inverse hyperbolic functions. An argument that is NaN gives NaN.
//!
//! Rust computes them by other formulas than glibc, which PostgreSQL takes: these are glibc's (`s_asinh.c`, `e_acosh.c`
//! and `e_atanh.c`, after Sun's fdlibm), equal to the last digit.

use std::f64::consts::LN_2;

use super::range::input_out_of_range;
use crate::error::Result;

/// 2^28: from here the square of a number is so much greater than 1 that a double does not see the 1.
const LARGE: f64 = 268_435_456.0;

/// `s_asinh.c` compares the upper halves of doubles: it takes no number for greater than a power of two that differs in
/// the lower half only.
const UPPER_HALF_STEP: f64 = 1.0 / 1_048_576.0;

/// The inverse hyperbolic sine.
pub fn asinh(value: f64) -> f64 {
    let size = value.abs();
    let result = if size < 1.0 / LARGE || !value.is_finite() {
        return value;
    } else if size >= LARGE * (1.0 + UPPER_HALF_STEP) {
        size.ln() + LN_2
    } else if size >= 2.0 * (1.0 + UPPER_HALF_STEP) {
        (2.0 * size + 1.0 / ((size * size + 1.0).sqrt() + size)).ln()
    } else {
        let square = size * size;
        (size + square / (1.0 + (1.0 + square).sqrt())).ln_1p()
    };
    result.copysign(value)
}

/// The inverse hyperbolic cosine. Fails with 22003 for arguments below 1.
pub fn acosh(value: f64) -> Result<f64> {
    if value < 1.0 {
        return Err(input_out_of_range());
    }
    Ok(if value >= LARGE {
        value.ln() + LN_2
    } else if value > 2.0 {
        (2.0 * value - 1.0 / (value + (value * value - 1.0).sqrt())).ln()
    } else {
        let beyond_one = value - 1.0;
        (beyond_one + (2.0 * beyond_one + beyond_one * beyond_one).sqrt()).ln_1p()
    })
}

/// The inverse hyperbolic tangent; infinite for 1 and -1. Fails with 22003 beyond them.
pub fn atanh(value: f64) -> Result<f64> {
    let size = value.abs();
    if size > 1.0 {
        return Err(input_out_of_range());
    }
    let result = if size < 1.0 / LARGE {
        return Ok(value);
    } else if size < 0.5 {
        let double = size + size;
        0.5 * (double + double * size / (1.0 - size)).ln_1p()
    } else if size < 1.0 {
        0.5 * ((size + size) / (1.0 - size)).ln_1p()
    } else if size == 1.0 {
        f64::INFINITY
    } else {
        f64::NAN
    };
    Ok(result.copysign(value))
}
