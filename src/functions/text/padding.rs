//! Texts made longer by repeating.

use super::bounded::BYTES_MAX;
use crate::error::{Error, ErrorKind, Result};

/// The bytes that a character may have.
const CHARACTER_BYTES_MAX: usize = 4;

fn too_large() -> Error {
    Error::new(ErrorKind::LimitExceeded, "requested length too large")
}

/// The text cut to a length, and the fill that it lacks.
fn fit(text: &str, length: i32, fill: &str) -> Result<(String, String)> {
    let length = usize::try_from(length).unwrap_or(0);
    let has = text.chars().count();
    let asked = if fill.is_empty() { has.min(length) } else { length };
    if asked > BYTES_MAX / CHARACTER_BYTES_MAX {
        return Err(too_large());
    }
    if has >= length {
        return Ok((text.chars().take(length).collect(), String::new()));
    }
    let (lacking, step) = (length - has, fill.chars().count());
    let Some(times) = lacking.checked_div(step) else { return Ok((text.to_string(), String::new())) };
    let mut filled = fill.repeat(times);
    filled.extend(fill.chars().take(lacking - times * step));
    Ok((text.to_string(), filled))
}

/// The text filled on the left up to so many characters, or cut on the right. More than 256 million are an error
/// (54000).
pub fn lpad(text: &str, length: i32, fill: &str) -> Result<String> {
    let (text, mut filled) = fit(text, length, fill)?;
    filled.push_str(&text);
    Ok(filled)
}

/// The same filled on the right.
pub fn rpad(text: &str, length: i32, fill: &str) -> Result<String> {
    let (mut text, filled) = fit(text, length, fill)?;
    text.push_str(&filled);
    Ok(text)
}

/// The text so many times; none if negative. More than 1 GB is an error (54000).
pub fn repeat(text: &str, times: i32) -> Result<String> {
    let times = usize::try_from(times).unwrap_or(0);
    let bytes = text.len().checked_mul(times).filter(|bytes| *bytes <= BYTES_MAX);
    bytes.map(|_| text.repeat(times)).ok_or_else(too_large)
}
