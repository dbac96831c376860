//! Texts put together from several, and taken apart.

use super::bounded::BoundedText;
use crate::error::Result;

fn join<'t>(texts: impl Iterator<Item = &'t str>, separator: &str) -> Result<String> {
    let mut joined = BoundedText::default();
    for (n, text) in texts.enumerate() {
        if n > 0 {
            joined.push(separator)?;
        }
        joined.push(text)?;
    }
    Ok(joined.finish())
}

/// The texts that are not NULL, one after the other.
pub fn concat(texts: &[Option<&str>]) -> Result<String> {
    join(texts.iter().copied().flatten(), "")
}

/// The texts that are not NULL, with a separator between them.
pub fn concat_ws(separator: &str, texts: &[Option<&str>]) -> Result<String> {
    join(texts.iter().copied().flatten(), separator)
}

/// The items of an array, with a separator between them, and a text for each that is NULL; without one they are left
/// out.
pub fn array_to_string(items: &[Option<&str>], separator: &str, null: Option<&str>) -> Result<String> {
    join(items.iter().filter_map(|item| item.or(null)), separator)
}

/// The fields of a text between separators, those that are equal to a text as NULL. Without a separator each character
/// is a field, with an empty one the text is.
pub fn string_to_array(text: &str, separator: Option<&str>, null: Option<&str>) -> Vec<Option<String>> {
    let field = |field: &str| (Some(field) != null).then(|| field.to_string());
    match separator {
        _ if text.is_empty() => Vec::new(),
        Some("") => vec![field(text)],
        Some(separator) => text.split(separator).map(field).collect(),
        None => text.chars().map(|c| field(c.encode_utf8(&mut [0; 4]))).collect(),
    }
}
