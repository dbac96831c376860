//! What a text costs to read, known before it is read: so that room can be asked for first.

/// What a token takes at the most: itself, twice, and the nodes of the tree and of the plans that are made of it.
const TOKEN_BYTES: usize = 1024;
/// What stays of a token once its statement is only kept: the nodes of the tree.
const KEPT_TOKEN_BYTES: usize = 512;

/// What one text may take.
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
    pub fn kept(self) -> usize {
        self.text.saturating_mul(2).saturating_add(self.tokens.saturating_mul(KEPT_TOKEN_BYTES))
    }
}

/// How many tokens a text has, or more. A word, a row of digits or a text in quotes is one; all else is counted by the byte,
/// and so is everything from where a backslash in quotes makes their end uncertain.
fn tokens(text: &[u8]) -> usize {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let (mut count, mut at, mut trust) = (0, 0, true);
    while let Some(byte) = text.get(at) {
        count += 1;
        let quoted = trust && matches!(byte, b'\'' | b'"');
        let rest = &text[at + 1..];
        at += 1 + match byte {
            _ if quoted => match rest.iter().position(|other| other == byte || *other == b'\\') {
                Some(end) if rest[end] == b'\\' => {
                    trust = false;
                    0
                }
                end => end.map_or(rest.len(), |end| end + 1),
            },
            byte if byte.is_ascii_digit() => {
                rest.iter().position(|other| !other.is_ascii_digit()).unwrap_or(rest.len())
            }
            byte if word(*byte) => rest.iter().position(|other| !word(*other)).unwrap_or(rest.len()),
            byte if byte.is_ascii_whitespace() => {
                // They are dropped as they are found, but for what stands before them.
                rest.iter().position(|other| !other.is_ascii_whitespace()).unwrap_or(rest.len())
            }
            _ => 0,
        };
    }
    count
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
    fn a_long_value_is_one_token() {
        let text = format!("INSERT INTO t VALUES ('{}')", "x, ".repeat(1_000_000));
        assert!(tokens(text.as_bytes()) < 20);
        assert!(tokens("x, ".repeat(1000).as_bytes()) >= 2000);
    }

    proptest! {
        #[test]
        fn no_token_is_overlooked(text in "([a-z0-9 ,.;()*+'\"\\\\$é\n-]|E'|--|/\\*){0,60}") {
            if let Some(real) = real(&text) {
                // Blanks are dropped before anything is made of them.
                prop_assert!(tokens(text.as_bytes()) + text.matches(char::is_whitespace).count() >= real, "{text:?}: {real}");
            }
        }
    }
}
