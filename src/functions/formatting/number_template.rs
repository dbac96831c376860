//! A template for numbers after parsing.

use super::date_patterns::LetterCase;
use super::date_template::take_literal;
use super::number_layout::NumberLayout;
use crate::error::Result;

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

/// A part of a template.
#[derive(Debug, Clone, Copy)]
pub enum NumberNode {
    Word(NumberWord),
    Text(char),
}

#[derive(Debug)]
pub struct NumberTemplate {
    pub nodes: Vec<NumberNode>,
    pub layout: NumberLayout,
}

impl NumberTemplate {
    /// What is no word of it stands for itself. Error 42601 if words do not go together.
    pub fn parse(text: &str) -> Result<NumberTemplate> {
        let mut template = NumberTemplate { nodes: Vec::new(), layout: NumberLayout::default() };
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((word, behind)) = first_word(rest) {
                template.layout.add(word)?;
                template.nodes.push(NumberNode::Word(word));
                rest = behind;
            } else {
                rest = take_literal(rest, |character, _| template.nodes.push(NumberNode::Text(character)));
            }
        }
        Ok(template)
    }
}

/// The word that a template begins with, all in capitals or all in small letters, and what follows.
fn first_word(text: &str) -> Option<(NumberWord, &str)> {
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
