//! The worker of one query: its plan, offsets, state and checkpoints, and the progress it reports.

use std::{sync::Arc, time::Duration};

use datafusion::execution::TaskContext;
use tokio::time::Instant;

use super::{
    admission::Admission,
    checkpoints::{CheckpointHeader, Checkpoints},
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
    dead_letters::{CommitRecorder, DeadLetterQueue, LateRowLog},
    error::Error,
    memory::{Budget, BudgetShare},
    metrics::Registry,
    options::SecretRedactor,
    relations::{ChangelogLimit, SharedRelation, Snapshot, Store},
    sql::{incremental::PlannedInput, plan::ContinuousPlan},
    storage::Storage,
    time::{Clock, Epoch, Micros},
};

/// What all queries share.
#[derive(Debug, Clone)]
pub struct QueryEnv {
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub log: Arc<Log>,
    /// What appends commits to `log`.
    pub commits: Arc<CommitRecorder>,
    pub dead_letters: Arc<DeadLetterQueue>,
    pub late_rows: Arc<LateRowLog>,
    pub context: Arc<TaskContext>,
    pub budget: Arc<Budget>,
    pub hidden: Arc<SecretRedactor>,
    /// Where the numbers of queries are.
    pub metrics: Arc<Registry>,
    /// The limit of all changelogs together.
    pub changelog: ChangelogLimit,
    /// The memory that running epochs share.
    pub epochs: Arc<EpochMemory>,
    pub thresholds: Thresholds,
}

impl QueryEnv {
    /// Number of streams (partitions) that an input is read in.
    pub fn partitions(&self) -> usize {
        self.context.session_config().target_partitions()
    }
}

/// A query as it is planned at each start.
#[derive(Debug)]
pub struct QuerySetup {
    pub id: u64,
    pub name: String,
    pub standing: ContinuousPlan,
    /// The relation that clients read; for a sink the copy of its answer that is kept, see
    /// [`Retention`](super::Retention).
    pub relation: Arc<SharedRelation>,
    /// `Some` for a sink.
    pub sink_driver: Option<SinkDriver>,
    pub checkpoint_interval: Duration,
    /// Target duration of an epoch while there is a backlog.
    pub epoch_target: Option<Duration>,
}

/// Runs the epochs of one query. Owned by one task.
#[derive(Debug)]
pub struct Worker {
    pub(super) env: QueryEnv,
    pub setup: QuerySetup,
    pub(super) store: Store,
    pub(super) checkpoints: Checkpoints,
    pub(super) offsets: Vec<Offsets>,
    /// The end of each input when it was last looked at; compare `offsets`, up to which it was read.
    pub(super) ends: Vec<Offsets>,
    pub(super) admissions: Vec<Admission>,
    /// For the planned epoch, per input: its read limit, and whether the input has more than that.
    pub(super) admitted: Vec<(ReadLimit, bool)>,
    /// For the planned epoch, per input: estimated bytes to read.
    pub(super) expected: Vec<usize>,
    /// Since when unread rows wait for the minimum batch of their input.
    pub(super) waits_since: Option<Instant>,
    pub(super) epoch: Epoch,
    pub(super) watermarks: Watermarks,
    /// Per input view: its watermark at the end of the span planned last.
    pub(super) followed: Vec<Option<Micros>>,
    /// The epochs after the last checkpoint, which a recovery replays.
    pub(super) since: Vec<(Intent, Commit)>,
    pub(super) totals: CheckpointHeader,
    pub(super) checkpointed: Epoch,
    /// The offsets of the inputs at the last checkpoint.
    pub(super) saved: Vec<Offsets>,
    /// Whether recovery has replayed up to the last committed epoch.
    pub(super) recovered: bool,
    /// The checkpoint that is being written.
    pub(super) writing: Option<Writing>,
    /// The checkpoint whose write failed and is to be retried.
    pub(super) unwritten: Option<Unwritten>,
    /// Whether state in memory and what was drained from it for checkpoints are complete; otherwise the worker must be
    /// rebuilt.
    pub(super) sound: bool,
    /// Number of the first log file with records after the last checkpoint.
    pub(super) log_file: u64,
    /// Per input that is read from epoch 0: the snapshot of the relation taken when the intent was planned.
    pub(super) snapshots: Vec<Option<Arc<Snapshot>>>,
    /// Per input: the prefetched span of the next epoch.
    pub(super) prefetched: Vec<Option<Prefetched>>,
    /// Share of the memory budget for state and relation.
    pub(super) share: BudgetShare,
    /// The sink epoch whose intent is synced and whose commit is not: its rows may be outside, so no other epoch may
    /// take its number.
    pub(super) begun: Option<Intent>,
    pub(super) owed: Option<PendingEpoch>,
    /// The view epoch that was run but is not committed in the log.
    pub(super) uncommitted: Option<Uncommitted>,
    pub progress: Arc<Progress>,
}

/// A view epoch that was run and is not committed.
#[derive(Debug)]
pub(super) struct Uncommitted {
    pub intent: Intent,
    pub commit: Commit,
    /// Whether it read a snapshot of a relation, which cannot be read again after a crash.
    pub(super) first: bool,
    pub(super) started: Instant,
}

/// The number of the first log file.
const ALL_LOG_FILES: u64 = 1;

impl Worker {
    pub fn new(env: QueryEnv, setup: QuerySetup, progress: Arc<Progress>) -> Self {
        let inputs = setup.standing.rewritten.inputs.len();
        let checkpoints = Checkpoints::new(env.storage.clone(), setup.id);
        let checkpoints = checkpoints.with_chain_max(env.thresholds.checkpoint_chain_max);
        let ids = setup.standing.rewritten.inputs.iter().map(|input| input.table.id).collect();
        let checkpoints = checkpoints.with_plan(setup.standing.epoch_context.state_ids(), ids);
        setup.standing.epoch_context.set_compaction(env.thresholds.compaction);
        for input in &setup.standing.rewritten.inputs {
            // As a reader, so that the input releases nothing before this query has consumed it.
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

    /// Updates the progress that system tables show.
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
