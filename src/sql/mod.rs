//! SQL: text to statement, statement to plan.
//!
//! `parse` (text → `statement`) → `plan` (names, DataFusion's planner; puts in the nodes of `watermark`) → `normalize`
//! (PostgreSQL's meaning) → `incremental` (`rewrite`: the plan of an epoch; `physical`: its operators). `types` is between
//! SQL's types and Arrow's; those of Postgres' clients are `pg_catalog`'s.

pub mod batch_rows;
mod casts;
mod distinct_on;
mod frames;
pub mod functions;
pub mod incremental;
pub mod interval;
pub mod literals;
pub mod masking;
mod microseconds;
pub mod names;
pub mod naming;
pub mod nodes;
mod normalize;
mod orders;
pub mod parameters;
pub mod parse;
pub mod plan;
mod quantified;
pub mod statement;
pub mod table;
pub mod temporal;
pub mod types;
mod using;
mod using_columns;
pub mod watermark;
pub mod windows;

pub use parse::{Weight, as_bytes, check_columns, check_targets, line_column, parse};
