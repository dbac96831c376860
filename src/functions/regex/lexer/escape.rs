//! What a backslash and the characters after it mean in PostgreSQL's own dialect.

use super::RegexLexer;
use crate::functions::regex::{ctype::CharacterClass, fault::RegexFault, token::RegexToken};

/// The largest number that may stand for a character, though no text has one as large.
const CHARACTER_MAX: u32 = 0x7fff_fffe;
/// No escape has more digits than this.
const DIGITS_MAX: usize = 255;

impl RegexLexer {
    /// Reads an escape whose backslash was read already, and which has a character at least.
    pub(super) fn read_escape(&mut self) -> Result<RegexToken, RegexFault> {
        let escaped = self.peek().ok_or(RegexFault::Escape)?;
        self.at += 1;
        let Some(letter) = char::from_u32(escaped).filter(char::is_ascii_alphanumeric) else {
            return Ok(RegexToken::Plain(escaped));
        };
        Ok(match letter {
            'a' => RegexToken::Plain(0x07),
            'b' => RegexToken::Plain(0x08),
            'B' => RegexToken::Plain(u32::from('\\')),
            'c' => {
                let control = self.peek().ok_or(RegexFault::Escape)?;
                self.at += 1;
                RegexToken::Plain(control & 0x1f)
            }
            'e' => RegexToken::Plain(0x1b),
            'f' => RegexToken::Plain(0x0c),
            'n' => RegexToken::Plain(0x0a),
            'r' => RegexToken::Plain(0x0d),
            't' => RegexToken::Plain(0x09),
            'v' => RegexToken::Plain(0x0b),
            'u' => self.read_code_point(4, 4)?,
            'U' => self.read_code_point(8, 8)?,
            'x' => self.read_code_point(1, DIGITS_MAX)?,
            'd' => RegexToken::Class(CharacterClass::Digit),
            's' => RegexToken::Class(CharacterClass::Space),
            'w' => RegexToken::Class(CharacterClass::Word),
            'D' => RegexToken::NotClass(CharacterClass::Digit),
            'S' => RegexToken::NotClass(CharacterClass::Space),
            'W' => RegexToken::NotClass(CharacterClass::Word),
            'A' => RegexToken::TextStart,
            'Z' => RegexToken::TextEnd,
            'm' => RegexToken::WordStart,
            'M' => RegexToken::WordEnd,
            'y' => RegexToken::WordBoundary,
            'Y' => RegexToken::NotWordBoundary,
            '0' => self.read_octal()?,
            '1'..='9' => self.read_back_reference()?,
            _ => return Err(RegexFault::Escape),
        })
    }

    /// `\7` is a back reference, and so is `\12` if there are as many groups; else it is octal.
    fn read_back_reference(&mut self) -> Result<RegexToken, RegexFault> {
        let second = self.at;
        self.at -= 1;
        let number = self.read_digits(10, 1, DIGITS_MAX)?;
        let is_group = i32::try_from(number).is_ok_and(|number| number > 0) && number <= self.groups;
        if self.at == second || is_group {
            return Ok(RegexToken::BackReference(number));
        }
        self.at = second;
        self.read_octal()
    }

    /// Up to three octal digits, the first of which was read already, and as few that they are a byte.
    fn read_octal(&mut self) -> Result<RegexToken, RegexFault> {
        self.at -= 1;
        let code = self.read_digits(8, 1, 3)?;
        if code <= 0xff {
            return Ok(RegexToken::Plain(code));
        }
        self.at -= 1;
        Ok(RegexToken::Plain(code >> 3))
    }

    fn read_code_point(&mut self, at_least: usize, at_most: usize) -> Result<RegexToken, RegexFault> {
        let code = self.read_digits(16, at_least, at_most)?;
        if code > CHARACTER_MAX { Err(RegexFault::Escape) } else { Ok(RegexToken::Plain(code)) }
    }

    /// A number of so many digits. Too large a one loses its first digits, as in PostgreSQL.
    fn read_digits(&mut self, base: u32, at_least: usize, at_most: usize) -> Result<u32, RegexFault> {
        let mut number: u32 = 0;
        let mut count = 0;
        while count < at_most {
            let digit = self.peek().and_then(char::from_u32).and_then(|character| character.to_digit(base));
            let Some(digit) = digit else { break };
            number = number.wrapping_mul(base).wrapping_add(digit);
            self.at += 1;
            count += 1;
        }
        if count < at_least { Err(RegexFault::Escape) } else { Ok(number) }
    }
}
