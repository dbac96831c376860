//! A template for dates and times after parsing.

use super::date_patterns::{DatePattern, LetterCase, TemplateWord};

/// A word of a template with what stands before and behind it.
#[derive(Debug, Clone, Copy)]
pub struct DateField {
    pub word: TemplateWord,
    /// `FM`: without leading zeros and padding.
    pub is_unpadded: bool,
    /// `TM`: names of the locale, which are never padded.
    pub is_localized: bool,
    /// `TH` and `th`.
    pub ordinal: Option<LetterCase>,
    /// Whether a number that is read for it takes all digits that there are.
    pub is_open: bool,
}

impl DateField {
    pub fn pattern(&self) -> DatePattern {
        self.word.pattern
    }
}

/// A part of a template.
#[derive(Debug, Clone, Copy)]
pub enum TemplateNode {
    Field(DateField),
    Space(char),
    /// A printable character of ASCII that is no letter and no digit.
    Separator(char),
    Text(char),
}

/// Any text is a template: what is no word of it stands for itself.
#[derive(Debug)]
pub struct DateTimeTemplate {
    pub nodes: Vec<TemplateNode>,
}

impl DateTimeTemplate {
    pub fn parse(text: &str) -> DateTimeTemplate {
        let mut nodes = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            rest = next_nodes(rest, &mut nodes);
        }
        for place in 0..nodes.len() {
            let is_before_digit = match nodes.get(place + 1) {
                Some(TemplateNode::Field(next)) => next.pattern().is_number(),
                Some(TemplateNode::Space(next) | TemplateNode::Separator(next) | TemplateNode::Text(next)) => {
                    next.is_ascii_digit()
                }
                None => false,
            };
            if let Some(TemplateNode::Field(field)) = nodes.get_mut(place) {
                field.is_open = field.is_unpadded || field.ordinal.is_some() || !is_before_digit;
            }
        }
        DateTimeTemplate { nodes }
    }
}

/// White space of the `C` locale.
pub fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

pub fn is_separator(character: char) -> bool {
    character.is_ascii_punctuation()
}

/// Takes one word or the literal text that a template begins with; returns what follows.
fn next_nodes<'a>(text: &'a str, nodes: &mut Vec<TemplateNode>) -> &'a str {
    let unprefixed = |prefixes: [&str; 2]| prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
    let (is_unpadded, is_localized, rest) = match (unprefixed(["FM", "fm"]), unprefixed(["TM", "tm"])) {
        (Some(rest), _) => (true, false, rest),
        (_, Some(rest)) => (false, true, rest),
        _ => (false, false, text),
    };
    let Some(word) = TemplateWord::at_start_of(rest) else { return next_literal(rest, nodes) };
    let behind = rest.get(word.text().len()..).unwrap_or_default();
    let (ordinal, behind) = if let Some(behind) = behind.strip_prefix("TH") {
        (Some(LetterCase::Upper), behind)
    } else if let Some(behind) = behind.strip_prefix("th") {
        (Some(LetterCase::Lower), behind)
    } else {
        (None, behind.strip_prefix("SP").unwrap_or(behind))
    };
    nodes.push(TemplateNode::Field(DateField { word, is_unpadded, is_localized, ordinal, is_open: false }));
    behind
}

fn next_literal<'a>(text: &'a str, nodes: &mut Vec<TemplateNode>) -> &'a str {
    take_literal(text, |character, is_quoted| {
        nodes.push(match character {
            _ if is_quoted => TemplateNode::Text(character),
            _ if is_separator(character) => TemplateNode::Separator(character),
            _ if is_space(character) => TemplateNode::Space(character),
            _ => TemplateNode::Text(character),
        });
    })
}

/// Takes a text in quotes, in which a backslash quotes the next character, or one character; returns what follows. A
/// quote that is not closed reaches to the end. Outside of quotes, a backslash is special before a quote only.
pub fn take_literal(text: &str, mut take: impl FnMut(char, bool)) -> &str {
    let Some(quoted) = text.strip_prefix('"') else {
        let mut characters = text.chars();
        let (first, rest) = (characters.next(), characters.as_str());
        if first == Some('\\')
            && let Some(behind) = rest.strip_prefix('"')
        {
            take('"', false);
            return behind;
        }
        first.into_iter().for_each(|first| take(first, false));
        return rest;
    };
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => take(characters.next().unwrap_or('\\'), true),
            _ => take(character, true),
        }
    }
    characters.as_str()
}
