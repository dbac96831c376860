//! Bytes as texts, and back: hexadecimal, with escapes, and in base64.

use super::base64;
use crate::{
    error::{Error, ErrorKind, Result},
    functions::text::BYTES_MAX,
};

fn hex_digit(value: u8) -> char {
    char::from(if value < 10 { b'0' + value } else { b'a' + (value & 0xf) - 10 })
}

/// Two digits for each byte behind a prefix.
pub fn hexadecimal(bytes: &[u8], prefix: &str) -> String {
    let mut text = String::with_capacity(prefix.len() + bytes.len() * 2);
    text.push_str(prefix);
    for byte in bytes {
        text.push(hex_digit(byte >> 4));
        text.push(hex_digit(byte & 0xf));
    }
    text
}

/// Bytes of hexadecimal digits, with white space between them. Others are an error (22023).
fn of_hexadecimal(text: &str) -> Result<Vec<u8>> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidParameterValue, message);
    let digit = |c: char| {
        let digit = c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        digit.ok_or_else(|| invalid(format!("invalid hexadecimal digit: \"{c}\"")))
    };
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut rest = text.chars();
    while let Some(first) = rest.next() {
        if matches!(first, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let first = digit(first)?;
        let second = rest.next();
        let second = second.ok_or_else(|| invalid("invalid hexadecimal data: odd number of digits".to_string()))?;
        bytes.push(first << 4 | digit(second)?);
    }
    Ok(bytes)
}

/// The characters of a byte in the form with escapes.
fn escaped_length(byte: u8) -> usize {
    match byte {
        0 | 0x80.. => 4,
        b'\\' => 2,
        _ => 1,
    }
}

/// Bytes as they are in ASCII, and others as three octal digits behind a backslash.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            0 | 0x80.. => {
                text.push('\\');
                text.extend([byte >> 6, byte >> 3 & 7, byte & 7].map(hex_digit));
            }
            b'\\' => text.push_str("\\\\"),
            byte => text.push(char::from(*byte)),
        }
    }
    text
}

/// The byte of three octal digits, if these are.
fn octal(digits: &[u8]) -> Option<u8> {
    match digits {
        [high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7'] => {
            Some((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'))
        }
        _ => None,
    }
}

/// A backslash with something else than itself or three octal digits behind it is an error (22P02).
fn of_escaped(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let (byte, length) = match (first, behind.first()) {
            (b'\\', Some(b'\\')) => (b'\\', 2),
            (b'\\', _) => {
                let byte = behind.get(..3).and_then(octal);
                let invalid = || Error::new(ErrorKind::InvalidText, "invalid input syntax for type bytea");
                (byte.ok_or_else(invalid)?, 4)
            }
            _ => (*first, 1),
        };
        bytes.push(byte);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(bytes)
}

/// A form, by its name in any case. Another name is an error (22023).
enum BinaryForm {
    Hex,
    Base64,
    Escape,
}

impl BinaryForm {
    fn of(name: &str) -> Result<Self> {
        let forms = [("hex", Self::Hex), ("base64", Self::Base64), ("escape", Self::Escape)];
        let found = forms.into_iter().find(|(form, _)| form.eq_ignore_ascii_case(name));
        found
            .map(|(_, form)| form)
            .ok_or_else(|| Error::new(ErrorKind::InvalidParameterValue, format!("unrecognized encoding: \"{name}\"")))
    }

    /// The bytes of some bytes' text.
    fn text_bytes(&self, bytes: &[u8]) -> usize {
        match self {
            Self::Hex => bytes.len() * 2,
            Self::Base64 => bytes.len().div_ceil(3) * 4 + bytes.len() / 57,
            Self::Escape => bytes.iter().map(|byte| escaped_length(*byte)).sum(),
        }
    }
}

/// Bytes as a text in the form `hex`, `base64` or `escape`. A text of more than 1 GB is an error (54000).
pub fn encode(bytes: &[u8], form: &str) -> Result<String> {
    let form = BinaryForm::of(form)?;
    if form.text_bytes(bytes) > BYTES_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, "result of encoding conversion is too large"));
    }
    Ok(match form {
        BinaryForm::Hex => hexadecimal(bytes, ""),
        BinaryForm::Base64 => base64::encode(bytes),
        BinaryForm::Escape => escaped(bytes),
    })
}

/// The bytes of a text in such a form.
pub fn decode(text: &str, form: &str) -> Result<Vec<u8>> {
    match BinaryForm::of(form)? {
        BinaryForm::Hex => of_hexadecimal(text),
        BinaryForm::Base64 => base64::decode(text),
        BinaryForm::Escape => of_escaped(text),
    }
}

/// The input of type `bytea`: hexadecimal digits behind `\x`, else with escapes.
pub fn bytea_in(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(digits) => of_hexadecimal(digits),
        None => of_escaped(text),
    }
}

/// The output of type `bytea`: hexadecimal digits behind `\x`.
pub fn bytea_out(bytes: &[u8]) -> String {
    hexadecimal(bytes, "\\x")
}
