//! Functions of integers, and `abs` of any number that is fixed in width.

use crate::{
    functions::numbers,
    sql::builtins::overload::{Float4, Float8, Function, Int2, Int4, Int8, Overload, f1, f2, function},
};

pub(super) fn functions() -> Vec<Function> {
    vec![
        function("abs", absolute()),
        function("@", absolute()),
        function(
            "mod",
            [
                f2::<Int2, Int2, Int2>(numbers::remainder),
                f2::<Int4, Int4, Int4>(numbers::remainder),
                f2::<Int8, Int8, Int8>(numbers::remainder),
            ],
        ),
        function("gcd", [f2::<Int4, Int4, Int4>(numbers::gcd), f2::<Int8, Int8, Int8>(numbers::gcd)]),
        function("lcm", [f2::<Int4, Int4, Int4>(numbers::lcm), f2::<Int8, Int8, Int8>(numbers::lcm)]),
    ]
}

fn absolute() -> [Overload; 5] {
    [
        f1::<Int2, Int2>(numbers::absolute),
        f1::<Int4, Int4>(numbers::absolute),
        f1::<Int8, Int8>(numbers::absolute),
        f1::<Float4, Float4>(|value| Ok(value.abs())),
        f1::<Float8, Float8>(|value| Ok(value.abs())),
    ]
}
