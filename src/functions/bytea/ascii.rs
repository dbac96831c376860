//! Letters without their marks: a text of UTF8 whose bytes are taken for characters of another encoding.

use super::encodings::{PgEncoding, as_name};
use crate::error::{Error, ErrorKind, Result};

/// The byte from which on the bytes of UTF8 are the first of a character. The two that follow it begin none.
const FIRST_LEAD: u8 = 0xc2;

/// Encodings, each with the lowest byte that has a character of ASCII like it, those for the bytes from there to 191,
/// and those from 194 on. As PostgreSQL has them.
#[rustfmt::skip]
const LIKENESSES: [(&str, u8, &str, &str); 4] = [
    ("LATIN1", 0xa0, "  cL Y  \"Ca  -R     'u .,      ?", "AAAAACEEEEIIII NOOOOOxOUUUUYTBaaaaaaaceeeeiiii nooo"),
    ("LATIN2", 0xa0, " A L LS \"SSTZ-ZZ a,l'ls ,sstz\"zz", "AAALCCCEEEEIIDDNNOOOOxRUUUUYTBraaaalccceeeeiiddnnoo"),
    ("LATIN9", 0xa0, "  cL YS sCa  -R     Zu .z   EeY?", "AAAAACEEEEIIII NOOOOOxOUUUUYTBaaaaaaaceeeeiiii nooo"),
    ("WIN1250", 0x80, "  ' \"    %S<STZZ `'\"\".--  s>stzz   L A  \"CS  -RZ  ,l'u .,as L\"lz", "AAALCCCEEEEIIDDNNOOOOxRUUUUYTBraaaalccceeeeiiddnnoo"),
];

/// The character of ASCII that is most like a byte's; a space if there is none.
fn likeness(byte: u8, (_, first, low, high): (&str, u8, &'static str, &'static str)) -> char {
    let found = match byte {
        0..0x80 => Some(byte),
        FIRST_LEAD.. => high.as_bytes().get(usize::from(byte - FIRST_LEAD)).copied(),
        _ => byte.checked_sub(first).and_then(|index| low.as_bytes().get(usize::from(index))).copied(),
    };
    found.map_or(' ', char::from)
}

fn converted(text: &str, encoding: &PgEncoding) -> Result<String> {
    let unsupported = || {
        let message = format!("encoding conversion from {} to ASCII not supported", encoding.name);
        Error::new(ErrorKind::Unsupported, message)
    };
    let likenesses = *LIKENESSES.iter().find(|(name, ..)| *name == encoding.name).ok_or_else(unsupported)?;
    Ok(text.bytes().map(|byte| likeness(byte, likenesses)).collect())
}

fn undefined(encoding: &str, what: &str) -> Error {
    Error::new(ErrorKind::UndefinedObject, format!("{encoding} is not a valid encoding {what}"))
}

/// The text in ASCII, if its encoding were one. It is UTF8, for which there is no such conversion (0A000).
pub fn to_ascii(text: &str) -> Result<String> {
    to_ascii_of(text, "UTF8")
}

/// The text in ASCII, each of its bytes taken for a character of an encoding. An unknown one is an error (42704), and
/// so is another than LATIN1, LATIN2, LATIN9 and WIN1250 (0A000).
pub fn to_ascii_of(text: &str, encoding: &str) -> Result<String> {
    let name = as_name(encoding);
    converted(text, PgEncoding::find(name).ok_or_else(|| undefined(name, "name"))?)
}

/// The same with the number that PostgreSQL has for the encoding.
pub fn to_ascii_of_number(text: &str, encoding: i32) -> Result<String> {
    converted(text, PgEncoding::numbered(encoding).ok_or_else(|| undefined(&encoding.to_string(), "code"))?)
}
