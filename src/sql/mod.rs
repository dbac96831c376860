//! SQL: text to statement, statement to plan.
//!
//! `parse` (text → `statement`) → `plan` (name resolution, DataFusion's planner; adds the nodes of `watermark`) →
//! `normalize` (PostgreSQL's semantics) → `incremental` (`rewrite`: the plan of an epoch; `physical`: its operators).
//! `builtins` has PostgreSQL's operators and casts where DataFusion's answer otherwise.
//! `types` maps SQL's types to Arrow's; Postgres' wire types are in `pg_catalog`.

pub mod batch_rows;
pub mod builtins;
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
