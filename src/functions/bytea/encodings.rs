//! The encodings that PostgreSQL knows, by their names.

use super::single_byte::{self, HighCharacters};

/// An encoding.
#[derive(Clone, Copy)]
pub struct PgEncoding {
    pub name: &'static str,
    /// Names that mean it, in lower case and without what is no letter or digit.
    aliases: &'static [&'static str],
    pub characters: EncodedCharacters,
}

/// What the bytes of an encoding are.
#[derive(Clone, Copy)]
pub enum EncodedCharacters {
    Utf8,
    /// Nobody knows, but that there are no zeros.
    Any,
    /// One byte each; those below 128 are ASCII.
    SingleByte(&'static HighCharacters),
    /// Several bytes each, in a way that is not known here.
    MultiByte,
}

use EncodedCharacters::{Any, MultiByte, SingleByte, Utf8};

const fn encoding(name: &'static str, aliases: &'static [&'static str], characters: EncodedCharacters) -> PgEncoding {
    PgEncoding { name, aliases, characters }
}

/// In the order of their numbers in PostgreSQL.
#[rustfmt::skip]
const ENCODINGS: [PgEncoding; 42] = [
    encoding("SQL_ASCII", &["sqlascii"], Any),
    encoding("EUC_JP", &["eucjp"], MultiByte),
    encoding("EUC_CN", &["euccn"], MultiByte),
    encoding("EUC_KR", &["euckr"], MultiByte),
    encoding("EUC_TW", &["euctw"], MultiByte),
    encoding("EUC_JIS_2004", &["eucjis2004"], MultiByte),
    encoding("UTF8", &["unicode", "utf8"], Utf8),
    encoding("MULE_INTERNAL", &["muleinternal"], MultiByte),
    encoding("LATIN1", &["iso88591", "latin1"], SingleByte(&single_byte::LATIN1)),
    encoding("LATIN2", &["iso88592", "latin2"], SingleByte(&single_byte::LATIN2)),
    encoding("LATIN3", &["iso88593", "latin3"], SingleByte(&single_byte::LATIN3)),
    encoding("LATIN4", &["iso88594", "latin4"], SingleByte(&single_byte::LATIN4)),
    encoding("LATIN5", &["iso88599", "latin5"], SingleByte(&single_byte::LATIN5)),
    encoding("LATIN6", &["iso885910", "latin6"], SingleByte(&single_byte::LATIN6)),
    encoding("LATIN7", &["iso885913", "latin7"], SingleByte(&single_byte::LATIN7)),
    encoding("LATIN8", &["iso885914", "latin8"], SingleByte(&single_byte::LATIN8)),
    encoding("LATIN9", &["iso885915", "latin9"], SingleByte(&single_byte::LATIN9)),
    encoding("LATIN10", &["iso885916", "latin10"], SingleByte(&single_byte::LATIN10)),
    encoding("WIN1256", &["win1256", "windows1256"], SingleByte(&single_byte::WIN1256)),
    encoding("WIN1258", &["abc", "tcvn", "tcvn5712", "vscii", "win1258", "windows1258"], SingleByte(&single_byte::WIN1258)),
    encoding("WIN866", &["alt", "win866", "windows866"], SingleByte(&single_byte::WIN866)),
    encoding("WIN874", &["win874", "windows874"], SingleByte(&single_byte::WIN874)),
    encoding("KOI8R", &["koi8", "koi8r"], SingleByte(&single_byte::KOI8R)),
    encoding("WIN1251", &["win", "win1251", "windows1251"], SingleByte(&single_byte::WIN1251)),
    encoding("WIN1252", &["win1252", "windows1252"], SingleByte(&single_byte::WIN1252)),
    encoding("ISO_8859_5", &["iso88595"], SingleByte(&single_byte::ISO_8859_5)),
    encoding("ISO_8859_6", &["iso88596"], SingleByte(&single_byte::ISO_8859_6)),
    encoding("ISO_8859_7", &["iso88597"], SingleByte(&single_byte::ISO_8859_7)),
    encoding("ISO_8859_8", &["iso88598"], SingleByte(&single_byte::ISO_8859_8)),
    encoding("WIN1250", &["win1250", "windows1250"], SingleByte(&single_byte::WIN1250)),
    encoding("WIN1253", &["win1253", "windows1253"], SingleByte(&single_byte::WIN1253)),
    encoding("WIN1254", &["win1254", "windows1254"], SingleByte(&single_byte::WIN1254)),
    encoding("WIN1255", &["win1255", "windows1255"], SingleByte(&single_byte::WIN1255)),
    encoding("WIN1257", &["win1257", "windows1257"], SingleByte(&single_byte::WIN1257)),
    encoding("KOI8U", &["koi8u"], SingleByte(&single_byte::KOI8U)),
    encoding("SJIS", &["mskanji", "shiftjis", "sjis", "win932", "windows932"], MultiByte),
    encoding("BIG5", &["big5", "win950", "windows950"], MultiByte),
    encoding("GBK", &["gbk", "win936", "windows936"], MultiByte),
    encoding("UHC", &["uhc", "win949", "windows949"], MultiByte),
    encoding("GB18030", &["gb18030"], MultiByte),
    encoding("JOHAB", &["johab"], MultiByte),
    encoding("SHIFT_JIS_2004", &["shiftjis2004"], MultiByte),
];

/// The bytes of a value of type `name`, less its terminating zero.
const NAME_BYTES_MAX: usize = 63;

/// A text as a value of type `name`: cut where it is too long.
pub fn as_name(text: &str) -> &str {
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=NAME_BYTES_MAX.min(text.len())).rev().find(fits).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

impl PgEncoding {
    /// By its name, or by another for it. Only letters and digits count, in any case.
    pub fn find(name: &str) -> Option<&'static PgEncoding> {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        ENCODINGS.iter().find(|encoding| encoding.aliases.contains(&name.as_str()))
    }

    /// By its number in PostgreSQL.
    pub fn numbered(number: i32) -> Option<&'static PgEncoding> {
        ENCODINGS.get(usize::try_from(number).ok()?)
    }

    pub fn is(&self, other: &PgEncoding) -> bool {
        self.name == other.name
    }
}
