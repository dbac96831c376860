//! PostgreSQL's functions of texts.

mod characters;
mod lists;
mod parts;
mod quoting;

use super::overload::Function;

pub fn functions() -> Vec<Function> {
    let all = [characters::functions(), lists::functions(), parts::functions(), quoting::functions()];
    all.into_iter().flatten().collect()
}
