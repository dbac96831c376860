//! Texts in other encodings.

use super::{
    direct::{converted_byte, direct},
    encodings::{EncodedCharacters, PgEncoding, as_name},
    single_byte::{HighCharacters, byte, character},
};
use crate::{
    error::{Error, ErrorKind, Result},
    functions::text::int4,
};

/// The name of the encoding of all texts.
const UTF8: &str = "UTF8";

fn named(name: &str, what: &str) -> Result<&'static PgEncoding> {
    let name = as_name(name);
    let unknown = || Error::new(ErrorKind::InvalidParameterValue, format!("invalid {what} name \"{name}\""));
    PgEncoding::find(name).ok_or_else(unknown)
}

/// Bytes as errors tell them.
fn shown(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:#04x}")).collect::<Vec<_>>().join(" ")
}

/// The bytes of a character of UTF8, by its first.
fn utf8_length(first: u8) -> usize {
    match first {
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf8 => 4,
        _ => 1,
    }
}

/// Bytes that are no text of an encoding are an error (22021), which tells the first of them.
fn verify<'b>(encoding: &PgEncoding, bytes: &'b [u8]) -> Result<EncodedText<'b>> {
    let zero = bytes.iter().position(|byte| *byte == 0);
    let (text, invalid) = match encoding.characters {
        EncodedCharacters::Utf8 => match std::str::from_utf8(bytes) {
            Ok(text) => (EncodedText::Utf8(text), zero),
            Err(error) => (EncodedText::Bytes, Some(zero.unwrap_or(usize::MAX).min(error.valid_up_to()))),
        },
        EncodedCharacters::SingleByte(characters) => (EncodedText::SingleByte(characters), zero),
        EncodedCharacters::Any => (EncodedText::Bytes, zero),
        EncodedCharacters::MultiByte => {
            return Err(Error::unsupported(format!("encoding \"{}\"", encoding.name)));
        }
    };
    let Some(at) = invalid else { return Ok(text) };
    let rest = bytes.get(at..).unwrap_or_default();
    let is_utf8 = matches!(encoding.characters, EncodedCharacters::Utf8);
    let length = rest.first().map_or(0, |first| if is_utf8 { utf8_length(*first) } else { 1 });
    let first = shown(rest.get(..length).unwrap_or(rest));
    let message = format!("invalid byte sequence for encoding \"{}\": {first}", encoding.name);
    Err(Error::new(ErrorKind::BadCharacter, message))
}

/// What bytes are in an encoding in which they are a text.
enum EncodedText<'b> {
    Utf8(&'b str),
    SingleByte(&'static HighCharacters),
    Bytes,
}

fn untranslatable(bytes: &[u8], from: &PgEncoding, to: &PgEncoding) -> Error {
    let (bytes, from, to) = (shown(bytes), from.name, to.name);
    let message =
        format!("character with byte sequence {bytes} in encoding \"{from}\" has no equivalent in encoding \"{to}\"");
    Error::new(ErrorKind::UntranslatableCharacter, message)
}

/// A text of one encoding in another. A character that the other does not have is an error (22P05), and so are
/// encodings between which there is no conversion (42883).
fn converted(bytes: &[u8], from: &PgEncoding, to: &PgEncoding) -> Result<Vec<u8>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let text = verify(from, bytes)?;
    if from.is(to) || matches!(to.characters, EncodedCharacters::Any) {
        return Ok(bytes.to_vec());
    }
    match (text, to.characters) {
        (EncodedText::Bytes, _) => verify(to, bytes).map(|_| bytes.to_vec()),
        (EncodedText::Utf8(text), EncodedCharacters::SingleByte(characters)) => {
            let high = characters.all();
            let bytes = text
                .chars()
                .map(|c| byte(&high, c).ok_or_else(|| untranslatable(c.encode_utf8(&mut [0; 4]).as_bytes(), from, to)));
            bytes.collect()
        }
        (EncodedText::SingleByte(characters), EncodedCharacters::Utf8) => {
            let high = characters.all();
            let characters =
                bytes.iter().map(|byte| character(&high, *byte).ok_or_else(|| untranslatable(&[*byte], from, to)));
            characters.collect::<Result<String>>().map(String::into_bytes)
        }
        _ => converted_directly(bytes, from, to),
    }
}

/// The same between encodings of which none is UTF8, or that are not known here.
fn converted_directly(bytes: &[u8], from: &PgEncoding, to: &PgEncoding) -> Result<Vec<u8>> {
    if let Some(high) = direct(from, to) {
        let others =
            bytes.iter().map(|byte| converted_byte(&high, *byte).ok_or_else(|| untranslatable(&[*byte], from, to)));
        return others.collect();
    }
    let (from, to) = (from.name, to.name);
    if is_refused(from, to) {
        return Err(Error::unsupported(format!("conversion from encoding \"{from}\" to \"{to}\"")));
    }
    let message = format!("default conversion function for encoding \"{from}\" to \"{to}\" does not exist");
    Err(Error::new(ErrorKind::UndefinedFunction, message))
}

/// Encodings of one byte a character that PostgreSQL converts to MULE_INTERNAL.
const TO_MULE_INTERNAL: [&str; 9] =
    ["ISO_8859_5", "KOI8R", "LATIN1", "LATIN2", "LATIN3", "LATIN4", "WIN1250", "WIN1251", "WIN866"];

/// Whether PostgreSQL converts from an encoding of one byte a character, or from UTF8, to one that we do not know.
fn is_refused(from: &str, to: &str) -> bool {
    match to {
        "MULE_INTERNAL" => TO_MULE_INTERNAL.contains(&from),
        _ => from == UTF8,
    }
}

/// A text of one encoding in another. Unknown names are errors (22023).
pub fn convert(bytes: &[u8], from: &str, to: &str) -> Result<Vec<u8>> {
    converted(bytes, named(from, "source encoding")?, named(to, "destination encoding")?)
}

/// A text of an encoding.
pub fn convert_from(bytes: &[u8], from: &str) -> Result<String> {
    let bytes = convert(bytes, from, UTF8)?;
    String::from_utf8(bytes).map_err(|_| Error::internal("a conversion to UTF8 gives another encoding"))
}

/// A text in another encoding.
pub fn convert_to(text: &str, to: &str) -> Result<Vec<u8>> {
    convert(text.as_bytes(), UTF8, to)
}

/// How many characters a text of an encoding has.
pub fn length_in_encoding(bytes: &[u8], encoding: &str) -> Result<i32> {
    let encoding = named(encoding, "encoding")?;
    Ok(int4(match verify(encoding, bytes)? {
        EncodedText::Utf8(text) => text.chars().count(),
        EncodedText::SingleByte(_) | EncodedText::Bytes => bytes.len(),
    }))
}
