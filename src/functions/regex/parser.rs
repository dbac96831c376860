//! The tree of a regular expression from its tokens, divided as PostgreSQL divides it: that decides which of several
//! matches is the match, and what its groups capture.

mod atom;
mod bracket;
mod quantifier;

use std::rc::Rc;

use super::{
    fault::RegexFault,
    flags::RegexFlags,
    language::{Language, SetRegistry},
    lexer::RegexLexer,
    node::{NodeFlags, RegexNode, RegexNodeKind},
    token::RegexToken,
};

/// How deep parentheses may lie in each other.
const NESTING_MAX: u32 = 150;
/// How many groups and other nodes a branch may have: each has all that follow it below it.
const SECTIONS_MAX: usize = 1000;

/// How deep the tree of nodes may be, in what taking a match apart needs of the stack.
const DEPTH_MAX: u32 = 1600;

/// A regular expression, read.
pub struct ParsedRegex {
    pub root: RegexNode,
    pub sets: SetRegistry,
    /// What assertions about the text around a place look for, by their index, and whether after it.
    pub arounds: Vec<(Rc<Language>, bool)>,
    /// How many groups capture.
    pub groups: u32,
    /// As its flags and its prefix say.
    pub ignore_case: bool,
}

/// Where an expression ends, and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Whole,
    Group,
    /// Within look-around, where no group captures.
    Look,
}

/// Reads a regular expression.
pub fn parse(pattern: &str, flags: RegexFlags) -> Result<ParsedRegex, RegexFault> {
    let mut parser = RegexParser {
        lexer: RegexLexer::new(pattern, flags)?,
        sets: SetRegistry::new(),
        arounds: Vec::new(),
        closed_groups: Vec::new(),
        nesting: 0,
        pieces: 0,
    };
    let root = parser.read_expression(Scope::Whole)?;
    let RegexParser { lexer, sets, arounds, .. } = parser;
    Ok(ParsedRegex { root, sets, arounds, groups: lexer.groups, ignore_case: lexer.flags.ignore_case })
}

struct RegexParser {
    lexer: RegexLexer,
    sets: SetRegistry,
    arounds: Vec<(Rc<Language>, bool)>,
    /// What each group matches, once it is closed, by its number less one.
    closed_groups: Vec<Option<Rc<Language>>>,
    nesting: u32,
    /// Atoms and assertions read so far.
    pieces: usize,
}

/// What comes next in a branch.
enum Piece {
    /// It has no say in what the branch prefers.
    Neutral(Rc<Language>),
    /// It and all before it are one automaton; the flags are of both.
    Plain(Rc<Language>, NodeFlags),
    /// It is a node of its own; the flags are of it and what follows, as far as it decides.
    Node(RegexNode, NodeFlags),
}

/// Parts of a branch that are one automaton.
#[derive(Default)]
struct PlainRun {
    parts: Vec<Rc<Language>>,
    flags: NodeFlags,
}

impl PlainRun {
    fn into_node(self) -> Result<RegexNode, RegexFault> {
        Ok(RegexNode::terminal(self.flags, Language::sequence(self.parts)?))
    }
}

/// A node with what stands before it.
struct Section {
    before: PlainRun,
    node: RegexNode,
    flags: NodeFlags,
}

impl RegexParser {
    fn sees(&self, token: RegexToken) -> bool {
        self.lexer.token == token
    }

    /// Alternatives up to the closing parenthesis, which is not read, or up to the end.
    fn read_expression(&mut self, scope: Scope) -> Result<RegexNode, RegexFault> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(RegexFault::TooComplex);
        }
        let mut flags = NodeFlags::LONGEST;
        let mut branches = Vec::new();
        loop {
            let branch = self.read_branch(scope)?;
            flags = flags.or(flags.or(branch.flags).inherited());
            branches.push(branch);
            if !self.sees(RegexToken::Alternative) {
                break;
            }
            self.lexer.advance()?;
        }
        let closed = scope == Scope::Whole || self.sees(RegexToken::CloseGroup);
        if !closed {
            return Err(RegexFault::Parentheses);
        }
        self.nesting -= 1;
        if branches.len() == 1
            && let Some(only) = branches.pop()
        {
            return Ok(only);
        }
        let language = Language::alternatives(branches.iter().map(|branch| Rc::clone(&branch.language)).collect())?;
        let kind = if flags.is_composite() { RegexNodeKind::Alternatives(branches) } else { RegexNodeKind::Terminal };
        Ok(RegexNode::new(kind, flags, language))
    }

    fn at_end_of_branch(&self, scope: Scope) -> bool {
        match self.lexer.token {
            RegexToken::Alternative | RegexToken::End => true,
            RegexToken::CloseGroup => scope != Scope::Whole,
            _ => false,
        }
    }

    /// One alternative.
    fn read_branch(&mut self, scope: Scope) -> Result<RegexNode, RegexFault> {
        let mut sections = Vec::new();
        let mut run = PlainRun::default();
        while !self.at_end_of_branch(scope) {
            match self.read_piece(scope, run.flags)? {
                Piece::Neutral(part) => run.parts.push(part),
                Piece::Plain(part, flags) => {
                    run.parts.push(part);
                    run.flags = flags;
                }
                Piece::Node(node, flags) => {
                    sections.push(Section { before: std::mem::take(&mut run), node, flags });
                }
            }
        }
        if sections.len() > SECTIONS_MAX {
            return Err(RegexFault::TooComplex);
        }
        let ends_with_node = run.parts.is_empty() && !sections.is_empty();
        let mut rest = if ends_with_node { None } else { Some(run.into_node()?) };
        while let Some(section) = sections.pop() {
            let joined = join(section, rest)?;
            if joined.depth > DEPTH_MAX {
                return Err(RegexFault::TooComplex);
            }
            rest = Some(joined);
        }
        rest.map_or_else(|| PlainRun::default().into_node(), Ok)
    }
}

/// One node after the other.
fn sequence(first: RegexNode, second: RegexNode, flags: NodeFlags) -> Result<RegexNode, RegexFault> {
    let language = Language::sequence(vec![Rc::clone(&first.language), Rc::clone(&second.language)])?;
    Ok(RegexNode::new(RegexNodeKind::Sequence(Box::new(first), Box::new(second)), flags, language))
}

/// What stands before a node, the node, and what follows it.
fn join(section: Section, rest: Option<RegexNode>) -> Result<RegexNode, RegexFault> {
    let Section { before, node, flags } = section;
    let starts_branch = before.parts.is_empty();
    let Some(rest) = rest else {
        if starts_branch {
            return Ok(node);
        }
        let all = before.flags.or(before.flags.combine(node.flags));
        return sequence(before.into_node()?, node, all);
    };
    let flags = flags.or(flags.combine(rest.flags));
    let all = before.flags.or(before.flags.combine(flags));
    if starts_branch {
        return sequence(node, rest, all);
    }
    let is_plain = node.is_terminal() && rest.is_terminal();
    let second = if is_plain && !node.flags.or(rest.flags).inherited().is_composite() {
        let language = Language::sequence(vec![node.language, rest.language])?;
        RegexNode::terminal(node.flags.combine(rest.flags), language)
    } else {
        sequence(node, rest, flags)?
    };
    sequence(before.into_node()?, second, all)
}
