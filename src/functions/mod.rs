//! PostgreSQL's functions, as plain functions of one row's values: no columns, no plans, no I/O.

pub mod bytea;
pub mod formatting;
pub mod like;
pub mod numbers;
pub mod regex;
pub mod text;
