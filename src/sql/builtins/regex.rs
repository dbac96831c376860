//! Regular expressions as functions of PostgreSQL's names, and the operators `~`, `~*`, `!~`, `!~*` by
//! their signs.
//!
//! `regexp_matches` and `regexp_split_to_table` give rows, and so are not here.

use super::overload::{Bool, Function, Int4, Nullable, Overload, Text, Texts, f1, f2, f3, f4, f5, f6, f7, function};
use crate::functions::regex::{
    matches::{
        matches, matches_ignoring_case, regexp_count, regexp_instr, regexp_like, regexp_match, regexp_split_to_array,
        regexp_substr, substring,
    },
    replace::{regexp_replace, regexp_replace_from, regexp_replace_with_flags},
    similar::{similar_substring, similar_to_escape},
};

/// The escape of `SIMILAR TO` if nothing else is said.
const BACKSLASH: &str = "\\";

pub fn functions() -> Vec<Function> {
    let mut functions: Vec<Function> = operators().into_iter().chain(similar()).collect();
    functions.extend([
        function("regexp_like", [f2::<Text, Text, Bool>(matches), f3::<Text, Text, Text, Bool>(regexp_like)]),
        function(
            "regexp_match",
            [
                f2::<Text, Text, Nullable<Texts>>(|text, pattern| regexp_match(text, pattern, "")),
                f3::<Text, Text, Text, Nullable<Texts>>(regexp_match),
            ],
        ),
        function(
            "regexp_split_to_array",
            [f2::<Text, Text, Texts>(|text, pattern| split(text, pattern, "")), f3::<Text, Text, Text, Texts>(split)],
        ),
        function(
            "regexp_count",
            [
                f2::<Text, Text, Int4>(|text, pattern| regexp_count(text, pattern, 1, "")),
                f3::<Text, Text, Int4, Int4>(|text, pattern, start| regexp_count(text, pattern, start, "")),
                f4::<Text, Text, Int4, Text, Int4>(regexp_count),
            ],
        ),
        function("regexp_instr", positions()),
        function("regexp_substr", parts()),
        function("regexp_replace", replacements()),
    ]);
    functions
}

fn operators() -> [Function; 4] {
    [
        function("~", [f2::<Text, Text, Bool>(matches)]),
        function("!~", [f2::<Text, Text, Bool>(|text, pattern| Ok(!matches(text, pattern)?))]),
        function("~*", [f2::<Text, Text, Bool>(matches_ignoring_case)]),
        function("!~*", [f2::<Text, Text, Bool>(|text, pattern| Ok(!matches_ignoring_case(text, pattern)?))]),
    ]
}

/// `SIMILAR TO` and the forms of `substring` that take a pattern.
fn similar() -> [Function; 3] {
    [
        function(
            "similar_to_escape",
            [
                f1::<Text, Text>(|pattern| similar_to_escape(pattern, BACKSLASH)),
                f2::<Text, Text, Text>(similar_to_escape),
            ],
        ),
        // The old name, which takes NULL for the default.
        function(
            "similar_escape",
            [f2::<Text, Nullable<Text>, Text>(|pattern, escape| {
                similar_to_escape(pattern, escape.unwrap_or(BACKSLASH))
            })],
        ),
        function(
            "substring",
            [f2::<Text, Text, Nullable<Text>>(substring), f3::<Text, Text, Text, Nullable<Text>>(similar_substring)],
        ),
    ]
}

fn split(text: &str, pattern: &str, flags: &str) -> crate::error::Result<Vec<Option<String>>> {
    Ok(regexp_split_to_array(text, pattern, flags)?.into_iter().map(Some).collect())
}

fn positions() -> [Overload; 6] {
    [
        f2::<Text, Text, Int4>(|text, pattern| regexp_instr(text, pattern, (1, 1, 0), "", 0)),
        f3::<Text, Text, Int4, Int4>(|text, pattern, start| regexp_instr(text, pattern, (start, 1, 0), "", 0)),
        f4::<Text, Text, Int4, Int4, Int4>(|text, pattern, start, n| regexp_instr(text, pattern, (start, n, 0), "", 0)),
        f5::<Text, Text, Int4, Int4, Int4, Int4>(|text, pattern, start, n, end| {
            regexp_instr(text, pattern, (start, n, end), "", 0)
        }),
        f6::<Text, Text, Int4, Int4, Int4, Text, Int4>(|text, pattern, start, n, end, flags| {
            regexp_instr(text, pattern, (start, n, end), flags, 0)
        }),
        f7::<Text, Text, Int4, Int4, Int4, Text, Int4, Int4>(|text, pattern, start, n, end, flags, group| {
            regexp_instr(text, pattern, (start, n, end), flags, group)
        }),
    ]
}

fn parts() -> [Overload; 5] {
    [
        f2::<Text, Text, Nullable<Text>>(|text, pattern| regexp_substr(text, pattern, (1, 1), "", 0)),
        f3::<Text, Text, Int4, Nullable<Text>>(|text, pattern, start| regexp_substr(text, pattern, (start, 1), "", 0)),
        f4::<Text, Text, Int4, Int4, Nullable<Text>>(|text, pattern, start, n| {
            regexp_substr(text, pattern, (start, n), "", 0)
        }),
        f5::<Text, Text, Int4, Int4, Text, Nullable<Text>>(|text, pattern, start, n, flags| {
            regexp_substr(text, pattern, (start, n), flags, 0)
        }),
        f6::<Text, Text, Int4, Int4, Text, Int4, Nullable<Text>>(|text, pattern, start, n, flags, group| {
            regexp_substr(text, pattern, (start, n), flags, group)
        }),
    ]
}

fn replacements() -> [Overload; 5] {
    [
        f3::<Text, Text, Text, Text>(regexp_replace),
        f4::<Text, Text, Text, Text, Text>(regexp_replace_with_flags),
        f4::<Text, Text, Text, Int4, Text>(|text, pattern, replacement, start| {
            regexp_replace_from(text, pattern, replacement, (start, 1), "")
        }),
        f5::<Text, Text, Text, Int4, Int4, Text>(|text, pattern, replacement, start, n| {
            regexp_replace_from(text, pattern, replacement, (start, n), "")
        }),
        f6::<Text, Text, Text, Int4, Int4, Text, Text>(|text, pattern, replacement, start, n, flags| {
            regexp_replace_from(text, pattern, replacement, (start, n), flags)
        }),
    ]
}
