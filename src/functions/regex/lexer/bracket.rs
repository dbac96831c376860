//! The tokens of bracket expressions.

use super::{RegexLexer, Surroundings};
use crate::functions::regex::{fault::RegexFault, flags::RegexSyntax, token::RegexToken};

impl RegexLexer {
    /// What an opening bracket starts: a set, or one of the two old names of a word's ends.
    pub(super) fn read_open_bracket(&mut self) -> RegexToken {
        for (text, token) in [("[:<:]]", RegexToken::WordStart), ("[:>:]]", RegexToken::WordEnd)] {
            if self.follows(text) {
                self.at += text.len();
                return token;
            }
        }
        self.surroundings = Surroundings::Bracket;
        RegexToken::OpenBracket { negated: self.eat('^') }
    }

    pub(super) fn read_in_bracket(&mut self, character: u32) -> Result<RegexToken, RegexFault> {
        let is_first = matches!(self.last, RegexToken::OpenBracket { .. });
        match char::from_u32(character) {
            Some(']') if !is_first => {
                let is_basic = self.flags.syntax == RegexSyntax::Basic;
                self.surroundings = if is_basic { Surroundings::Basic } else { Surroundings::Extended };
                Ok(RegexToken::CloseBracket)
            }
            Some('\\') if self.is_advanced() => {
                if self.peek().is_none() {
                    return Err(RegexFault::Escape);
                }
                match self.read_escape()? {
                    token @ (RegexToken::Plain(_) | RegexToken::Class(_) | RegexToken::NotClass(_)) => Ok(token),
                    _ => Err(RegexFault::Escape),
                }
            }
            Some('-') if !is_first && !self.next_is(']') => Ok(RegexToken::RangeHyphen),
            Some('[') => self.read_name_start(character),
            _ => Ok(RegexToken::Plain(character)),
        }
    }

    fn read_name_start(&mut self, character: u32) -> Result<RegexToken, RegexFault> {
        let kind = self.peek().ok_or(RegexFault::Brackets)?;
        let (close, token) = match char::from_u32(kind) {
            Some('.') => ('.', RegexToken::OpenElement),
            Some('=') => ('=', RegexToken::OpenEquivalence),
            Some(':') => (':', RegexToken::OpenClass),
            _ => return Ok(RegexToken::Plain(character)),
        };
        self.at += 1;
        self.surroundings = Surroundings::Name(close);
        Ok(token)
    }

    pub(super) fn read_in_name(&mut self, character: u32, close: char) -> RegexToken {
        if character == u32::from(close) && self.eat(']') {
            self.surroundings = Surroundings::Bracket;
            RegexToken::CloseName
        } else {
            RegexToken::Plain(character)
        }
    }
}
