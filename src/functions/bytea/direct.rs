//! Conversions between encodings of one byte a character that PostgreSQL has beside those to UTF8. They know fewer
//! characters than the way over UTF8 does, and others.

use super::{
    encodings::{EncodedCharacters, PgEncoding},
    single_byte::{HighCharacters, byte, character},
};

/// Letters of Ukrainian in each Cyrillic encoding, 0 for none, in the order ҐЄІЇґєії. KOI8R stands for KOI8U here, and
/// PostgreSQL's table of WIN866 has some places that are none of theirs.
const UKRAINIAN: [(&str, [u8; 8]); 4] = [
    ("ISO_8859_5", [0; 8]),
    ("KOI8R", [0xbd, 0xb4, 0xb6, 0xb7, 0xad, 0xa4, 0xa6, 0xa7]),
    ("WIN1251", [0xa5, 0xaa, 0xb2, 0xaf, 0xb4, 0xba, 0xb3, 0xbf]),
    ("WIN866", [0xbd, 0xf2, 0xf8, 0xf4, 0xad, 0xf3, 0xf9, 0xf5]),
];

/// For each byte from 128 on that of the same character in another encoding; 0 if there is none.
pub type HighBytes = [u8; 128];

/// The bytes of the letters that are converted between Cyrillic encodings, in one order for all; 0 for none.
fn cyrillic_letters(encoding: &PgEncoding) -> Option<Vec<u8>> {
    let (_, ukrainian) = UKRAINIAN.iter().find(|(name, _)| *name == encoding.name)?;
    let high = high_characters(encoding)?.all();
    let russian = ('А'..='я').chain(['Ё', 'ё']).map(|c| byte(&high, c).unwrap_or(0));
    Some(russian.chain(*ukrainian).collect())
}

fn high_characters(encoding: &PgEncoding) -> Option<&'static HighCharacters> {
    match encoding.characters {
        EncodedCharacters::SingleByte(characters) => Some(characters),
        _ => None,
    }
}

fn of_cyrillic(from: &PgEncoding, to: &PgEncoding) -> Option<HighBytes> {
    let (from, to) = (cyrillic_letters(from)?, cyrillic_letters(to)?);
    Some(each(|high| {
        let letter = from.iter().position(|letter| *letter == high)?;
        to.get(letter).copied()
    }))
}

/// Between LATIN2 and WIN1250, what is no letter in WIN1250 keeps its byte below 160.
fn of_central_european(from: &PgEncoding, to: &PgEncoding) -> Option<HighBytes> {
    let windows = match (from.name, to.name) {
        ("WIN1250", "LATIN2") => from,
        ("LATIN2", "WIN1250") => to,
        _ => return None,
    };
    let windows = high_characters(windows)?.all();
    let (from, to) = (high_characters(from)?.all(), high_characters(to)?.all());
    let is_letter = |high| character(&windows, high).is_some_and(char::is_alphabetic);
    Some(each(|high| match high {
        0..0xa0 if !is_letter(high) => Some(high),
        _ => byte(&to, character(&from, high)?),
    }))
}

fn each(other: impl Fn(u8) -> Option<u8>) -> HighBytes {
    let mut all = [0; 128];
    all.iter_mut().zip(128..=255).for_each(|(place, high)| *place = other(high).unwrap_or(0));
    all
}

/// The conversion between two encodings; `None` if there is none of these.
pub fn direct(from: &PgEncoding, to: &PgEncoding) -> Option<HighBytes> {
    of_cyrillic(from, to).or_else(|| of_central_european(from, to))
}

/// The byte of a character in the other encoding.
pub fn converted_byte(high: &HighBytes, of: u8) -> Option<u8> {
    match of.checked_sub(128) {
        None => Some(of),
        Some(index) => high.get(usize::from(index)).copied().filter(|byte| *byte != 0),
    }
}
