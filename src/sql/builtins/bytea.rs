//! PostgreSQL's functions of bytes, and of texts in other encodings.

use super::overload::{Bytea, Function, Int4, Int8, Overload, Text, f1, f2, f3, f4, function};
use crate::functions::{bytea, text};

pub fn functions() -> Vec<Function> {
    [measures(), parts(), bits(), digests(), encodings()].into_iter().flatten().collect()
}

fn measures() -> Vec<Function> {
    vec![
        function(
            "length",
            [
                f1::<Bytea, Int4>(|bytes| Ok(text::octet_length(bytes))),
                f2::<Bytea, Text, Int4>(bytea::length_in_encoding),
            ],
        ),
        function("octet_length", [f1::<Bytea, Int4>(|bytes| Ok(text::octet_length(bytes)))]),
        function("bit_length", [f1::<Bytea, Int4>(text::bit_length)]),
    ]
}

fn parts() -> Vec<Function> {
    vec![
        function("substring", substring()),
        function("substr", substring()),
        function(
            "overlay",
            [
                f3::<Bytea, Bytea, Int4, Bytea>(|bytes, other, start| bytea::overlay(bytes, other, start, None)),
                f4::<Bytea, Bytea, Int4, Int4, Bytea>(|bytes, other, start, length| {
                    bytea::overlay(bytes, other, start, Some(length))
                }),
            ],
        ),
        function("position", [f2::<Bytea, Bytea, Int4>(|bytes, others| Ok(bytea::position(bytes, others)))]),
        function("ltrim", [trim(bytea::ltrim)]),
        function("rtrim", [trim(bytea::rtrim)]),
        function("btrim", [trim(bytea::btrim)]),
        function("trim", [trim(bytea::btrim)]),
    ]
}

fn substring() -> [Overload; 2] {
    [
        f2::<Bytea, Int4, Bytea>(|bytes, start| bytea::substring(bytes, start, None)),
        f3::<Bytea, Int4, Int4, Bytea>(|bytes, start, length| bytea::substring(bytes, start, Some(length))),
    ]
}

fn trim(kernel: for<'b> fn(&'b [u8], &[u8]) -> &'b [u8]) -> Overload {
    f2::<Bytea, Bytea, Bytea>(move |bytes, set| Ok(kernel(bytes, set).to_vec()))
}

fn bits() -> Vec<Function> {
    vec![
        function("get_byte", [f2::<Bytea, Int4, Int4>(bytea::get_byte)]),
        function("set_byte", [f3::<Bytea, Int4, Int4, Bytea>(bytea::set_byte)]),
        function("get_bit", [f2::<Bytea, Int8, Int4>(bytea::get_bit)]),
        function("set_bit", [f3::<Bytea, Int8, Int4, Bytea>(bytea::set_bit)]),
        function("bit_count", [f1::<Bytea, Int8>(|bytes| Ok(bytea::bit_count(bytes)))]),
    ]
}

fn digests() -> Vec<Function> {
    vec![
        function(
            "md5",
            [
                f1::<Text, Text>(|text| Ok(bytea::md5(text.as_bytes()))),
                f1::<Bytea, Text>(|bytes| Ok(bytea::md5(bytes))),
            ],
        ),
        function("sha224", [f1::<Bytea, Bytea>(|bytes| Ok(bytea::sha224(bytes)))]),
        function("sha256", [f1::<Bytea, Bytea>(|bytes| Ok(bytea::sha256(bytes)))]),
        function("sha384", [f1::<Bytea, Bytea>(|bytes| Ok(bytea::sha384(bytes)))]),
        function("sha512", [f1::<Bytea, Bytea>(|bytes| Ok(bytea::sha512(bytes)))]),
    ]
}

fn encodings() -> Vec<Function> {
    vec![
        function("encode", [f2::<Bytea, Text, Text>(bytea::encode)]),
        function("decode", [f2::<Text, Text, Bytea>(bytea::decode)]),
        function("convert", [f3::<Bytea, Text, Text, Bytea>(bytea::convert)]),
        function("convert_from", [f2::<Bytea, Text, Text>(bytea::convert_from)]),
        function("convert_to", [f2::<Text, Text, Bytea>(bytea::convert_to)]),
        function(
            "to_ascii",
            [
                f1::<Text, Text>(bytea::to_ascii),
                f2::<Text, Int4, Text>(bytea::to_ascii_of_number),
                f2::<Text, Text, Text>(bytea::to_ascii_of),
            ],
        ),
    ]
}
