//! Parts of a text, by places, which are counted in characters from 1, or by what stands there.

use super::{
    measures::{int4, length},
    spans::{end_of_overlay, span},
};
use crate::error::{Error, ErrorKind, Result};

/// The bytes of so many characters; all of the text if it has fewer.
fn offset(text: &str, characters: usize) -> usize {
    match characters {
        // A character has a byte at least.
        characters if characters >= text.len() => text.len(),
        characters => text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at),
    }
}

fn characters(text: &str, skipped: usize, taken: usize) -> &str {
    let rest = text.get(offset(text, skipped)..).unwrap_or_default();
    rest.get(..offset(rest, taken)).unwrap_or_default()
}

/// The part from a place, of a length or up to the end.
pub fn substring(text: &str, start: i32, length: Option<i32>) -> Result<String> {
    let (skipped, taken) = span(start, length)?;
    Ok(characters(text, skipped, taken).to_string())
}

/// The text with another in place of the part from a place, which is as long as the other if no length is given.
pub fn overlay(text: &str, other: &str, start: i32, replaced: Option<i32>) -> Result<String> {
    let end = end_of_overlay(start, replaced.unwrap_or_else(|| length(other)))?;
    let (before, _) = span(start, None)?;
    let (skipped, taken) = span(end, None)?;
    Ok([characters(text, 0, before), other, characters(text, skipped, taken)].concat())
}

/// So many characters from the start; of a negative number, all but so many from the end.
pub fn left(text: &str, count: i32) -> String {
    let count = if count < 0 { length(text).saturating_add(count) } else { count };
    characters(text, 0, usize::try_from(count).unwrap_or(0)).to_string()
}

/// So many characters from the end; of a negative number, all but so many from the start. The smallest integer has no
/// opposite: it takes all.
pub fn right(text: &str, count: i32) -> String {
    let skipped = if count < 0 { count.checked_neg().unwrap_or(0) } else { length(text).saturating_sub(count) };
    characters(text, usize::try_from(skipped).unwrap_or(0), usize::MAX).to_string()
}

/// The place where another text begins first, 0 if it does nowhere.
pub fn position(text: &str, part: &str) -> i32 {
    let before = text.find(part).and_then(|at| text.get(..at));
    before.map_or(0, |before| int4(before.chars().count()).saturating_add(1))
}

/// The field of a number between separators, counted from 1, or back from -1; empty if there is none. Number 0 is an
/// error (22023).
pub fn split_part(text: &str, separator: &str, number: i32) -> Result<String> {
    if number == 0 {
        return Err(Error::new(ErrorKind::InvalidParameterValue, "field position must not be zero"));
    }
    if separator.is_empty() {
        return Ok(if number.abs_diff(0) == 1 { text.to_string() } else { String::new() });
    }
    let from_start = match usize::try_from(number) {
        Ok(number) => Some(number),
        // Separators are found from the start, also where they could overlap.
        Err(_) => {
            let fields = text.split(separator).count();
            usize::try_from(number.unsigned_abs()).ok().and_then(|back| (fields + 1).checked_sub(back))
        }
    };
    let index = from_start.and_then(|number| number.checked_sub(1));
    Ok(index.and_then(|index| text.split(separator).nth(index)).unwrap_or_default().to_string())
}
