//! The tokens of regular expressions.

use super::ctype::CharacterClass;

/// Which side of a place an assertion looks at, and whether it wants to find its expression there or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LookAround {
    pub ahead: bool,
    pub negated: bool,
}

/// A token. Those of brackets and bounds occur only in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegexToken {
    /// None was read yet.
    Start,
    /// The expression ends.
    End,
    Plain(u32),
    BackReference(u32),
    Class(CharacterClass),
    /// Every character that is not of a class.
    NotClass(CharacterClass),
    AnyCharacter,
    Alternative,
    OpenGroup {
        captures: bool,
    },
    OpenLook(LookAround),
    CloseGroup,
    Star {
        greedy: bool,
    },
    Plus {
        greedy: bool,
    },
    Optional {
        greedy: bool,
    },
    OpenBound,
    Digit(u32),
    Comma,
    CloseBound {
        greedy: bool,
    },
    LineStart,
    LineEnd,
    TextStart,
    TextEnd,
    WordStart,
    WordEnd,
    WordBoundary,
    NotWordBoundary,
    OpenBracket {
        negated: bool,
    },
    CloseBracket,
    /// A hyphen between two ends of a range.
    RangeHyphen,
    /// `[.`
    OpenElement,
    /// `[=`
    OpenEquivalence,
    /// `[:`
    OpenClass,
    /// `.]`, `=]` or `:]`
    CloseName,
}
