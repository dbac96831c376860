//! Single bytes and bits.

use crate::error::{Error, ErrorKind, Result};

fn beyond(index: i64, count: usize) -> Error {
    let last = i64::try_from(count).unwrap_or(i64::MAX).saturating_sub(1);
    Error::new(ErrorKind::ArraySubscript, format!("index {index} out of valid range, 0..{last}"))
}

fn checked_index(index: i64, count: usize) -> Result<usize> {
    usize::try_from(index).ok().filter(|index| *index < count).ok_or_else(|| beyond(index, count))
}

/// The byte of an index, from 0. One that is not there is an error (2202E).
pub fn get_byte(bytes: &[u8], index: i32) -> Result<i32> {
    let at = checked_index(i64::from(index), bytes.len())?;
    bytes.get(at).map(|byte| i32::from(*byte)).ok_or_else(|| beyond(i64::from(index), bytes.len()))
}

/// The bytes with one of them set, to the lowest eight bits of a number.
pub fn set_byte(bytes: &[u8], index: i32, value: i32) -> Result<Vec<u8>> {
    let at = checked_index(i64::from(index), bytes.len())?;
    let [lowest, ..] = value.to_le_bytes();
    let mut changed = bytes.to_vec();
    changed.iter_mut().skip(at).take(1).for_each(|byte| *byte = lowest);
    Ok(changed)
}

/// The bit of an index, from 0, which counts the lowest bit of a byte first. One that is not there is an error (2202E).
pub fn get_bit(bytes: &[u8], index: i64) -> Result<i32> {
    let at = checked_index(index, bytes.len().saturating_mul(8))?;
    Ok(bytes.get(at / 8).map_or(0, |byte| i32::from(byte >> (at % 8) & 1)))
}

/// The bytes with one bit set to 0 or 1. Another value is an error (22023).
pub fn set_bit(bytes: &[u8], index: i64, value: i32) -> Result<Vec<u8>> {
    let at = checked_index(index, bytes.len().saturating_mul(8))?;
    let mut changed = bytes.to_vec();
    let byte = changed.iter_mut().skip(at / 8).take(1);
    match value {
        0 => byte.for_each(|byte| *byte &= !(1 << (at % 8))),
        1 => byte.for_each(|byte| *byte |= 1 << (at % 8)),
        _ => return Err(Error::new(ErrorKind::InvalidParameterValue, "new bit must be 0 or 1")),
    }
    Ok(changed)
}

/// How many bits are set.
pub fn bit_count(bytes: &[u8]) -> i64 {
    bytes.iter().map(|byte| i64::from(byte.count_ones())).sum()
}
