//! Trigonometric functions of angles in degrees, which are exact at multiples of 30 and 45 degrees, by the scaling of
//! `float.c` of PostgreSQL. An argument that is NaN gives NaN.

use std::sync::LazyLock;

use super::angles::{RADIANS_PER_DEGREE, finite, ratio};
use crate::error::Result;

/// What the C library gives for angles whose results are to be exact.
struct Exact {
    sine_of_30: f64,
    one_minus_cosine_of_60: f64,
    arcsine_of_half: f64,
    arccosine_of_half: f64,
    arctangent_of_one: f64,
}

static EXACT: LazyLock<Exact> = LazyLock::new(|| Exact {
    sine_of_30: (30.0 * RADIANS_PER_DEGREE).sin(),
    one_minus_cosine_of_60: 1.0 - (60.0 * RADIANS_PER_DEGREE).cos(),
    arcsine_of_half: 0.5_f64.asin(),
    arccosine_of_half: 0.5_f64.acos(),
    arctangent_of_one: 1.0_f64.atan(),
});

/// The sine. Fails with 22003 for infinities, as all functions of an angle here.
pub fn sind(degrees: f64) -> Result<f64> {
    let angle = FirstQuadrant::of(degrees)?;
    Ok(angle.sign_of_sine * sine(angle.degrees))
}

/// The cosine.
pub fn cosd(degrees: f64) -> Result<f64> {
    let angle = FirstQuadrant::of(degrees)?;
    Ok(angle.sign_of_cosine * cosine(angle.degrees))
}

/// The tangent; infinite at right angles.
pub fn tand(degrees: f64) -> Result<f64> {
    let angle = FirstQuadrant::of(degrees)?;
    let tangent = |degrees: f64| sine(degrees) / cosine(degrees);
    Ok(angle.signed(tangent(angle.degrees) / tangent(45.0)))
}

/// The cotangent; infinite for zero.
pub fn cotd(degrees: f64) -> Result<f64> {
    let angle = FirstQuadrant::of(degrees)?;
    let cotangent = |degrees: f64| cosine(degrees) / sine(degrees);
    Ok(angle.signed(cotangent(angle.degrees) / cotangent(45.0)))
}

/// The arcsine. Fails with 22003 for arguments beyond 1 or -1, as does [`acosd`].
pub fn asind(sine: f64) -> Result<f64> {
    let sine = ratio(sine)?;
    Ok(if sine >= 0.0 { arcsine(sine) } else { -arcsine(-sine) })
}

/// The arccosine.
pub fn acosd(cosine: f64) -> Result<f64> {
    let cosine = ratio(cosine)?;
    Ok(if cosine >= 0.0 { arccosine(cosine) } else { 90.0 + arcsine(-cosine) })
}

/// The arctangent.
pub fn atand(tangent: f64) -> f64 {
    tangent.atan() / EXACT.arctangent_of_one * 45.0
}

/// The angle of the point (`x`, `y`).
pub fn atan2d(y: f64, x: f64) -> f64 {
    y.atan2(x) / EXACT.arctangent_of_one * 45.0
}

/// An angle from 0 to 90 degrees, with the signs that its sine and cosine had before it was moved there.
struct FirstQuadrant {
    degrees: f64,
    sign_of_sine: f64,
    sign_of_cosine: f64,
}

impl FirstQuadrant {
    fn of(degrees: f64) -> Result<FirstQuadrant> {
        let (mut degrees, mut sign_of_sine, mut sign_of_cosine) = (finite(degrees)? % 360.0, 1.0, 1.0);
        if degrees < 0.0 {
            degrees = -degrees;
            sign_of_sine = -1.0;
        }
        if degrees > 180.0 {
            degrees = 360.0 - degrees;
            sign_of_sine = -sign_of_sine;
        }
        if degrees > 90.0 {
            degrees = 180.0 - degrees;
            sign_of_cosine = -1.0;
        }
        Ok(FirstQuadrant { degrees, sign_of_sine, sign_of_cosine })
    }

    /// A tangent or cotangent, with its sign; zero has none.
    fn signed(&self, value: f64) -> f64 {
        let value = self.sign_of_sine * self.sign_of_cosine * value;
        if value == 0.0 { 0.0 } else { value }
    }
}

/// Of 0 to 90 degrees.
fn sine(degrees: f64) -> f64 {
    if degrees <= 30.0 { sine_to_30(degrees) } else { cosine_to_60(90.0 - degrees) }
}

/// Of 0 to 90 degrees.
fn cosine(degrees: f64) -> f64 {
    if degrees <= 60.0 { cosine_to_60(degrees) } else { sine_to_30(90.0 - degrees) }
}

fn sine_to_30(degrees: f64) -> f64 {
    (degrees * RADIANS_PER_DEGREE).sin() / EXACT.sine_of_30 / 2.0
}

fn cosine_to_60(degrees: f64) -> f64 {
    1.0 - (1.0 - (degrees * RADIANS_PER_DEGREE).cos()) / EXACT.one_minus_cosine_of_60 / 2.0
}

/// Of 0 to 1.
fn arcsine(sine: f64) -> f64 {
    match sine <= 0.5 {
        true => sine.asin() / EXACT.arcsine_of_half * 30.0,
        false => 90.0 - sine.acos() / EXACT.arccosine_of_half * 60.0,
    }
}

/// Of 0 to 1.
fn arccosine(cosine: f64) -> f64 {
    match cosine <= 0.5 {
        true => 90.0 - cosine.asin() / EXACT.arcsine_of_half * 30.0,
        false => cosine.acos() / EXACT.arccosine_of_half * 60.0,
    }
}
