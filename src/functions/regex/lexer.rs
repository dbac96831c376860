//! Tokens from the text of a regular expression, in each of its dialects.

mod basic;
mod bracket;
mod escape;
mod prefix;

use super::{
    ctype,
    fault::RegexFault,
    flags::{RegexFlags, RegexSyntax},
    token::{LookAround, RegexToken},
};

/// A longer pattern is too complex, whatever it says.
const PATTERN_BYTES_MAX: usize = 32 << 20;

/// What surrounds the next character, and so decides what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surroundings {
    Extended,
    Basic,
    Literal,
    Bound,
    Bracket,
    /// Within `[.`, `[=` or `[:`, up to this character and a bracket.
    Name(char),
}

/// Reads one token ahead of the parser.
pub struct RegexLexer {
    characters: Vec<u32>,
    /// Where the next character is.
    at: usize,
    pub flags: RegexFlags,
    surroundings: Surroundings,
    /// The token that the parser sees.
    pub token: RegexToken,
    /// The token before it.
    last: RegexToken,
    /// Capturing groups opened so far: they decide whether `\12` is a back reference.
    pub groups: u32,
}

impl RegexLexer {
    /// Reads the prefixes (`***:`, `(?i)`) and the first token.
    pub fn new(pattern: &str, flags: RegexFlags) -> Result<Self, RegexFault> {
        if flags.syntax == RegexSyntax::Literal && (flags.expanded || flags.is_newline_sensitive()) {
            return Err(RegexFault::Argument);
        }
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(RegexFault::TooComplex);
        }
        let mut lexer = RegexLexer {
            characters: pattern.chars().map(u32::from).collect(),
            at: 0,
            flags,
            surroundings: Surroundings::Literal,
            token: RegexToken::Start,
            last: RegexToken::Start,
            groups: 0,
        };
        lexer.read_prefixes()?;
        lexer.surroundings = match lexer.flags.syntax {
            RegexSyntax::Literal => Surroundings::Literal,
            RegexSyntax::Basic => Surroundings::Basic,
            RegexSyntax::Extended | RegexSyntax::Advanced => Surroundings::Extended,
        };
        lexer.advance()?;
        Ok(lexer)
    }

    fn is_advanced(&self) -> bool {
        self.flags.syntax == RegexSyntax::Advanced
    }

    fn peek(&self) -> Option<u32> {
        self.characters.get(self.at).copied()
    }

    fn next_is(&self, character: char) -> bool {
        self.peek() == Some(u32::from(character))
    }

    /// Steps over a character if it is the next one.
    fn eat(&mut self, character: char) -> bool {
        let found = self.next_is(character);
        if found {
            self.at += 1;
        }
        found
    }

    /// Whether the next characters are these.
    fn follows(&self, text: &str) -> bool {
        let rest = self.characters.get(self.at..).unwrap_or_default();
        let mut rest = rest.iter().copied();
        text.chars().all(|character| rest.next() == Some(u32::from(character)))
    }

    /// Reads the next token into `token`.
    pub fn advance(&mut self) -> Result<(), RegexFault> {
        self.last = self.token;
        // A comment gives none.
        loop {
            if let Some(token) = self.read()? {
                self.token = token;
                return Ok(());
            }
        }
    }

    fn read(&mut self) -> Result<Option<RegexToken>, RegexFault> {
        let skips = matches!(self.surroundings, Surroundings::Extended | Surroundings::Basic | Surroundings::Bound);
        if self.flags.expanded && skips {
            self.skip_space();
        }
        let Some(character) = self.peek() else {
            return match self.surroundings {
                Surroundings::Extended | Surroundings::Basic | Surroundings::Literal => Ok(Some(RegexToken::End)),
                Surroundings::Bound => Err(RegexFault::Braces),
                Surroundings::Bracket | Surroundings::Name(_) => Err(RegexFault::Brackets),
            };
        };
        self.at += 1;
        match self.surroundings {
            Surroundings::Literal => Ok(Some(RegexToken::Plain(character))),
            Surroundings::Basic => self.read_basic(character).map(Some),
            Surroundings::Bound => self.read_in_bound(character).map(Some),
            Surroundings::Bracket => self.read_in_bracket(character).map(Some),
            Surroundings::Name(close) => Ok(Some(self.read_in_name(character, close))),
            Surroundings::Extended => self.read_extended(character),
        }
    }

    /// Skips white space, and comments up to the end of their line.
    fn skip_space(&mut self) {
        loop {
            while self.peek().is_some_and(ctype::is_space) {
                self.at += 1;
            }
            if !self.next_is('#') {
                return;
            }
            while self.peek().is_some_and(|character| character != u32::from('\n')) {
                self.at += 1;
            }
        }
    }

    /// Whether a quantifier takes as much as it can: not if a question mark follows.
    fn is_greedy(&mut self) -> bool {
        !(self.is_advanced() && self.eat('?'))
    }

    /// A token outside of brackets and bounds; none for a comment.
    fn read_extended(&mut self, character: u32) -> Result<Option<RegexToken>, RegexFault> {
        let token = match char::from_u32(character) {
            Some('|') => RegexToken::Alternative,
            Some('*') => RegexToken::Star { greedy: self.is_greedy() },
            Some('+') => RegexToken::Plus { greedy: self.is_greedy() },
            Some('?') => RegexToken::Optional { greedy: self.is_greedy() },
            Some('{') => self.read_brace(character),
            Some('(') if self.is_advanced() && self.eat('?') => return self.read_group(),
            Some('(') => RegexToken::OpenGroup { captures: true },
            Some(')') => RegexToken::CloseGroup,
            Some('[') => self.read_open_bracket(),
            Some('.') => RegexToken::AnyCharacter,
            Some('^') => RegexToken::LineStart,
            Some('$') => RegexToken::LineEnd,
            Some('\\') => {
                let escaped = self.peek().ok_or(RegexFault::Escape)?;
                if self.is_advanced() {
                    self.read_escape()?
                } else {
                    self.at += 1;
                    RegexToken::Plain(escaped)
                }
            }
            _ => RegexToken::Plain(character),
        };
        Ok(Some(token))
    }

    /// What an opening brace is: a bound only before a digit.
    fn read_brace(&mut self, character: u32) -> RegexToken {
        if self.flags.expanded {
            self.skip_space();
        }
        if self.peek().is_some_and(|next| (u32::from('0')..=u32::from('9')).contains(&next)) {
            self.surroundings = Surroundings::Bound;
            RegexToken::OpenBound
        } else {
            RegexToken::Plain(character)
        }
    }

    /// What follows `(?`; none for a comment, which is skipped.
    fn read_group(&mut self) -> Result<Option<RegexToken>, RegexFault> {
        let kind = self.peek().ok_or(RegexFault::Quantifier)?;
        self.at += 1;
        let look = |ahead, negated| Ok(Some(RegexToken::OpenLook(LookAround { ahead, negated })));
        match char::from_u32(kind) {
            Some(':') => Ok(Some(RegexToken::OpenGroup { captures: false })),
            Some('#') => {
                while self.peek().is_some() && !self.eat(')') {
                    self.at += 1;
                }
                Ok(None)
            }
            Some('=') => look(true, false),
            Some('!') => look(true, true),
            Some('<') if self.eat('=') => look(false, false),
            Some('<') if self.eat('!') => look(false, true),
            _ => Err(RegexFault::Quantifier),
        }
    }

    /// A token between braces. They end with `}`, in basic expressions with `\}`.
    fn read_in_bound(&mut self, character: u32) -> Result<RegexToken, RegexFault> {
        let is_basic = self.flags.syntax == RegexSyntax::Basic;
        match char::from_u32(character) {
            Some(digit @ '0'..='9') => Ok(RegexToken::Digit(u32::from(digit) - u32::from('0'))),
            Some(',') => Ok(RegexToken::Comma),
            Some('}') if !is_basic => {
                self.surroundings = Surroundings::Extended;
                Ok(RegexToken::CloseBound { greedy: self.is_greedy() })
            }
            Some('\\') if is_basic && self.eat('}') => {
                self.surroundings = Surroundings::Basic;
                Ok(RegexToken::CloseBound { greedy: true })
            }
            _ => Err(RegexFault::Repetition),
        }
    }
}
