//! How long a text is.

use crate::error::{Error, ErrorKind, Result};

/// A count as an integer of four bytes. No value is so long that it does not fit.
pub fn int4(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Characters.
pub fn length(text: &str) -> i32 {
    int4(text.chars().count())
}

/// Bytes.
pub fn octet_length(bytes: &[u8]) -> i32 {
    int4(bytes.len())
}

/// Bits. A value of 256 MB or more has too many (22003).
pub fn bit_length(bytes: &[u8]) -> Result<i32> {
    let bits = octet_length(bytes).checked_mul(8);
    bits.ok_or_else(|| Error::new(ErrorKind::NumericOutOfRange, "integer out of range"))
}
