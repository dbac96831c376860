//! `LIKE` and `ILIKE`: patterns where `%` is any text and `_` any character.

mod pattern;

use std::cell::RefCell;

pub use self::pattern::{LikeForm, LikePattern, LikeShape};
use crate::{
    error::{Error, ErrorKind, Result},
    functions::regex::ctype::push_lower,
};

/// What escapes a wildcard unless something else is said.
pub const BACKSLASH: Option<char> = Some('\\');

/// `text LIKE pattern ESCAPE escape`, or `ILIKE`, which is in lower case what `LIKE` is.
///
/// A pattern that ends with its escape is an error (22025), but only where a text gets as far.
pub fn like(text: &str, pattern: &str, escape: Option<char>, ignore_case: bool) -> Result<bool> {
    let form = if ignore_case { LikeForm::LowerCase } else { LikeForm::Text };
    with_pattern(pattern.as_bytes(), escape, form, text.as_bytes())
}

/// `LIKE` of bytes, where `_` is any byte.
pub fn like_bytes(bytes: &[u8], pattern: &[u8]) -> Result<bool> {
    with_pattern(pattern, BACKSLASH, LikeForm::Bytes, bytes)
}

/// How many patterns a thread remembers, read already.
const PATTERNS_MAX: usize = 32;
/// A longer pattern is not remembered.
const PATTERN_BYTES_MAX: usize = 64 << 10;
/// How much room for a text in lower case a thread keeps, in bytes.
const LOWERED_MAX: usize = 1 << 20;

struct CachedPattern {
    pattern: Box<[u8]>,
    escape: Option<char>,
    form: LikeForm,
    read: LikePattern,
}

#[derive(Default)]
struct LikeCache {
    /// The one that was used last comes first.
    patterns: Vec<CachedPattern>,
    /// Room for a text in lower case.
    lowered: String,
}

thread_local! {
    static CACHE: RefCell<LikeCache> = RefCell::new(LikeCache::default());
}

/// A text in lower case, in the room for it.
fn lower_case<'a>(text: &[u8], room: &'a mut String) -> &'a str {
    room.clear();
    room.shrink_to(LOWERED_MAX);
    push_lower(std::str::from_utf8(text).unwrap_or_default(), room);
    room
}

/// Matches a text, or bytes, with a pattern, which is read only if none of the last ones was this.
fn with_pattern(pattern: &[u8], escape: Option<char>, form: LikeForm, text: &[u8]) -> Result<bool> {
    if pattern.len() > PATTERN_BYTES_MAX {
        let read = LikePattern::new(pattern, escape, form);
        let mut lowered = String::new();
        return match form {
            LikeForm::LowerCase => read.matches(lower_case(text, &mut lowered).as_bytes()),
            LikeForm::Text | LikeForm::Bytes => read.matches(text),
        };
    }
    CACHE.with_borrow_mut(|cache| {
        let LikeCache { patterns, lowered } = cache;
        let is_this =
            |cached: &CachedPattern| cached.form == form && cached.escape == escape && *cached.pattern == *pattern;
        match patterns.iter().position(is_this) {
            Some(at) => {
                if let Some(used) = patterns.get_mut(..=at) {
                    used.rotate_right(1);
                }
            }
            None => {
                let read = LikePattern::new(pattern, escape, form);
                patterns.truncate(PATTERNS_MAX - 1);
                patterns.insert(0, CachedPattern { pattern: pattern.into(), escape, form, read });
            }
        }
        let Some(first) = patterns.first() else { return Ok(false) };
        if form != LikeForm::LowerCase {
            return first.read.matches(text);
        }
        first.read.matches(lower_case(text, lowered).as_bytes())
    })
}

fn invalid_escape() -> Error {
    let hint = "Escape string must be empty or one character.";
    Error::new(ErrorKind::InvalidEscape, "invalid escape string").hint(hint)
}

/// The escape that an `ESCAPE` clause says: a character, or none if it is empty; else an error (22025).
pub fn escape_character(escape: &str) -> Result<Option<char>> {
    let mut characters = escape.chars();
    match (characters.next(), characters.next()) {
        (escape, None) => Ok(escape),
        _ => Err(invalid_escape()),
    }
}

/// `like_escape(pattern, escape)`: the same pattern with the backslash as its escape.
pub fn like_escape(pattern: &str, escape: &str) -> Result<String> {
    let escape = escape_character(escape)?;
    if escape == BACKSLASH {
        return Ok(pattern.to_string());
    }
    let mut escaped = String::with_capacity(pattern.len());
    let mut after_escape = false;
    for character in pattern.chars() {
        let escapes = Some(character) == escape && !after_escape;
        if escapes {
            escaped.push('\\');
        } else {
            if character == '\\' && !after_escape {
                escaped.push('\\');
            }
            escaped.push(character);
        }
        after_escape = escapes;
    }
    Ok(escaped)
}

/// [`like_escape`] of bytes, of which the escape is one.
pub fn like_escape_bytes(pattern: &[u8], escape: &[u8]) -> Result<Vec<u8>> {
    let escape = match escape {
        [] => None,
        [b'\\'] => return Ok(pattern.to_vec()),
        [escape] => Some(*escape),
        _ => return Err(invalid_escape()),
    };
    let mut escaped = Vec::with_capacity(pattern.len());
    let mut after_escape = false;
    for byte in pattern {
        let escapes = Some(*byte) == escape && !after_escape;
        if escapes {
            escaped.push(b'\\');
        } else {
            if *byte == b'\\' && !after_escape {
                escaped.push(b'\\');
            }
            escaped.push(*byte);
        }
        after_escape = escapes;
    }
    Ok(escaped)
}
