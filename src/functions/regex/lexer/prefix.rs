//! What may stand before an expression: `***:` and `***=` for its dialect, and options such as `(?i)`.

use super::RegexLexer;
use crate::functions::regex::{
    ctype,
    fault::RegexFault,
    flags::{RegexFlags, RegexSyntax},
};

/// Sets what an embedded option says.
fn set_option(flags: &mut RegexFlags, letter: u32) -> Result<(), RegexFault> {
    match char::from_u32(letter) {
        Some('b') => flags.syntax = RegexSyntax::Basic,
        Some('c') => flags.ignore_case = false,
        Some('e') => flags.syntax = RegexSyntax::Extended,
        Some('i') => flags.ignore_case = true,
        Some('m' | 'n') => flags.set_newline(true, true),
        Some('p') => flags.set_newline(true, false),
        Some('q') => flags.syntax = RegexSyntax::Literal,
        Some('s') => flags.set_newline(false, false),
        Some('t') => flags.expanded = false,
        Some('w') => flags.set_newline(false, true),
        Some('x') => flags.expanded = true,
        _ => return Err(RegexFault::Option),
    }
    Ok(())
}

impl RegexLexer {
    /// Reads the prefixes into the flags.
    pub(super) fn read_prefixes(&mut self) -> Result<(), RegexFault> {
        if self.flags.syntax == RegexSyntax::Literal {
            return Ok(());
        }
        if self.follows("***") && self.characters.len() > 3 {
            self.at += 3;
            if self.eat('=') {
                self.become_literal();
                return Ok(());
            }
            if self.next_is('?') {
                return Err(RegexFault::Pattern);
            }
            if !self.eat(':') {
                return Err(RegexFault::Quantifier);
            }
            self.flags.syntax = RegexSyntax::Advanced;
        }
        if self.flags.syntax == RegexSyntax::Advanced && self.follows("(?") {
            self.read_embedded_options()?;
        }
        Ok(())
    }

    fn become_literal(&mut self) {
        self.flags.syntax = RegexSyntax::Literal;
        self.flags.expanded = false;
        self.flags.set_newline(false, false);
    }

    fn read_embedded_options(&mut self) -> Result<(), RegexFault> {
        if !self.characters.get(self.at + 2).copied().is_some_and(ctype::is_alphabetic) {
            return Ok(());
        }
        self.at += 2;
        while let Some(letter) = self.peek().filter(|letter| ctype::is_alphabetic(*letter)) {
            set_option(&mut self.flags, letter)?;
            self.at += 1;
        }
        if !self.eat(')') {
            return Err(RegexFault::Option);
        }
        if self.flags.syntax == RegexSyntax::Literal {
            self.become_literal();
        }
        Ok(())
    }
}
