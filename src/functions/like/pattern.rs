//! A pattern of `LIKE`, read: what stands between its `%`s.

use memchr::memmem::Finder;

use crate::{
    error::{Error, ErrorKind, Result},
    functions::regex::ctype::to_lower,
};

/// What a pattern is matched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LikeForm {
    Text,
    /// Text in lower case, as the pattern then is too.
    LowerCase,
    Bytes,
}

/// What one character of a pattern, or several, stand for.
#[derive(Debug, PartialEq, Eq)]
enum LikeElement {
    Literal(Vec<u8>),
    /// So many characters.
    Any(usize),
}

/// What stands between two `%`s.
#[derive(Debug, Default)]
struct LikeSegment {
    /// Characters of any kind that come first.
    skipped: usize,
    /// What follows them; a literal comes first.
    elements: Vec<LikeElement>,
    /// Finds the first literal.
    finder: Option<Finder<'static>>,
}

/// How far a segment matches from a place on.
enum SegmentMatch {
    /// All of it, up to this place.
    Until(usize),
    /// The text ended before.
    TextEnds,
    Fails,
}

/// What most patterns are: a literal with `%` before it, after it, or both.
#[derive(Debug, Clone, Copy)]
pub enum LikeShape<'a> {
    Equals(&'a [u8]),
    StartsWith(&'a [u8]),
    EndsWith(&'a [u8]),
    Contains(&'a Finder<'static>),
    Everything,
}

/// A pattern of `LIKE`.
#[derive(Debug)]
pub struct LikePattern {
    /// Never empty.
    segments: Vec<LikeSegment>,
    /// Whether it ends with its escape.
    is_dangling: bool,
    is_text: bool,
}

fn dangling_escape() -> Error {
    Error::new(ErrorKind::InvalidEscape, "LIKE pattern must not end with escape character")
}

/// The length of the character that starts with a byte, in valid UTF-8.
fn length_from(first: u8) -> usize {
    match first {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

impl LikeSegment {
    /// Its characters, if it has no wildcards.
    fn literal(&self) -> Option<&[u8]> {
        match self.elements.as_slice() {
            [] if self.skipped == 0 => Some(&[]),
            [LikeElement::Literal(literal)] if self.skipped == 0 => Some(literal),
            _ => None,
        }
    }

    fn push_any(&mut self) {
        match self.elements.last_mut() {
            None => self.skipped += 1,
            Some(LikeElement::Any(count)) => *count += 1,
            Some(LikeElement::Literal(_)) => self.elements.push(LikeElement::Any(1)),
        }
    }

    fn push_literal(&mut self, character: &[u8]) {
        match self.elements.last_mut() {
            Some(LikeElement::Literal(literal)) => literal.extend_from_slice(character),
            _ => self.elements.push(LikeElement::Literal(character.to_vec())),
        }
    }

    fn prepare(&mut self) {
        if let Some(LikeElement::Literal(literal)) = self.elements.first() {
            self.finder = Some(Finder::new(literal).into_owned());
        }
    }
}

impl LikePattern {
    /// Reads a pattern.
    pub fn new(pattern: &[u8], escape: Option<char>, form: LikeForm) -> Self {
        let is_text = form != LikeForm::Bytes;
        let mut encoded = [0; 4];
        let escape: Option<&[u8]> = match (escape, is_text) {
            (None, _) => None,
            (Some(escape), true) => Some(escape.encode_utf8(&mut encoded).as_bytes()),
            (Some(escape), false) => {
                encoded = [u8::try_from(escape).unwrap_or_default(); 4];
                encoded.get(..1)
            }
        };
        let mut segments = Vec::new();
        let mut segment = LikeSegment::default();
        let mut after_escape = false;
        let mut rest = pattern;
        while let Some(first) = rest.first() {
            let length = if is_text { length_from(*first) } else { 1 };
            let (character, after) = rest.split_at(length.min(rest.len()));
            rest = after;
            if !after_escape && Some(character) == escape {
                after_escape = true;
                continue;
            }
            match character {
                b"%" if !after_escape => segments.push(std::mem::take(&mut segment)),
                b"_" if !after_escape => segment.push_any(),
                _ if form == LikeForm::LowerCase => {
                    let lowered: String = String::from_utf8_lossy(character).chars().map(to_lower).collect();
                    segment.push_literal(lowered.as_bytes());
                }
                _ => segment.push_literal(character),
            }
            after_escape = false;
        }
        segments.push(segment);
        segments.iter_mut().for_each(LikeSegment::prepare);
        LikePattern { segments, is_dangling: after_escape, is_text }
    }

    /// What the pattern is, if it is a simple one. No text makes such a pattern an error.
    pub fn shape(&self) -> Option<LikeShape<'_>> {
        if self.is_dangling {
            return None;
        }
        match self.segments.as_slice() {
            [only] => only.literal().map(LikeShape::Equals),
            [first, last] => match (first.literal()?, last.literal()?) {
                ([], []) => Some(LikeShape::Everything),
                (literal, []) => Some(LikeShape::StartsWith(literal)),
                ([], literal) => Some(LikeShape::EndsWith(literal)),
                _ => None,
            },
            [first, middle, last] if first.literal()?.is_empty() && last.literal()?.is_empty() => {
                match (middle.literal()?, &middle.finder) {
                    (_, Some(finder)) => Some(LikeShape::Contains(finder)),
                    ([], None) => Some(LikeShape::Everything),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether all of a text, or of bytes, is as the pattern says.
    pub fn matches(&self, text: &[u8]) -> Result<bool> {
        if self.is_dangling {
            return if self.reaches_end(text) { Err(dangling_escape()) } else { Ok(false) };
        }
        let Some((last, others)) = self.segments.split_last() else { return Ok(false) };
        let Some((first, middle)) = others.split_first() else {
            return Ok(matches!(self.match_at(last, text, 0), SegmentMatch::Until(end) if end == text.len()));
        };
        let SegmentMatch::Until(mut at) = self.match_at(first, text, 0) else { return Ok(false) };
        for segment in middle {
            match self.find(segment, text, at) {
                SegmentMatch::Until(end) => at = end,
                _ => return Ok(false),
            }
        }
        Ok(self.start_of_last(last, text).is_some_and(|start| at <= start))
    }

    /// Skips so many characters.
    fn skip(&self, text: &[u8], at: usize, count: usize) -> Option<usize> {
        let mut at = at;
        for _ in 0..count {
            let first = text.get(at)?;
            at += if self.is_text { length_from(*first) } else { 1 };
        }
        (at <= text.len()).then_some(at)
    }

    /// Matches a segment that begins at a place.
    fn match_at(&self, segment: &LikeSegment, text: &[u8], at: usize) -> SegmentMatch {
        match self.skip(text, at, segment.skipped) {
            Some(after) => self.match_elements(&segment.elements, text, after),
            None => SegmentMatch::TextEnds,
        }
    }

    fn match_elements(&self, elements: &[LikeElement], text: &[u8], at: usize) -> SegmentMatch {
        let mut at = at;
        for element in elements {
            let rest = text.get(at..).unwrap_or_default();
            match element {
                LikeElement::Literal(literal) if rest.starts_with(literal) => at += literal.len(),
                LikeElement::Literal(literal) if literal.starts_with(rest) => return SegmentMatch::TextEnds,
                LikeElement::Literal(_) => return SegmentMatch::Fails,
                LikeElement::Any(count) => match self.skip(text, at, *count) {
                    Some(after) => at = after,
                    None => return SegmentMatch::TextEnds,
                },
            }
        }
        SegmentMatch::Until(at)
    }

    /// Matches a segment that begins at a place or after it, as early as it can.
    fn find(&self, segment: &LikeSegment, text: &[u8], from: usize) -> SegmentMatch {
        let Some(mut from) = self.skip(text, from, segment.skipped) else { return SegmentMatch::TextEnds };
        let Some(finder) = &segment.finder else { return SegmentMatch::Until(from) };
        while let Some(ahead) = text.get(from..).and_then(|rest| finder.find(rest)) {
            match self.match_elements(&segment.elements, text, from + ahead) {
                SegmentMatch::Fails => from = self.skip(text, from + ahead, 1).unwrap_or(text.len()),
                ended => return ended,
            }
        }
        SegmentMatch::TextEnds
    }

    /// Where a segment begins that matches up to the end of a text.
    fn start_of_last(&self, segment: &LikeSegment, text: &[u8]) -> Option<usize> {
        let mut rest = text;
        for element in segment.elements.iter().rev() {
            rest = match element {
                LikeElement::Literal(literal) => rest.strip_suffix(literal.as_slice())?,
                LikeElement::Any(count) => self.without_last(rest, *count)?,
            };
        }
        Some(self.without_last(rest, segment.skipped)?.len())
    }

    /// A text less so many characters at its end.
    fn without_last<'t>(&self, text: &'t [u8], count: usize) -> Option<&'t [u8]> {
        let mut rest = text;
        for _ in 0..count {
            loop {
                let (last, before) = rest.split_last()?;
                rest = before;
                let is_inside = self.is_text && (0x80..0xc0).contains(last);
                if !is_inside {
                    break;
                }
            }
        }
        Some(rest)
    }

    /// Whether a text has something left where the pattern has nothing but its escape, as PostgreSQL looks.
    fn reaches_end(&self, text: &[u8]) -> bool {
        let Some((first, others)) = self.segments.split_first() else { return false };
        let SegmentMatch::Until(mut at) = self.match_at(first, text, 0) else { return false };
        let mut follows_literal = true;
        for segment in others {
            // Where the text ends, a wildcard after a literal is not looked at.
            if follows_literal && at >= text.len() {
                return false;
            }
            follows_literal = !segment.elements.is_empty();
            match self.find(segment, text, at) {
                SegmentMatch::Until(_) if !follows_literal && self.is_last(segment) => return true,
                SegmentMatch::Until(end) => at = end,
                _ => return false,
            }
        }
        at < text.len()
    }

    fn is_last(&self, segment: &LikeSegment) -> bool {
        self.segments.last().is_some_and(|last| std::ptr::eq(last, segment))
    }
}
