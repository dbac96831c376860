//! Trigonometric functions of angles in radians. An argument that is NaN gives NaN.
//!
//! The values are those of the C library, which PostgreSQL takes too.

use std::f64::consts::PI;

use super::range::{checked, input_out_of_range};
use crate::error::Result;

pub(super) const RADIANS_PER_DEGREE: f64 = PI / 180.0;

/// The sine. Fails with 22003 for infinities, as all functions of an angle here.
pub fn sin(angle: f64) -> Result<f64> {
    Ok(finite(angle)?.sin())
}

/// The cosine.
pub fn cos(angle: f64) -> Result<f64> {
    Ok(finite(angle)?.cos())
}

/// The tangent.
pub fn tan(angle: f64) -> Result<f64> {
    Ok(finite(angle)?.tan())
}

/// The cotangent; infinite for zero.
pub fn cot(angle: f64) -> Result<f64> {
    Ok(1.0 / finite(angle)?.tan())
}

/// The arcsine. Fails with 22003 for arguments beyond 1 or -1, as does [`acos`].
pub fn asin(sine: f64) -> Result<f64> {
    Ok(ratio(sine)?.asin())
}

/// The arccosine.
pub fn acos(cosine: f64) -> Result<f64> {
    Ok(ratio(cosine)?.acos())
}

/// Radians as degrees. Fails with 22003 if the result overflows.
pub fn degrees(radians: f64) -> Result<f64> {
    checked(radians / RADIANS_PER_DEGREE, radians.is_infinite(), radians == 0.0)
}

/// Degrees as radians. Fails with 22003 if the result underflows.
pub fn radians(degrees: f64) -> Result<f64> {
    checked(degrees * RADIANS_PER_DEGREE, degrees.is_infinite(), degrees == 0.0)
}

/// An angle that is not infinite.
pub(super) fn finite(angle: f64) -> Result<f64> {
    if angle.is_infinite() { Err(input_out_of_range()) } else { Ok(angle) }
}

/// What may be a sine: from -1 to 1, or NaN.
pub(super) fn ratio(value: f64) -> Result<f64> {
    if value.abs() > 1.0 { Err(input_out_of_range()) } else { Ok(value) }
}
