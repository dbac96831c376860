//! SQL's `SIMILAR TO`: its patterns become regular expressions.

use super::matches::substring;
use crate::error::{Error, ErrorKind, Result};

/// `similar_to_escape(pattern, escape)`: the regular expression that stands for a pattern of `SIMILAR TO`. An empty
/// escape is none.
///
/// An escaped `"` parts the pattern in three, of which [`similar_substring`] returns the second: the first takes as
/// little as it can, the second as much. Two are the most (2200C).
pub fn similar_to_escape(pattern: &str, escape: &str) -> Result<String> {
    let mut escapes = escape.chars();
    let escape = escapes.next();
    if escapes.next().is_some() {
        let hint = "Escape string must be empty or one character.";
        return Err(Error::new(ErrorKind::InvalidEscape, "invalid escape string").hint(hint));
    }
    let mut regex = String::with_capacity(pattern.len() + 16);
    regex.push_str("^(?:");
    let mut brackets = Brackets::default();
    let (mut after_escape, mut separators) = (false, 0);
    for character in pattern.chars() {
        if after_escape {
            after_escape = false;
            if character == '"' && brackets.depth == 0 {
                regex.push_str(separator(separators)?);
                separators += 1;
            } else {
                regex.push('\\');
                regex.push(character);
                brackets.at_start = BracketStart::Inside;
            }
        } else if Some(character) == escape {
            after_escape = true;
        } else if brackets.depth > 0 {
            if character == '\\' {
                regex.push('\\');
            }
            regex.push(character);
            brackets.read(character);
        } else {
            if character == '[' {
                brackets = Brackets { depth: 1, at_start: BracketStart::Opened };
            }
            push_translated(&mut regex, character);
        }
    }
    regex.push_str(")$");
    Ok(regex)
}

/// Where in a bracket expression one is: a `]` that comes first does not end it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum BracketStart {
    Opened,
    /// After a `^` that came first.
    Negated,
    #[default]
    Inside,
}

/// The brackets that are open.
#[derive(Debug, Default)]
struct Brackets {
    depth: usize,
    at_start: BracketStart,
}

impl Brackets {
    fn read(&mut self, character: char) {
        match (character, self.at_start) {
            (']', BracketStart::Inside) => self.depth -= 1,
            ('[', _) => {
                self.depth += 1;
                self.at_start = BracketStart::Inside;
            }
            ('^', BracketStart::Opened) => self.at_start = BracketStart::Negated,
            _ => self.at_start = BracketStart::Inside,
        }
    }
}

/// What stands between two parts of a pattern, by how many there were before.
fn separator(before: usize) -> Result<&'static str> {
    match before {
        0 => Ok("){1,1}?("),
        1 => Ok("){1,1}(?:"),
        _ => {
            let message = "SQL regular expression may not contain more than two escape-double-quote separators";
            Err(Error::new(ErrorKind::InvalidUseOfEscape, message))
        }
    }
}

fn push_translated(regex: &mut String, character: char) {
    match character {
        '%' => regex.push_str(".*"),
        '_' => regex.push('.'),
        '(' => regex.push_str("(?:"),
        '\\' | '.' | '^' | '$' => {
            regex.push('\\');
            regex.push(character);
        }
        _ => regex.push(character),
    }
}

/// `substring(text SIMILAR pattern ESCAPE escape)`: the part between the two separators of the pattern, or all of a
/// text if it has none; NULL if the pattern does not match.
pub fn similar_substring(text: &str, pattern: &str, escape: &str) -> Result<Option<String>> {
    substring(text, &similar_to_escape(pattern, escape)?)
}
