//! What everybody may know of a running query.

use std::sync::PoisonError;

use super::Worker;
use crate::{
    connectors::{Backlog, Offsets, ReadLimit},
    error::Error,
    sql::incremental::PlannedInput,
    time::{Epoch, Micros},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueryState {
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

impl QueryState {
    pub fn word(self) -> &'static str {
        match self {
            QueryState::Recovering => "recovering",
            QueryState::Running => "running",
            QueryState::Paused => "paused",
            QueryState::Finished => "finished",
            QueryState::Failed => "failed",
            QueryState::Retrying => "retrying",
        }
    }
}

/// A row of `tidemark.queries`, and its rows of `tidemark.inputs`.
#[derive(Debug, Clone, Default)]
pub struct QueryProgress {
    pub state: QueryState,
    pub epoch: Epoch,
    pub watermark: Option<Micros>,
    /// Since the server was made, across restarts; rows read again in a recovery count once.
    pub rows_in: u64,
    pub rows_out: u64,
    pub late: u64,
    /// Late rows without an event time, which `late` does not count.
    pub untimed: u64,
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

/// In place of a log file: the query has yet to recover, for which it may need every record about it.
pub const UNRECOVERED: u64 = 0;

impl QueryProgress {
    /// Of a query that has yet to recover.
    pub fn new() -> Self {
        QueryProgress { log_file: Some(UNRECOVERED), ..QueryProgress::default() }
    }
}

#[derive(Debug, Clone, Default)]
pub struct InputProgress {
    pub name: String,
    pub offsets: Offsets,
    pub backlog: Backlog,
    /// What the next epoch may take.
    pub admitted: ReadLimit,
    /// Of the last epoch.
    pub rows_per_second: Option<u64>,
}

impl Worker {
    /// Puts the present numbers where system tables read them.
    pub fn show(&self, also: impl FnOnce(&mut QueryProgress)) {
        let state = self.setup.standing.cell.each_operator(|_, o| Ok((o.state().len(), o.state().bytes())));
        let state = state.unwrap_or_default();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.epoch = self.epoch;
        progress.watermark = self.watermarks.current();
        progress.rows_in = self.totals.rows_in;
        progress.rows_out = self.totals.rows_out;
        progress.late = self.totals.late;
        progress.untimed = self.totals.untimed;
        progress.bad = self.totals.bad;
        progress.checkpoint = self.checkpointed;
        progress.log_file = self.log_file();
        progress.state_rows = state.iter().map(|(rows, _)| *rows as u64).sum();
        progress.state_bytes = state.iter().map(|(_, bytes)| *bytes as u64).sum();
        let before = std::mem::take(&mut progress.inputs);
        let input = |(n, input): (usize, &PlannedInput)| InputProgress {
            name: input.table.name.clone(),
            offsets: self.offsets[n].clone(),
            ..before.get(n).cloned().unwrap_or_default()
        };
        progress.inputs = self.inputs().iter().enumerate().map(input).collect();
        also(&mut progress);
    }

    pub fn set_state(&self, state: QueryState, error: Option<Error>) {
        self.show(|progress| {
            progress.state = state;
            progress.last_error = error.or_else(|| progress.last_error.take());
        });
    }
}
