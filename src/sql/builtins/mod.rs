//! PostgreSQL's own operators and casts, where DataFusion's give another answer.
//!
//! `rewrite` puts them in place of DataFusion's, `arithmetic` has the operators, `cast_numbers` the casts,
//! `range_errors` what both refuse.

mod arithmetic;
mod cast_numbers;
mod range_errors;
mod rewrite;

pub use self::rewrite::CheckedNumbers;
