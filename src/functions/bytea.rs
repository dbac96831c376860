//! PostgreSQL's functions of bytes, over one row's values.

mod ascii;
mod base64;
mod bits;
mod conversion;
mod digests;
mod direct;
mod encodings;
mod forms;
mod single_byte;
mod slices;
mod trimming;

pub use self::{
    ascii::{to_ascii, to_ascii_of, to_ascii_of_number},
    bits::{bit_count, get_bit, get_byte, set_bit, set_byte},
    conversion::{convert, convert_from, convert_to, length_in_encoding},
    digests::{md5, sha224, sha256, sha384, sha512},
    forms::{bytea_in, bytea_out, decode, encode},
    slices::{overlay, position, substring},
    trimming::{btrim, ltrim, rtrim},
};
