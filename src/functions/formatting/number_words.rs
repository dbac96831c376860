//! The words of templates for numbers.

use super::date_patterns::LetterCase;

/// A word of a template for numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberWord {
    Comma,
    /// `.` and `D`, which are the same in the `C` locale.
    Point,
    Zero,
    Nine,
    /// `B`.
    Blank,
    /// `EEEE`.
    Scientific,
    /// `FM`.
    Unpadded,
    /// `G`.
    Group,
    /// `L`: a space in the `C` locale.
    Currency,
    /// `MI`.
    Minus,
    /// `PL`.
    Plus,
    /// `PR`.
    Brackets,
    /// `RN`.
    Roman(LetterCase),
    /// `SG`.
    AnySign,
    /// `S`: the sign, beside the digits.
    AnchoredSign,
    /// `TH`.
    Ordinal(LetterCase),
    /// `V`.
    Shift,
    /// `C` and `SP`.
    Ignored,
}

/// In capitals; one that another one begins with comes after it.
const WORDS: [(&str, NumberWord); 20] = [
    (",", NumberWord::Comma),
    (".", NumberWord::Point),
    ("0", NumberWord::Zero),
    ("9", NumberWord::Nine),
    ("B", NumberWord::Blank),
    ("C", NumberWord::Ignored),
    ("D", NumberWord::Point),
    ("EEEE", NumberWord::Scientific),
    ("FM", NumberWord::Unpadded),
    ("G", NumberWord::Group),
    ("L", NumberWord::Currency),
    ("MI", NumberWord::Minus),
    ("PL", NumberWord::Plus),
    ("PR", NumberWord::Brackets),
    ("RN", NumberWord::Roman(LetterCase::Upper)),
    ("SG", NumberWord::AnySign),
    ("SP", NumberWord::Ignored),
    ("S", NumberWord::AnchoredSign),
    ("TH", NumberWord::Ordinal(LetterCase::Upper)),
    ("V", NumberWord::Shift),
];

/// The word that a template begins with, all in capitals or all in small letters, and what follows.
pub fn first_word(text: &str) -> Option<(NumberWord, &str)> {
    WORDS.iter().find_map(|(capitals, word)| {
        let (start, behind) = text.split_at_checked(capitals.len())?;
        if start == *capitals {
            return Some((*word, behind));
        }
        let is_small = start.bytes().all(|byte| byte.is_ascii_lowercase()) && start.eq_ignore_ascii_case(capitals);
        let small = match word {
            NumberWord::Roman(_) => NumberWord::Roman(LetterCase::Lower),
            NumberWord::Ordinal(_) => NumberWord::Ordinal(LetterCase::Lower),
            _ => *word,
        };
        is_small.then_some((small, behind))
    })
}
