//! Base64 as PostgreSQL has it: lines of 76 characters out, white space anywhere in.

use crate::error::{Error, ErrorKind, Result};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes that fill a line.
const LINE_BYTES: usize = 57;

/// The character of six bits.
fn character(bits: u32) -> char {
    usize::try_from(bits & 0x3f).ok().and_then(|bits| ALPHABET.get(bits)).map_or('=', |byte| char::from(*byte))
}

/// The six bits of a character.
fn bits(c: char) -> Option<u32> {
    let bits = match c {
        'A'..='Z' => u32::from(c) - u32::from('A'),
        'a'..='z' => u32::from(c) - u32::from('a') + 26,
        '0'..='9' => u32::from(c) - u32::from('0') + 52,
        '+' => 62,
        '/' => 63,
        _ => return None,
    };
    Some(bits)
}

/// Each line that is filled by whole groups of three bytes ends with a line feed.
pub fn encode(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len() / 3 * 4 + bytes.len() / LINE_BYTES + 4);
    for line in bytes.chunks(LINE_BYTES) {
        for group in line.chunks(3) {
            let byte = |n: usize| group.get(n).map_or(0, |byte| u32::from(*byte));
            let all = byte(0) << 16 | byte(1) << 8 | byte(2);
            encoded.push(character(all >> 18));
            encoded.push(character(all >> 12));
            encoded.push(if group.len() > 1 { character(all >> 6) } else { '=' });
            encoded.push(if group.len() > 2 { character(all) } else { '=' });
        }
        if line.len() == LINE_BYTES {
            encoded.push('\n');
        }
    }
    encoded
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameterValue, message)
}

/// Another character, a `=` that ends nothing and a group that is not whole are errors (22023).
pub fn decode(text: &str) -> Result<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut count, mut last_group_bytes) = (0, 0, 3);
    for c in text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\n' | '\r')) {
        let value = match (c, count) {
            ('=', 2) if last_group_bytes == 3 => {
                last_group_bytes = 1;
                0
            }
            ('=', 3) if last_group_bytes == 3 => {
                last_group_bytes = 2;
                0
            }
            ('=', _) if last_group_bytes == 3 => {
                return Err(invalid("unexpected \"=\" while decoding base64 sequence"));
            }
            ('=', _) => 0,
            _ => bits(c)
                .ok_or_else(|| invalid(format!("invalid symbol \"{c}\" found while decoding base64 sequence")))?,
        };
        group = group << 6 | value;
        count += 1;
        if count == 4 {
            let [_, bytes @ ..] = u32::to_be_bytes(group);
            decoded.extend(bytes.into_iter().take(last_group_bytes));
            (group, count) = (0, 0);
        }
    }
    match count {
        0 => Ok(decoded),
        _ => Err(invalid("invalid base64 end sequence")
            .hint("Input data is missing padding, is truncated, or is otherwise corrupted.")),
    }
}
