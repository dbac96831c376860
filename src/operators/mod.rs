//! Stateful operators. All their state is in a [`Durable`], so recovery misses nothing.
//!
//! An epoch feeds an operator in two steps: each partition's rows go to a [`Collector`] of their own, in parallel and
//! as they are decoded; then one [`Operator::step`] folds the collected rows into the state and emits the changes.
//! `exec.rs` is the only place where operators meet DataFusion's `ExecutionPlan`.

mod aggregate;
mod dedup;
pub mod epoch_context;
mod event_times;
pub mod exec;
mod fold;
mod group_plan;
mod grouping;
mod held;
mod join;
mod leaf;
mod offload;
mod recompute;
mod rerun;
mod row_errors;
mod row_json;
mod temporal;
mod upsert;

use std::{any::Any, fmt};

use arrow::{array::RecordBatch, datatypes::SchemaRef};

pub use aggregate::Aggregate;
pub use dedup::{Dedup, DedupSpec};
pub use event_times::{EventTime, EventTimes, partition_name};
pub use fold::{Call, Fold, FoldSpec, check_arguments, fits, fitted};
pub use group_plan::{GroupPlan, GroupPlanSpec, SessionSpec, TopNSpec};
pub use grouping::{AggregateCall, Emission, Evaluated, Grouping, TimeColumn, is_in_order, is_of_one_row, is_settled};
pub use join::{Join, JoinSpec, LookupJoin, SideOutput, SideSpec};
pub use leaf::GroupInput;
pub use offload::in_place;
pub use recompute::AggregateByRecompute;
pub use row_json::as_json;
pub use temporal::{Presence, PresenceBounds, Temporal};
pub use upsert::Upsert;

use crate::{
    changes::Changes,
    checkpoint::LateCause,
    error::{Error, Result},
    state::Durable,
    time::{Micros, Tick},
};

/// A stateful operator.
pub trait Operator: fmt::Debug + Send {
    /// The schema of its changes, without the diff.
    fn schema(&self) -> SchemaRef;

    /// A collector for one partition of `input` in one epoch.
    fn collector(&self, input: usize, tick: &Tick) -> Result<Box<dyn Collector>>;

    /// Folds an epoch's rows into the state and gives what changed. An error leaves the state undefined: the query is
    /// then recovered from its last checkpoint.
    fn step(&mut self, collected: Vec<Box<dyn Collector>>, tick: &Tick) -> Result<StepOutput>;

    /// The same operator with empty state.
    fn fresh(&self) -> Result<Box<dyn Operator>>;

    /// Its state.
    fn state(&mut self) -> &mut dyn Durable;

    /// After a load: drops groups that the checkpoint's watermark had closed.
    fn restored(&mut self, watermark: Option<Micros>);

    /// Whether an epoch without rows, but with this watermark and at this time, would change anything.
    fn is_due(&self, watermark: Option<Micros>, now: Micros) -> bool;
}

/// Collects the rows of one partition in one epoch for [`Operator::step`].
pub trait Collector: Send {
    /// Evaluates the operator's expressions over a batch of its input (diff as the last column, if the input has one).
    /// Nothing is collected yet: an error is a row error of this batch, and others may follow.
    fn evaluate(&mut self, batch: RecordBatch) -> Result<Evaluated>;

    /// Collects evaluated rows. An error leaves the collector undefined.
    fn push(&mut self, rows: Evaluated) -> Result<()>;

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

/// Downcasts a collector to the type that the operator made.
fn taken<T: 'static>(collector: Box<dyn Collector>) -> Result<T> {
    let own = collector.into_any().downcast::<T>();
    own.map(|own| *own).map_err(|_| Error::internal("an operator was given another one's rows"))
}

/// The result of one step.
#[derive(Debug)]
pub struct StepOutput {
    pub changes: Changes,
    pub late: Late,
}

/// Late rows of an epoch: counted by cause, the first `KEPT_MAX` kept.
#[derive(Debug, Default)]
pub struct Late {
    pub behind: u64,
    pub untimed: u64,
    pub kept: Vec<(LateCause, RecordBatch)>,
}

impl Late {
    /// Late rows kept per epoch; all are counted.
    const KEPT_MAX: usize = 1_000;

    /// Adds the late rows of a batch.
    fn add(&mut self, late: Vec<(LateCause, RecordBatch)>) {
        for (cause, rows) in late {
            let kept: usize = self.kept.iter().map(|(_, rows)| rows.num_rows()).sum();
            match cause {
                LateCause::BehindWatermark => self.behind += rows.num_rows() as u64,
                LateCause::NoEventTime => self.untimed += rows.num_rows() as u64,
            }
            let room = Self::KEPT_MAX.saturating_sub(kept).min(rows.num_rows());
            if room > 0 {
                self.kept.push((cause, rows.slice(0, room)));
            }
        }
    }

    fn merge(&mut self, other: Late) {
        self.behind += other.behind;
        self.untimed += other.untimed;
        self.kept.extend(other.kept);
    }
}
