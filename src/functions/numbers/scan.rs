//! The longest number at the start of a text, as `strtod` of glibc takes it, and the white space around one.

use super::binary::Binary;

/// Whether `isspace` of C takes it for white space: a few more than `char::is_ascii_whitespace`.
pub(super) fn is_space(of: char) -> bool {
    matches!(of, ' ' | '\t'..='\r')
}

/// What a number is, without its sign.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scanned {
    NotANumber,
    Infinity,
    /// The text up to the end is a decimal number; whether it is zero.
    Decimal {
        is_zero: bool,
    },
    Hexadecimal(Binary),
}

/// A number and the bytes of text that it takes, with a sign.
pub(super) struct ScannedNumber {
    pub is_negative: bool,
    pub scanned: Scanned,
    pub length: usize,
}

/// The number that a text starts with; `None` if it does with none.
pub(super) fn number(text: &str) -> Option<ScannedNumber> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (scanned, rest) = special(unsigned).or_else(|| hexadecimal(unsigned)).or_else(|| decimal(unsigned))?;
    Some(ScannedNumber { is_negative: text.starts_with('-'), scanned, length: text.len() - rest.len() })
}

/// `text` after a word in letters of any case.
fn after_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word).then_some(rest)
}

/// `nan`, `nan(…)`, `inf` or `infinity`.
fn special(text: &str) -> Option<(Scanned, &str)> {
    if let Some(rest) = after_word(text, "infinity").or_else(|| after_word(text, "inf")) {
        return Some((Scanned::Infinity, rest));
    }
    let rest = after_word(text, "nan")?;
    let payload = rest.strip_prefix('(').and_then(|inner| {
        let rest = inner.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        rest.strip_prefix(')')
    });
    Some((Scanned::NotANumber, payload.unwrap_or(rest)))
}

/// `text` split after its leading digits of a base.
fn digits(text: &str, base: u32) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_digit(base)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Digits of a base before a point and after it, and the rest; `None` if there are no digits.
fn mantissa(text: &str, base: u32) -> Option<(&str, &str, &str)> {
    let (whole, rest) = digits(text, base);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), |rest| digits(rest, base));
    (!whole.is_empty() || !fraction.is_empty()).then_some((whole, fraction, rest))
}

/// An exponent after its letter, and the rest; zero where none is written. A number that is too great is the greatest.
fn exponent(text: &str, letter: char) -> (i64, &str) {
    let written = text.strip_prefix([letter, letter.to_ascii_uppercase()]).and_then(|rest| {
        let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        let (digits, end) = digits(unsigned, 10);
        let value =
            digits.bytes().fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
        let value = if rest.starts_with('-') { -value } else { value };
        (!digits.is_empty()).then_some((value, end))
    });
    written.unwrap_or((0, text))
}

fn decimal(text: &str) -> Option<(Scanned, &str)> {
    let (whole, fraction, rest) = mantissa(text, 10)?;
    let is_zero = whole.bytes().chain(fraction.bytes()).all(|digit| digit == b'0');
    Some((Scanned::Decimal { is_zero }, exponent(rest, 'e').1))
}

/// `0x1.8p3`.
fn hexadecimal(text: &str) -> Option<(Scanned, &str)> {
    let (whole, fraction, rest) = mantissa(text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?, 16)?;
    let (power, rest) = exponent(rest, 'p');
    let mut binary = Binary::default();
    for digit in whole.chars().chain(fraction.chars()).filter_map(|digit| digit.to_digit(16)) {
        match binary.units.leading_zeros() >= 4 {
            true => binary.units = binary.units << 4 | u64::from(digit),
            // Past 60 bits it matters only whether anything follows.
            false => {
                binary.is_more |= digit != 0;
                binary.exponent += 4;
            }
        }
    }
    let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX).saturating_mul(4);
    binary.exponent = binary.exponent.saturating_sub(places).saturating_add(power);
    Some((Scanned::Hexadecimal(binary), rest))
}
