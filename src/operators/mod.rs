//! Stateful operators. All their state is in a [`Durable`], so recovery misses nothing.
//!
//! An epoch feeds an operator in two steps: each partition's rows go to a [`Collector`] of their own, in parallel and
//! as they are decoded; then one [`Operator::step`] folds the collected rows into the state and emits the changes.
//! `exec.rs` is the only place where operators meet DataFusion's `ExecutionPlan`.

mod aggregate;
mod dedup;
mod fold;
mod group_plan;
mod grouping;
mod input_buffer;
mod join;
mod recompute;
mod temporal;
mod upsert;

pub use aggregate::Aggregate;
pub use dedup::{Dedup, DedupSpec};
pub use fold::{Call, Fold, FoldSpec, check_arguments, fits, fitted};
pub use group_plan::{GroupPlan, GroupPlanSpec, SessionSpec, TopNSpec};
pub use grouping::{AggregateCall, Emission, Grouping, TimeColumn, is_in_order, is_of_one_row, is_settled};
pub use join::{Join, JoinSpec, LookupJoin, SideOutput, SideSpec};
pub use recompute::AggregateByRecompute;
pub use temporal::{Presence, PresenceBounds, Temporal};
pub use upsert::Upsert;
