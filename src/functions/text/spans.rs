//! Which part of a value `substring` and `overlay` mean, in characters of a text or in bytes.

use crate::error::{Error, ErrorKind, Result};

fn negative_length() -> Error {
    Error::new(ErrorKind::SubstringError, "negative substring length not allowed")
}

/// A position or a length that is not negative.
fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// How much is skipped and how much is taken by `substring` from a place, counted from 1, for a length, or up to the
/// end. Places before the first count towards the length. A negative length is an error (22011).
pub fn span(start: i32, length: Option<i32>) -> Result<(usize, usize)> {
    let first = start.max(1);
    let skipped = count(first.saturating_sub(1));
    let Some(length) = length else { return Ok((skipped, usize::MAX)) };
    if length < 0 {
        return Err(negative_length());
    }
    // An end that is no integer lies behind all values.
    let taken = start.checked_add(length).map_or(usize::MAX, |end| count(end.saturating_sub(first)));
    Ok((skipped, taken))
}

/// Where the rest begins, counted from 1, after `overlay` of a length at a place. A place before the first is an error
/// (22011).
pub fn end_of_overlay(start: i32, length: i32) -> Result<i32> {
    if start <= 0 {
        return Err(negative_length());
    }
    start.checked_add(length).ok_or_else(|| Error::new(ErrorKind::NumericOutOfRange, "integer out of range"))
}
