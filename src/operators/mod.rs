//! Stateful operators. All their state is in a [`Durable`](crate::state::Durable), so recovery misses nothing.
//!
//! How an epoch feeds them: [`crate::exec`]. Which rows are late is decided in `grouping.rs`.

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
