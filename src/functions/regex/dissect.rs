//! Where a match came from: which part of it each group captured, and whether its back references hold.
//!
//! The parts are tried in PostgreSQL's order. Each part takes as much as it can, or as little if it prefers that, and
//! the next one has what is left. The automata say beforehand which divisions of a text can be right, so that only a
//! back reference is a reason to try again.

mod iterate;

use super::{
    automata::Automata,
    ctype,
    node::{NodeFlags, RegexNode, RegexNodeKind},
};
use crate::error::Result;

/// From where to where, in bytes.
pub type TextSpan = (usize, usize);

/// A match that is taken apart.
pub struct Dissection<'a> {
    pub automata: &'a mut Automata,
    pub text: &'a str,
    /// What each group captured, by its number less one.
    pub groups: &'a mut [Option<TextSpan>],
    pub ignore_case: bool,
}

/// The place of the character before a place, which is not the start.
pub fn previous(text: &str, at: usize) -> usize {
    let before = text.get(..at).and_then(|before| before.chars().next_back());
    at - before.map_or(at.min(1), char::len_utf8)
}

/// The place after the character at a place, which is not the end.
pub fn following(text: &str, at: usize) -> usize {
    let next = text.get(at..).and_then(|rest| rest.chars().next());
    at + next.map_or(1, char::len_utf8)
}

impl Dissection<'_> {
    fn between(&self, (begin, end): TextSpan) -> &str {
        self.text.get(begin..end).unwrap_or_default()
    }

    /// Forgets what the groups of a part captured.
    fn clear(&mut self, node: &RegexNode) {
        if let Some((first, last)) = node.groups {
            let groups = self.groups.get_mut(first as usize - 1..last as usize);
            groups.unwrap_or_default().fill(None);
        }
    }

    /// Takes a part apart that matches from `begin` to `end` as far as its automaton knows. Says whether it does; if
    /// not, its groups captured nothing.
    pub fn dissect(&mut self, node: &RegexNode, begin: usize, end: usize) -> Result<bool> {
        self.automata.count_steps(begin, begin)?;
        let (mut node, mut begin) = (node, begin);
        // A long row of parts is no deep one.
        while let RegexNodeKind::Sequence(first, second) = &node.kind
            && !Self::refers_back(node)
        {
            let Some(middle) = self.divide(first, second, begin, end)? else { return Ok(false) };
            self.dissect(first, begin, middle)?;
            self.capture(node, begin, end);
            (node, begin) = (second, middle);
        }
        let matches = self.dissect_one(node, begin, end)?;
        if matches {
            self.capture(node, begin, end);
        } else {
            self.clear(node);
        }
        Ok(matches)
    }

    /// Notes what the group of a part captured.
    fn capture(&mut self, node: &RegexNode, begin: usize, end: usize) {
        let slot = node.group.and_then(|group| self.groups.get_mut(group as usize - 1));
        if let Some(slot) = slot {
            *slot = Some((begin, end));
        }
    }

    fn dissect_one(&mut self, node: &RegexNode, begin: usize, end: usize) -> Result<bool> {
        match &node.kind {
            RegexNodeKind::Terminal => Ok(true),
            RegexNodeKind::BackReference { group, min, max } => self.refers(*group, (*min, *max), (begin, end)),
            RegexNodeKind::Sequence(first, second) => self.dissect_sequence(first, second, begin, end),
            RegexNodeKind::Alternatives(parts) => self.dissect_alternatives(parts, begin, end),
            RegexNodeKind::Repeat { of, min, max } if of.prefers_shortest() => {
                self.iterate_shortest_first(of, (*min, *max), begin, end)
            }
            RegexNodeKind::Repeat { of, min, max } => self.iterate_longest_first(of, (*min, *max), begin, end),
            RegexNodeKind::Group(inside) => self.dissect(inside, begin, end),
        }
    }

    /// The places where a match may be divided in two, the preferred one first. Each call gives the next one, `last`
    /// being the one before.
    fn next_middle(
        &mut self,
        first: &RegexNode,
        begin: usize,
        end: usize,
        last: Option<usize>,
    ) -> Result<Option<usize>> {
        if first.prefers_shortest() {
            let from = match last {
                None => begin,
                Some(last) if last == end => return Ok(None),
                Some(last) => following(self.text, last),
            };
            return self.automata.shortest(first.automaton, self.text, begin, from, end);
        }
        let stop = match last {
            None => end,
            Some(last) if last == begin => return Ok(None),
            Some(last) => previous(self.text, last),
        };
        self.automata.longest(first.automaton, self.text, begin, stop)
    }

    /// Where a match is divided in two, as far as automata know.
    fn divide(&mut self, first: &RegexNode, second: &RegexNode, begin: usize, end: usize) -> Result<Option<usize>> {
        let mut last = None;
        while let Some(middle) = self.next_middle(first, begin, end, last)? {
            if self.automata.matches(second.automaton, self.text, middle, end)? {
                return Ok(Some(middle));
            }
            last = Some(middle);
        }
        Ok(None)
    }

    fn dissect_sequence(&mut self, first: &RegexNode, second: &RegexNode, begin: usize, end: usize) -> Result<bool> {
        if let RegexNodeKind::BackReference { group, min, max } = first.kind {
            // What it may match is known, and little.
            let mut middles = self.ends_of_reference(group, (min, max), (begin, end))?;
            if !first.prefers_shortest() {
                middles.reverse();
            }
            for middle in middles {
                if self.automata.matches(first.automaton, self.text, begin, middle)?
                    && self.divides(first, second, (begin, end), middle)?
                {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let mut last = None;
        while let Some(middle) = self.next_middle(first, begin, end, last)? {
            if self.divides(first, second, (begin, end), middle)? {
                return Ok(true);
            }
            last = Some(middle);
        }
        Ok(false)
    }

    /// Tries to divide a match in two at a place, up to which the first part may match.
    fn divides(
        &mut self,
        first: &RegexNode,
        second: &RegexNode,
        (begin, end): TextSpan,
        middle: usize,
    ) -> Result<bool> {
        if self.automata.matches(second.automaton, self.text, middle, end)?
            && self.dissect(first, begin, middle)?
            && self.dissect(second, middle, end)?
        {
            return Ok(true);
        }
        self.clear(first);
        self.clear(second);
        Ok(false)
    }

    fn dissect_alternatives(&mut self, parts: &[RegexNode], begin: usize, end: usize) -> Result<bool> {
        for part in parts {
            if self.automata.matches(part.automaton, self.text, begin, end)? && self.dissect(part, begin, end)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a part is what a group captured, so many times.
    fn refers(&mut self, group: u32, times: (u32, Option<u32>), span: TextSpan) -> Result<bool> {
        Ok(self.ends_of_reference(group, times, span)?.last() == Some(&span.1))
    }

    /// The places in a part up to which it is what a group captured, so many times; in order.
    fn ends_of_reference(
        &mut self,
        group: u32,
        (min, max): (u32, Option<u32>),
        (begin, end): TextSpan,
    ) -> Result<Vec<usize>> {
        let Some(Some(captured)) = self.groups.get(group as usize - 1).copied() else { return Ok(Vec::new()) };
        self.automata.count_steps(begin, end)?;
        let captured = self.between(captured);
        if captured.is_empty() {
            return Ok(vec![begin]);
        }
        let mut ends = Vec::new();
        let mut rest = self.between((begin, end));
        let mut times = 0;
        loop {
            if times >= min {
                ends.push(end - rest.len());
            }
            match self.strip(captured, rest) {
                Some(after) if max.is_none_or(|max| times < max) => rest = after,
                _ => return Ok(ends),
            }
            times += 1;
        }
    }

    /// What is left of a text after what was captured.
    fn strip<'t>(&self, captured: &str, text: &'t str) -> Option<&'t str> {
        if !self.ignore_case {
            return text.strip_prefix(captured);
        }
        let mut rest = text.chars();
        for wanted in captured.chars() {
            let found = rest.next()?;
            if wanted != found && ctype::to_lower(wanted) != ctype::to_lower(found) {
                return None;
            }
        }
        Some(rest.as_str())
    }

    fn refers_back(node: &RegexNode) -> bool {
        node.flags.has(NodeFlags::REFERS_BACK)
    }
}
