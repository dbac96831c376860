//! Functions of a text's characters, their case, number, order and form; and of numbers as texts.

use crate::{
    functions::text,
    sql::builtins::overload::{Bool, Function, Int4, Int8, Numeric, Overload, Text, f0, f1, f2, function},
};

/// The form of Unicode that is meant where none is named.
const COMPOSED: &str = "NFC";

pub fn functions() -> Vec<Function> {
    vec![
        function("lower", [f1::<Text, Text>(|text| Ok(text::lower(text)))]),
        function("upper", [f1::<Text, Text>(|text| Ok(text::upper(text)))]),
        function("initcap", [f1::<Text, Text>(|text| Ok(text::initcap(text)))]),
        function("length", [length()]),
        function("char_length", [length()]),
        function("character_length", [length()]),
        function("octet_length", [f1::<Text, Int4>(|text| Ok(text::octet_length(text.as_bytes())))]),
        function("bit_length", [f1::<Text, Int4>(|text| text::bit_length(text.as_bytes()))]),
        function("ascii", [f1::<Text, Int4>(|text| Ok(text::ascii(text)))]),
        function("chr", [f1::<Int4, Text>(text::chr)]),
        function("reverse", [f1::<Text, Text>(|text| Ok(text::reverse(text)))]),
        function(
            "to_hex",
            [
                f1::<Int4, Text>(|number| Ok(text::to_hex4(number))),
                f1::<Int8, Text>(|number| Ok(text::to_hex8(number))),
            ],
        ),
        function(
            "pg_size_pretty",
            [
                f1::<Int8, Text>(|size| Ok(text::pg_size_pretty(size))),
                f1::<Numeric, Text>(|(size, scale)| text::pg_size_pretty_numeric(size, scale)),
            ],
        ),
        function("pg_size_bytes", [f1::<Text, Int8>(text::pg_size_bytes)]),
        function(
            "normalize",
            [f1::<Text, Text>(|text| text::normalize(text, COMPOSED)), f2::<Text, Text, Text>(text::normalize)],
        ),
        function(
            "is_normalized",
            [f1::<Text, Bool>(|text| text::is_normalized(text, COMPOSED)), f2::<Text, Text, Bool>(text::is_normalized)],
        ),
        function("unistr", [f1::<Text, Text>(text::unistr)]),
        function("pg_client_encoding", [f0::<Text>(|| Ok("UTF8".to_string()))]),
    ]
}

fn length() -> Overload {
    f1::<Text, Int4>(|text| Ok(text::length(text)))
}
