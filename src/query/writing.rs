//! A checkpoint between two epochs and the disk: being written, or not written yet.

use tokio::task::{JoinError, JoinHandle};

use super::checkpoints::{CheckpointDraft, Checkpoints};
use crate::{connectors::Offsets, error::Result, time::Epoch};

/// A checkpoint on its way to the disk.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) task: JoinHandle<CheckpointOutcome>,
    pub(super) outcome: Option<std::result::Result<CheckpointOutcome, JoinError>>,
    pub(super) point: Point,
}

type CheckpointOutcome = (Checkpoints, CheckpointDraft, Result<()>);

/// A checkpoint that could not be written yet. What it holds is nowhere else: the next try is of the same.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) draft: CheckpointDraft,
    pub(super) point: Point,
}

/// Where a checkpoint was taken.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) epoch: Epoch,
    pub(super) offsets: Vec<Offsets>,
    pub(super) log_file: u64,
}
