//! Functions that put texts together, or give several.

use std::sync::Arc;

use crate::{
    error::Result,
    functions::text,
    sql::builtins::{
        overload::{
            Any, Arg, ArgumentColumn, Function, Kernel, Nullable, Overload, Ret, Text, Texts, f1, f2, f3, function,
        },
        pg_type::Pg,
    },
};

pub fn functions() -> Vec<Function> {
    vec![
        function("concat", [concat()]),
        function("concat_ws", [with_first(text::concat_ws)]),
        function("format", [f1::<Text, Text>(|format| text::format(format, &[])), with_first(text::format)]),
        function(
            "string_to_array",
            [
                f2::<Text, Nullable<Text>, Texts>(|text, separator| Ok(text::string_to_array(text, separator, None))),
                f3::<Text, Nullable<Text>, Nullable<Text>, Texts>(|text, separator, null| {
                    Ok(text::string_to_array(text, separator, null))
                }),
            ],
        ),
        function(
            "array_to_string",
            [
                f2::<Texts, Text, Text>(|items, separator| text::array_to_string(&items, separator, None)),
                f3::<Texts, Text, Nullable<Text>, Text>(|items, separator, null| {
                    text::array_to_string(&items, separator, null)
                }),
            ],
        ),
    ]
}

/// The row's texts of any number of columns.
fn fill<'a>(texts: &mut Vec<Option<&'a str>>, columns: &'a [ArgumentColumn], row: usize) {
    texts.clear();
    texts.extend(columns.iter().map(|column| Any::get(column, row)));
}

fn variadic(params: Vec<Pg>, kernel: Kernel) -> Overload {
    Overload { params, is_variadic: true, returns: Pg::Text, kernel }
}

fn concat() -> Overload {
    let kernel: Kernel = Arc::new(|columns, rows| {
        let mut texts = Vec::with_capacity(columns.len());
        Text::collect((0..rows).map(|row| {
            fill(&mut texts, columns, row);
            text::concat(&texts).map(Some)
        }))
    });
    variadic(vec![Pg::Any], kernel)
}

/// A function of a text, which is NULL where that is, and of any number of others.
fn with_first(kernel: fn(&str, &[Option<&str>]) -> Result<String>) -> Overload {
    let kernel: Kernel = Arc::new(move |columns, rows| {
        let Some((first, others)) = columns.split_first() else { return Text::collect(std::iter::empty()) };
        let mut texts = Vec::with_capacity(others.len());
        Text::collect((0..rows).map(|row| {
            let Some(first) = Text::get(first, row) else { return Ok(None) };
            fill(&mut texts, others, row);
            kernel(first, &texts).map(Some)
        }))
    });
    variadic(vec![Pg::Text, Pg::Any], kernel)
}
