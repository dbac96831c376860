//! The interface of stateful operators: collectors take the input rows, and the step folds them into the state.

use std::{any::Any, fmt};

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch},
    datatypes::SchemaRef,
};

use crate::{
    changes::Changes,
    checkpoint::LateCause,
    error::Result,
    state::Durable,
    time::{Micros, Tick},
};

/// A stateful operator.
pub trait Operator: fmt::Debug + Send {
    /// The columns of its changes, without the diff.
    fn schema(&self) -> SchemaRef;

    /// Takes the rows of one partition of an input, by its number, in one epoch.
    fn collector(&self, input: usize, tick: &Tick) -> Result<Box<dyn Collector>>;

    /// Folds an epoch's rows into the state and returns the changes. An error leaves the state undefined: the query is
    /// then recovered from its last checkpoint.
    fn step(&mut self, collected: Vec<Box<dyn Collector>>, tick: &Tick) -> Result<StepOutput>;

    /// The same operator with empty state.
    fn fresh(&self) -> Result<Box<dyn Operator>>;

    /// Its state, for checkpoints.
    fn state(&mut self) -> &mut dyn Durable;

    /// The version of its saved form, from 1; to be raised with every change of what its [`Durable`] saves.
    fn state_version(&self) -> u16;

    /// After a load: drops what the watermark of the checkpoint had closed.
    fn restored(&mut self, watermark: Option<Micros>);

    /// Whether an epoch without rows, but with this watermark and at this time, would change anything.
    fn is_due(&self, watermark: Option<Micros>, now: Micros) -> bool;
}

/// Rows of one partition in one epoch, gathered for a [`Operator::step`].
pub trait Collector: Send {
    /// Evaluates the operator's expressions over rows in the schema of its input, with the diff as last column if the
    /// input has one. Adds nothing to the collector yet: an error is a row error, and other rows may follow.
    fn evaluate(&mut self, batch: RecordBatch) -> Result<Evaluated>;

    /// Adds rows to the collector. An error leaves the collector undefined.
    fn push(&mut self, rows: Evaluated) -> Result<()>;

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

/// Rows with the values of a grouped operator's expressions.
#[derive(Debug)]
pub struct Evaluated {
    /// The rows that are not late.
    pub batch: RecordBatch,
    pub keys: Vec<ArrayRef>,
    /// Per function: its arguments.
    pub arguments: Vec<Vec<ArrayRef>>,
    pub filters: Vec<Option<BooleanArray>>,
    /// The late rows, by cause.
    pub late: LateRows,
}

impl Evaluated {
    /// Rows without keys or arguments.
    pub fn plain(batch: RecordBatch) -> Self {
        Evaluated { batch, keys: Vec::new(), arguments: Vec::new(), filters: Vec::new(), late: Vec::new() }
    }
}

/// The output of one step.
#[derive(Debug)]
pub struct StepOutput {
    pub changes: Changes,
    pub late: Late,
}

/// Late rows, by cause.
pub type LateRows = Vec<(LateCause, RecordBatch)>;

/// Late rows of an epoch: all counted by cause, the first ones stored.
#[derive(Debug, Default)]
pub struct Late {
    pub behind: u64,
    pub untimed: u64,
    pub kept: LateRows,
}

impl Late {
    /// Maximum of late rows stored per epoch; all are counted.
    const KEPT_MAX: usize = 1_000;

    /// Adds the late rows of a batch.
    pub fn add(&mut self, late: LateRows) {
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

    /// Adds the late rows of another partition.
    pub fn merge(&mut self, other: Late) {
        self.behind += other.behind;
        self.untimed += other.untimed;
        self.kept.extend(other.kept);
    }
}
