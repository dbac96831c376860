//! Parts of a text replaced by others.

use super::bounded::{BYTES_MAX, BoundedText};
use crate::error::{Error, ErrorKind, Result};

/// The text with each part that is equal to one replaced by another. More than 1 GB is an error (54000).
pub fn replace(text: &str, from: &str, to: &str) -> Result<String> {
    if from.is_empty() {
        return Ok(text.to_string());
    }
    let (mut replaced, mut written) = (BoundedText::default(), 0);
    for (at, part) in text.match_indices(from) {
        replaced.push(text.get(written..at).unwrap_or_default())?;
        replaced.push(to)?;
        written = at + part.len();
    }
    replaced.push(text.get(written..).unwrap_or_default())?;
    Ok(replaced.finish())
}

/// The text with each character of one set replaced by that at the same place of another, or removed if there is none.
/// A text of 256 MB or more is an error (54000).
pub fn translate(text: &str, from: &str, to: &str) -> Result<String> {
    if text.len() > BYTES_MAX / 4 {
        return Err(Error::new(ErrorKind::LimitExceeded, "requested length too large"));
    }
    let mut others = to.chars();
    let pairs: Vec<(char, Option<char>)> = from.chars().map(|c| (c, others.next())).collect();
    let translated = text.chars().filter_map(|c| match pairs.iter().find(|(from, _)| *from == c) {
        Some((_, to)) => *to,
        None => Some(c),
    });
    Ok(translated.collect())
}
