//! How often an atom may occur, and what that makes of it.

use std::rc::Rc;

use super::{Piece, RegexParser, atom::Atom, sequence};
use crate::functions::regex::{
    fault::RegexFault,
    language::Language,
    node::{NodeFlags, RegexNode, RegexNodeKind},
    token::RegexToken,
};

/// The largest number in a bound.
const BOUND_MAX: u32 = 255;

/// From `min` to `max` times, and whether rather often or seldom, if it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quantifier {
    min: u32,
    max: Option<u32>,
    preference: NodeFlags,
}

impl Quantifier {
    fn new(min: u32, max: Option<u32>, greedy: bool) -> Self {
        let preference = if greedy { NodeFlags::LONGEST } else { NodeFlags::SHORTEST };
        Quantifier { min, max, preference }
    }

    fn is_once(self) -> bool {
        (self.min, self.max) == (1, Some(1))
    }

    fn repeated(self, language: &Rc<Language>) -> Result<Rc<Language>, RegexFault> {
        Language::repeat(Rc::clone(language), self.min, self.max)
    }
}

impl RegexParser {
    /// The quantifier of an atom, and the atom with it.
    pub(super) fn read_quantified(&mut self, atom: Atom, before: NodeFlags) -> Result<Piece, RegexFault> {
        let quantifier = self.read_quantifier()?;
        if quantifier.max == Some(0) {
            // One may still refer to its groups, to no avail.
            return Ok(Piece::Neutral(Language::empty()));
        }
        let preference = before.or(quantifier.preference);
        match atom {
            Atom::Plain(language) => {
                if !preference.inherited().is_composite() {
                    return Ok(Piece::Plain(quantifier.repeated(&language)?, preference));
                }
                repeat(RegexNode::terminal(NodeFlags::default(), language), quantifier)
            }
            Atom::Group(node) => {
                let flags = preference.or(node.flags);
                if !flags.inherited().is_composite() {
                    return Ok(Piece::Plain(quantifier.repeated(&node.language)?, flags));
                }
                repeat(node, quantifier)
            }
            Atom::Capture(node) => repeat(node, quantifier),
            Atom::BackReference(number) => self.repeat_reference(number, quantifier),
        }
    }

    fn read_quantifier(&mut self) -> Result<Quantifier, RegexFault> {
        let quantifier = match self.lexer.token {
            RegexToken::Star { greedy } => Quantifier::new(0, None, greedy),
            RegexToken::Plus { greedy } => Quantifier::new(1, None, greedy),
            RegexToken::Optional { greedy } => Quantifier::new(0, Some(1), greedy),
            RegexToken::OpenBound => self.read_bound()?,
            _ => return Ok(Quantifier { min: 1, max: Some(1), preference: NodeFlags::default() }),
        };
        self.lexer.advance()?;
        Ok(quantifier)
    }

    /// `{m}`, `{m,}` or `{m,n}`, up to its closing brace, which is not stepped over.
    fn read_bound(&mut self) -> Result<Quantifier, RegexFault> {
        self.lexer.advance()?;
        let min = self.read_number()?;
        let mut quantifier = Quantifier { min, max: Some(min), preference: NodeFlags::default() };
        let is_range = self.lexer.token == RegexToken::Comma;
        if is_range {
            self.lexer.advance()?;
            quantifier.max = match self.lexer.token {
                RegexToken::Digit(_) => Some(self.read_number()?),
                _ => None,
            };
            if quantifier.max.is_some_and(|max| min > max) {
                return Err(RegexFault::Repetition);
            }
        }
        match self.lexer.token {
            RegexToken::CloseBound { greedy } if is_range => Ok(Quantifier::new(min, quantifier.max, greedy)),
            RegexToken::CloseBound { .. } => Ok(quantifier),
            _ => Err(RegexFault::Repetition),
        }
    }

    fn read_number(&mut self) -> Result<u32, RegexFault> {
        let mut number = 0;
        while let RegexToken::Digit(digit) = self.lexer.token {
            number = number * 10 + digit;
            if number > BOUND_MAX {
                return Err(RegexFault::Repetition);
            }
            self.lexer.advance()?;
        }
        Ok(number)
    }

    /// A back reference counts its repetitions itself.
    fn repeat_reference(&mut self, group: u32, quantifier: Quantifier) -> Result<Piece, RegexFault> {
        let captured = self.group_language(group).ok_or(RegexFault::BackReference)?.without_assertions()?;
        let flags = NodeFlags::REFERS_BACK;
        let following = quantifier.preference.combine(flags);
        let kind = RegexNodeKind::BackReference { group, min: quantifier.min, max: quantifier.max };
        let node = RegexNode::new(kind, flags.or(following), quantifier.repeated(&captured)?);
        Ok(Piece::Node(node, following))
    }
}

/// A node so many times.
fn repeat(node: RegexNode, quantifier: Quantifier) -> Result<Piece, RegexFault> {
    let Quantifier { min, max, preference } = quantifier;
    let flags = preference.combine(node.flags);
    let agrees = preference == NodeFlags::default()
        || !node.flags.has_preference() && !node.flags.has(NodeFlags::MIXED)
        || node.flags.preference() == preference && !node.flags.has(NodeFlags::MIXED);
    if quantifier.is_once() && agrees {
        return Ok(Piece::Node(node, flags));
    }
    let captures = node.flags.has(NodeFlags::CAPTURES);
    let refers_back = node.flags.has(NodeFlags::REFERS_BACK);
    let repeated = if !captures && !refers_back {
        RegexNode::terminal(flags, quantifier.repeated(&node.language)?)
    } else if min > 0 && !refers_back {
        // Only the last time matters to what is captured.
        let others = Language::repeat(Rc::clone(&node.language), min - 1, max.map(|max| max - 1))?;
        sequence(RegexNode::terminal(flags.preference(), others), node, flags)?
    } else {
        let language = quantifier.repeated(&node.language)?;
        RegexNode::new(RegexNodeKind::Repeat { of: Box::new(node), min, max }, flags, language)
    };
    Ok(Piece::Node(repeated, flags))
}
