//! Statements that change the catalog: one change at a time, durable when acknowledged.
//!
//! `create.rs`, `drop.rs`, `alter.rs`: a file for each; `apply.rs`: many `CREATE`s at once; `replace.rs`: what `OR REPLACE`
//! and its kin ask for; `discard.rs`: which rows would be lost; `executor.rs`: what they share.

mod alter;
mod apply;
mod create;
mod discard;
mod drop;
mod executor;
mod replace;

pub use executor::DdlExecutor;
