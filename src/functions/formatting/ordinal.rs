//! The letters of an ordinal number: 1st, 2nd, 3rd, 4th.

use super::date_patterns::LetterCase;
use crate::error::{Error, ErrorKind, Result};

/// The two letters that follow a number. Error 22P02 if the text does not end with a digit.
pub fn ordinal_suffix(number: &str, case: LetterCase) -> Result<&'static str> {
    let mut backwards = number.bytes().rev();
    let last = backwards.next().filter(u8::is_ascii_digit);
    let Some(last) = last else {
        return Err(Error::new(ErrorKind::InvalidText, format!("\"{number}\" is not a number")));
    };
    let is_teen = backwards.next() == Some(b'1');
    let (upper, lower) = match last {
        b'1' if !is_teen => ("ST", "st"),
        b'2' if !is_teen => ("ND", "nd"),
        b'3' if !is_teen => ("RD", "rd"),
        _ => ("TH", "th"),
    };
    Ok(if case == LetterCase::Upper { upper } else { lower })
}
