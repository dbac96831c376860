//! Characters of a set taken off the ends of a text.

/// From the start.
pub fn ltrim<'t>(text: &'t str, set: &str) -> &'t str {
    text.trim_start_matches(|c| set.contains(c))
}

/// From the end.
pub fn rtrim<'t>(text: &'t str, set: &str) -> &'t str {
    text.trim_end_matches(|c| set.contains(c))
}

/// From both.
pub fn btrim<'t>(text: &'t str, set: &str) -> &'t str {
    rtrim(ltrim(text, set), set)
}
