//! Functions of double precision.

use std::f64::consts::PI;

use super::thresholds::{Float8s, Int4s, Int8s};
use crate::{
    error::Result,
    functions::numbers,
    sql::builtins::overload::{Float8, Function, Int4, Int8, Text, Texts, f0, f1, f2, f4, function},
};

/// A function of one double.
fn of_one(name: &'static str, kernel: impl Fn(f64) -> Result<f64> + Send + Sync + 'static) -> Function {
    function(name, [f1::<Float8, Float8>(kernel)])
}

/// A function of two doubles.
fn of_two(name: &'static str, kernel: impl Fn(f64, f64) -> Result<f64> + Send + Sync + 'static) -> Function {
    function(name, [f2::<Float8, Float8, Float8>(kernel)])
}

pub(super) fn functions() -> Vec<Function> {
    vec![
        of_two("pow", numbers::power),
        of_two("power", numbers::power),
        of_one("exp", numbers::exp),
        of_one("ln", numbers::ln),
        of_one("log", numbers::log10),
        of_one("log10", numbers::log10),
        of_one("sqrt", numbers::sqrt),
        // Of the standard library, which rounds correctly; PostgreSQL takes the C library's.
        of_one("cbrt", |value| Ok(value.cbrt())),
        of_one("ceil", |value| Ok(value.ceil())),
        of_one("ceiling", |value| Ok(value.ceil())),
        of_one("floor", |value| Ok(value.floor())),
        of_one("round", |value| Ok(value.round_ties_even())),
        of_one("trunc", |value| Ok(value.trunc())),
        of_one("sign", |value| Ok(numbers::sign(value))),
        function(
            "width_bucket",
            [
                f4::<Float8, Float8, Float8, Int4, Int4>(numbers::width_bucket),
                f2::<Int4, Int4s, Int4>(|operand, thresholds| numbers::integer_bucket(&operand, thresholds.all()?)),
                f2::<Int8, Int8s, Int4>(|operand, thresholds| numbers::integer_bucket(&operand, thresholds.all()?)),
                f2::<Float8, Float8s, Int4>(|operand, thresholds| numbers::float_bucket(operand, thresholds.all()?)),
                f2::<Text, Texts, Int4>(text_bucket),
            ],
        ),
    ]
}

/// Texts ascend by their bytes.
fn text_bucket(operand: &str, thresholds: Vec<Option<&str>>) -> Result<i32> {
    let thresholds: Option<Vec<&str>> = thresholds.into_iter().collect();
    numbers::integer_bucket(&operand, &thresholds.ok_or_else(numbers::null_threshold)?)
}

/// Functions of angles.
pub(super) fn angles() -> Vec<Function> {
    vec![
        function("pi", [f0::<Float8>(|| Ok(PI))]),
        of_one("degrees", numbers::degrees),
        of_one("radians", numbers::radians),
        of_one("sin", numbers::sin),
        of_one("cos", numbers::cos),
        of_one("tan", numbers::tan),
        of_one("cot", numbers::cot),
        of_one("asin", numbers::asin),
        of_one("acos", numbers::acos),
        of_one("atan", |tangent| Ok(tangent.atan())),
        of_two("atan2", |y, x| Ok(y.atan2(x))),
        of_one("sinh", |value| Ok(value.sinh())),
        of_one("cosh", |value| Ok(value.cosh())),
        of_one("tanh", |value| Ok(value.tanh())),
        of_one("asinh", |value| Ok(numbers::asinh(value))),
        of_one("acosh", numbers::acosh),
        of_one("atanh", numbers::atanh),
        of_one("sind", numbers::sind),
        of_one("cosd", numbers::cosd),
        of_one("tand", numbers::tand),
        of_one("cotd", numbers::cotd),
        of_one("asind", numbers::asind),
        of_one("acosd", numbers::acosd),
        of_one("atand", |tangent| Ok(numbers::atand(tangent))),
        of_two("atan2d", |y, x| Ok(numbers::atan2d(y, x))),
    ]
}
