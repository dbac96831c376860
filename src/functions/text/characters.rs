//! Single characters of a text and their numbers.

use crate::error::{Error, ErrorKind, Result};

/// The code point of the first character, 0 if there is none.
pub fn ascii(text: &str) -> i32 {
    text.chars().next().and_then(|c| i32::try_from(u32::from(c)).ok()).unwrap_or(0)
}

/// The character of a code point. A negative number is an error (22023), and so is one that is no character (54000).
pub fn chr(code: i32) -> Result<String> {
    let Ok(number) = u32::try_from(code) else {
        return Err(Error::new(ErrorKind::InvalidParameterValue, "character number must be positive"));
    };
    let limit = |message: String| Err(Error::new(ErrorKind::LimitExceeded, message));
    match char::from_u32(number) {
        Some('\0') => limit("null character not permitted".to_string()),
        Some(c) => Ok(c.to_string()),
        None if number > 0x10ffff => limit(format!("requested character too large for encoding: {number}")),
        None => limit(format!("requested character not valid for encoding: {number}")),
    }
}

/// The characters in the opposite order.
pub fn reverse(text: &str) -> String {
    text.chars().rev().collect()
}
