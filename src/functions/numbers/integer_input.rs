//! Texts as integers and booleans.

use num_traits::{CheckedMul, CheckedSub, PrimInt};

use super::{
    range::{integer_name, out_of_range},
    scan::is_space,
};
use crate::error::{Error, ErrorKind, Result};

/// A text as an integer: decimal digits after a sign, between white space. Fails with 22P02 if it is none, with 22003
/// if it does not fit the type.
pub fn integer<T: PrimInt + CheckedMul + CheckedSub>(text: &str) -> Result<T> {
    let beyond = || out_of_range(format!("value \"{text}\" is out of range for type {}", integer_name::<T>()));
    let start = text.trim_start_matches(is_space);
    let unsigned = start.strip_prefix(['+', '-']).unwrap_or(start);
    let rest = unsigned.trim_start_matches(|c: char| c.is_ascii_digit());
    // Below zero, where the least value is too. What follows a number that is too large does not matter.
    let (mut opposite, ten) = (T::zero(), T::from(10).ok_or_else(beyond)?);
    for digit in unsigned.bytes().take_while(u8::is_ascii_digit) {
        let digit = T::from(digit - b'0').ok_or_else(beyond)?;
        opposite = opposite.checked_mul(&ten).and_then(|tens| tens.checked_sub(&digit)).ok_or_else(beyond)?;
    }
    if rest.len() == unsigned.len() || !rest.trim_start_matches(is_space).is_empty() {
        return Err(invalid(integer_name::<T>(), text));
    }
    match start.starts_with('-') {
        true => Ok(opposite),
        false => T::zero().checked_sub(&opposite).ok_or_else(beyond),
    }
}

/// A text as a boolean: the start of `true`, `false`, `yes` or `no`, or `on`, `off` or its start of two letters, `1` or
/// `0`, between white space. Fails with 22P02 if it is none.
pub fn boolin(text: &str) -> Result<bool> {
    let word = text.trim_matches(is_space);
    let is_start_of = |whole: &str, least: usize| {
        word.len() >= least && whole.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    if is_start_of("true", 1) || is_start_of("yes", 1) || is_start_of("on", 2) || word == "1" {
        Ok(true)
    } else if is_start_of("false", 1) || is_start_of("no", 1) || is_start_of("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(invalid("boolean", text))
    }
}

fn invalid(type_name: &str, text: &str) -> Error {
    Error::new(ErrorKind::InvalidText, format!("invalid input syntax for type {type_name}: \"{text}\""))
}
