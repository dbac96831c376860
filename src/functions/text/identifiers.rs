//! Qualified names, as SQL writes them.

use crate::error::{Error, ErrorKind, Result};

fn is_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn is_part(c: char) -> bool {
    is_start(c) || c.is_ascii_digit() || c == '$'
}

fn without_space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r', '\x0c'])
}

/// An identifier in double quotes, of which the first is read, and what follows it. `None` if it does not end.
fn quoted(behind: &str) -> Option<(String, &str)> {
    let (mut name, mut rest) = (String::new(), behind);
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, after)),
        }
    }
}

fn invalid(text: &str) -> Error {
    let message = format!("string is not a valid identifier: \"{text}\"");
    Error::new(ErrorKind::InvalidParameterValue, message)
}

/// The parts of a qualified name, each as an identifier means it: in lower case, or as it stands between quotes. What
/// is no name is an error (22023); what follows one is, only if `is_strict`.
pub fn parse_ident(text: &str, is_strict: bool) -> Result<Vec<Option<String>>> {
    let (mut rest, mut parts) = (without_space(text), Vec::new());
    loop {
        if let Some(behind) = rest.strip_prefix('"') {
            let unclosed = || invalid(text).detail("String has unclosed double quotes.");
            let (name, after) = quoted(behind).ok_or_else(unclosed)?;
            if name.is_empty() {
                return Err(invalid(text).detail("Quoted identifier must not be empty."));
            }
            parts.push(Some(name));
            rest = after;
        } else if rest.starts_with(is_start) {
            let (name, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
            parts.push(Some(name.to_ascii_lowercase()));
            rest = after;
        } else if rest.starts_with('.') {
            return Err(invalid(text).detail("No valid identifier before \".\"."));
        } else if !parts.is_empty() {
            return Err(invalid(text).detail("No valid identifier after \".\"."));
        } else {
            return Err(invalid(text));
        }
        rest = without_space(rest);
        match rest.strip_prefix('.') {
            Some(after) => rest = without_space(after),
            None if rest.is_empty() || !is_strict => return Ok(parts),
            None => return Err(invalid(text)),
        }
    }
}
