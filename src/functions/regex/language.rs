//! What a part of a regular expression matches, less what it captures: sets of characters, one after the other, in
//! turn, or repeated, and assertions about a place.

use std::{collections::HashMap, rc::Rc};

use super::{character_set::CharacterSet, fault::RegexFault};

/// How deep parts may lie in each other: what walks them recurses.
const DEPTH_MAX: u32 = 500;
/// How many characters an automaton may read one after the other: about where PostgreSQL's limit is.
const LENGTH_MAX: usize = 43_500;
/// How many it may read one after the other or in turn.
const STATES_MAX: usize = 250_000;
/// How many ranges all sets of an expression may have.
const RANGES_MAX: usize = 1_000_000;

/// A set of characters, by its place in [`SetRegistry`].
pub type SetId = u32;

/// The sets of an expression, each once.
pub struct SetRegistry {
    sets: Vec<CharacterSet>,
    ids: HashMap<CharacterSet, SetId>,
    /// How many ranges the sets have.
    ranges: usize,
}

impl SetRegistry {
    /// The set of all characters.
    pub const ALL: SetId = 0;

    pub fn new() -> Self {
        let mut registry = SetRegistry { sets: Vec::new(), ids: HashMap::new(), ranges: 0 };
        registry.intern(CharacterSet::all());
        registry
    }

    pub fn intern(&mut self, set: CharacterSet) -> SetId {
        let next = self.sets.len() as SetId;
        let (sets, ranges) = (&mut self.sets, &mut self.ranges);
        *self.ids.entry(set).or_insert_with_key(|set| {
            sets.push(set.clone());
            *ranges += set.ranges().len();
            next
        })
    }

    pub fn get(&self, id: SetId) -> Option<&CharacterSet> {
        self.sets.get(id as usize)
    }

    /// Whether the sets take more memory than an expression should.
    pub fn is_too_large(&self) -> bool {
        self.ranges > RANGES_MAX
    }

    pub fn sets(&self) -> &[CharacterSet] {
        &self.sets
    }
}

/// What must hold at a place between two characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Assertion {
    /// The character before it is of a set; or there is none, if that counts.
    Behind { set: SetId, or_edge: bool },
    /// The character after it is of a set; or there is none, if that counts.
    Ahead { set: SetId, or_edge: bool },
    /// An expression matches, or does not, up to it or from it on.
    Around { index: usize, ahead: bool, negated: bool },
}

#[derive(Debug)]
pub enum LanguageKind {
    Empty,
    Set(SetId),
    Assertion(Assertion),
    Sequence(Vec<Rc<Language>>),
    Alternatives(Vec<Rc<Language>>),
    /// From `min` to `max` times; without `max`, any number of times.
    Repeat {
        of: Rc<Language>,
        min: u32,
        max: Option<u32>,
    },
}

/// A set of strings, and where they may stand.
#[derive(Debug)]
pub struct Language {
    kind: LanguageKind,
    /// States that its automaton needs, less those that read nothing.
    states: usize,
    /// States that follow each other at most, without those that repeat.
    length: usize,
    depth: u32,
    has_assertions: bool,
}

impl Language {
    pub fn kind(&self) -> &LanguageKind {
        &self.kind
    }

    /// How many states its automaton needs, less those that read nothing.
    pub fn states(&self) -> usize {
        self.states
    }

    pub fn empty() -> Rc<Language> {
        Rc::new(Language { kind: LanguageKind::Empty, states: 0, length: 0, depth: 0, has_assertions: false })
    }

    pub fn set(set: SetId) -> Rc<Language> {
        Rc::new(Language { kind: LanguageKind::Set(set), states: 1, length: 1, depth: 0, has_assertions: false })
    }

    pub fn assertion(assertion: Assertion) -> Rc<Language> {
        let kind = LanguageKind::Assertion(assertion);
        Rc::new(Language { kind, states: 1, length: 1, depth: 0, has_assertions: true })
    }

    fn compound(
        kind: LanguageKind,
        parts: &[Rc<Language>],
        (states, length): (usize, usize),
    ) -> Result<Rc<Language>, RegexFault> {
        let depth = parts.iter().map(|part| part.depth + 1).max().unwrap_or_default();
        if states > STATES_MAX || length > LENGTH_MAX || depth > DEPTH_MAX {
            return Err(RegexFault::TooComplex);
        }
        let has_assertions = parts.iter().any(|part| part.has_assertions);
        Ok(Rc::new(Language { kind, states, length, depth, has_assertions }))
    }

    /// One part after the other.
    pub fn sequence(mut parts: Vec<Rc<Language>>) -> Result<Rc<Language>, RegexFault> {
        match (parts.pop(), parts.is_empty()) {
            (None, _) => Ok(Language::empty()),
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                // A long row of parts is no deep one.
                match &last.kind {
                    LanguageKind::Sequence(more) => parts.extend(more.iter().cloned()),
                    _ => parts.push(last),
                }
                let states = parts.iter().map(|part| part.states).sum();
                let length = parts.iter().map(|part| part.length).sum();
                Language::compound(LanguageKind::Sequence(parts.clone()), &parts, (states, length))
            }
        }
    }

    /// Any of the parts.
    pub fn alternatives(parts: Vec<Rc<Language>>) -> Result<Rc<Language>, RegexFault> {
        let states = parts.iter().map(|part| part.states).sum();
        let length = parts.iter().map(|part| part.length).max().unwrap_or_default();
        Language::compound(LanguageKind::Alternatives(parts.clone()), &parts, (states, length))
    }

    /// A part from `min` to `max` times.
    pub fn repeat(of: Rc<Language>, min: u32, max: Option<u32>) -> Result<Rc<Language>, RegexFault> {
        if (min, max) == (1, Some(1)) {
            return Ok(of);
        }
        let copies = max.unwrap_or(min).max(1) as usize;
        let states = of.states.max(1).saturating_mul(copies);
        let length = of.length.max(1).saturating_mul(copies);
        let parts = [Rc::clone(&of)];
        Language::compound(LanguageKind::Repeat { of, min, max }, &parts, (states, length))
    }

    /// The same strings, wherever they stand.
    pub fn without_assertions(self: &Rc<Language>) -> Result<Rc<Language>, RegexFault> {
        if !self.has_assertions {
            return Ok(Rc::clone(self));
        }
        let each =
            |parts: &[Rc<Language>]| parts.iter().map(Language::without_assertions).collect::<Result<Vec<_>, _>>();
        match &self.kind {
            LanguageKind::Empty | LanguageKind::Set(_) => Ok(Rc::clone(self)),
            LanguageKind::Assertion(_) => Ok(Language::empty()),
            LanguageKind::Sequence(parts) => Language::sequence(each(parts)?),
            LanguageKind::Alternatives(parts) => Language::alternatives(each(parts)?),
            LanguageKind::Repeat { of, min, max } => Language::repeat(of.without_assertions()?, *min, *max),
        }
    }

    /// Whether it matches at the start of a text only, as far as one can see.
    pub fn is_anchored(&self, sets: &SetRegistry) -> bool {
        match &self.kind {
            LanguageKind::Assertion(Assertion::Behind { set, or_edge: true }) => {
                sets.get(*set).is_some_and(|set| set.ranges().is_empty())
            }
            LanguageKind::Sequence(parts) => parts.first().is_some_and(|first| first.is_anchored(sets)),
            LanguageKind::Alternatives(parts) => parts.iter().all(|part| part.is_anchored(sets)),
            LanguageKind::Repeat { of, min, .. } => *min > 0 && of.is_anchored(sets),
            LanguageKind::Empty | LanguageKind::Set(_) | LanguageKind::Assertion(_) => false,
        }
    }

    /// Appends the text that every match starts with; says whether all of this part is in it.
    pub fn push_prefix(&self, sets: &SetRegistry, prefix: &mut String) -> bool {
        match &self.kind {
            LanguageKind::Empty => true,
            LanguageKind::Set(set) => match sets.get(*set).and_then(CharacterSet::single) {
                Some(character) => {
                    prefix.push(character);
                    true
                }
                None => false,
            },
            LanguageKind::Sequence(parts) => parts.iter().all(|part| part.push_prefix(sets, prefix)),
            LanguageKind::Repeat { of, min, .. } => {
                if *min > 0 {
                    of.push_prefix(sets, prefix);
                }
                false
            }
            LanguageKind::Assertion(_) | LanguageKind::Alternatives(_) => false,
        }
    }
}
