//! The automata of an expression and of its parts, run over a text.

use std::rc::Rc;

use memchr::memmem::Finder;

use super::{
    colors::ColorMap,
    dfa::{AroundId, DEAD, Dfa, DfaStep},
    fault::RegexFault,
    language::{Language, SetRegistry},
    nfa::Nfa,
};
use crate::error::{Error, ErrorKind, Result};

/// What all automata of an expression may hold together, in bytes, and what each may at least.
const BYTES_MAX: usize = 4 << 20;
const BYTES_MIN: usize = 16 << 10;
/// At this size, automata are forgotten: an expression of many parts has many.
const BUILT_MAX: usize = 64 << 20;
/// Characters that may be read for one text, over those that it has: parts are tried again and again.
const STEPS: u64 = 1_000_000_000;
const STEPS_PER_BYTE: u64 = 64;
/// How many of them take as long as to begin to read.
const STEPS_PER_RUN: u64 = 16;
/// How many of them take as long as to look at one state of an automaton that is not deterministic.
const STEPS_PER_VISIT: u64 = 4;
/// How much of an automaton is made in the time of one of them, in bytes.
const BYTES_PER_STEP: u64 = 4;

/// The automaton of a part, once it is needed.
struct LazyDfa {
    language: Rc<Language>,
    searches: bool,
    dfa: Option<Box<Dfa>>,
}

/// The automata of an expression: those of its assertions, of its parts, and one that searches.
pub struct Automata {
    colors: ColorMap,
    dfas: Vec<LazyDfa>,
    bytes_each: usize,
    /// What every match starts with.
    prefix: Option<Finder<'static>>,
    /// Whether that is all of it.
    is_literal: bool,
    /// What may still be read.
    steps: u64,
    /// Bytes that the automata made so far may hold together.
    built: usize,
}

fn no_such_automaton() -> Error {
    Error::internal("no such automaton")
}

impl Automata {
    /// `arounds` are numbered as assertions name them; the first of `parts`, which come next, is the whole.
    pub fn new(
        arounds: Vec<(Rc<Language>, bool)>,
        parts: Vec<Rc<Language>>,
        sets: &SetRegistry,
    ) -> Result<Self, RegexFault> {
        let mut prefix = String::new();
        let whole = parts.first().cloned().unwrap_or_else(Language::empty);
        let is_literal = whole.push_prefix(sets, &mut prefix);
        let prefix = (!prefix.is_empty()).then(|| Finder::new(&prefix).into_owned());
        let around = |(language, ahead): (Rc<Language>, bool)| LazyDfa { language, searches: !ahead, dfa: None };
        let part = |language: Rc<Language>| LazyDfa { language, searches: false, dfa: None };
        let mut dfas: Vec<LazyDfa> = arounds.into_iter().map(around).chain(parts.into_iter().map(part)).collect();
        dfas.push(LazyDfa { language: whole, searches: true, dfa: None });
        let bytes_each = (BYTES_MAX / dfas.len()).max(BYTES_MIN);
        Ok(Automata { colors: ColorMap::new(sets.sets())?, dfas, bytes_each, prefix, is_literal, steps: 0, built: 0 })
    }

    /// Forgets what was learnt of another text, and sets how much may be read of this one.
    pub fn begin_text(&mut self, text: &str) {
        self.steps = STEPS + STEPS_PER_BYTE * text.len() as u64;
        for dfa in self.dfas.iter_mut().filter_map(|lazy| lazy.dfa.as_mut()) {
            dfa.progress = None;
        }
    }

    /// How many bytes they hold.
    pub fn bytes(&self) -> usize {
        self.dfas.iter().filter_map(|lazy| lazy.dfa.as_ref()).map(|dfa| dfa.bytes()).sum()
    }

    /// Runs an automaton, which may need others for its assertions.
    fn with<T>(&mut self, index: usize, run: impl FnOnce(&mut Self, &mut Dfa) -> Result<T>) -> Result<T> {
        let lazy = self.dfas.get_mut(index).ok_or_else(no_such_automaton)?;
        let mut dfa = match lazy.dfa.take() {
            Some(dfa) => dfa,
            None => self.build(index)?,
        };
        let result = run(self, &mut dfa);
        if let Some(lazy) = self.dfas.get_mut(index) {
            lazy.dfa = Some(dfa);
        }
        result
    }

    /// Makes an automaton; if all together became too large, the others are forgotten.
    fn build(&mut self, index: usize) -> Result<Box<Dfa>> {
        let lazy = self.dfas.get(index).ok_or_else(no_such_automaton)?;
        let dfa = Box::new(Dfa::new(Nfa::new(&lazy.language, lazy.searches)?, &self.colors, self.bytes_each));
        let bytes = dfa.bytes() + self.bytes_each;
        self.built += bytes;
        if self.built > BUILT_MAX {
            self.dfas.iter_mut().for_each(|lazy| lazy.dfa = None);
            self.built = bytes;
        }
        self.spend(bytes as u64 / BYTES_PER_STEP)?;
        Ok(dfa)
    }

    /// Counts what was read at once.
    pub fn count_steps(&mut self, from: usize, to: usize) -> Result<()> {
        self.spend((to - from.min(to)) as u64 + STEPS_PER_RUN)
    }

    /// Stops what would take too long.
    fn spend(&mut self, steps: u64) -> Result<()> {
        self.steps = self.steps.checked_sub(steps).ok_or_else(|| {
            let message = "regular expression failed: regular expression is too complex";
            Error::new(ErrorKind::InvalidRegularExpression, message)
        })?;
        Ok(())
    }

    #[inline]
    fn step(&mut self, dfa: &mut Dfa, state: u32, color: usize, text: &str, at: usize) -> Result<DfaStep> {
        match dfa.known_step(state, color) {
            Some(step) => Ok(step),
            None => self.slow_step(dfa, state, color, text, at),
        }
    }

    #[cold]
    fn slow_step(&mut self, dfa: &mut Dfa, state: u32, color: usize, text: &str, at: usize) -> Result<DfaStep> {
        let mut decided = Vec::new();
        loop {
            let step = dfa.step(state, color, &self.colors, &decided);
            self.spend(dfa.take_visits() * STEPS_PER_VISIT)?;
            match step {
                Ok(step) => return Ok(step),
                Err(around) => decided.push((around, self.finds_around(around, text, at)?)),
            }
        }
    }

    /// Whether what an assertion looks for is there.
    fn finds_around(&mut self, (index, ahead): AroundId, text: &str, at: usize) -> Result<bool> {
        if ahead {
            return Ok(self.shortest(index, text, at, at, text.len())?.is_some());
        }
        self.with(index, |automata, dfa| automata.ends_at(dfa, text, at))
    }

    /// Whether a match ends at a place.
    fn ends_at(&mut self, dfa: &mut Dfa, text: &str, end: usize) -> Result<bool> {
        let (mut at, mut state) = match dfa.progress.filter(|(at, _)| *at <= end) {
            Some(progress) => progress,
            None => (0, dfa.start(None)),
        };
        self.count_steps(at, end)?;
        loop {
            let (color, length) = self.colors.at(text, at);
            if at >= end {
                return Ok(self.step(dfa, state, color, text, at)?.accepts());
            }
            state = self.step(dfa, state, color, text, at)?.next();
            at += length;
            dfa.progress = Some((at, state));
        }
    }

    /// The end of the longest match from `start` that ends at `stop` or before.
    pub fn longest(&mut self, index: usize, text: &str, start: usize, stop: usize) -> Result<Option<usize>> {
        self.with(index, |automata, dfa| {
            let mut state = dfa.start(automata.colors.before(text, start));
            let mut at = start;
            let mut found = None;
            loop {
                let (color, length) = automata.colors.at(text, at);
                let step = automata.step(dfa, state, color, text, at)?;
                if step.accepts() {
                    found = Some(at);
                }
                state = step.next();
                if at >= stop || state == DEAD {
                    automata.count_steps(start, at)?;
                    return Ok(found);
                }
                at += length;
            }
        })
    }

    /// The end of the shortest match from `start` that ends at `from` or after it, and at `stop` or before.
    pub fn shortest(
        &mut self,
        index: usize,
        text: &str,
        start: usize,
        from: usize,
        stop: usize,
    ) -> Result<Option<usize>> {
        self.with(index, |automata, dfa| {
            let mut state = dfa.start(automata.colors.before(text, start));
            let mut at = start;
            loop {
                let (color, length) = automata.colors.at(text, at);
                let step = automata.step(dfa, state, color, text, at)?;
                let found = step.accepts() && at >= from;
                state = step.next();
                if found || at >= stop || state == DEAD {
                    automata.count_steps(start, at)?;
                    return Ok(found.then_some(at));
                }
                at += length;
            }
        })
    }

    /// Whether what is between two places is a match.
    pub fn matches(&mut self, index: usize, text: &str, start: usize, end: usize) -> Result<bool> {
        Ok(self.longest(index, text, start, end)? == Some(end))
    }

    /// The first place from `from` on where a match of the whole ends, and one from which on it must have begun.
    pub fn search(&mut self, text: &str, from: usize) -> Result<Option<(usize, usize)>> {
        if self.is_literal
            && let Some(literal) = &self.prefix
        {
            let found = literal.find(text.as_bytes().get(from..).unwrap_or_default());
            return Ok(found.map(|ahead| (from + ahead, from + ahead + literal.needle().len())));
        }
        let index = self.dfas.len() - 1;
        self.with(index, |automata, dfa| {
            let mut state = dfa.start(automata.colors.before(text, from));
            let (mut at, mut open, mut is_fresh) = (from, from, true);
            loop {
                if is_fresh {
                    if let Some(prefix) = &automata.prefix {
                        let rest = text.as_bytes().get(at..).unwrap_or_default();
                        let Some(ahead) = prefix.find(rest) else { return Ok(None) };
                        if ahead > 0 {
                            at += ahead;
                            state = dfa.start(automata.colors.before(text, at));
                        }
                    }
                    open = at;
                }
                let (color, length) = automata.colors.at(text, at);
                let step = automata.step(dfa, state, color, text, at)?;
                if step.accepts() {
                    return Ok(Some((open, at)));
                }
                if length == 0 {
                    return Ok(None);
                }
                state = step.next();
                is_fresh = step.is_fresh();
                at += length;
            }
        })
    }
}
