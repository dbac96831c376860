//! One query and its epochs: what the next one is to read, running it, committing it.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use tokio::time::Instant;

use super::{
    dead_letters::dead_letters, durability::Uncommitted, input_cursor::OpenedInput, input_cursors::ReadPlan,
    late_rows::late_rows, worker::Worker,
};
use crate::{
    changes::{Changes, ChangesHash, batch_of},
    checkpoint::{Commit, Intent, LogRecord},
    connectors::Offsets,
    error::Result,
    exec,
    time::{Epoch, Micros, Tick},
};

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
        Ok(NextEpoch::Epoch(Intent { query: self.setup.id, epoch, spans, watermark, now, partitions }))
    }

    /// Bytes of operator state and relation in memory.
    pub(super) fn bytes(&self) -> Result<usize> {
        Ok(self.state_bytes()? + self.setup.relation.lock().bytes())
    }

    /// Bytes of operator state in memory.
    pub(super) fn state_bytes(&self) -> Result<usize> {
        Ok(self.setup.standing.epoch_context.each_operator(|_, operator| Ok(operator.state().bytes()))?.iter().sum())
    }

    /// The watermark of an epoch that is planned at `now`; `idle` where it has no rows to read.
    fn next_watermark(&self, now: Micros, idle: bool) -> Option<Micros> {
        let specs = &self.setup.standing.rewritten.watermarks;
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

    /// The offsets that everything available now ends at, per input.
    pub async fn target(&mut self) -> Result<Vec<Offsets>> {
        self.cursors.target().await
    }

    pub fn has_reached(&self, target: &[Offsets]) -> bool {
        self.cursors.has_reached(target)
    }

    /// Drops what was prefetched.
    pub fn end_prefetch(&mut self) {
        self.cursors.end_prefetch();
    }

    /// Whether an epoch without rows would change anything: an operator has a window or timer due, or a view that reads
    /// this one's event times would get a new watermark.
    fn is_due(&self, watermark: Option<i64>) -> Result<bool> {
        let now = self.env.clock.now();
        let rewritten = &self.setup.standing.rewritten;
        if rewritten.times.iter().any(Option::is_some) && self.setup.relation.lock().follows_from().is_some() {
            // Only as far as rows advance it (`idle` is false): by idle timeout it would advance for ever.
            if self.next_watermark(now, false) > self.watermarks.current() {
                return Ok(true);
            }
        }
        let due = self.setup.standing.epoch_context.each_operator(|_, operator| Ok(operator.is_due(watermark, now)))?;
        Ok(due.contains(&true))
    }

    /// Whether an epoch without rows, at the watermark after the last epoch, would close something.
    pub fn closes_next(&self) -> bool {
        let watermark = self.next_watermark(self.env.clock.now(), false);
        self.is_due(watermark).unwrap_or(false)
    }

    /// Runs a planned epoch: intent, plan, apply, commit, publish. For a sink only up to its rows; [`Worker::deliver`]
    /// does the rest.
    pub async fn run(&mut self, intent: Intent) -> Result<()> {
        if self.setup.sink_driver.is_some() {
            return self.prepare(intent).await;
        }
        let started = Instant::now();
        let (intent, pieces) = self.in_pieces(intent);
        // The intent is not synced by itself: the sync of the commit covers it, and nothing of the epoch is visible
        // before.
        self.needs_log();
        self.env.log.enqueue(LogRecord::Intent(intent.clone()).encode(&[])?);
        let first = self.cursors.reads_snapshots(&intent);
        let commit = match pieces.is_empty() {
            true => self.take_step(&intent).await?.0,
            false => self.run_pieces(&intent, pieces).await?,
        };
        self.share.ask(self.bytes()?)?;
        self.advance(&intent, &commit);
        self.durability.note_run(Uncommitted { intent, commit, first, started });
        self.commit().await
    }

    /// Commits the epoch that was run in the log, then publishes its snapshot. After an error, the next call retries
    /// the same epoch.
    pub(super) async fn commit(&mut self) -> Result<()> {
        let Some(Uncommitted { intent, first, .. }) = self.durability.uncommitted() else { return Ok(()) };
        if *first && self.durability.is_behind(intent.epoch) {
            // Rows of a snapshot cannot be read again after a crash: the checkpoint must be durable before the commit.
            self.save_all().await?;
        }
        let Some(Uncommitted { commit, .. }) = self.durability.uncommitted() else { return Ok(()) };
        let record = LogRecord::Commit(commit.clone()).encode(&[])?;
        self.env.commits.append(vec![record], commit).await?;
        let Some(started) = self.durability.note_committed() else { return Ok(()) };
        self.setup.relation.publish();
        let took = started.elapsed();
        self.note_speed(took);
        self.show(|status| status.metrics.note_epoch(took));
        Ok(())
    }

    /// Feeds the duration of a planned (not replayed) epoch to the admission of each input.
    pub(super) fn note_speed(&mut self, took: Duration) {
        let status = self.progress.lock();
        for n in self.cursors.observe(took) {
            if let Some(input) = status.inputs.get(n) {
                let rows = self.setup.standing.epoch_context.rows_of(n) as f64;
                let rate = (rows / took.as_secs_f64().max(1e-6)) as u64;
                input.metrics.rows_per_second.set_count(Some(rate));
                input.set_admitted(self.cursors.limit(n));
            }
        }
    }

    /// Executes a new epoch, while the source rows of the next one are prefetched.
    pub(super) async fn take_step(&mut self, intent: &Intent) -> Result<(Commit, Changes)> {
        let opened = self.cursors.open(&self.env, intent)?;
        self.cursors.prefetch(&self.env, intent).await;
        self.execute(intent, opened).await
    }

    /// Runs the plan over the rows of an intent and applies the changes to state and relation, in memory; waits first
    /// for room in `EpochMemory`.
    pub(super) async fn execute(&mut self, intent: &Intent, opened: Vec<OpenedInput>) -> Result<(Commit, Changes)> {
        let bytes = self.cursors.bytes_to_read(intent);
        if self.cursors.reads_snapshots(intent) {
            // Estimate of state plus relation after this epoch, in bytes.
            self.share.ask(self.bytes()?.saturating_add(2 * bytes))?;
        }
        let _room = self.env.epochs.enter(bytes).await;
        let done = self.run_plan(intent, opened).await?;
        self.cursors.forget_snapshots();
        Ok(done)
    }

    pub(super) async fn run_plan(&mut self, intent: &Intent, opened: Vec<OpenedInput>) -> Result<(Commit, Changes)> {
        if self.setup.standing.epoch_context.runs_exceed(self.env.thresholds.plan_runs_max) {
            self.setup.standing.plan = exec::rebuild(&self.setup.standing.plan)?;
        }
        let (streams, bad): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        let standing = &self.setup.standing;
        let parallel = streams.iter().any(|input| input.len() > 1);
        let before = self.watermarks.current();
        let tick = Tick { epoch: intent.epoch, watermark: intent.watermark, before, now: intent.now };
        let failed = streams.iter().map(|_| self.env.dead_letters.collector()).collect();
        standing.epoch_context.fill(tick, streams, failed, parallel);
        let changes = exec::run(&standing.plan, &standing.epoch_context, self.env.context.clone()).await?;
        let changes = retyped(changes, self.setup.relation.lock().schema())?;
        let changes = match &self.setup.sink_driver {
            Some(sink_driver) => sink_driver.apply(intent.epoch, changes, &mut self.setup.relation.lock())?,
            None => {
                let mut relation = self.setup.relation.lock();
                relation.apply(intent.epoch, &changes)?;
                relation.note_watermark(intent.watermark);
                changes
            }
        };
        let late = standing.epoch_context.take_late();
        let name = &self.setup.name;
        let (dead_letters, bad) = dead_letters(name, self.inputs(), intent, &bad, &standing.epoch_context.failed());
        let commit = Commit {
            query: intent.query,
            epoch: intent.epoch,
            rows_in: standing.epoch_context.rows_in(),
            rows_out: changes.num_rows() as u64,
            hash: if standing.rewritten.reproducible { ChangesHash::of(&changes) } else { None },
            late: late.behind,
            untimed: late.untimed,
            bad,
            observed: standing.epoch_context.observed(),
            late_rows: late_rows(name, intent, &late.kept)?,
            dead_letters,
        };
        Ok((commit, changes))
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

/// `changes` with the field names and nullability of `schema`.
fn retyped(changes: Changes, schema: &SchemaRef) -> Result<Changes> {
    let rows = changes.rows();
    let rows = batch_of(schema, rows.columns().to_vec(), rows.num_rows())?;
    Ok(match changes.diffs() {
        Some(diffs) => Changes::new(rows, diffs.clone()),
        None => Changes::insert(rows),
    })
}
