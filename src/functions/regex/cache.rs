//! The regular expressions that a thread used last, ready to match.

use std::cell::RefCell;

use super::{compiled::CompiledRegex, flags::RegexFlags};
use crate::error::{Error, Result};

/// As many as PostgreSQL remembers.
const REGEXES_MAX: usize = 32;
/// How many bytes they may hold together, besides the last one.
const BYTES_MAX: usize = 32 << 20;

struct CachedRegex {
    pattern: Box<str>,
    flags: RegexFlags,
    regex: CompiledRegex,
}

thread_local! {
    /// The one that was used last comes first.
    static REGEXES: RefCell<Vec<CachedRegex>> = const { RefCell::new(Vec::new()) };
}

/// Matches with an expression, which is read only if none of the last ones was this. What is matched within must not
/// match with another one.
pub fn with_regex<T>(
    pattern: &str,
    flags: RegexFlags,
    matches: impl FnOnce(&mut CompiledRegex) -> Result<T>,
) -> Result<T> {
    REGEXES.with_borrow_mut(|regexes| {
        let found = regexes.iter().position(|cached| cached.flags == flags && *cached.pattern == *pattern);
        match found {
            Some(0) => {}
            Some(at) => {
                if let Some(used) = regexes.get_mut(..=at) {
                    used.rotate_right(1);
                }
            }
            None => {
                let regex = CompiledRegex::new(pattern, flags)?;
                make_room(regexes);
                regexes.insert(0, CachedRegex { pattern: pattern.into(), flags, regex });
            }
        }
        let first = regexes.first_mut().ok_or_else(|| Error::internal("no regular expression"))?;
        matches(&mut first.regex)
    })
}

/// Forgets those that were used longest ago, if they are too many or too large.
fn make_room(regexes: &mut Vec<CachedRegex>) {
    regexes.truncate(REGEXES_MAX - 1);
    let mut bytes = 0;
    let large = regexes.iter().position(|cached| {
        bytes += cached.pattern.len() + cached.regex.bytes();
        bytes > BYTES_MAX
    });
    if let Some(large) = large {
        regexes.truncate(large);
    }
}
