//! Which part of a match each repetition of a part had.

use std::collections::HashSet;

use super::{Dissection, following, previous};
use crate::{error::Result, functions::regex::node::RegexNode};

/// How often a part may be repeated.
type RepeatBounds = (u32, Option<u32>);

/// How many hopeless places are remembered, lest they fill the memory.
const HOPELESS_MAX: usize = 1 << 20;

/// The repetitions found so far, and where each ends.
struct Iterations {
    begin: usize,
    end: usize,
    min: usize,
    max: Option<usize>,
    /// The ends of the repetitions.
    ends: Vec<usize>,
    /// How many of the first ones were taken apart.
    verified: usize,
    /// From where the end cannot be reached by which repetition on: what is tried once need not be tried again.
    hopeless: HashSet<(usize, usize)>,
    remembers: bool,
}

impl Iterations {
    fn new(of: &RegexNode, (min, max): RepeatBounds, begin: usize, end: usize) -> Self {
        Iterations {
            begin,
            end,
            min: min.max(1) as usize,
            max: max.map(|max| max as usize),
            ends: Vec::new(),
            verified: 0,
            hopeless: HashSet::new(),
            remembers: !Dissection::refers_back(of),
        }
    }

    /// Where the next repetition starts.
    fn start(&self) -> usize {
        self.ends.last().copied().unwrap_or(self.begin)
    }

    /// Where the last of the repetitions starts.
    fn start_of_last(&self) -> usize {
        let before = self.ends.len().checked_sub(2).and_then(|at| self.ends.get(at));
        before.copied().unwrap_or(self.begin)
    }

    /// The key of a place that some repetition starts at: how many come before it, if that matters.
    fn key(&self, start: usize, before: usize) -> (usize, usize) {
        if self.max.is_none() && self.min <= 1 { (start, 0) } else { (start, before) }
    }

    fn is_hopeless(&self) -> bool {
        self.remembers && self.hopeless.contains(&self.key(self.start(), self.ends.len()))
    }

    /// Notes that nothing leads on from where the next repetition would start.
    fn give_up(&mut self) {
        if self.remembers && self.hopeless.len() < HOPELESS_MAX {
            let key = self.key(self.start(), self.ends.len());
            self.hopeless.insert(key);
        }
    }

    fn push(&mut self, end: usize) {
        self.verified = self.verified.min(self.ends.len());
        self.ends.push(end);
    }

    /// Whether a repetition of no length may be the one after so many: only if else there would be too few.
    fn needs_empty(&self, text: &str, before: usize, at: usize) -> bool {
        let missing = self.min.saturating_sub(before + 1);
        missing > 0 && self.end.saturating_sub(at) <= missing.saturating_mul(4) && {
            let left = text.get(at..self.end).unwrap_or_default().chars();
            left.take(missing + 1).count() <= missing
        }
    }
}

impl Dissection<'_> {
    /// Takes apart each repetition that was not yet; says whether all match.
    fn verify(&mut self, of: &RegexNode, found: &mut Iterations) -> Result<bool> {
        for at in found.verified..found.ends.len() {
            let start = at.checked_sub(1).and_then(|before| found.ends.get(before)).copied().unwrap_or(found.begin);
            let end = found.ends.get(at).copied().unwrap_or(found.end);
            self.clear(of);
            if !self.dissect(of, start, end)? {
                return Ok(false);
            }
            found.verified = at + 1;
        }
        Ok(true)
    }

    /// Each repetition takes as much as it can.
    pub(super) fn iterate_longest_first(
        &mut self,
        of: &RegexNode,
        times: RepeatBounds,
        begin: usize,
        end: usize,
    ) -> Result<bool> {
        let mut found = Iterations::new(of, times, begin, end);
        let mut stop = Some(end);
        while let Some(limit) = stop {
            let start = found.start();
            let fresh = limit == end;
            let next = if fresh && found.is_hopeless() {
                None
            } else {
                self.automata.longest(of.automaton, self.text, start, limit)?
            };
            let Some(next) = next else {
                found.give_up();
                stop = self.shorten(&mut found);
                continue;
            };
            found.push(next);
            let count = found.ends.len();
            if next != end {
                if found.max.is_some_and(|max| count >= max.max(found.min)) {
                    found.ends.pop();
                    found.give_up();
                    stop = self.shorten(&mut found);
                } else if next == start && !found.needs_empty(self.text, count - 1, next) {
                    stop = self.shorten(&mut found);
                } else {
                    stop = Some(end);
                }
            } else if count >= found.min && self.verify(of, &mut found)? {
                return Ok(true);
            } else {
                stop = self.shorten(&mut found);
            }
        }
        self.clear(of);
        Ok(times.0 == 0 && begin == end)
    }

    /// Takes back the last repetition that could be shorter; where it may end at most.
    fn shorten(&mut self, found: &mut Iterations) -> Option<usize> {
        while let Some(last) = found.ends.last().copied() {
            let start = found.start_of_last();
            if last > start {
                let limit = previous(self.text, last);
                let before = found.ends.len() - 1;
                if limit > start || found.needs_empty(self.text, before, start) {
                    found.ends.pop();
                    return Some(limit);
                }
            }
            found.ends.pop();
            found.give_up();
        }
        None
    }

    /// Each repetition takes as little as it can.
    pub(super) fn iterate_shortest_first(
        &mut self,
        of: &RegexNode,
        times: RepeatBounds,
        begin: usize,
        end: usize,
    ) -> Result<bool> {
        if times.0 == 0 && begin == end {
            return Ok(true);
        }
        let mut found = Iterations::new(of, times, begin, end);
        let mut from = Some(begin);
        while let Some(mut limit) = from {
            let start = found.start();
            let fresh = limit == start;
            if fresh && limit != end && !found.needs_empty(self.text, found.ends.len(), limit) {
                limit = following(self.text, limit);
            }
            // The last one that there may be has all that is left.
            if found.max.is_some_and(|max| found.ends.len() + 1 >= max.max(found.min)) {
                limit = end;
            }
            let next = if fresh && found.is_hopeless() {
                None
            } else {
                self.automata.shortest(of.automaton, self.text, start, limit, end)?
            };
            let Some(next) = next else {
                found.give_up();
                from = self.lengthen(&mut found);
                continue;
            };
            found.push(next);
            let count = found.ends.len();
            if next != end {
                from = Some(next);
            } else if count >= found.min && self.verify(of, &mut found)? {
                return Ok(true);
            } else {
                from = self.lengthen(&mut found);
            }
        }
        self.clear(of);
        Ok(false)
    }

    /// Takes back the last repetition that could be longer; where it may end at least.
    fn lengthen(&mut self, found: &mut Iterations) -> Option<usize> {
        while let Some(last) = found.ends.pop() {
            if last < found.end {
                return Some(following(self.text, last));
            }
            found.give_up();
        }
        None
    }
}
