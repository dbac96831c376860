//! Functions that tell whether, where, and how often a regular expression matches: `~`, `regexp_match`, `regexp_count`
//! and others.

use super::{
    cache::with_regex,
    compiled::RegexSearch,
    dissect::{TextSpan, following},
    flags::{RegexFlags, RegexOptions, invalid_parameter, number_from, place_of},
};
use crate::error::{Error, ErrorKind, Result};

/// How many captures, or parts between matches, a result may have. PostgreSQL's limit is four times this.
const CAPTURES_MAX: usize = 1 << 25;

/// What was captured; NULL where nothing was.
pub type CapturedTexts = Vec<Option<String>>;

/// `text ~ pattern`.
pub fn matches(text: &str, pattern: &str) -> Result<bool> {
    with_regex(pattern, RegexFlags::ADVANCED, |regex| regex.on(text).is_match())
}

/// `text ~* pattern`.
pub fn matches_ignoring_case(text: &str, pattern: &str) -> Result<bool> {
    with_regex(pattern, RegexFlags::IGNORE_CASE, |regex| regex.on(text).is_match())
}

/// `regexp_like(text, pattern, flags)`.
pub fn regexp_like(text: &str, pattern: &str, flags: &str) -> Result<bool> {
    let options = RegexOptions::parse_without_global(flags, "regexp_like()")?;
    with_regex(pattern, options.flags, |regex| regex.on(text).is_match())
}

/// Calls for each match from a place on, until it is told to stop or they end. The next one begins where the last one
/// ended; after an empty one, a character later.
fn each_match(
    search: &mut RegexSearch<'_>,
    from: usize,
    with_groups: bool,
    mut found: impl FnMut(&RegexSearch<'_>, TextSpan) -> Result<bool>,
) -> Result<()> {
    let text = search.text();
    let mut from = from;
    while from <= text.len() {
        let Some((begin, end)) = search.find(from, with_groups)? else { return Ok(()) };
        if !found(search, (begin, end))? {
            return Ok(());
        }
        from = if begin == end { following(text, end) } else { end };
    }
    Ok(())
}

fn part(text: &str, (begin, end): TextSpan) -> String {
    text.get(begin..end).unwrap_or_default().to_string()
}

/// What a match captured, or all of it if there are no groups.
fn captured(search: &RegexSearch<'_>, whole: TextSpan) -> CapturedTexts {
    if search.group_count() == 0 {
        return vec![Some(part(search.text(), whole))];
    }
    search.groups().iter().map(|group| group.map(|span| part(search.text(), span))).collect()
}

/// `regexp_match(text, pattern, flags)`: what the first match captured; NULL if there is none.
pub fn regexp_match(text: &str, pattern: &str, flags: &str) -> Result<Option<CapturedTexts>> {
    let options = RegexOptions::parse_without_global(flags, "regexp_match()")
        .map_err(|error| with_hint(error, "Use the regexp_matches function instead."))?;
    with_regex(pattern, options.flags, |regex| {
        let mut search = regex.on(text);
        Ok(search.find(0, true)?.map(|span| captured(&search, span)))
    })
}

/// Adds what to do about an option that a function has no use for.
fn with_hint(error: Error, hint: &str) -> Error {
    if error.message().contains("does not support") { error.hint(hint) } else { error }
}

/// An error (54000) for a result that would not fit into memory.
fn limit_captures(count: usize) -> Result<()> {
    if count > CAPTURES_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, "too many regular expression matches"));
    }
    Ok(())
}

/// `regexp_matches(text, pattern, flags)`: what the first match captured, or each of them; a row each.
pub fn regexp_matches(text: &str, pattern: &str, flags: &str) -> Result<Vec<CapturedTexts>> {
    let options = RegexOptions::parse(flags)?;
    with_regex(pattern, options.flags, |regex| {
        let mut rows = Vec::new();
        each_match(&mut regex.on(text), 0, true, |search, span| {
            rows.push(captured(search, span));
            limit_captures(rows.len().saturating_mul(search.group_count().max(1)))?;
            Ok(options.global)
        })?;
        Ok(rows)
    })
}

/// The parts between matches. Empty matches at the start, at the end and right after another match do not count.
fn split(text: &str, pattern: &str, flags: RegexFlags) -> Result<Vec<String>> {
    with_regex(pattern, flags, |regex| {
        let mut parts = Vec::new();
        let (mut start, mut last_end) = (0, 0);
        each_match(&mut regex.on(text), 0, false, |_, (begin, end)| {
            if begin < text.len() && end > last_end {
                parts.push(part(text, (start, begin)));
                start = end;
                limit_captures(parts.len())?;
            }
            last_end = end;
            Ok(true)
        })?;
        parts.push(part(text, (start, text.len())));
        Ok(parts)
    })
}

/// `regexp_split_to_array(text, pattern, flags)`.
pub fn regexp_split_to_array(text: &str, pattern: &str, flags: &str) -> Result<Vec<String>> {
    split(text, pattern, RegexOptions::parse_without_global(flags, "regexp_split_to_array()")?.flags)
}

/// `regexp_split_to_table(text, pattern, flags)`: a row each.
pub fn regexp_split_to_table(text: &str, pattern: &str, flags: &str) -> Result<Vec<String>> {
    split(text, pattern, RegexOptions::parse_without_global(flags, "regexp_split_to_table()")?.flags)
}

/// `regexp_count(text, pattern, start, flags)`.
pub fn regexp_count(text: &str, pattern: &str, start: i32, flags: &str) -> Result<i32> {
    let start = number_from("start", start, 1)?;
    let options = RegexOptions::parse_without_global(flags, "regexp_count()")?;
    with_regex(pattern, options.flags, |regex| {
        let Some(from) = place_of(text, start) else { return Ok(0) };
        let mut count: i32 = 0;
        each_match(&mut regex.on(text), from, false, |_, _| {
            count = count.saturating_add(1);
            Ok(true)
        })?;
        Ok(count)
    })
}

/// Which match, and which of its groups, a function is about.
struct Selection {
    start: usize,
    /// Which of the matches, from 1 on.
    occurrence: usize,
    /// Which of the groups; 0 is all of the match.
    group: usize,
}

impl Selection {
    /// Where the selected part of the selected match is.
    fn find(&self, text: &str, pattern: &str, flags: RegexFlags) -> Result<Option<TextSpan>> {
        with_regex(pattern, flags, |regex| {
            let Some(from) = place_of(text, self.start) else { return Ok(None) };
            let mut found = None;
            let mut count = 0;
            each_match(&mut regex.on(text), from, self.group > 0, |search, span| {
                count += 1;
                if count < self.occurrence {
                    return Ok(true);
                }
                found = match self.group.checked_sub(1) {
                    None => Some(span),
                    // Without groups, all of the match counts as one.
                    Some(0) if search.group_count() == 0 => Some(span),
                    Some(group) => search.groups().get(group).copied().flatten(),
                };
                Ok(false)
            })?;
            Ok(found)
        })
    }
}

/// `regexp_instr(text, pattern, start, n, endoption, flags, subexpr)`: where the n-th match begins, or with 1 as
/// `endoption` what comes after it; 0 if there is none.
pub fn regexp_instr(
    text: &str,
    pattern: &str,
    (start, n, end_option): (i32, i32, i32),
    flags: &str,
    group: i32,
) -> Result<i32> {
    let start = number_from("start", start, 1)?;
    let occurrence = number_from("n", n, 1)?;
    if !matches!(end_option, 0 | 1) {
        return Err(invalid_parameter("endoption", end_option));
    }
    let group = number_from("subexpr", group, 0)?;
    let options = RegexOptions::parse_without_global(flags, "regexp_instr()")?;
    let found = Selection { start, occurrence, group }.find(text, pattern, options.flags)?;
    let Some((begin, end)) = found else { return Ok(0) };
    let before = text.get(..if end_option == 1 { end } else { begin }).unwrap_or_default().chars().count();
    i32::try_from(before + 1).map_err(|_| Error::new(ErrorKind::NumericOutOfRange, "integer out of range"))
}

/// `regexp_substr(text, pattern, start, n, flags, subexpr)`: the n-th match; NULL if there is none.
pub fn regexp_substr(
    text: &str,
    pattern: &str,
    (start, n): (i32, i32),
    flags: &str,
    group: i32,
) -> Result<Option<String>> {
    let start = number_from("start", start, 1)?;
    let occurrence = number_from("n", n, 1)?;
    let group = number_from("subexpr", group, 0)?;
    let options = RegexOptions::parse_without_global(flags, "regexp_substr()")?;
    let found = Selection { start, occurrence, group }.find(text, pattern, options.flags)?;
    Ok(found.map(|span| part(text, span)))
}

/// `substring(text, pattern)`: what the first group captured, or without groups all of the match; NULL if nothing.
pub fn substring(text: &str, pattern: &str) -> Result<Option<String>> {
    with_regex(pattern, RegexFlags::ADVANCED, |regex| {
        let mut search = regex.on(text);
        let Some(span) = search.find(0, true)? else { return Ok(None) };
        Ok(captured(&search, span).into_iter().next().flatten())
    })
}
