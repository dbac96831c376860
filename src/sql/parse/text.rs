//! Positions in a text: the tokenizer's lines and columns, byte offsets, and the character positions that clients get.

use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// A text with an index of its lines.
///
/// Lines and columns count characters from 1, as the tokenizer does; only `\n` ends a line.
pub(super) struct StatementText<'a> {
    text: &'a str,
    /// The index of each line's first character.
    lines: Vec<usize>,
    /// The byte offset of each character; `None` if all characters are one byte.
    bytes: Option<Vec<u32>>,
    chars: usize,
}

impl<'a> StatementText<'a> {
    pub fn new(text: &'a str) -> Self {
        let mut lines = vec![0];
        let mut chars = 0;
        for c in text.chars() {
            chars += 1;
            if c == '\n' {
                lines.push(chars);
            }
        }
        let bytes = (chars != text.len()).then(|| text.char_indices().map(|(at, _)| at as u32).collect());
        StatementText { text, lines, bytes, chars }
    }

    /// In characters from 1; the end of the text if the tokenizer has no location.
    pub fn position(&self, at: Location) -> usize {
        self.index(at) + 1
    }

    pub fn slice(&self, span: Span) -> &'a str {
        let (from, to) = (self.byte(self.index(span.start)), self.byte(self.index(span.end)));
        self.text.get(from..to).unwrap_or("")
    }

    fn index(&self, at: Location) -> usize {
        match (at.line as usize).checked_sub(1).and_then(|line| self.lines.get(line)) {
            Some(start) => (start + (at.column as usize).saturating_sub(1)).min(self.chars),
            None => self.chars,
        }
    }

    fn byte(&self, index: usize) -> usize {
        match &self.bytes {
            None => index.min(self.text.len()),
            Some(bytes) => bytes.get(index).map_or(self.text.len(), |b| *b as usize),
        }
    }
}

/// The line and the column, both from 1, of an error position (in characters from 1).
pub fn line_column(text: &str, position: usize) -> (usize, usize) {
    let before = text.chars().take(position.saturating_sub(1));
    before.fold((1, 1), |(line, column), c| if c == '\n' { (line + 1, 1) } else { (line, column + 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_positions_are_counted_in_characters() {
        let text = StatementText::new("añb\nçd");
        assert_eq!(text.position(Location::new(1, 3)), 3);
        assert_eq!(text.position(Location::new(2, 2)), 6);
        assert_eq!(text.slice(Span::new(Location::new(1, 2), Location::new(2, 2))), "ñb\nç");
        assert_eq!(text.position(Location::empty()), 7, "no place is the end");
        assert_eq!(text.slice(Span::new(Location::new(9, 9), Location::new(1, 1))), "", "never panics");
    }

    #[test]
    fn text_position_becomes_line_and_column() {
        assert_eq!(line_column("añb\nçd", 1), (1, 1));
        assert_eq!(line_column("añb\nçd", 4), (1, 4));
        assert_eq!(line_column("añb\nçd", 6), (2, 2));
        assert_eq!(line_column("x", 100), (1, 2));
    }
}
