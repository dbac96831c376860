//! One query that is being worked on: what it is made of, how far it is, and what it shows of that.

use std::{sync::Arc, time::Duration};

use datafusion::execution::TaskContext;
use tokio::time::Instant;

use super::{
    admission::Admission,
    checkpoints::{CheckpointHeader, Checkpoints},
    letters::RejectedRows,
    memory::EpochMemory,
    prefetched::Prefetched,
    progress::{Progress, QueryState, QueryStatus},
    sink_driver::{PendingEpoch, SinkDriver},
    thresholds::Thresholds,
    watermarks::Watermarks,
    writing::{Unwritten, Writing},
};
use crate::{
    checkpoint::{Commit, Intent, Log},
    connectors::{Offsets, ReadLimit},
    error::Error,
    metrics::Registry,
    options::SecretRedactor,
    relations::{ChangelogLimit, SharedRelation, Snapshot, Store},
    sql::{incremental::PlannedInput, plan::ContinuousPlan},
    state::{Budget, BudgetShare},
    storage::Storage,
    time::{Clock, Epoch, Micros},
};

/// What all queries share.
#[derive(Debug, Clone)]
pub struct QueryEnv {
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub log: Arc<Log>,
    pub letters: Arc<RejectedRows>,
    pub context: Arc<TaskContext>,
    pub budget: Arc<Budget>,
    pub hidden: Arc<SecretRedactor>,
    /// Where the numbers of queries are.
    pub metrics: Arc<Registry>,
    /// What relations keep for their followers, at the most.
    pub changelog: ChangelogLimit,
    /// What all running epochs hold.
    pub epochs: Arc<EpochMemory>,
    pub thresholds: Thresholds,
}

impl QueryEnv {
    /// In how many streams an input comes.
    pub fn partitions(&self) -> usize {
        self.context.session_config().target_partitions()
    }
}

/// What makes a query: planned anew at each start.
#[derive(Debug)]
pub struct QuerySetup {
    pub id: u64,
    pub name: String,
    pub standing: ContinuousPlan,
    /// What clients read; of a sink what is kept beside it.
    pub relation: Arc<SharedRelation>,
    /// Where the rows of a sink go.
    pub sink_driver: Option<SinkDriver>,
    pub checkpoint_interval: Duration,
    /// How long an epoch is to take, where there is a backlog.
    pub epoch_target: Option<Duration>,
}

/// A query that is being worked on. One task owns it.
#[derive(Debug)]
pub struct Worker {
    pub(super) env: QueryEnv,
    pub setup: QuerySetup,
    pub(super) store: Store,
    pub(super) checkpoints: Checkpoints,
    pub(super) offsets: Vec<Offsets>,
    /// How far each input could be read when it was last looked at.
    pub(super) ends: Vec<Offsets>,
    pub(super) admissions: Vec<Admission>,
    /// What the epoch that is planned may take of each input, and whether that is less than there is.
    pub(super) admitted: Vec<(ReadLimit, bool)>,
    /// What the epoch that is planned will read of each input, about, in bytes.
    pub(super) expected: Vec<usize>,
    /// Since when there are rows that wait for others.
    pub(super) waits_since: Option<Instant>,
    pub(super) epoch: Epoch,
    pub(super) watermarks: Watermarks,
    /// The watermarks of the views that it reads, as far as it was to read them last.
    pub(super) followed: Vec<Option<Micros>>,
    /// The epochs since the last checkpoint: what a recovery would run again.
    pub(super) since: Vec<(Intent, Commit)>,
    pub(super) totals: CheckpointHeader,
    pub(super) checkpointed: Epoch,
    /// How far each input was read at the last checkpoint.
    pub(super) saved: Vec<Offsets>,
    /// Whether it is back at its last committed epoch.
    pub(super) recovered: bool,
    /// The checkpoint that is being written.
    pub(super) writing: Option<Writing>,
    /// The checkpoint that could not be written yet.
    pub(super) unwritten: Option<Unwritten>,
    /// Whether nothing of what is to be saved was lost on its way.
    pub(super) sound: bool,
    /// The log file that the records after the last checkpoint begin in.
    pub(super) log_file: u64,
    /// Rows of relations that an intent reads from the beginning, as they were when it was made.
    pub(super) snapshots: Vec<Option<Arc<Snapshot>>>,
    /// What the next epoch will read, where that was prefetched.
    pub(super) prefetched: Vec<Option<Prefetched>>,
    /// What its state and its relation hold.
    pub(super) share: BudgetShare,
    /// The epoch of a sink whose rows may be outside, and whose commit is not in the log: nothing else may take its
    /// number.
    pub(super) begun: Option<Intent>,
    pub(super) owed: Option<PendingEpoch>,
    /// The epoch of a view that was run, and whose commit is not in the log yet.
    pub(super) uncommitted: Option<Uncommitted>,
    pub progress: Arc<Progress>,
}

/// An epoch of a view that was run, up to its commit.
#[derive(Debug)]
pub(super) struct Uncommitted {
    pub intent: Intent,
    pub commit: Commit,
    /// Whether it read rows that cannot be read again.
    pub(super) first: bool,
    pub(super) started: Instant,
}

/// Log files are numbered from here on.
const ALL_LOG_FILES: u64 = 1;

impl Worker {
    pub fn new(env: QueryEnv, setup: QuerySetup, progress: Arc<Progress>) -> Self {
        let inputs = setup.standing.rewritten.inputs.len();
        let checkpoints = Checkpoints::new(env.storage.clone(), setup.id);
        let checkpoints = checkpoints.with_chain_max(env.thresholds.checkpoint_chain_max);
        setup.standing.epoch_context.set_compaction(env.thresholds.compaction);
        for input in &setup.standing.rewritten.inputs {
            // Nothing may be forgotten that this query has not read.
            input.table.readers.join(setup.id);
        }
        Worker {
            store: Store::new(env.storage.clone(), setup.id),
            checkpoints,
            offsets: vec![Offsets::default(); inputs],
            ends: vec![Offsets::default(); inputs],
            admissions: vec![Admission::new(setup.epoch_target); inputs],
            admitted: Vec::new(),
            expected: Vec::new(),
            waits_since: None,
            epoch: Epoch(0),
            watermarks: Watermarks::new(setup.standing.rewritten.watermarks.len()),
            followed: Vec::new(),
            since: Vec::new(),
            totals: CheckpointHeader::default(),
            checkpointed: Epoch(0),
            saved: vec![Offsets::default(); inputs],
            recovered: false,
            writing: None,
            unwritten: None,
            sound: true,
            log_file: ALL_LOG_FILES,
            snapshots: vec![None; inputs],
            prefetched: (0..inputs).map(|_| None).collect(),
            share: env.budget.share(format!(
                "{} \"{}\"",
                if setup.sink_driver.is_some() { "sink" } else { "view" },
                setup.name
            )),
            begun: None,
            owed: None,
            uncommitted: None,
            progress,
            env,
            setup,
        }
    }

    pub(super) fn inputs(&self) -> &[PlannedInput] {
        &self.setup.standing.rewritten.inputs
    }

    /// Puts the present numbers where system tables read them.
    pub fn show(&self, also: impl FnOnce(&mut QueryStatus)) {
        let state = self.setup.standing.epoch_context.each_operator(|_, o| Ok((o.state().len(), o.state().bytes())));
        let state = state.unwrap_or_default();
        let mut status = self.progress.lock();
        status.log_file = self.log_file();
        let inputs = self.inputs().iter().zip(&self.offsets);
        self.progress.set_inputs(&mut status, inputs.map(|(input, offsets)| (input.table.name.as_str(), offsets)));
        let metrics = &status.metrics;
        metrics.epoch.set_count(Some(self.epoch.0));
        metrics.watermark.set(self.watermarks.current());
        metrics.rows_in.set(self.totals.rows_in);
        metrics.rows_out.set(self.totals.rows_out);
        metrics.late.set(self.totals.late);
        metrics.untimed.set(self.totals.untimed);
        metrics.bad.set(self.totals.bad);
        metrics.checkpoint.set_count(Some(self.checkpointed.0));
        metrics.state_rows.set_count(Some(state.iter().map(|(rows, _)| *rows as u64).sum()));
        metrics.state_bytes.set_count(Some(state.iter().map(|(_, bytes)| *bytes as u64).sum()));
        also(&mut status);
    }

    pub fn set_state(&self, state: QueryState, error: Option<Error>) {
        self.show(|status| {
            status.state = state;
            status.last_error = error.or_else(|| status.last_error.take());
        });
    }
}
