//! The tokens of POSIX's basic expressions, where a backslash makes groups and bounds.

use super::{RegexLexer, Surroundings};
use crate::functions::regex::{fault::RegexFault, token::RegexToken};

impl RegexLexer {
    /// The token that a character starts, which was read already.
    pub(super) fn read_basic(&mut self, character: u32) -> Result<RegexToken, RegexFault> {
        let after_open = matches!(self.last, RegexToken::Start | RegexToken::OpenGroup { .. });
        let token = match char::from_u32(character) {
            Some('*') if after_open || self.last == RegexToken::LineStart => RegexToken::Plain(character),
            Some('*') => RegexToken::Star { greedy: true },
            Some('[') => self.read_open_bracket(),
            Some('.') => RegexToken::AnyCharacter,
            Some('^') if after_open => RegexToken::LineStart,
            Some('$') => {
                if self.flags.expanded {
                    self.skip_space();
                }
                let is_last = self.peek().is_none() || self.follows("\\)");
                if is_last { RegexToken::LineEnd } else { RegexToken::Plain(character) }
            }
            Some('\\') => self.read_basic_escape()?,
            _ => RegexToken::Plain(character),
        };
        Ok(token)
    }

    fn read_basic_escape(&mut self) -> Result<RegexToken, RegexFault> {
        let escaped = self.peek().ok_or(RegexFault::Escape)?;
        self.at += 1;
        Ok(match char::from_u32(escaped) {
            Some('{') => {
                self.surroundings = Surroundings::Bound;
                RegexToken::OpenBound
            }
            Some('(') => RegexToken::OpenGroup { captures: true },
            Some(')') => RegexToken::CloseGroup,
            Some('<') => RegexToken::WordStart,
            Some('>') => RegexToken::WordEnd,
            Some(digit @ '1'..='9') => RegexToken::BackReference(u32::from(digit) - u32::from('0')),
            _ => RegexToken::Plain(escaped),
        })
    }
}
