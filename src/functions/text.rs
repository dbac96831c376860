//! PostgreSQL's functions of texts, over one row's values, in the encoding UTF8 and the locale `C.UTF-8`.

mod bounded;
mod case;
mod characters;
mod escapes;
mod format;
mod identifiers;
mod keywords;
mod lists;
mod measures;
mod normalization;
mod numbers;
mod padding;
mod quoting;
mod replacement;
mod slices;
mod spans;
mod trimming;

pub use self::{
    bounded::BYTES_MAX,
    case::{initcap, lower, upper},
    characters::{ascii, chr, reverse},
    escapes::unistr,
    format::format,
    identifiers::parse_ident,
    lists::{array_to_string, concat, concat_ws, string_to_array},
    measures::{bit_length, int4, length, octet_length},
    normalization::{is_normalized, normalize},
    numbers::{pg_size_bytes, pg_size_pretty, pg_size_pretty_numeric, to_hex4, to_hex8},
    padding::{lpad, repeat, rpad},
    quoting::{quote_ident, quote_literal, quote_nullable},
    replacement::{replace, translate},
    slices::{left, overlay, position, right, split_part, substring},
    spans::{end_of_overlay, span},
    trimming::{btrim, ltrim, rtrim},
};
