//! Statement texts for display, with the values of secret options masked.

use datafusion::sql::sqlparser::{
    dialect::PostgreSqlDialect,
    tokenizer::{Token, Tokenizer},
};

use crate::options::is_secret;

/// The replacement of a secret.
const MASK: &str = "'***'";

/// The text with secrets in its option lists masked.
pub fn masked(text: &str) -> String {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).with_unescape(false).tokenize();
    // A text that cannot be tokenized is masked as a whole.
    let Ok(tokens) = tokens else { return MASK.to_string() };
    let (mut shown, mut hidden) = (String::with_capacity(text.len()), false);
    let mut list: Option<Item> = None;
    let mut before = [const { String::new() }; 2];
    for token in &tokens {
        if matches!(token, Token::Whitespace(_)) {
            if !list.as_ref().is_some_and(|item| item.masks) {
                shown.push_str(&token.to_string());
            }
            continue;
        }
        match (&mut list, token) {
            (None, Token::LParen) if opens(&before) => list = Some(Item::default()),
            (None, _) => {}
            (Some(item), Token::Comma) => *item = Item::default(),
            (Some(_), Token::RParen) => list = None,
            (Some(item), token) => {
                if item.advance(token) {
                    if !std::mem::replace(&mut item.masks, true) {
                        shown.push_str(MASK);
                        hidden = true;
                    }
                    continue;
                }
            }
        }
        shown.push_str(&token.to_string());
        before = [std::mem::take(&mut before[1]), token.to_string().to_uppercase()];
    }
    if hidden { shown } else { text.to_string() }
}

/// Whether an option list starts after these words.
fn opens([first, second]: &[String; 2]) -> bool {
    ["WITH", "OPTIONS"].contains(&second.as_str()) || ["FORMAT", "ENCODE"].contains(&first.as_str())
}

/// The option that is being read.
#[derive(Default)]
struct Item {
    key: String,
    /// The key is complete: the value is next.
    value: bool,
    /// Its value was masked.
    masks: bool,
}

impl Item {
    /// Reads the next token: whether it is part of a secret value.
    fn advance(&mut self, token: &Token) -> bool {
        let quoted = matches!(token, Token::SingleQuotedString(_));
        match token {
            _ if self.value => return is_secret(&self.key),
            Token::Eq => {
                self.value = true;
                return false;
            }
            // `'key' 'value'`, without `=`.
            _ if quoted && !self.key.is_empty() => {
                self.value = true;
                return is_secret(&self.key);
            }
            Token::Word(word) => self.key.push_str(&word.value),
            Token::SingleQuotedString(key) => self.key.push_str(key),
            _ => self.key.push_str(&token.to_string()),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_hides_secret_options_only() {
        let masks = |text: &str, shown: &str| assert_eq!(masked(text), shown);
        masks(
            "CREATE SOURCE s (password TEXT) WITH (topic = 't', properties.sasl.password = 'it''s', \"a.token\" = 5)",
            "CREATE SOURCE s (password TEXT) WITH (topic = 't', properties.sasl.password = '***', \"a.token\" = '***')",
        );
        masks(
            "CREATE SINK k FROM v WITH ('ssl.key.pem'='a\nb' , x=1) -- done",
            "CREATE SINK k FROM v WITH ('ssl.key.pem'='***', x=1) -- done",
        );
        masks(
            "CREATE EXTERNAL TABLE t STORED AS csv LOCATION 'x' OPTIONS ('aws.secret' 'y', 'z' 'w')",
            "CREATE EXTERNAL TABLE t STORED AS csv LOCATION 'x' OPTIONS ('aws.secret' '***', 'z' 'w')",
        );
        masks(
            "CREATE SOURCE s WITH (a = 'b') FORMAT PLAIN ENCODE AVRO (registry.password = $$x$$)",
            "CREATE SOURCE s WITH (a = 'b') FORMAT PLAIN ENCODE AVRO (registry.password = '***')",
        );
        for same in [
            "CREATE VIEW v AS WITH t AS (SELECT password = 'x' FROM u) SELECT * FROM t WHERE (token = 'a')",
            "CREATE SOURCE s WITH (connector = 'datagen', rows = 5)",
        ] {
            masks(same, same);
        }
        assert!(!masked("CREATE SOURCE s WITH (password = 'hunter2").contains("hunter2"));
        assert!(!masked("CREATE SOURCE s WITH (password = 'a', secret = E'hunt\\'er2')").contains("er2"));
    }
}
