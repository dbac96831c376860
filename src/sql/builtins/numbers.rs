//! PostgreSQL's functions and operators of integers and floats.

mod floats;
mod integers;
mod operators;
mod thresholds;

use super::overload::Function;

pub fn functions() -> Vec<Function> {
    let all = [integers::functions(), floats::functions(), floats::angles(), operators::functions()];
    all.into_iter().flatten().collect()
}
