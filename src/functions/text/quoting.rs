//! Texts quoted as SQL has them.

use super::keywords::is_quoted;

fn doubled(text: &str, quote: char, doubled: &[char]) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        if doubled.contains(&c) {
            quoted.push(c);
        }
        quoted.push(c);
    }
    quoted.push(quote);
    quoted
}

/// An identifier, in double quotes where it would be another without them.
pub fn quote_ident(name: &str) -> String {
    let is_plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let begins = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    match is_plain && begins && !is_quoted(name) {
        true => name.to_string(),
        false => doubled(name, '"', &['"']),
    }
}

/// A literal: `E'…'` if there is a backslash in it.
pub fn quote_literal(text: &str) -> String {
    let quoted = doubled(text, '\'', &['\'', '\\']);
    if text.contains('\\') { format!("E{quoted}") } else { quoted }
}

/// A literal, or `NULL`.
pub fn quote_nullable(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_string(), quote_literal)
}
