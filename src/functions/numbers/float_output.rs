//! Floats as texts.

use std::fmt::Write;

use super::shortest::{Decimal, Positive};

/// `extra_float_digits` of a session that did not set it.
pub const EXTRA_FLOAT_DIGITS: i32 = 1;

/// How a type of floats is written.
struct Style {
    /// Digits that any value keeps.
    precision: i32,
    /// From this power of ten the shortest form has an exponent.
    exponent_min: i32,
}

const REAL: Style = Style { precision: 6, exponent_min: 6 };
const DOUBLE: Style = Style { precision: 15, exponent_min: 15 };

/// A real as text; see [`float8out`].
pub fn float4out(value: f32, extra_float_digits: i32) -> String {
    let mut text = String::with_capacity(16);
    write_float4(value, extra_float_digits, &mut text);
    text
}

/// A double as text: the shortest that reads as the same double, if `extra_float_digits` is more than zero, and else of
/// 15 digits and so many more.
pub fn float8out(value: f64, extra_float_digits: i32) -> String {
    let mut text = String::with_capacity(24);
    write_float8(value, extra_float_digits, &mut text);
    text
}

/// Appends what [`float4out`] gives.
pub fn write_float4(value: f32, extra_float_digits: i32, out: &mut String) {
    write(f64::from(value), || Positive::from(value.abs()).shortest(), extra_float_digits, &REAL, out);
}

/// Appends what [`float8out`] gives.
pub fn write_float8(value: f64, extra_float_digits: i32, out: &mut String) {
    write(value, || Positive::from(value.abs()).shortest(), extra_float_digits, &DOUBLE, out);
}

fn write(value: f64, shortest: impl Fn() -> Decimal, extra_float_digits: i32, style: &Style, out: &mut String) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value.is_infinite() {
        return out.push_str("Infinity");
    }
    if value == 0.0 {
        return out.push('0');
    }
    if extra_float_digits > 0 {
        return write_decimal(shortest(), style.exponent_min, out);
    }
    let precision = style.precision.saturating_add(extra_float_digits).max(1);
    write_decimal(rounded(value, precision), precision, out);
}

/// A finite number's size, rounded to so many digits, less the zeros at its end.
fn rounded(value: f64, precision: i32) -> Decimal {
    let text = format!("{:.*e}", precision.unsigned_abs().saturating_sub(1) as usize, value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).map(|digit| u64::from(digit - b'0'));
    let mut digits = digits.fold(0_u64, |digits, digit| digits.saturating_mul(10).saturating_add(digit));
    let mut exponent = exponent.parse::<i32>().unwrap_or_default() - (precision - 1);
    while digits != 0 && digits % 10 == 0 {
        digits /= 10;
        exponent += 1;
    }
    Decimal { digits, exponent }
}

/// As `%g` of C does it: with an exponent from so great a power of ten, and below that of -4.
fn write_decimal(decimal: Decimal, exponent_min: i32, out: &mut String) {
    let Decimal { digits, exponent } = decimal;
    let start = out.len();
    // Writing to a String does not fail.
    _ = write!(out, "{digits}");
    let count = out.len() - start;
    let leading = exponent + count as i32 - 1;
    if leading < -4 || leading >= exponent_min {
        if count > 1 {
            out.insert(start + 1, '.');
        }
        let sign = if leading < 0 { '-' } else { '+' };
        _ = write!(out, "e{sign}{:02}", leading.unsigned_abs());
    } else if leading < 0 {
        out.insert_str(start, "0.0000".get(..1 + leading.unsigned_abs() as usize).unwrap_or_default());
    } else if exponent >= 0 {
        out.extend(std::iter::repeat_n('0', exponent as usize));
    } else {
        out.insert(start + leading as usize + 1, '.');
    }
}
