//! A step that remembers, as the nodes of a plan run it: collectors take its rows, and the step folds them.

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

/// A step that remembers.
pub trait Operator: fmt::Debug + Send {
    /// The columns of its changes, without the diff.
    fn schema(&self) -> SchemaRef;

    /// Takes the rows of one partition of an input, by its number, in one epoch.
    fn collector(&self, input: usize, tick: &Tick) -> Result<Box<dyn Collector>>;

    /// Folds an epoch's rows into the state and gives what changed. An error leaves the state undefined: the query is
    /// then recovered from its last checkpoint.
    fn step(&mut self, collected: Vec<Box<dyn Collector>>, tick: &Tick) -> Result<StepOutput>;

    /// The same operator with nothing remembered.
    fn fresh(&self) -> Result<Box<dyn Operator>>;

    /// What it remembers.
    fn state(&mut self) -> &mut dyn Durable;

    /// The version of the form in which its state is saved, from 1: raised by whoever changes what its [`Durable`] saves.
    fn state_version(&self) -> u16;

    /// After a load: drops what the watermark of the checkpoint had closed.
    fn restored(&mut self, watermark: Option<Micros>);

    /// Whether an epoch without rows, but with this watermark and at this time, would change anything.
    fn is_due(&self, watermark: Option<Micros>, now: Micros) -> bool;
}

/// Rows of one partition in one epoch, gathered for a [`Operator::step`].
pub trait Collector: Send {
    /// What the operator's expressions make of rows in the schema of its input, the diff as last column where the input
    /// has one. Nothing is taken in yet: where this fails, it is for one of the rows, and others may follow.
    fn evaluate(&mut self, batch: RecordBatch) -> Result<Evaluated>;

    /// Takes rows in. An error leaves the collector undefined.
    fn push(&mut self, rows: Evaluated) -> Result<()>;

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

/// Rows with all that a grouped operator's expressions make of them.
#[derive(Debug)]
pub struct Evaluated {
    /// The rows that came in time.
    pub batch: RecordBatch,
    pub keys: Vec<ArrayRef>,
    /// For each function what it is fed.
    pub arguments: Vec<Vec<ArrayRef>>,
    pub filters: Vec<Option<BooleanArray>>,
    /// The rows that came too late, where there are any.
    pub late: LateRows,
}

impl Evaluated {
    /// Rows of which nothing is to be made.
    pub fn plain(batch: RecordBatch) -> Self {
        Evaluated { batch, keys: Vec::new(), arguments: Vec::new(), filters: Vec::new(), late: Vec::new() }
    }
}

/// What one step gave.
#[derive(Debug)]
pub struct StepOutput {
    pub changes: Changes,
    pub late: Late,
}

/// Rows that came too late, and why.
pub type LateRows = Vec<(LateCause, RecordBatch)>;

/// Rows that came too late: counted by cause, and the first of them kept.
#[derive(Debug, Default)]
pub struct Late {
    pub behind: u64,
    pub untimed: u64,
    pub kept: LateRows,
}

impl Late {
    /// Rows kept an epoch; all are counted.
    const KEPT_MAX: usize = 1_000;

    /// Takes in the late rows of a batch.
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

    /// Takes in what another partition counted.
    pub fn merge(&mut self, other: Late) {
        self.behind += other.behind;
        self.untimed += other.untimed;
        self.kept.extend(other.kept);
    }
}
