//! PostgreSQL's `to_char`, `to_date`, `to_timestamp` and `to_number`: values written and read by a template, as its
//! `formatting.c` does, over one row's values.
//!
//! Dates and times: `date_patterns` are the words of a template, `date_template` is a template after parsing,
//! `civil_time` is what `date_writer` writes with the names of `date_names`. `date_reader` reads names and
//! `date_numbers` from a text into `date_fields`, which `date_assembly` makes a date and a time of, in the calendar of
//! `calendar` and the session's `zone`. Numbers: `number_template` is a template after parsing, `number_layout` what it
//! says on the whole; `number_writer` and `number_reader` follow it, over the decimal texts of `decimal` and
//! `float_text`. The locale is `C`.

mod calendar;
mod civil_time;
mod date_assembly;
mod date_fields;
mod date_names;
mod date_numbers;
mod date_patterns;
mod date_reader;
mod date_template;
mod date_writer;
mod dates;
mod decimal;
mod float_text;
mod number_layout;
mod number_reader;
mod number_template;
mod number_words;
mod number_writer;
mod numbers;
mod ordinal;
mod roman;
mod template_cache;
mod zone;

pub use self::zone::ZoneLookup;
pub use self::{
    dates::{interval_to_char, timestamp_to_char, timestamptz_to_char, to_date, to_timestamp},
    numbers::{
        float4_to_char, float8_to_char, int4_to_char, int8_to_char, numeric_text_to_char, numeric_to_char, to_number,
    },
};
