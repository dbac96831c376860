//! Parts of a value, by places, which are counted in bytes from 1, or by what stands there.

use crate::{
    error::Result,
    functions::text::{end_of_overlay, int4, span},
};

fn part(bytes: &[u8], skipped: usize, taken: usize) -> &[u8] {
    let rest = bytes.get(skipped..).unwrap_or_default();
    rest.get(..taken).unwrap_or(rest)
}

/// The part from a place, of a length or up to the end.
pub fn substring(bytes: &[u8], start: i32, length: Option<i32>) -> Result<Vec<u8>> {
    let (skipped, taken) = span(start, length)?;
    Ok(part(bytes, skipped, taken).to_vec())
}

/// The bytes with others in place of the part from a place, which is as long as the others if no length is given.
pub fn overlay(bytes: &[u8], other: &[u8], start: i32, replaced: Option<i32>) -> Result<Vec<u8>> {
    let end = end_of_overlay(start, replaced.unwrap_or_else(|| int4(other.len())))?;
    let (before, _) = span(start, None)?;
    let (skipped, taken) = span(end, None)?;
    Ok([part(bytes, 0, before), other, part(bytes, skipped, taken)].concat())
}

/// The place where others begin first, 0 if they do nowhere.
pub fn position(bytes: &[u8], others: &[u8]) -> i32 {
    if others.is_empty() {
        return 1;
    }
    let found = bytes.windows(others.len()).position(|window| window == others);
    found.map_or(0, |before| int4(before).saturating_add(1))
}
