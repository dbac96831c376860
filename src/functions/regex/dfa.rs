//! An automaton that is in one state at a time: each stands for all states that the one of `nfa.rs` may be in. States
//! are made when they are reached, and forgotten when there are too many.

use std::{collections::HashMap, rc::Rc};

use super::{
    colors::{Color, ColorMap},
    language::{Assertion, SetId},
    nfa::{Nfa, NfaState, NfaStateId},
};

/// Entries of the table are a state, whether what was read before is a match, and whether the state is a fresh one.
const ACCEPTS: u32 = 1 << 31;
const FRESH: u32 = 1 << 30;
const UNKNOWN: u32 = 0;
/// The state from which there is no match.
pub const DEAD: u32 = 1;
/// What a state costs besides its entries, in bytes.
const STATE_BYTES: usize = 96;

/// What one character does.
#[derive(Debug, Clone, Copy)]
pub struct DfaStep(u32);

impl DfaStep {
    /// Whether what was read before this character is a match.
    #[inline]
    pub fn accepts(self) -> bool {
        self.0 & ACCEPTS != 0
    }

    #[inline]
    pub fn next(self) -> u32 {
        self.0 & !(ACCEPTS | FRESH)
    }

    /// Whether a search has nothing begun after it.
    #[inline]
    pub fn is_fresh(self) -> bool {
        self.0 & FRESH != 0
    }
}

/// An assertion about the text around a place, by its index, and whether it looks at what follows.
pub type AroundId = (usize, bool);

#[derive(Debug, Clone)]
struct DfaState {
    /// The states that characters led to.
    reached: Rc<[NfaStateId]>,
    /// What the character before was, as far as anything asks.
    context: u16,
}

/// A lazy automaton.
pub struct Dfa {
    nfa: Nfa,
    /// Of each context, one of the colors that the character before may have; none at the start of the text.
    contexts: Vec<Option<Color>>,
    context_of: Vec<u16>,
    /// The state at the start, by context, once it is made.
    starts: Vec<u32>,
    /// Without the first two, [`UNKNOWN`] and [`DEAD`].
    states: Vec<DfaState>,
    known: HashMap<(Rc<[NfaStateId]>, u16), u32>,
    /// By state and color; the last color is the end of the text.
    table: Vec<u32>,
    colors: usize,
    bytes: usize,
    bytes_max: usize,
    /// How often all states were forgotten.
    forgotten: u64,
    stack: Vec<NfaStateId>,
    /// When a state was last seen.
    seen: Vec<u32>,
    turn: u32,
    /// How many states of the automaton that is not deterministic were looked at.
    visits: u64,
    /// Where a search from the start of the text has got to.
    pub progress: Option<(usize, u32)>,
}

impl Dfa {
    pub fn new(nfa: Nfa, colors: &ColorMap, bytes_max: usize) -> Self {
        let mut asked: Vec<(SetId, bool)> = nfa.looks_behind().collect();
        asked.sort_unstable();
        asked.dedup();
        let mut answers: HashMap<Vec<bool>, u16> = HashMap::new();
        let mut contexts = Vec::new();
        let mut context = |color: Option<Color>| {
            let answer =
                asked.iter().map(|(set, or_edge)| color.map_or(*or_edge, |color| colors.contains(*set, color)));
            let next = contexts.len() as u16;
            *answers.entry(answer.collect()).or_insert_with(|| {
                contexts.push(color);
                next
            })
        };
        // The context of the start comes last.
        let mut context_of: Vec<u16> = (0..colors.count()).map(|color| context(Some(color as Color))).collect();
        context_of.push(context(None));
        let seen = vec![0; nfa.len()];
        let starts = vec![UNKNOWN; contexts.len()];
        let mut dfa = Dfa {
            nfa,
            contexts,
            context_of,
            starts,
            states: Vec::new(),
            known: HashMap::new(),
            table: Vec::new(),
            colors: colors.count() + 1,
            bytes: 0,
            bytes_max,
            forgotten: 0,
            stack: Vec::new(),
            seen,
            turn: 0,
            visits: 0,
            progress: None,
        };
        dfa.forget();
        dfa
    }

    /// Forgets all states, and so also what they are called.
    fn forget(&mut self) {
        self.states.clear();
        self.known.clear();
        self.table.clear();
        self.table.resize(2 * self.colors, UNKNOWN);
        self.starts.fill(UNKNOWN);
        self.bytes = 0;
        self.forgotten += 1;
        self.progress = None;
    }

    /// How many bytes it holds, about.
    pub fn bytes(&self) -> usize {
        let fixed = self.nfa.len() * (size_of::<NfaState>() + size_of::<u32>());
        fixed + self.colors * (2 * size_of::<u32>() + size_of::<u16>()) + self.bytes
    }

    /// How many states were looked at to make others, since the last call.
    pub fn take_visits(&mut self) -> u64 {
        std::mem::take(&mut self.visits)
    }

    fn state(&self, id: u32) -> Option<&DfaState> {
        self.states.get((id as usize).wrapping_sub(2))
    }

    /// The state before anything is read, after a character, or none at the start of the text.
    pub fn start(&mut self, before: Option<Color>) -> u32 {
        let index = before.map_or(self.colors - 1, usize::from);
        let context = self.context_of.get(index).copied().unwrap_or_default();
        match self.starts.get(usize::from(context)) {
            Some(&known) if known != UNKNOWN => known,
            _ => {
                let start = self.intern(vec![self.nfa.start()], context);
                if let Some(slot) = self.starts.get_mut(usize::from(context)) {
                    *slot = start;
                }
                start
            }
        }
    }

    /// The state of what was reached, in a context; forgets all others if there are too many.
    fn intern(&mut self, reached: Vec<NfaStateId>, context: u16) -> u32 {
        let key = (Rc::from(reached), context);
        if let Some(id) = self.known.get(&key) {
            return *id;
        }
        if self.bytes > self.bytes_max {
            self.forget();
        }
        let (reached, context) = key;
        let id = self.states.len() as u32 + 2;
        self.bytes += self.colors * size_of::<u32>() + reached.len() * size_of::<NfaStateId>() + STATE_BYTES;
        self.table.resize(self.table.len() + self.colors, UNKNOWN);
        self.states.push(DfaState { reached: Rc::clone(&reached), context });
        self.known.insert((reached, context), id);
        id
    }

    /// What a character of a color does in a state, or the end of the text, if that is known.
    #[inline]
    pub fn known_step(&self, state: u32, color: usize) -> Option<DfaStep> {
        let entry = self.table.get(state as usize * self.colors + color)?;
        (*entry != UNKNOWN).then_some(DfaStep(*entry))
    }

    /// What a character of a color does in a state, or the end of the text. `decided` tells which assertions about the
    /// text around this place hold; one that it lacks is the error.
    pub fn step(
        &mut self,
        state: u32,
        color: usize,
        colors: &ColorMap,
        decided: &[(AroundId, bool)],
    ) -> Result<DfaStep, AroundId> {
        let Some(from) = self.state(state).cloned() else { return Ok(DfaStep(DEAD)) };
        let color_read = (color + 1 < self.colors).then_some(color as Color);
        let mut reached = Vec::new();
        let (accepts, is_lasting) = self.read(&from, color_read, colors, decided, &mut reached)?;
        reached.sort_unstable();
        reached.dedup();
        let forgotten = self.forgotten;
        let mut entry = DEAD;
        if !reached.is_empty() {
            let fresh = if *reached == [self.nfa.start()] { FRESH } else { 0 };
            let context = self.context_of.get(color).copied().unwrap_or_default();
            entry = self.intern(reached, context) | fresh;
        }
        if accepts {
            entry |= ACCEPTS;
        }
        // A state that was forgotten has no row any more.
        if is_lasting
            && forgotten == self.forgotten
            && let Some(slot) = self.table.get_mut(state as usize * self.colors + color)
        {
            *slot = entry;
        }
        Ok(DfaStep(entry))
    }

    /// Collects what a character leads to; says whether what was read before is a match, and whether both are so
    /// wherever the state is reached.
    fn read(
        &mut self,
        from: &DfaState,
        color: Option<Color>,
        colors: &ColorMap,
        decided: &[(AroundId, bool)],
        reached: &mut Vec<NfaStateId>,
    ) -> Result<(bool, bool), AroundId> {
        let before = self.contexts.get(usize::from(from.context)).copied().flatten();
        let holds = |set: SetId, or_edge: bool, color: Option<Color>| {
            color.map_or(or_edge, |color| colors.contains(set, color))
        };
        self.begin_turn();
        let (mut accepts, mut is_lasting) = (false, true);
        self.stack.clear();
        self.stack.extend_from_slice(&from.reached);
        while let Some(id) = self.stack.pop() {
            self.visits += 1;
            match self.seen.get_mut(id as usize) {
                Some(seen) if *seen != self.turn => *seen = self.turn,
                _ => continue,
            }
            match self.nfa.state(id) {
                Some(NfaState::Accept) => accepts = true,
                Some(NfaState::Read { set, next }) if holds(set, false, color) => reached.push(next),
                Some(NfaState::Split(one, other)) => self.stack.extend([one, other]),
                Some(NfaState::Check { assertion, next }) => {
                    let is_true = match assertion {
                        Assertion::Behind { set, or_edge } => holds(set, or_edge, before),
                        Assertion::Ahead { set, or_edge } => holds(set, or_edge, color),
                        Assertion::Around { index, ahead, negated } => {
                            is_lasting = false;
                            let around = (index, ahead);
                            let known = decided.iter().find(|(id, _)| *id == around);
                            known.ok_or(around)?.1 != negated
                        }
                    };
                    if is_true {
                        self.stack.push(next);
                    }
                }
                _ => {}
            }
        }
        Ok((accepts, is_lasting))
    }

    /// Begins to see states anew.
    fn begin_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        if self.turn == 0 {
            self.seen.fill(0);
            self.turn = 1;
        }
    }
}
