//! Adapters to DataFusion's physical plans, for standing and one-off queries: the only room that says `ExecutionPlan`.
//! Others hold a [`Plan`] and run it through this room.
//!
//! An epoch passes an operator its new rows in two steps: each partition's rows go to a [`Collector`] of their own, in
//! parallel and as they are decoded; then one [`Operator::step`] folds the collected rows into the state and returns
//! the changes.

mod aside;
mod changes_memory;
mod distrust;
mod epoch_context;
mod epoch_exec;
mod event_times;
mod leaf;
mod node_rule;
mod offload;
mod operator;
mod pass_through;
mod rerun;
mod row_errors;
mod rules;
mod window_memory;
mod yielding;

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

pub use aside::{Aside, AsideLimit, planned};
pub use epoch_context::EpochContext;
pub use epoch_exec::{EpochExec, run};
pub use event_times::{EventTime, EventTimes, partition_name};
pub use leaf::GroupInput;
pub use offload::in_place;
pub use operator::{Collector, Evaluated, Late, LateRows, Operator, StepOutput};
pub use rerun::{RerunnablePlan, rebuild};
pub use row_errors::is_of_rows;
pub use rules::{epoch_rules, fewest_query_rules, query_rules};
pub use yielding::in_batches;

/// A physical plan: it can be shared, and run partition by partition.
pub type Plan = Arc<dyn ExecutionPlan>;
