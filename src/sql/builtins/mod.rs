//! PostgreSQL's own functions, operators and casts, where DataFusion's give another answer.
//!
//! A function is a name with signatures (`overload`), each of them a kernel of [`crate::functions`]; `text` and its like
//! list those of a family. Which signature a call means is decided by `resolve`, before DataFusion coerces types, by the
//! rule in `calls`. `arithmetic`, `cast_numbers` and `cast_texts` have operators and casts, which the rule in
//! `rewrite` puts in place of DataFusion's; `range_errors` is what they refuse.

mod arithmetic;
mod builtin;
mod bytea;
mod calls;
mod cast_numbers;
mod cast_texts;
mod formatting;
mod forms;
mod like;
mod numbers;
mod overload;
mod pg_type;
mod range_errors;
mod regex;
mod resolve;
mod rewrite;
mod text;

use std::sync::Arc;

use datafusion::{
    functions::all_default_functions, functions_nested::all_default_nested_functions, logical_expr::ScalarUDF,
};

use self::{builtin::Builtin, overload::Function};
pub use self::{calls::ResolvedCalls, forms::SpecialForms, rewrite::CheckedNumbers};

/// Functions that also take what no signature here is for: numerics, arrays of other types, times in other forms.
/// Those calls go to the function that had the name before.
const SHARED: &str =
    "abs array_to_string ceil exp floor gcd lcm ln log log10 power round sqrt to_date to_timestamp trunc";

/// All functions with signatures of PostgreSQL.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut all: Vec<Function> = Vec::new();
    for function in [
        text::functions(),
        bytea::functions(),
        numbers::functions(),
        formatting::functions(),
        regex::functions(),
        like::functions(),
    ]
    .into_iter()
    .flatten()
    {
        match all.iter_mut().find(|of| of.name == function.name) {
            Some(of) => of.overloads.extend(function.overloads),
            None => all.push(function),
        }
    }
    let theirs = [super::functions::all(), all_default_functions(), all_default_nested_functions()].concat();
    let builtin = |function: Function| {
        let is_same =
            |of: &&Arc<ScalarUDF>| of.name() == function.name || of.aliases().iter().any(|name| name == function.name);
        let shared =
            theirs.iter().find(is_same).filter(|_| SHARED.split(' ').any(|name| name == function.name)).cloned();
        Arc::new(ScalarUDF::from(Builtin::new(function, shared)))
    };
    all.into_iter().map(builtin).collect()
}

/// Whether a function is a cast: the names of operators leave it out, as they do DataFusion's.
pub fn is_cast(function: &ScalarUDF) -> bool {
    cast_numbers::is_cast(function) || cast_texts::is_cast(function)
}
