//! Upper bounds for the memory of a text, computed before parsing, so that memory can be reserved first.

/// Maximum bytes of a token: two copies of itself, and its nodes in the syntax tree and the plans.
const TOKEN_BYTES: usize = 1024;
/// Bytes of a token in a stored statement: its nodes in the syntax tree.
const KEPT_TOKEN_BYTES: usize = 512;

/// The memory that one text may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    text: usize,
    tokens: usize,
}

impl Weight {
    pub fn of(text: &str) -> Weight {
        Weight { text: text.len(), tokens: tokens(text.as_bytes()) }
    }

    /// The bytes while it is parsed and planned.
    pub fn running(self) -> usize {
        self.text.saturating_mul(4).saturating_add(self.tokens.saturating_mul(TOKEN_BYTES))
    }

    /// The bytes while its statement waits to be run.
    pub fn retained(self) -> usize {
        self.text.saturating_mul(2).saturating_add(self.tokens.saturating_mul(KEPT_TOKEN_BYTES))
    }
}

/// An upper bound for the tokens of a text. A word, a run of digits, a quoted text and a comment count as one; all else
/// counts per byte, as does everything after an ambiguous quote.
fn tokens(text: &[u8]) -> usize {
    let (mut count, mut at, mut certain) = (0, 0, true);
    while let Some(byte) = text.get(at) {
        count += 1;
        let enclosed =
            if certain { enclosed(at.checked_sub(1).map(|before| text[before]), &text[at..]) } else { Some(0) };
        certain &= enclosed.is_some();
        let run = |is_within: fn(&u8) -> bool| text[at..].iter().take_while(|byte| is_within(byte)).count();
        at += match enclosed {
            Some(length) if length > 0 => length,
            _ if byte.is_ascii_digit() => run(u8::is_ascii_digit),
            _ if is_word(byte) => run(is_word),
            // A run counts as one token: tokens of whitespace are dropped.
            _ if byte.is_ascii_whitespace() => run(u8::is_ascii_whitespace),
            _ => 1,
        };
    }
    count
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80
}

/// The length of the quoted text or comment at the start of `text`; 0 if there is none. `None` if a backslash, a `$`, a
/// nested comment, or an operator `before` that may continue makes the end ambiguous.
fn enclosed(before: Option<u8>, text: &[u8]) -> Option<usize> {
    let is_operator = |byte: u8| {
        !(is_word(&byte) || byte.is_ascii_whitespace() || matches!(byte, b'\'' | b'"' | b'(' | b')' | b',' | b';'))
    };
    match text {
        [quote @ (b'\'' | b'"'), rest @ ..] => match rest.iter().position(|byte| byte == quote || *byte == b'\\') {
            Some(end) if rest[end] == b'\\' => None,
            end => Some(end.map_or(text.len(), |end| end + 2)),
        },
        [b'$', rest @ ..] => match rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len()) {
            0 => None,
            // A parameter; `$1$` starts a dollar-quoted text.
            digits => (rest.get(digits) != Some(&b'$')).then_some(digits + 1),
        },
        [b'-', b'-', ..] | [b'/', b'*', ..] if before.is_some_and(is_operator) => None,
        [b'-', b'-', rest @ ..] => {
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            Some(end.map_or(text.len(), |end| end + 3))
        }
        [b'/', b'*', rest @ ..] => {
            let end = rest.windows(2).position(|pair| pair == b"*/").unwrap_or(rest.len());
            let is_nested = rest[..end].windows(2).any(|pair| pair == b"/*");
            (!is_nested).then_some((end + 4).min(text.len()))
        }
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, tokenizer::Tokenizer};
    use proptest::prelude::*;

    use super::*;

    fn real(text: &str) -> Option<usize> {
        Some(Tokenizer::new(&PostgreSqlDialect {}, text).tokenize().ok()?.len())
    }

    #[test]
    fn weight_of_a_long_literal_is_one_token() {
        let text = format!("INSERT INTO t VALUES ('{}')", "x, ".repeat(1_000_000));
        assert!(tokens(text.as_bytes()) < 20);
        assert!(tokens("x, ".repeat(1000).as_bytes()) >= 2000);
        let text = format!("-- it's a dump\n/* don't */ INSERT INTO t VALUES ($1, '{}')", "x, ".repeat(1_000_000));
        assert!(tokens(text.as_bytes()) < 24);
    }

    /// Quotes that open in a comment, in a text between dollars or behind an operator that goes on.
    #[test]
    fn weight_counts_tokens_after_quotes_in_comments() {
        for opened in
            ["--\"\n", "/*'*/", "/* /*'*/ ' */", "$$'$$", "$a$\"$a$", "$1$'$1$", "+--'\n'", "1 */*'a'", "E'\\''"]
        {
            let text = format!("{opened} {}", "a+".repeat(50));
            assert!(tokens(text.as_bytes()) > 100, "{text}");
        }
    }

    proptest! {
        #[test]
        fn weight_is_at_least_the_tokens_of_the_parser(
            text in "([a-z0-9 ,.;()*+'\"\\\\$é\n-]|E'|--|\n|/\\*|\\*/|\\$\\$|\\$a\\$|\\$1|''|[+]a|'|\"){0,60}",
        ) {
            if let Some(real) = real(&text) {
                // Blanks are dropped before anything is made of them.
                prop_assert!(tokens(text.as_bytes()) + text.matches(char::is_whitespace).count() >= real, "{text:?}: {real}");
            }
        }
    }
}
