//! `regexp_replace`: other text in the place of matches.

use super::{
    cache::with_regex,
    compiled::RegexSearch,
    dissect::{TextSpan, following},
    flags::{RegexFlags, RegexOptions, number_from, place_of, unknown_option},
};
use crate::error::{Error, ErrorKind, Result};

/// As long as a value may be, in bytes.
const LENGTH_MAX: usize = 0x3fff_ffff - 4;

/// `regexp_replace(text, pattern, replacement)`: the first match.
pub fn regexp_replace(text: &str, pattern: &str, replacement: &str) -> Result<String> {
    replace(text, pattern, replacement, RegexFlags::ADVANCED, (1, 1))
}

/// `regexp_replace(text, pattern, replacement, flags)`: the first match, or with `g` all.
pub fn regexp_replace_with_flags(text: &str, pattern: &str, replacement: &str, flags: &str) -> Result<String> {
    if let Some(digit) = flags.chars().next().filter(char::is_ascii_digit) {
        return Err(unknown_option(digit).hint(
            "If you meant to use regexp_replace() with a start parameter, cast the fourth argument to integer \
             explicitly.",
        ));
    }
    let options = RegexOptions::parse(flags)?;
    replace(text, pattern, replacement, options.flags, (1, usize::from(!options.global)))
}

/// `regexp_replace(text, pattern, replacement, start, n, flags)`: from the character `start` on, the n-th match, or
/// with 0 all.
pub fn regexp_replace_from(
    text: &str,
    pattern: &str,
    replacement: &str,
    (start, n): (i32, i32),
    flags: &str,
) -> Result<String> {
    let start = number_from("start", start, 1)?;
    let occurrence = number_from("n", n, 0)?;
    let options = RegexOptions::parse(flags)?;
    replace(text, pattern, replacement, options.flags, (start, occurrence))
}

/// A piece of a replacement.
#[derive(Debug, PartialEq, Eq)]
enum ReplacementPiece<'a> {
    Text(&'a str),
    Match,
    Group(usize),
}

/// Reads a replacement: `\1` to `\9` are groups, `\&` is the match, `\\` a backslash; another one stands for itself.
fn pieces(replacement: &str) -> Vec<ReplacementPiece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('\\') {
        if !before.is_empty() {
            pieces.push(ReplacementPiece::Text(before));
        }
        let (piece, length) = match after.as_bytes().first() {
            Some(digit @ b'1'..=b'9') => (ReplacementPiece::Group(usize::from(digit - b'0')), 1),
            Some(b'&') => (ReplacementPiece::Match, 1),
            Some(b'\\') => (ReplacementPiece::Text("\\"), 1),
            _ => (ReplacementPiece::Text("\\"), 0),
        };
        pieces.push(piece);
        rest = after.get(length..).unwrap_or_default();
    }
    if !rest.is_empty() {
        pieces.push(ReplacementPiece::Text(rest));
    }
    pieces
}

fn push(result: &mut String, piece: &str) -> Result<()> {
    if result.len() + piece.len() > LENGTH_MAX {
        let detail =
            format!("Cannot enlarge string buffer containing {} bytes by {} more bytes.", result.len(), piece.len());
        return Err(Error::new(ErrorKind::LimitExceeded, "out of memory").detail(detail));
    }
    result.push_str(piece);
    Ok(())
}

fn push_replacement(
    result: &mut String,
    pieces: &[ReplacementPiece<'_>],
    search: &RegexSearch<'_>,
    whole: TextSpan,
) -> Result<()> {
    for piece in pieces {
        let span = match piece {
            ReplacementPiece::Text(text) => {
                push(result, text)?;
                continue;
            }
            ReplacementPiece::Match => Some(whole),
            ReplacementPiece::Group(number) => search.groups().get(number - 1).copied().flatten(),
        };
        if let Some((begin, end)) = span {
            push(result, search.text().get(begin..end).unwrap_or_default())?;
        }
    }
    Ok(())
}

/// Replaces matches from a character on: the `occurrence`-th one, or with 0 all.
fn replace(
    text: &str,
    pattern: &str,
    replacement: &str,
    flags: RegexFlags,
    (start, occurrence): (usize, usize),
) -> Result<String> {
    with_regex(pattern, flags, |regex| {
        let Some(mut from) = place_of(text, start) else { return Ok(text.to_string()) };
        let pieces = pieces(replacement);
        let with_groups = pieces.iter().any(|piece| matches!(piece, ReplacementPiece::Group(_)));
        let mut search = regex.on(text);
        let mut result = String::with_capacity(text.len());
        let (mut copied, mut count) = (0, 0);
        while from <= text.len() {
            let Some((begin, end)) = search.find(from, with_groups)? else { break };
            count += 1;
            if occurrence == 0 || count == occurrence {
                push(&mut result, text.get(copied..begin).unwrap_or_default())?;
                push_replacement(&mut result, &pieces, &search, (begin, end))?;
                copied = end;
                if occurrence > 0 {
                    break;
                }
            }
            from = if begin == end { following(text, end) } else { end };
        }
        push(&mut result, text.get(copied..).unwrap_or_default())?;
        Ok(result)
    })
}
