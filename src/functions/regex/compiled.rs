//! A regular expression that is ready to match texts.

use super::{
    automata::Automata,
    dissect::{Dissection, TextSpan, following, previous},
    fault::RegexFault,
    flags::RegexFlags,
    node::{NodeFlags, RegexNode},
    parser,
};
use crate::error::Result;

/// How many states the automata of the whole and of its assertions may need together.
const STATES_MAX: usize = 500_000;
/// What a state costs besides what automata hold, in bytes.
const STATE_BYTES: usize = 64;

/// A regular expression that is ready to match texts. It learns from each how to match the next faster.
pub struct CompiledRegex {
    root: RegexNode,
    automata: Automata,
    groups: Vec<Option<TextSpan>>,
    ignore_case: bool,
    /// Whether it matches at the start of a text only.
    is_anchored: bool,
    states: usize,
}

impl CompiledRegex {
    /// Reads an expression; if it is none, the error is 2201B.
    pub fn new(pattern: &str, flags: RegexFlags) -> Result<Self, RegexFault> {
        let parsed = parser::parse(pattern, flags)?;
        let mut root = parsed.root;
        let mut languages = Vec::new();
        let first = parsed.arounds.len();
        root.number(first, &mut languages);
        let is_anchored = root.language.is_anchored(&parsed.sets);
        let of_arounds: usize = parsed.arounds.iter().map(|(language, _)| language.states()).sum();
        let states = of_arounds + root.language.states();
        if states > STATES_MAX {
            return Err(RegexFault::TooComplex);
        }
        let automata = Automata::new(parsed.arounds, languages, &parsed.sets)?;
        let groups = vec![None; parsed.groups as usize];
        Ok(CompiledRegex { root, automata, groups, ignore_case: parsed.ignore_case, is_anchored, states })
    }

    /// How many bytes it costs to keep, about.
    pub fn bytes(&self) -> usize {
        self.automata.bytes() + self.states * STATE_BYTES
    }

    /// How many groups it captures.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Begins to match a text.
    pub fn on<'a>(&'a mut self, text: &'a str) -> RegexSearch<'a> {
        self.automata.begin_text(text);
        RegexSearch { regex: self, text }
    }
}

/// A text in which matches are looked for.
pub struct RegexSearch<'a> {
    regex: &'a mut CompiledRegex,
    text: &'a str,
}

impl<'a> RegexSearch<'a> {
    pub fn text(&self) -> &'a str {
        self.text
    }

    pub fn group_count(&self) -> usize {
        self.regex.group_count()
    }

    /// What the groups of the last match captured.
    pub fn groups(&self) -> &[Option<TextSpan>] {
        &self.regex.groups
    }

    fn refers_back(&self) -> bool {
        self.regex.root.flags.has(NodeFlags::REFERS_BACK)
    }

    /// Whether it matches anywhere in the text.
    pub fn is_match(&mut self) -> Result<bool> {
        if self.refers_back() || self.regex.is_anchored {
            return Ok(self.find(0, false)?.is_some());
        }
        Ok(self.regex.automata.search(self.text, 0)?.is_some())
    }

    /// The first match that begins at a place or after it; what its groups captured only if asked for.
    pub fn find(&mut self, from: usize, with_groups: bool) -> Result<Option<TextSpan>> {
        let text = self.text;
        let (refers_back, is_anchored) = (self.refers_back(), self.regex.is_anchored);
        let mut from = from;
        loop {
            let (mut begin, close) = match is_anchored {
                true if from > 0 => return Ok(None),
                true => (0, 0),
                false => match self.regex.automata.search(text, from)? {
                    Some(range) => range,
                    None => return Ok(None),
                },
            };
            while begin <= close {
                if let Some(end) = self.match_at(begin, refers_back)? {
                    if with_groups && !refers_back && self.group_count() > 0 {
                        self.dissect(begin, end)?;
                    }
                    return Ok(Some((begin, end)));
                }
                begin = following(text, begin);
            }
            // As in PostgreSQL, a match at the very end is not looked for if one before it failed.
            from = following(text, close);
            if from >= text.len() {
                return Ok(None);
            }
        }
    }

    /// The end of the match that begins at a place.
    fn match_at(&mut self, begin: usize, refers_back: bool) -> Result<Option<usize>> {
        let text = self.text;
        let whole = self.regex.root.automaton;
        let shortest = self.regex.root.prefers_shortest();
        let (mut from, mut stop) = (begin, text.len());
        loop {
            let automata = &mut self.regex.automata;
            let end = match shortest {
                true => automata.shortest(whole, text, begin, from, stop)?,
                false => automata.longest(whole, text, begin, stop)?,
            };
            let Some(end) = end else { return Ok(None) };
            if !refers_back || self.dissect(begin, end)? {
                return Ok(Some(end));
            }
            if shortest && end < stop {
                from = following(text, end);
            } else if !shortest && end > begin {
                stop = previous(text, end);
            } else {
                return Ok(None);
            }
        }
    }

    fn dissect(&mut self, begin: usize, end: usize) -> Result<bool> {
        let regex = &mut *self.regex;
        regex.groups.fill(None);
        let mut dissection = Dissection {
            automata: &mut regex.automata,
            text: self.text,
            groups: &mut regex.groups,
            ignore_case: regex.ignore_case,
        };
        dissection.dissect(&regex.root, begin, end)
    }
}
