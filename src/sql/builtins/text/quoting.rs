//! Functions that quote names and literals, and take names apart.

use crate::{
    functions::text,
    sql::builtins::overload::{Any, Arg, Bool, Function, Nullable, Overload, Text, Texts, f1, f2, function},
};

pub fn functions() -> Vec<Function> {
    vec![
        function("quote_ident", [f1::<Text, Text>(|name| Ok(text::quote_ident(name)))]),
        function(
            "quote_literal",
            [
                f1::<Text, Text>(|text| Ok(text::quote_literal(text))),
                f1::<Bool, Text>(|value| Ok(text::quote_literal(cast(value)))),
                f1::<Any, Text>(|text| Ok(text::quote_literal(text))),
            ],
        ),
        function(
            "quote_nullable",
            [
                quote_nullable::<Text>(),
                f1::<Nullable<Bool>, Text>(|value| Ok(text::quote_nullable(value.map(cast)))),
                quote_nullable::<Any>(),
            ],
        ),
        function(
            "parse_ident",
            [f1::<Text, Texts>(|name| text::parse_ident(name, true)), f2::<Text, Bool, Texts>(text::parse_ident)],
        ),
    ]
}

/// The text that a boolean is cast to; its output function prints another.
fn cast(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn quote_nullable<T: for<'t> Arg<Of<'t> = &'t str> + 'static>() -> Overload {
    f1::<Nullable<T>, Text>(|text| Ok(text::quote_nullable(text)))
}
