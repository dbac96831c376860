//! What may stand between two others in a regular expression: characters, sets, groups, back references, assertions.

use std::rc::Rc;

use super::{Piece, RegexParser, Scope};
use crate::functions::regex::{
    character_set::CharacterSet,
    ctype::CharacterClass,
    fault::RegexFault,
    flags::RegexSyntax,
    language::{Assertion, Language, LanguageKind, SetId, SetRegistry},
    node::{NodeFlags, RegexNode, RegexNodeKind},
    token::{LookAround, RegexToken},
};

/// How many atoms and assertions an expression may have.
const PIECES_MAX: usize = 500_000;

/// What a quantifier may follow.
pub(super) enum Atom {
    Plain(Rc<Language>),
    /// A group that does not capture.
    Group(RegexNode),
    /// A group that does.
    Capture(RegexNode),
    BackReference(u32),
}

impl RegexParser {
    /// An assertion, or an atom with its quantifier.
    pub(super) fn read_piece(&mut self, scope: Scope, before: NodeFlags) -> Result<Piece, RegexFault> {
        self.pieces += 1;
        if self.pieces > PIECES_MAX || self.sets.is_too_large() {
            return Err(RegexFault::TooComplex);
        }
        match self.read_assertion()? {
            Some(assertion) => Ok(Piece::Neutral(assertion)),
            None => {
                let atom = self.read_atom(scope)?;
                self.read_quantified(atom, before)
            }
        }
    }

    fn read_assertion(&mut self) -> Result<Option<Rc<Language>>, RegexFault> {
        let edges = self.line_edges();
        let assertion = match self.lexer.token {
            RegexToken::LineStart => Language::assertion(Assertion::Behind { set: edges, or_edge: true }),
            RegexToken::LineEnd => Language::assertion(Assertion::Ahead { set: edges, or_edge: true }),
            RegexToken::TextStart => self.edge_of_text(|set| Assertion::Behind { set, or_edge: true }),
            RegexToken::TextEnd => self.edge_of_text(|set| Assertion::Ahead { set, or_edge: true }),
            RegexToken::WordStart => self.word_edge(false, true)?,
            RegexToken::WordEnd => self.word_edge(true, false)?,
            RegexToken::WordBoundary => {
                Language::alternatives(vec![self.word_edge(false, true)?, self.word_edge(true, false)?])?
            }
            RegexToken::NotWordBoundary => {
                Language::alternatives(vec![self.word_edge(true, true)?, self.word_edge(false, false)?])?
            }
            RegexToken::OpenLook(look) => {
                self.lexer.advance()?;
                let inside = self.read_expression(Scope::Look)?;
                self.look_around(inside.language, look)
            }
            _ => return Ok(None),
        };
        self.lexer.advance()?;
        Ok(Some(assertion))
    }

    /// The characters that have a line's edge beside them.
    fn line_edges(&mut self) -> SetId {
        let is_edge = self.lexer.flags.newline_anchors;
        self.sets.intern(if is_edge { newline() } else { CharacterSet::default() })
    }

    fn edge_of_text(&mut self, assertion: impl Fn(SetId) -> Assertion) -> Rc<Language> {
        Language::assertion(assertion(self.sets.intern(CharacterSet::default())))
    }

    /// A place before which and after which there is a character of a word, or none.
    fn word_edge(&mut self, word_before: bool, word_after: bool) -> Result<Rc<Language>, RegexFault> {
        let word = CharacterClass::Word.characters();
        let other = self.sets.intern(word.complement());
        let word = self.sets.intern(word);
        let set = |is_word| if is_word { word } else { other };
        Language::sequence(vec![
            Language::assertion(Assertion::Behind { set: set(word_before), or_edge: !word_before }),
            Language::assertion(Assertion::Ahead { set: set(word_after), or_edge: !word_after }),
        ])
    }

    /// An assertion about what is around a place; about one character, it is a simple one.
    fn look_around(&mut self, inside: Rc<Language>, look: LookAround) -> Rc<Language> {
        let LookAround { ahead, negated } = look;
        let assertion = match inside.kind() {
            LanguageKind::Set(set) => {
                let complement = if negated { self.sets.get(*set).map(CharacterSet::complement) } else { None };
                let set = complement.map_or(*set, |complement| self.sets.intern(complement));
                let or_edge = negated;
                if ahead { Assertion::Ahead { set, or_edge } } else { Assertion::Behind { set, or_edge } }
            }
            _ => {
                self.arounds.push((inside, ahead));
                Assertion::Around { index: self.arounds.len() - 1, ahead, negated }
            }
        };
        Language::assertion(assertion)
    }

    fn read_atom(&mut self, scope: Scope) -> Result<Atom, RegexFault> {
        let set = match self.lexer.token {
            RegexToken::OpenGroup { captures } => return self.read_group(scope, captures),
            RegexToken::BackReference(number) => return self.read_back_reference(scope, number),
            RegexToken::CloseGroup if self.lexer.flags.syntax == RegexSyntax::Extended => {
                let parenthesis = CharacterSet::of_character(u32::from(')'));
                self.sets.intern(parenthesis)
            }
            RegexToken::CloseGroup => return Err(RegexFault::Parentheses),
            RegexToken::Plain(character) => {
                let set = self.of_character(character);
                self.sets.intern(set)
            }
            RegexToken::OpenBracket { negated } => {
                let set = self.read_bracket(negated)?;
                self.sets.intern(set)
            }
            RegexToken::Class(class) => {
                let set = self.of_class(class);
                self.sets.intern(set)
            }
            RegexToken::NotClass(class) => {
                let set = self.of_class(class).complement();
                self.sets.intern(set)
            }
            RegexToken::AnyCharacter if self.lexer.flags.newline_stops => self.sets.intern(newline().complement()),
            RegexToken::AnyCharacter => SetRegistry::ALL,
            _ => return Err(RegexFault::Quantifier),
        };
        self.lexer.advance()?;
        Ok(Atom::Plain(Language::set(set)))
    }

    fn read_group(&mut self, scope: Scope, captures: bool) -> Result<Atom, RegexFault> {
        let captures = captures && scope != Scope::Look;
        if captures {
            self.lexer.groups += 1;
            self.closed_groups.push(None);
        }
        let number = self.lexer.groups;
        self.lexer.advance()?;
        let inside = if scope == Scope::Look { Scope::Look } else { Scope::Group };
        let mut node = self.read_expression(inside)?;
        self.lexer.advance()?;
        if !captures {
            return Ok(Atom::Group(node));
        }
        let flags = node.flags.or(NodeFlags::CAPTURES);
        if node.group.is_some() {
            let language = Rc::clone(&node.language);
            node = RegexNode::new(RegexNodeKind::Group(Box::new(node)), flags, language);
        }
        node.flags = flags;
        node.group = Some(number);
        if let Some(slot) = self.closed_groups.get_mut((number as usize).wrapping_sub(1)) {
            *slot = Some(Rc::clone(&node.language));
        }
        Ok(Atom::Capture(node))
    }

    fn read_back_reference(&mut self, scope: Scope, number: u32) -> Result<Atom, RegexFault> {
        if scope == Scope::Look || self.group_language(number).is_none() {
            return Err(RegexFault::BackReference);
        }
        self.lexer.advance()?;
        Ok(Atom::BackReference(number))
    }

    /// What a group that is closed matches.
    pub(super) fn group_language(&self, number: u32) -> Option<Rc<Language>> {
        self.closed_groups.get((number as usize).wrapping_sub(1))?.clone()
    }
}

pub(super) fn newline() -> CharacterSet {
    CharacterSet::of_character(u32::from('\n'))
}
