//! Unicode normalization, by Unicode 14, as PostgreSQL 15 has it.

use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, ErrorKind, Result};

/// Characters that came after Unicode 14 and have a decomposition or a combining class since. They are left as they
/// are, and nothing moves across them. In order.
#[rustfmt::skip]
const LATER: [(char, char); 43] = [
    ('\u{558}', '\u{558}'), ('\u{58b}', '\u{58c}'), ('\u{5c8}', '\u{5c9}'), ('\u{897}', '\u{897}'),
    ('\u{1acf}', '\u{1af0}'), ('\u{209d}', '\u{209f}'), ('\u{a7f1}', '\u{a7f1}'), ('\u{105c9}', '\u{105c9}'),
    ('\u{105e4}', '\u{105e4}'), ('\u{107bb}', '\u{107bf}'), ('\u{10d69}', '\u{10d6d}'), ('\u{10ecb}', '\u{10ecf}'),
    ('\u{10ef0}', '\u{10efb}'), ('\u{10efd}', '\u{10eff}'), ('\u{11383}', '\u{11383}'), ('\u{11385}', '\u{11385}'),
    ('\u{1138e}', '\u{1138e}'), ('\u{11391}', '\u{11391}'), ('\u{113c5}', '\u{113c5}'), ('\u{113c7}', '\u{113c8}'),
    ('\u{113ce}', '\u{113d0}'), ('\u{11f41}', '\u{11f42}'), ('\u{16121}', '\u{16128}'), ('\u{1612f}', '\u{1612f}'),
    ('\u{16d68}', '\u{16d6a}'), ('\u{1b123}', '\u{1b126}'), ('\u{1ccd6}', '\u{1ccf9}'), ('\u{1d127}', '\u{1d128}'),
    ('\u{1d250}', '\u{1d252}'), ('\u{1d25b}', '\u{1d25c}'), ('\u{1d25f}', '\u{1d25f}'), ('\u{1d280}', '\u{1d281}'),
    ('\u{1d6a6}', '\u{1d6a6}'), ('\u{1df95}', '\u{1df95}'), ('\u{1dfcd}', '\u{1dfff}'), ('\u{1e030}', '\u{1e06d}'),
    ('\u{1e08f}', '\u{1e08f}'), ('\u{1e4ec}', '\u{1e4ef}'), ('\u{1e5ee}', '\u{1e5ef}'), ('\u{1e6e3}', '\u{1e6e3}'),
    ('\u{1e6e6}', '\u{1e6e6}'), ('\u{1e6ee}', '\u{1e6ef}'), ('\u{1e6f5}', '\u{1e6f5}'),
];

fn is_later(c: char) -> bool {
    let next = LATER.partition_point(|(_, last)| *last < c);
    LATER.get(next).is_some_and(|(first, _)| *first <= c)
}

#[derive(Clone, Copy)]
enum NormalForm {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
}

impl NormalForm {
    /// By its name, in any case. Another name is an error (22023).
    fn of(name: &str) -> Result<Self> {
        let forms = [("NFC", Self::Nfc), ("NFD", Self::Nfd), ("NFKC", Self::Nfkc), ("NFKD", Self::Nfkd)];
        let found = forms.into_iter().find(|(form, _)| form.eq_ignore_ascii_case(name));
        found
            .map(|(_, form)| form)
            .ok_or_else(|| Error::new(ErrorKind::InvalidParameterValue, format!("invalid normalization form: {name}")))
    }

    fn apply(self, text: &str, out: &mut String) {
        match self {
            Self::Nfc => out.extend(text.nfc()),
            Self::Nfd => out.extend(text.nfd()),
            Self::Nfkc => out.extend(text.nfkc()),
            Self::Nfkd => out.extend(text.nfkd()),
        }
    }
}

/// A text in the form `NFC`, `NFD`, `NFKC` or `NFKD`.
pub fn normalize(text: &str, form: &str) -> Result<String> {
    let form = NormalForm::of(form)?;
    if text.is_ascii() {
        return Ok(text.to_string());
    }
    let mut normalized = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_later) {
        let last = piece.chars().next_back().filter(|last| is_later(*last));
        let before = last.and_then(|last| piece.strip_suffix(last)).unwrap_or(piece);
        form.apply(before, &mut normalized);
        normalized.extend(last);
    }
    Ok(normalized)
}

/// Whether a text is in that form.
pub fn is_normalized(text: &str, form: &str) -> Result<bool> {
    Ok(normalize(text, form)? == text)
}

#[cfg(test)]
mod tests {
    use super::normalize;

    /// A later version of Unicode in the library shows here: what came with it belongs in the list above.
    #[test]
    fn characters_are_normalized_by_unicode_14() {
        let changed = |form: &str| {
            let changes =
                |c: &char| normalize(&c.to_string(), form).is_ok_and(|normalized| !normalized.chars().eq([*c]));
            ('\0'..=char::MAX).filter(changes).count()
        };
        assert_eq!(changed("NFC"), 1120);
        assert_eq!(changed("NFKD"), 16967);
    }
}
