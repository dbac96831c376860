//! What everybody may know of a running query.

use crate::{
    connectors::{Backlog, Offsets},
    error::Error,
    time::{Epoch, Micros},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Reading its checkpoint and running again what came after it.
    #[default]
    Recovering,
    Running,
    /// By `ALTER … PAUSE`.
    Paused,
    /// It did all that its trigger asks for.
    Finished,
    /// It stopped on an error, and stays so until it is resumed.
    Failed,
    /// An error that may pass: it tries again.
    Retrying,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Recovering => "recovering",
            State::Running => "running",
            State::Paused => "paused",
            State::Finished => "finished",
            State::Failed => "failed",
            State::Retrying => "retrying",
        }
    }
}

/// A row of `tidemark.queries`, and its rows of `tidemark.inputs`.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    pub state: State,
    pub epoch: Epoch,
    pub watermark: Option<Micros>,
    /// Since the server was made, across restarts; rows read again in a recovery count once.
    pub rows_in: u64,
    pub rows_out: u64,
    pub late: u64,
    pub bad: u64,
    pub state_rows: u64,
    pub state_bytes: u64,
    pub checkpoint: Epoch,
    /// The first log file that a recovery would read; `None` where it needs none.
    pub log_file: Option<u64>,
    /// Of the last epoch, from its intent to its being visible.
    pub epoch_us: u64,
    pub last_error: Option<Error>,
    pub inputs: Vec<InputProgress>,
}

#[derive(Debug, Clone, Default)]
pub struct InputProgress {
    pub name: String,
    pub offsets: Offsets,
    pub backlog: Backlog,
}
