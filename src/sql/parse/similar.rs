//! `x SIMILAR TO pattern` as the regular expression that PostgreSQL makes of it (its `similar_escape_internal`):
//! anchored at both ends, with `%` and `_` as in LIKE. DataFusion takes the pattern for a regular expression.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value, ValueWithSpan};

use crate::error::{Error, ErrorKind, Result};

/// Rewrites one such comparison.
pub(super) fn as_regex(expr: &mut Expr) -> Result<()> {
    let Expr::SimilarTo { negated, expr: text, pattern, escape_char } = expr else { return Ok(()) };
    let right = match pattern.as_ref() {
        Expr::Value(ValueWithSpan { value: Value::Null, .. }) => Some(pattern.as_ref().clone()),
        // In any quotation.
        Expr::Value(value) => match value.value.clone().into_string() {
            Some(pattern) => {
                let regex = regex(&pattern, escape(escape_char.as_ref())?);
                Some(Expr::value(Value::SingleQuotedString(regex)))
            }
            None => None,
        },
        _ => None,
    };
    let right = right.ok_or_else(|| {
        Error::unsupported("SIMILAR TO a pattern that is not constant")
            .hint("Write x ~ pattern, with a regular expression, or x LIKE pattern.")
    })?;
    let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
    let left = Box::new(Expr::Nested(text.clone()));
    *expr = Expr::Nested(Box::new(Expr::BinaryOp { left, op, right: Box::new(right) }));
    Ok(())
}

/// The escape character; `None` if escaping is off.
fn escape(said: Option<&ValueWithSpan>) -> Result<Option<char>> {
    let Some(said) = said else { return Ok(Some('\\')) };
    let invalid = || {
        Error::new(ErrorKind::InvalidEscape, "invalid escape string")
            .hint("Escape string must be empty or one character.")
    };
    let Some(text) = said.value.clone().into_string() else { return Err(invalid()) };
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (one, None) => Ok(one),
        _ => Err(invalid()),
    }
}

fn regex(pattern: &str, escape: Option<char>) -> String {
    let mut regex = String::from("(?s)^(?:");
    let (mut escaped, mut in_class) = (false, false);
    for c in pattern.chars() {
        match c {
            _ if escaped && (c.is_ascii_alphanumeric() || c.is_ascii_punctuation() && !"<>".contains(c)) => {
                regex.extend(['\\', c]);
            }
            _ if escaped => regex.push(c),
            _ if Some(c) == escape => {
                escaped = true;
                continue;
            }
            '\\' => regex.push_str("\\\\"),
            _ if in_class => {
                in_class = c != ']';
                regex.push(c);
            }
            '[' => {
                in_class = true;
                regex.push(c);
            }
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '(' => regex.push_str("(?:"),
            '.' | '^' | '$' => regex.extend(['\\', c]),
            _ => regex.push(c),
        }
        escaped = false;
    }
    regex.push_str(")$");
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_to_pattern_becomes_the_regex_of_postgres() {
        let of =
            |pattern, expected| assert_eq!(regex(pattern, Some('\\')), format!("(?s)^(?:{expected})$"), "{pattern}");
        of("(A|B)%", "(?:A|B).*");
        of("a_c+", "a.c+");
        of("1.5^$", "1\\.5\\^\\$");
        of("[a-c_%]x", "[a-c_%]x");
        of("\\%\\_\\d", "\\%\\_\\d");
        assert_eq!(regex("a#%\\", Some('#')), "(?s)^(?:a\\%\\\\)$");
        assert_eq!(regex("\\", None), "(?s)^(?:\\\\)$");
    }
}
