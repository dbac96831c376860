//! What kind a character is, and its other case, as the C.UTF-8 locale of PostgreSQL's server has it.
//!
//! The tables are those of the locale, not of Rust's standard library: that one follows a newer Unicode.

mod case;
mod classes;

use std::sync::LazyLock;

use super::character_set::CharacterSet;

/// A class of characters, as `[[:alpha:]]` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CharacterClass {
    Alnum,
    Alpha,
    Ascii,
    Blank,
    Cntrl,
    Digit,
    Graph,
    Lower,
    Print,
    Punct,
    Space,
    Upper,
    Xdigit,
    Word,
}

impl CharacterClass {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "alnum" => CharacterClass::Alnum,
            "alpha" => CharacterClass::Alpha,
            "ascii" => CharacterClass::Ascii,
            "blank" => CharacterClass::Blank,
            "cntrl" => CharacterClass::Cntrl,
            "digit" => CharacterClass::Digit,
            "graph" => CharacterClass::Graph,
            "lower" => CharacterClass::Lower,
            "print" => CharacterClass::Print,
            "punct" => CharacterClass::Punct,
            "space" => CharacterClass::Space,
            "upper" => CharacterClass::Upper,
            "xdigit" => CharacterClass::Xdigit,
            "word" => CharacterClass::Word,
            _ => return None,
        })
    }

    /// The characters of the class.
    pub fn characters(self) -> CharacterSet {
        let ranges = |ranges: &[(u32, u32)]| CharacterSet::of_ranges(ranges.to_vec());
        match self {
            CharacterClass::Alnum => ALPHA.clone().union(&ranges(DIGITS)),
            CharacterClass::Alpha => ALPHA.clone(),
            CharacterClass::Ascii => ranges(&[(0, 0x7f)]),
            CharacterClass::Blank => ranges(&[(0x09, 0x09), (0x20, 0x20)]),
            CharacterClass::Cntrl => ranges(&[(0, 0x1f), (0x7f, 0x9f)]),
            CharacterClass::Digit => ranges(DIGITS),
            CharacterClass::Graph => GRAPH.clone(),
            CharacterClass::Lower => strided(case::LOWER),
            CharacterClass::Print => GRAPH.clone().union(&ranges(SPACES_THAT_PRINT)),
            CharacterClass::Punct => GRAPH.without(&CharacterClass::Alnum.characters()),
            CharacterClass::Space => ranges(SPACES_THAT_PRINT).union(&ranges(&[(0x09, 0x0d), (0x2028, 0x2029)])),
            CharacterClass::Upper => strided(case::UPPER),
            CharacterClass::Xdigit => ranges(&[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]),
            CharacterClass::Word => CharacterClass::Alnum.characters().union(&CharacterSet::of_character(0x5f)),
        }
    }
}

const DIGITS: &[(u32, u32)] = &[(0x30, 0x39)];
const SPACES_THAT_PRINT: &[(u32, u32)] =
    &[(0x20, 0x20), (0x1680, 0x1680), (0x2000, 0x2006), (0x2008, 0x200a), (0x205f, 0x205f), (0x3000, 0x3000)];

static ALPHA: LazyLock<CharacterSet> = LazyLock::new(|| alternating(classes::ALPHA));
static GRAPH: LazyLock<CharacterSet> = LazyLock::new(|| alternating(classes::GRAPH));

/// The set of a table that alternates between how many characters are out of it and in it.
fn alternating(lengths: &[u32]) -> CharacterSet {
    let mut next = 0;
    let range = |pair: &[u32]| {
        let [outside, inside] = pair else { return None };
        let first = next + outside;
        next = first + inside;
        Some((first, next - 1))
    };
    CharacterSet::of_ranges(lengths.chunks_exact(2).filter_map(range).collect())
}

/// The set of a table of runs, each of every `stride`-th character.
fn strided(runs: &[u32]) -> CharacterSet {
    let mut ranges = Vec::new();
    for run in runs.chunks_exact(3) {
        if let [first, last, stride] = run {
            ranges.extend((*first..=*last).step_by(*stride as usize).map(|character| (character, character)));
        }
    }
    CharacterSet::of_ranges(ranges)
}

pub fn is_alphabetic(character: u32) -> bool {
    ALPHA.contains(character)
}

/// Whether `iswspace` holds, which is not so for the spaces that do not break a line.
pub fn is_space(character: u32) -> bool {
    matches!(character, 0x09..=0x0d | 0x2028 | 0x2029)
        || SPACES_THAT_PRINT.iter().any(|&(first, last)| (first..=last).contains(&character))
}

/// `towlower`.
pub fn to_lower(character: char) -> char {
    if character.is_ascii() { character.to_ascii_lowercase() } else { mapped(case::TO_LOWER, character) }
}

/// `towupper`.
pub fn to_upper(character: char) -> char {
    if character.is_ascii() { character.to_ascii_uppercase() } else { mapped(case::TO_UPPER, character) }
}

/// The runs of a table of cases: first, last, stride, what the first becomes.
fn case_runs(table: &[u32]) -> impl Iterator<Item = (u32, u32, u32, u32)> {
    table.chunks_exact(4).filter_map(|run| match run {
        [first, last, stride, becomes] => Some((*first, *last, *stride, *becomes)),
        _ => None,
    })
}

fn mapped(table: &[u32], character: char) -> char {
    let code = u32::from(character);
    let (mut low, mut high) = (0, table.len() / 4);
    while low < high {
        let middle = (low + high) / 2;
        match table.get(middle * 4..middle * 4 + 4) {
            Some([first, last, stride, becomes]) => {
                if code < *first {
                    high = middle;
                } else if code > *last {
                    low = middle + 1;
                } else if (code - first) % stride == 0 {
                    return char::from_u32(becomes + (code - first)).unwrap_or(character);
                } else {
                    return character;
                }
            }
            _ => return character,
        }
    }
    character
}

/// What the characters from `first` to `last` become in lower and in upper case, where that is another character.
pub fn other_cases(first: u32, last: u32) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for (from, to, stride, becomes) in case_runs(case::TO_LOWER).chain(case_runs(case::TO_UPPER)) {
        if to < first || from > last {
            continue;
        }
        let inside = (from..=to).step_by(stride as usize).filter(|code| (first..=last).contains(code));
        found.extend(inside.map(|code| becomes + (code - from)).map(|other| (other, other)));
    }
    found
}

/// Appends a text in lower case, character by character.
pub fn push_lower(text: &str, lowered: &mut String) {
    if text.is_ascii() {
        let from = lowered.len();
        lowered.push_str(text);
        if let Some(added) = lowered.get_mut(from..) {
            added.make_ascii_lowercase();
        }
    } else {
        lowered.extend(text.chars().map(to_lower));
    }
}
