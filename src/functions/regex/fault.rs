//! What is wrong with a regular expression, in PostgreSQL's words.

use crate::error::{Error, ErrorKind};

/// Why a regular expression is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegexFault {
    Pattern,
    CollatingElement,
    CharacterClass,
    Escape,
    BackReference,
    Brackets,
    Parentheses,
    Braces,
    Repetition,
    Range,
    Quantifier,
    Argument,
    Option,
    TooComplex,
    TooManyColors,
}

impl RegexFault {
    fn message(self) -> &'static str {
        match self {
            RegexFault::Pattern => "invalid regexp (reg version 0.8)",
            RegexFault::CollatingElement => "invalid collating element",
            RegexFault::CharacterClass => "invalid character class",
            RegexFault::Escape => "invalid escape \\ sequence",
            RegexFault::BackReference => "invalid backreference number",
            RegexFault::Brackets => "brackets [] not balanced",
            RegexFault::Parentheses => "parentheses () not balanced",
            RegexFault::Braces => "braces {} not balanced",
            RegexFault::Repetition => "invalid repetition count(s)",
            RegexFault::Range => "invalid character range",
            RegexFault::Quantifier => "quantifier operand invalid",
            RegexFault::Argument => "invalid argument to regex function",
            RegexFault::Option => "invalid embedded option",
            RegexFault::TooComplex => "regular expression is too complex",
            RegexFault::TooManyColors => "too many colors in regular expression",
        }
    }
}

impl From<RegexFault> for Error {
    fn from(fault: RegexFault) -> Error {
        let message = format!("invalid regular expression: {}", fault.message());
        Error::new(ErrorKind::InvalidRegularExpression, message)
    }
}
