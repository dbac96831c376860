//! The worker of one query: plans its epochs, runs them and commits them.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    checkpoints::{CheckpointHeader, Checkpoints},
    durability::{Durability, Uncommitted},
    input_cursor::OpenedInput,
    input_cursors::{InputCursors, ReadPlan},
    pieces::{Pieces, joined},
    pipeline::{PipelineInput, QueryPipeline},
    progress::{Progress, QueryState, QueryStatus},
    setup::{QueryEnv, QuerySetup},
    sink_driver::{PendingEpoch, SinkDriver},
    watermarks::Watermarks,
};
use crate::{
    changes::Changes,
    checkpoint::{Commit, Intent, LogRecord},
    error::{Error, ErrorKind, Result},
    time::{Epoch, Micros},
};

/// Runs the epochs of one query. Owned by one task.
///
/// Between two calls `cursors`, `watermarks` and `totals` are as of `epoch`. So is `pipeline`, except that it is ahead
/// by `pending_sink_epoch`. `durability` is what of it a crash would leave.
#[derive(Debug)]
pub struct Worker {
    pub(super) env: QueryEnv,
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) checkpoint_interval: Duration,
    pub(super) cursors: InputCursors,
    pub(super) pipeline: QueryPipeline,
    pub(super) durability: Durability,
    /// `Some` for a sink.
    pub(super) sink_driver: Option<SinkDriver>,
    /// The epoch of a sink that was run and is not delivered.
    pub(super) pending_sink_epoch: Option<PendingEpoch>,
    /// The last epoch that was applied.
    pub(super) epoch: Epoch,
    pub(super) watermarks: Watermarks,
    pub(super) totals: CheckpointHeader,
    /// Since when unread rows wait for the minimum batch of their input.
    waits_since: Option<Instant>,
    pub progress: Arc<Progress>,
}

/// What a query can do next.
#[derive(Debug)]
pub enum NextEpoch {
    Epoch(Intent),
    /// There are fewer rows than the input's minimum batch; at this time an epoch runs all the same.
    Wait(Instant),
    /// No unread rows, and no window or timer is due.
    Idle,
}

impl Worker {
    pub fn new(env: QueryEnv, setup: QuerySetup, progress: Arc<Progress>) -> Self {
        let QuerySetup { id, name, standing, relation, sink_driver, checkpoint_interval, epoch_target } = setup;
        let kind = if sink_driver.is_some() { "sink" } else { "view" };
        let share = env.budget.share(format!("{kind} \"{name}\""));
        let pipeline = QueryPipeline::new(&env, name.clone(), standing, relation, share);
        let checkpoints = Checkpoints::new(env.storage.clone(), id)
            .with_chain_max(env.thresholds.checkpoint_chain_max)
            .with_plan(pipeline.state_ids(), pipeline.input_ids());
        for input in pipeline.inputs() {
            // As a reader, so that the input releases nothing before this query has consumed it.
            input.table.readers.join(id);
        }
        Worker {
            cursors: InputCursors::new(pipeline.rewritten(), epoch_target),
            durability: Durability::new(env.storage.clone(), id, checkpoints, pipeline.inputs().len()),
            sink_driver,
            pending_sink_epoch: None,
            epoch: Epoch(0),
            watermarks: Watermarks::new(pipeline.rewritten().watermarks.len()),
            totals: CheckpointHeader::default(),
            waits_since: None,
            progress,
            env,
            id,
            name,
            checkpoint_interval,
            pipeline,
        }
    }

    /// Updates the progress that system tables show.
    pub fn show(&self, also: impl FnOnce(&mut QueryStatus)) {
        let state = self.pipeline.state_sizes().unwrap_or_default();
        let mut status = self.progress.lock();
        status.log_file = self.durability.log_file(self.epoch);
        let offsets = self.cursors.offsets();
        let inputs = self.pipeline.inputs().iter().zip(&offsets);
        self.progress.set_inputs(&mut status, inputs.map(|(input, offsets)| (input.table.name.as_str(), offsets)));
        let metrics = &status.metrics;
        metrics.epoch.set_count(Some(self.epoch.0));
        metrics.watermark.set(self.watermarks.current());
        metrics.rows_in.set(self.totals.rows_in);
        metrics.rows_out.set(self.totals.rows_out);
        metrics.late.set(self.totals.late);
        metrics.untimed.set(self.totals.untimed);
        metrics.bad.set(self.totals.bad);
        metrics.checkpoint.set_count(Some(self.durability.checkpointed().0));
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

/// Planning the next epoch.
impl Worker {
    /// Plans the next epoch: spans, watermark and clock. Nothing is durable yet. With `hurry` an input's minimum batch
    /// (`BatchingPolicy`) is not waited for.
    pub async fn next(&mut self, hurry: bool) -> Result<NextEpoch> {
        let plan = self.cursors.plan().await;
        self.note_backlogs();
        let ReadPlan { spans, idle, enough, delay } = plan?;
        let now = self.env.clock.now();
        let watermark = self.next_watermark(now, idle);
        if idle && self.epoch > Epoch(0) && !self.is_due(watermark)? && !self.rewrites() {
            return Ok(NextEpoch::Idle);
        }
        if let Some(delay) = delay.filter(|_| !hurry && !enough && !self.is_due(watermark).unwrap_or(true)) {
            let until = *self.waits_since.get_or_insert_with(Instant::now) + delay;
            if Instant::now() < until {
                return Ok(NextEpoch::Wait(until));
            }
        }
        self.waits_since = None;
        let epoch = self.epoch.next();
        let partitions = self.env.partitions();
        Ok(NextEpoch::Epoch(Intent { query: self.id, epoch, spans, watermark, now, partitions }))
    }

    /// The watermark of an epoch that is planned at `now`; `idle` where it has no rows to read.
    fn next_watermark(&self, now: Micros, idle: bool) -> Option<Micros> {
        let specs = &self.pipeline.rewritten().watermarks;
        self.watermarks.next(specs, self.cursors.followed(), now, &self.cursors.unread(), idle)
    }

    fn note_backlogs(&mut self) {
        let mut status = self.progress.lock();
        for (n, backlog, offsets) in self.cursors.backlogs() {
            if let Some(input) = status.inputs.get_mut(n) {
                input.set_backlog(backlog);
                input.offsets.clone_from(offsets);
            }
        }
    }

    /// Whether an epoch without rows would change anything: an operator has a window or timer due, or a view that reads
    /// this one's event times would get a new watermark.
    fn is_due(&self, watermark: Option<Micros>) -> Result<bool> {
        let now = self.env.clock.now();
        // Only as far as rows advance it (`idle` is false): by idle timeout it would advance for ever.
        if self.pipeline.has_timed_followers() && self.next_watermark(now, false) > self.watermarks.current() {
            return Ok(true);
        }
        self.pipeline.is_due(watermark, now)
    }

    /// Whether an epoch without rows, at the watermark after the last epoch, would close something.
    pub fn closes_next(&self) -> bool {
        let watermark = self.next_watermark(self.env.clock.now(), false);
        self.is_due(watermark).unwrap_or(false)
    }
}

/// Running epochs, and committing those of a view.
impl Worker {
    /// Runs a planned epoch: intent, plan, apply, commit, publish. For a sink only up to its rows; [`Worker::deliver`]
    /// does the rest.
    pub async fn run(&mut self, intent: Intent) -> Result<()> {
        if self.sink_driver.is_some() {
            return self.prepare(intent).await;
        }
        let started = Instant::now();
        let (intent, pieces) = self.in_pieces(intent);
        // The intent is not synced by itself: the sync of the commit covers it, and nothing of the epoch is visible
        // before.
        self.needs_log();
        self.env.log.enqueue(LogRecord::Intent(intent.clone()).encode(&[])?);
        let first = self.cursors.reads_snapshots(&intent);
        let commit = match pieces {
            None => self.take_step(&intent).await?.0,
            Some(pieces) => self.run_pieces(&intent, &pieces).await?,
        };
        self.pipeline.charge()?;
        self.advance(&intent, &commit);
        self.durability.note_run(Uncommitted { intent, commit, first, started });
        self.commit().await
    }

    /// Commits the epoch that was run in the log, then publishes its snapshot. After an error, the next call retries
    /// the same epoch.
    async fn commit(&mut self) -> Result<()> {
        let Some(Uncommitted { intent, first, .. }) = self.durability.uncommitted() else { return Ok(()) };
        if *first && self.durability.is_behind(intent.epoch) {
            // Rows of a snapshot cannot be read again after a crash: the checkpoint must be durable before the commit.
            self.save_all().await?;
        }
        let Some(Uncommitted { commit, .. }) = self.durability.uncommitted() else { return Ok(()) };
        let record = LogRecord::Commit(commit.clone()).encode(&[])?;
        self.env.commits.append(vec![record], commit).await?;
        let Some(started) = self.durability.note_committed() else { return Ok(()) };
        self.pipeline.publish();
        let took = started.elapsed();
        self.note_speed(took);
        self.show(|status| status.metrics.note_epoch(took));
        Ok(())
    }

    /// Feeds the duration of a planned (not replayed) epoch to the admission of each input.
    fn note_speed(&mut self, took: Duration) {
        let status = self.progress.lock();
        for n in self.cursors.observe(took) {
            if let Some(input) = status.inputs.get(n) {
                let rows = self.pipeline.rows_of(n) as f64;
                let rate = (rows / took.as_secs_f64().max(1e-6)) as u64;
                input.metrics.rows_per_second.set_count(Some(rate));
                input.set_admitted(self.cursors.limit(n));
            }
        }
    }

    /// Splits an epoch into pieces, if it reads a large snapshot; its intent then has the number of the last piece.
    fn in_pieces(&self, intent: Intent) -> (Intent, Option<Pieces>) {
        if !self.cursors.reads_snapshots(&intent) || self.env.epochs.reads_whole(self.id) {
            return (intent, None);
        }
        match self.cursors.pieces(&intent, self.env.epochs.piece_bytes()) {
            Some(pieces) => (pieces.whole(intent), Some(pieces)),
            None => (intent, None),
        }
    }

    /// Runs the pieces one after the other. Other inputs, and the new watermark, come with the last one.
    async fn run_pieces(&mut self, intent: &Intent, pieces: &Pieces) -> Result<Commit> {
        let before = self.watermarks.current();
        let mut all: Option<Commit> = None;
        for piece in 0..pieces.count() {
            let part = pieces.part(intent, piece, before);
            let opened = self.cursors.open_piece(&self.env, &part, pieces, piece)?;
            let input = PipelineInput { opened, bytes: pieces.bytes(piece), is_snapshot: true };
            let ran = self.run_plan(&part, input).await;
            let (commit, _) = ran.map_err(|error| self.after_piece(error, pieces.is_last(piece)))?;
            self.pipeline.charge()?;
            all = Some(match all {
                Some(before) => joined(before, commit),
                None => commit,
            });
        }
        self.cursors.forget_snapshots();
        all.ok_or_else(|| Error::internal("an epoch without pieces was run in pieces"))
    }

    /// An expression may fail on a piece though not over the whole snapshot: the error is then transient, and the retry
    /// reads the snapshot whole.
    fn after_piece(&self, error: Error, last: bool) -> Error {
        let is_room =
            matches!(error.kind(), ErrorKind::ConfigurationLimit | ErrorKind::OutOfMemory | ErrorKind::LimitExceeded);
        if last || is_room {
            return error;
        }
        self.env.epochs.read_whole(self.id);
        error.with_kind(ErrorKind::CannotConnectNow)
    }

    /// Executes a new epoch, while the source rows of the next one are prefetched.
    async fn take_step(&mut self, intent: &Intent) -> Result<(Commit, Changes)> {
        let opened = self.cursors.open(&self.env, intent)?;
        self.cursors.prefetch(&self.env, intent).await;
        self.execute(intent, opened).await
    }

    /// Runs the plan over the rows of an intent; its changes are then in state and relation, in memory.
    pub(super) async fn execute(&mut self, intent: &Intent, opened: Vec<OpenedInput>) -> Result<(Commit, Changes)> {
        let (bytes, is_snapshot) = (self.cursors.bytes_to_read(intent), self.cursors.reads_snapshots(intent));
        let done = self.run_plan(intent, PipelineInput { opened, bytes, is_snapshot }).await?;
        self.cursors.forget_snapshots();
        Ok(done)
    }

    async fn run_plan(&mut self, intent: &Intent, input: PipelineInput) -> Result<(Commit, Changes)> {
        let before = self.watermarks.current();
        self.pipeline.run(&self.env, intent, before, input, self.sink_driver.as_ref()).await
    }

    pub(super) fn advance(&mut self, intent: &Intent, commit: &Commit) {
        self.epoch = intent.epoch;
        self.cursors.advance(&intent.spans);
        self.watermarks.observe(&commit.observed, commit.rows_in, intent.watermark, intent.now);
        self.totals.watermark = intent.watermark;
        self.totals.rows_in += commit.rows_in;
        self.totals.rows_out += commit.rows_out;
        self.totals.late += commit.late;
        self.totals.untimed += commit.untimed;
        self.totals.bad += commit.bad;
    }
}

/// Delivering the epochs of a sink.
impl Worker {
    /// Runs a planned epoch of a sink up to its outgoing rows. Nothing is durable or visible yet, unless it read a
    /// snapshot: then rows and checkpoint are saved.
    async fn prepare(&mut self, intent: Intent) -> Result<()> {
        let started = Instant::now();
        let fleeting = self.cursors.reads_snapshots(&intent);
        let (commit, changes) = self.take_step(&intent).await?;
        self.pipeline.charge()?;
        let Some(sink_driver) = &self.sink_driver else {
            return Err(Error::internal("a view was run as a sink"));
        };
        let rows = sink_driver.outgoing(changes, &self.pipeline.relation().lock())?;
        let epoch = intent.epoch;
        let pending = PendingEpoch { intent, commit, rows, saved: false, unproven: false, started };
        if !fleeting {
            self.pending_sink_epoch = Some(pending);
            return Ok(());
        }
        let number = match &mut self.sink_driver {
            Some(sink_driver) if pending.rows.is_some() => sink_driver.number(epoch).await?,
            _ => epoch,
        };
        // Rows of a snapshot cannot be read again after a crash: only a checkpoint makes this epoch recoverable, and
        // only the outbox has its rows.
        self.pending_sink_epoch = Some(self.saved(pending, number).await?);
        Ok(())
    }

    /// With no pending epoch, compares the sink's last epoch with this query's: the data directory may be an older
    /// copy. Gives whether an epoch must run to rewrite the answer.
    pub async fn ask_outside(&mut self) -> Result<bool> {
        match &mut self.sink_driver {
            Some(sink_driver) => sink_driver.compare(self.epoch).await,
            None => Ok(false),
        }
    }

    /// Whether the sink is to rewrite its whole answer even without changes.
    fn rewrites(&self) -> bool {
        self.sink_driver.as_ref().is_some_and(|sink_driver| sink_driver.rewrites)
    }

    /// Whether an epoch was run and is not committed yet (for a sink: written and committed).
    pub fn has_pending(&self) -> bool {
        self.pending_sink_epoch.is_some() || self.durability.uncommitted().is_some()
    }

    /// Writes the pending epoch to the sink and commits it. After an error, the next call retries with the same rows.
    pub async fn deliver(&mut self) -> Result<()> {
        let (Some(pending), Some(sink_driver)) = (&self.pending_sink_epoch, &mut self.sink_driver) else {
            return self.commit().await;
        };
        let intent = LogRecord::Intent(pending.intent.clone()).encode(&[])?;
        let commit = LogRecord::Commit(pending.commit.clone()).encode(&[])?;
        if pending.rows.is_some() && !self.durability.has_begun() && (!pending.saved || pending.unproven) {
            let begun = pending.intent.clone();
            let number = sink_driver.number(begun.epoch).await?;
            if number != begun.epoch {
                let Some(pending) = self.pending_sink_epoch.take() else { return Ok(()) };
                self.pending_sink_epoch = Some(self.saved(pending, number).await?);
                return Box::pin(self.deliver()).await;
            }
            if pending.saved {
                self.outbox().mark_in_flight(begun.epoch)?;
                self.pending_sink_epoch.iter_mut().for_each(|pending| pending.unproven = false);
            } else {
                self.needs_log();
                self.env.log.append(vec![intent.clone()]).await?;
                self.durability.begin(begun);
            }
        }
        if let (Some(PendingEpoch { intent, rows: Some(rows), .. }), Some(sink_driver)) =
            (&self.pending_sink_epoch, &mut self.sink_driver)
        {
            sink_driver.send(intent.epoch, rows).await?;
        }
        self.needs_log();
        let intent = (!self.durability.has_begun()).then_some(intent);
        let Some(pending) = &self.pending_sink_epoch else { return Ok(()) };
        self.env.commits.append(intent.into_iter().chain([commit]).collect(), &pending.commit).await?;
        self.durability.end_begun();
        let Some(PendingEpoch { intent, commit, saved, started, .. }) = self.pending_sink_epoch.take() else {
            return Ok(());
        };
        if saved {
            self.outbox().remove()?;
        } else {
            self.advance(&intent, &commit);
            self.durability.note_delivered(intent, commit);
        }
        let took = started.elapsed();
        self.note_speed(took);
        self.show(|status| status.metrics.note_epoch(took));
        Ok(())
    }

    /// See [`SinkDriver::go_on`].
    pub fn go_on(&mut self) {
        self.sink_driver.iter_mut().for_each(SinkDriver::go_on);
    }
}
