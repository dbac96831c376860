//! Bytes of a set taken off the ends of a value.

/// From the start.
pub fn ltrim<'b>(bytes: &'b [u8], set: &[u8]) -> &'b [u8] {
    let trimmed = bytes.iter().position(|byte| !set.contains(byte)).unwrap_or(bytes.len());
    bytes.get(trimmed..).unwrap_or_default()
}

/// From the end.
pub fn rtrim<'b>(bytes: &'b [u8], set: &[u8]) -> &'b [u8] {
    let kept = bytes.iter().rposition(|byte| !set.contains(byte)).map_or(0, |last| last + 1);
    bytes.get(..kept).unwrap_or_default()
}

/// From both.
pub fn btrim<'b>(bytes: &'b [u8], set: &[u8]) -> &'b [u8] {
    rtrim(ltrim(bytes, set), set)
}
