//! Operators of numbers, each a function that is named by its sign. Arithmetic is elsewhere.

use crate::{
    functions::numbers,
    sql::builtins::overload::{Float8, Function, Int2, Int4, Int8, f1, f2, function},
};

pub(super) fn functions() -> Vec<Function> {
    vec![
        function("^", [f2::<Float8, Float8, Float8>(numbers::power)]),
        function("|/", [f1::<Float8, Float8>(numbers::sqrt)]),
        function("||/", [f1::<Float8, Float8>(|value| Ok(value.cbrt()))]),
        function(
            "&",
            [
                f2::<Int2, Int2, Int2>(|left, right| Ok(left & right)),
                f2::<Int4, Int4, Int4>(|left, right| Ok(left & right)),
                f2::<Int8, Int8, Int8>(|left, right| Ok(left & right)),
            ],
        ),
        function(
            "|",
            [
                f2::<Int2, Int2, Int2>(|left, right| Ok(left | right)),
                f2::<Int4, Int4, Int4>(|left, right| Ok(left | right)),
                f2::<Int8, Int8, Int8>(|left, right| Ok(left | right)),
            ],
        ),
        function(
            "#",
            [
                f2::<Int2, Int2, Int2>(|left, right| Ok(left ^ right)),
                f2::<Int4, Int4, Int4>(|left, right| Ok(left ^ right)),
                f2::<Int8, Int8, Int8>(|left, right| Ok(left ^ right)),
            ],
        ),
        function(
            "~",
            [
                f1::<Int2, Int2>(|value| Ok(!value)),
                f1::<Int4, Int4>(|value| Ok(!value)),
                f1::<Int8, Int8>(|value| Ok(!value)),
            ],
        ),
        function(
            "<<",
            [
                f2::<Int2, Int4, Int2>(|value, count| Ok(numbers::shift_left2(value, count))),
                f2::<Int4, Int4, Int4>(|value, count| Ok(numbers::shift_left4(value, count))),
                f2::<Int8, Int4, Int8>(|value, count| Ok(numbers::shift_left8(value, count))),
            ],
        ),
        function(
            ">>",
            [
                f2::<Int2, Int4, Int2>(|value, count| Ok(numbers::shift_right2(value, count))),
                f2::<Int4, Int4, Int4>(|value, count| Ok(numbers::shift_right4(value, count))),
                f2::<Int8, Int4, Int8>(|value, count| Ok(numbers::shift_right8(value, count))),
            ],
        ),
    ]
}
