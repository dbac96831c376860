//! Bracket expressions: the set of characters that one stands for.

use super::{RegexParser, atom::newline};
use crate::functions::regex::{
    character_set::CharacterSet,
    ctype::{self, CharacterClass},
    fault::RegexFault,
    token::RegexToken,
};

/// POSIX's names, each with its code.
#[rustfmt::skip]
const NAMES: &[(&str, u32)] = &[
    ("NUL", 0), ("SOH", 1), ("STX", 2), ("ETX", 3), ("EOT", 4), ("ENQ", 5), ("ACK", 6), ("BEL", 7), ("BS", 8),
    ("HT", 9), ("LF", 10), ("VT", 11), ("FF", 12), ("CR", 13), ("SO", 14), ("SI", 15), ("DLE", 16), ("DC1", 17),
    ("DC2", 18), ("DC3", 19), ("DC4", 20), ("NAK", 21), ("SYN", 22), ("ETB", 23), ("CAN", 24), ("EM", 25),
    ("SUB", 26), ("ESC", 27), ("IS4", 28), ("FS", 28), ("IS3", 29), ("GS", 29), ("IS2", 30), ("RS", 30),
    ("IS1", 31), ("US", 31), ("alert", 7), ("backspace", 8), ("tab", 9), ("newline", 10), ("vertical-tab", 11),
    ("form-feed", 12), ("carriage-return", 13), ("space", 32), ("exclamation-mark", 33), ("quotation-mark", 34),
    ("number-sign", 35), ("dollar-sign", 36), ("percent-sign", 37), ("ampersand", 38), ("apostrophe", 39),
    ("left-parenthesis", 40), ("right-parenthesis", 41), ("asterisk", 42), ("plus-sign", 43), ("comma", 44),
    ("hyphen", 45), ("period", 46), ("slash", 47), ("zero", 48), ("one", 49), ("two", 50), ("three", 51),
    ("four", 52), ("five", 53), ("six", 54), ("seven", 55), ("eight", 56), ("nine", 57), ("colon", 58),
    ("semicolon", 59), ("less-than-sign", 60), ("equals-sign", 61), ("greater-than-sign", 62),
    ("question-mark", 63), ("commercial-at", 64), ("hyphen-minus", 45), ("full-stop", 46), ("solidus", 47),
    ("left-square-bracket", 91), ("backslash", 92), ("reverse-solidus", 92), ("right-square-bracket", 93),
    ("circumflex", 94), ("circumflex-accent", 94), ("underscore", 95), ("low-line", 95), ("grave-accent", 96),
    ("left-brace", 123), ("left-curly-bracket", 123), ("vertical-line", 124), ("right-brace", 125),
    ("right-curly-bracket", 125), ("tilde", 126), ("DEL", 127),
];

/// The character of a name, which may be the character itself.
fn character_named(name: &[u32]) -> Option<u32> {
    if let [character] = name {
        return Some(*character);
    }
    let name: String = name.iter().copied().map_while(char::from_u32).collect();
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

impl RegexParser {
    /// The set between brackets, up to the closing one, which is not stepped over.
    pub(super) fn read_bracket(&mut self, negated: bool) -> Result<CharacterSet, RegexFault> {
        self.lexer.advance()?;
        let mut ranges = Vec::new();
        while self.lexer.token != RegexToken::CloseBracket {
            let item = self.read_bracket_item()?;
            ranges.extend_from_slice(item.ranges());
        }
        let set = CharacterSet::of_ranges(ranges);
        Ok(match (negated, self.lexer.flags.newline_stops) {
            (false, _) => set,
            (true, false) => set.complement(),
            (true, true) => set.union(&newline()).complement(),
        })
    }

    fn read_bracket_item(&mut self) -> Result<CharacterSet, RegexFault> {
        let first = match self.lexer.token {
            RegexToken::Plain(character) => {
                self.lexer.advance()?;
                if self.lexer.token != RegexToken::RangeHyphen {
                    return Ok(self.of_character(character));
                }
                character
            }
            RegexToken::OpenElement => self.read_element()?,
            RegexToken::OpenEquivalence => {
                let character = self.read_element()?;
                return Ok(self.of_character(character));
            }
            RegexToken::OpenClass => {
                let name: String = self.read_name()?.into_iter().map_while(char::from_u32).collect();
                let class = CharacterClass::named(&name).ok_or(RegexFault::CharacterClass)?;
                return Ok(self.of_class(class));
            }
            RegexToken::Class(class) => {
                self.lexer.advance()?;
                return Ok(self.of_class(class));
            }
            RegexToken::NotClass(class) => {
                self.lexer.advance()?;
                return Ok(self.of_class(class).complement());
            }
            _ => return Err(RegexFault::Range),
        };
        let last = if self.lexer.token == RegexToken::RangeHyphen { self.read_range_end()? } else { first };
        if first > last {
            return Err(RegexFault::Range);
        }
        let range = CharacterSet::of_range(first, last);
        if !self.lexer.flags.ignore_case {
            return Ok(range);
        }
        Ok(range.union(&CharacterSet::of_ranges(ctype::other_cases(first, last))))
    }

    fn read_range_end(&mut self) -> Result<u32, RegexFault> {
        self.lexer.advance()?;
        let last = match self.lexer.token {
            RegexToken::Plain(character) => character,
            RegexToken::RangeHyphen => u32::from('-'),
            RegexToken::OpenElement => return self.read_element(),
            _ => return Err(RegexFault::Range),
        };
        self.lexer.advance()?;
        Ok(last)
    }

    /// The characters up to `.]`, `=]` or `:]`.
    fn read_name(&mut self) -> Result<Vec<u32>, RegexFault> {
        self.lexer.advance()?;
        let mut name = Vec::new();
        while let RegexToken::Plain(character) = self.lexer.token {
            name.push(character);
            self.lexer.advance()?;
        }
        self.lexer.advance()?;
        Ok(name)
    }

    fn read_element(&mut self) -> Result<u32, RegexFault> {
        character_named(&self.read_name()?).ok_or(RegexFault::CollatingElement)
    }

    /// A character, in both cases if case does not matter.
    pub(super) fn of_character(&self, character: u32) -> CharacterSet {
        match char::from_u32(character) {
            Some(letter) if self.lexer.flags.ignore_case => {
                let lower = CharacterSet::of_character(u32::from(ctype::to_lower(letter)));
                lower.union(&CharacterSet::of_character(u32::from(ctype::to_upper(letter))))
            }
            _ => CharacterSet::of_character(character),
        }
    }

    /// A class; if case does not matter, letters of one case are letters of any.
    pub(super) fn of_class(&self, class: CharacterClass) -> CharacterSet {
        let is_case = matches!(class, CharacterClass::Lower | CharacterClass::Upper);
        if is_case && self.lexer.flags.ignore_case { CharacterClass::Alpha.characters() } else { class.characters() }
    }
}
