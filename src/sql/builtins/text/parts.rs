//! Functions that take parts of a text, look for them, or put others in their place.

use crate::{
    functions::text,
    sql::builtins::overload::{Bool, Function, Int4, Overload, Text, f1, f2, f3, f4, function},
};

/// What is trimmed off, and what fills, where nothing is named.
const SPACE: &str = " ";

pub fn functions() -> Vec<Function> {
    vec![
        function("substring", substring()),
        function("substr", substring()),
        function("left", [f2::<Text, Int4, Text>(|text, count| Ok(text::left(text, count)))]),
        function("right", [f2::<Text, Int4, Text>(|text, count| Ok(text::right(text, count)))]),
        function(
            "lpad",
            [
                f3::<Text, Int4, Text, Text>(text::lpad),
                f2::<Text, Int4, Text>(|text, length| text::lpad(text, length, SPACE)),
            ],
        ),
        function(
            "rpad",
            [
                f3::<Text, Int4, Text, Text>(text::rpad),
                f2::<Text, Int4, Text>(|text, length| text::rpad(text, length, SPACE)),
            ],
        ),
        function("ltrim", trim(text::ltrim)),
        function("rtrim", trim(text::rtrim)),
        function("btrim", trim(text::btrim)),
        // What the planner calls for `TRIM(s)`.
        function("trim", trim(text::btrim)),
        function("position", [position()]),
        function("strpos", [position()]),
        function("starts_with", [f2::<Text, Text, Bool>(|text, start| Ok(text.starts_with(start)))]),
        function(
            "overlay",
            [
                f3::<Text, Text, Int4, Text>(|text, other, start| text::overlay(text, other, start, None)),
                f4::<Text, Text, Int4, Int4, Text>(|text, other, start, length| {
                    text::overlay(text, other, start, Some(length))
                }),
            ],
        ),
        function("repeat", [f2::<Text, Int4, Text>(text::repeat)]),
        function("replace", [f3::<Text, Text, Text, Text>(text::replace)]),
        function("translate", [f3::<Text, Text, Text, Text>(text::translate)]),
        function("split_part", [f3::<Text, Text, Int4, Text>(text::split_part)]),
    ]
}

fn substring() -> [Overload; 2] {
    [
        f2::<Text, Int4, Text>(|text, start| text::substring(text, start, None)),
        f3::<Text, Int4, Int4, Text>(|text, start, length| text::substring(text, start, Some(length))),
    ]
}

fn trim(kernel: for<'t> fn(&'t str, &str) -> &'t str) -> [Overload; 2] {
    [
        f1::<Text, Text>(move |text| Ok(kernel(text, SPACE).to_string())),
        f2::<Text, Text, Text>(move |text, set| Ok(kernel(text, set).to_string())),
    ]
}

fn position() -> Overload {
    f2::<Text, Text, Int4>(|text, part| Ok(text::position(text, part)))
}
