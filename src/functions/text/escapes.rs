//! Escapes of Unicode characters in a text.

use crate::error::{Error, ErrorKind, Result};

/// The beginnings of an escape behind its backslash, each with the hexadecimal digits that follow, as they are tried.
const FORMS: [(&str, usize); 4] = [("", 4), ("u", 4), ("+", 6), ("U", 8)];

fn invalid_pair() -> Error {
    Error::new(ErrorKind::Syntax, "invalid Unicode surrogate pair")
}

/// The number of an escape, and what follows it. `None` if no escape begins here.
fn number(behind: &str) -> Option<(u32, &str)> {
    FORMS.iter().find_map(|(prefix, digits)| {
        let (hex, rest) = behind.strip_prefix(prefix)?.split_at_checked(*digits)?;
        let all = hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        Some((u32::from_str_radix(hex, 16).ok().filter(|_| all)?, rest))
    })
}

/// The character of two surrogates, as UTF-16 has it.
fn joined(first: u32, second: u32) -> Option<char> {
    char::from_u32(0x10000 + ((first & 0x3ff) << 10) + (second & 0x3ff))
}

/// A text with its escapes `\XXXX`, `\uXXXX`, `\+XXXXXX`, `\UXXXXXXXX` and `\\` replaced. Other backslashes and half
/// pairs of surrogates are errors (42601), and so are numbers that are no characters (22023).
pub fn unistr(text: &str) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut first_of_pair) = (text, None);
    while let Some(c) = rest.chars().next() {
        let behind = rest.get(c.len_utf8()..).unwrap_or_default();
        let is_backslash = c == '\\';
        if !is_backslash || behind.starts_with('\\') {
            if first_of_pair.is_some() {
                return Err(invalid_pair());
            }
            out.push(c);
            rest = if is_backslash { behind.get(1..).unwrap_or_default() } else { behind };
            continue;
        }
        let Some((code, after)) = number(behind) else {
            return Err(Error::new(ErrorKind::Syntax, "invalid Unicode escape")
                .hint("Unicode escapes must be \\XXXX, \\+XXXXXX, \\uXXXX, or \\UXXXXXXXX."));
        };
        if code == 0 || code > 0x10ffff {
            let message = format!("invalid Unicode code point: {code:04X}");
            return Err(Error::new(ErrorKind::InvalidParameterValue, message));
        }
        match (first_of_pair.take(), code) {
            (Some(first), 0xdc00..=0xdfff) => out.push(joined(first, code).ok_or_else(invalid_pair)?),
            (Some(_), _) | (None, 0xdc00..=0xdfff) => return Err(invalid_pair()),
            (None, 0xd800..=0xdbff) => first_of_pair = Some(code),
            (None, code) => out.push(char::from_u32(code).ok_or_else(invalid_pair)?),
        }
        rest = after;
    }
    if first_of_pair.is_some() { Err(invalid_pair()) } else { Ok(out) }
}
