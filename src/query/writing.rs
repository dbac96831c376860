//! A checkpoint that is being written, or whose write failed.

use tokio::task::{JoinError, JoinHandle};

use super::checkpoints::{CheckpointDraft, Checkpoints};
use crate::{connectors::Offsets, error::Result, time::Epoch};

/// A checkpoint that a blocking task is writing.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) task: JoinHandle<CheckpointOutcome>,
    pub(super) outcome: Option<std::result::Result<CheckpointOutcome, JoinError>>,
    pub(super) point: Point,
}

type CheckpointOutcome = (Checkpoints, CheckpointDraft, Result<()>);

/// A checkpoint whose write failed. The draft was drained from the state, so the retry writes the same one.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) draft: CheckpointDraft,
    pub(super) point: Point,
}

/// The epoch and offsets of a checkpoint.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) epoch: Epoch,
    pub(super) offsets: Vec<Offsets>,
    pub(super) log_file: u64,
}
