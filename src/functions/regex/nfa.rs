//! The states of an automaton that accepts a language; it may be in several of them at once.

use super::{
    fault::RegexFault,
    language::{Assertion, Language, LanguageKind, SetId},
};

/// A state, by its place.
pub type NfaStateId = u32;

/// A limit to what [`Language`] counted before.
const STATES_MAX: usize = 600_000;

/// What an automaton does in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NfaState {
    /// It has matched.
    Accept,
    /// It reads a character of a set.
    Read { set: SetId, next: NfaStateId },
    /// It goes on only where something holds.
    Check { assertion: Assertion, next: NfaStateId },
    /// It goes on in both.
    Split(NfaStateId, NfaStateId),
}

/// An automaton.
#[derive(Debug)]
pub struct Nfa {
    states: Vec<NfaState>,
    start: NfaStateId,
}

impl Nfa {
    /// The automaton of a language. One that searches begins to match at any place.
    pub fn new(language: &Language, searches: bool) -> Result<Self, RegexFault> {
        let mut nfa = Nfa { states: vec![NfaState::Accept], start: 0 };
        nfa.start = nfa.build(language, 0)?;
        if searches {
            let again = nfa.push(NfaState::Split(0, nfa.start))?;
            let any = nfa.push(NfaState::Read { set: super::language::SetRegistry::ALL, next: again })?;
            nfa.set(again, NfaState::Split(any, nfa.start));
            nfa.start = again;
        }
        Ok(nfa)
    }

    pub fn start(&self) -> NfaStateId {
        self.start
    }

    pub fn len(&self) -> usize {
        self.states.len()
    }

    pub fn state(&self, id: NfaStateId) -> Option<NfaState> {
        self.states.get(id as usize).copied()
    }

    /// What it asks about the character before a place.
    pub fn looks_behind(&self) -> impl Iterator<Item = (SetId, bool)> {
        self.states.iter().filter_map(|state| match state {
            NfaState::Check { assertion: Assertion::Behind { set, or_edge }, .. } => Some((*set, *or_edge)),
            _ => None,
        })
    }

    fn push(&mut self, state: NfaState) -> Result<NfaStateId, RegexFault> {
        if self.states.len() > STATES_MAX {
            return Err(RegexFault::TooComplex);
        }
        self.states.push(state);
        Ok(self.states.len() as NfaStateId - 1)
    }

    fn set(&mut self, id: NfaStateId, state: NfaState) {
        if let Some(slot) = self.states.get_mut(id as usize) {
            *slot = state;
        }
    }

    /// Adds the states of a language before another one; the first of them.
    fn build(&mut self, language: &Language, next: NfaStateId) -> Result<NfaStateId, RegexFault> {
        match language.kind() {
            LanguageKind::Empty => Ok(next),
            LanguageKind::Set(set) => self.push(NfaState::Read { set: *set, next }),
            LanguageKind::Assertion(assertion) => self.push(NfaState::Check { assertion: *assertion, next }),
            LanguageKind::Sequence(parts) => parts.iter().rev().try_fold(next, |next, part| self.build(part, next)),
            LanguageKind::Alternatives(parts) => {
                let mut first = None;
                for part in parts.iter().rev() {
                    let start = self.build(part, next)?;
                    first = Some(match first {
                        Some(others) => self.push(NfaState::Split(start, others))?,
                        None => start,
                    });
                }
                Ok(first.unwrap_or(next))
            }
            LanguageKind::Repeat { of, min, max } => self.build_repeat(of, *min, *max, next),
        }
    }

    fn build_repeat(
        &mut self,
        of: &Language,
        min: u32,
        max: Option<u32>,
        next: NfaStateId,
    ) -> Result<NfaStateId, RegexFault> {
        let mut start = next;
        let mut required = min;
        match max {
            Some(max) => {
                for _ in min..max {
                    let once = self.build(of, start)?;
                    start = self.push(NfaState::Split(once, next))?;
                }
            }
            None => {
                let again = self.push(NfaState::Split(next, next))?;
                let once = self.build(of, again)?;
                self.set(again, NfaState::Split(once, next));
                // The loop itself is the last of the times that it must match.
                start = if required > 0 { once } else { again };
                required = required.saturating_sub(1);
            }
        }
        for _ in 0..required {
            start = self.build(of, start)?;
        }
        Ok(start)
    }
}
