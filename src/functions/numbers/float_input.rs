//! Texts as floats: what a value in SQL's quotes may look like.

use std::str::FromStr;

use num_traits::Float;

use super::{
    binary::FloatLayout,
    range::out_of_range,
    scan::{self, Scanned, ScannedNumber, is_space},
};
use crate::error::{Error, ErrorKind, Result};

/// A float of SQL.
trait Real: Float + FromStr {
    const NAME: &'static str;
    const LAYOUT: FloatLayout;
    /// Whether the number alone is told where it is out of range, and not the whole text.
    const TELLS_NUMBER: bool;

    fn of_bits(bits: u64) -> Self;
}

impl Real for f32 {
    const NAME: &'static str = "real";
    const LAYOUT: FloatLayout = FloatLayout { bits: 24, least_exponent: -149, greatest_exponent: 104 };
    const TELLS_NUMBER: bool = false;

    fn of_bits(bits: u64) -> f32 {
        f32::from_bits(bits as u32)
    }
}

impl Real for f64 {
    const NAME: &'static str = "double precision";
    const LAYOUT: FloatLayout = FloatLayout { bits: 53, least_exponent: -1074, greatest_exponent: 971 };
    const TELLS_NUMBER: bool = true;

    fn of_bits(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
}

/// A text as a real: decimal or hexadecimal, `inf`, `infinity` or `nan` in letters of any case, between white space.
/// Fails with 22P02 if it is none, with 22003 if it is too large, or is not zero but nearest to it.
pub fn float4in(text: &str) -> Result<f32> {
    float(text)
}

/// A text as double precision; see [`float4in`].
pub fn float8in(text: &str) -> Result<f64> {
    float(text)
}

fn float<T: Real>(text: &str) -> Result<T> {
    let invalid = || {
        let message = format!("invalid input syntax for type {}: \"{text}\"", T::NAME);
        Error::new(ErrorKind::InvalidText, message)
    };
    let start = text.trim_start_matches(is_space);
    let number = scan::number(start).ok_or_else(invalid)?;
    let (written, rest) = start.split_at_checked(number.length).ok_or_else(invalid)?;
    let size = value::<T>(&number, written).ok_or_else(invalid)?;
    if is_beyond(&number, size) {
        let told = if T::TELLS_NUMBER { written } else { text };
        return Err(out_of_range(format!("\"{told}\" is out of range for type {}", T::NAME)));
    }
    match rest.trim_start_matches(is_space).is_empty() {
        true => Ok(if number.is_negative { -size } else { size }),
        false => Err(invalid()),
    }
}

/// A number without its sign. What was scanned as a decimal is one to Rust too.
fn value<T: Real>(number: &ScannedNumber, written: &str) -> Option<T> {
    Some(match number.scanned {
        Scanned::NotANumber => T::nan(),
        Scanned::Infinity => T::infinity(),
        Scanned::Decimal { .. } => written.parse::<T>().ok()?.abs(),
        Scanned::Hexadecimal(binary) => T::of_bits(binary.nearest(&T::LAYOUT)),
    })
}

/// Whether a number is written that became infinite, or zero.
fn is_beyond<T: Real>(number: &ScannedNumber, size: T) -> bool {
    match number.scanned {
        Scanned::NotANumber | Scanned::Infinity => false,
        Scanned::Decimal { is_zero } => size.is_infinite() || (size.is_zero() && !is_zero),
        Scanned::Hexadecimal(binary) => size.is_infinite() || (size.is_zero() && binary.units != 0),
    }
}
