//! One query and its epochs: recover, plan the next one, run it, commit it, checkpoint.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{execution::TaskContext, physical_plan::streaming::PartitionStream};
use tokio::task::{JoinError, JoinHandle};

use super::{
    Letters, Progress, State, Watermarks,
    batches::Batches,
    checkpoints::{Checkpoints, Draft, Header, Sections},
    progress::InputProgress,
};
use crate::{
    changes::Changes,
    checkpoint::{Commit, DeadLetter, Intent, LateRow, Log, Record, resume},
    connectors::{Ahead, Backlog, BadRecords, Offsets, ReadLimit, ScanHints, Span},
    error::{Error, Kind, Result},
    operators::exec,
    relations::{Relation, Shared, Snapshot, Store},
    sql::{
        incremental::PlannedInput,
        plan::Standing,
        table::{BATCH_ROWS, Input},
    },
    storage::Storage,
    time::{Clock, Epoch, Tick},
};

/// What all queries share.
#[derive(Debug, Clone)]
pub struct Env {
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub log: Arc<Log>,
    pub letters: Arc<Letters>,
    pub context: Arc<TaskContext>,
    /// Changed rows that a relation keeps for its followers, at the most.
    pub changelog_rows_max: usize,
}

/// What makes a query: planned anew at each start.
#[derive(Debug)]
pub struct Setup {
    pub id: u64,
    pub name: String,
    pub standing: Standing,
    pub relation: Arc<Shared>,
    pub checkpoint_interval: Duration,
}

/// A query that is being worked on. One task owns it.
#[derive(Debug)]
pub struct Worker {
    env: Env,
    pub setup: Setup,
    store: Store,
    checkpoints: Checkpoints,
    offsets: Vec<Offsets>,
    epoch: Epoch,
    watermarks: Watermarks,
    /// The epochs since the last checkpoint: what a recovery would run again.
    since: Vec<(Intent, Commit)>,
    totals: Header,
    checkpointed: Epoch,
    /// The checkpoint that is being written.
    writing: Option<Writing>,
    /// The log file that the records after the last checkpoint begin in.
    log_file: u64,
    /// Rows of relations that an intent reads from the beginning, as they were when it was made.
    snapshots: Vec<Option<Arc<Snapshot>>>,
    pub progress: Arc<Mutex<Progress>>,
}

/// A checkpoint on its way to the disk.
#[derive(Debug)]
struct Writing {
    task: JoinHandle<(Checkpoints, Result<()>)>,
    outcome: Option<std::result::Result<(Checkpoints, Result<()>), JoinError>>,
    epoch: Epoch,
    offsets: Vec<Offsets>,
    log_file: u64,
}

/// The next thing that a query could do.
#[derive(Debug)]
pub enum Next {
    Epoch(Intent),
    /// Nothing to read, nothing to close.
    Idle,
}

impl Worker {
    pub fn new(env: Env, setup: Setup, progress: Arc<Mutex<Progress>>) -> Self {
        let inputs = setup.standing.rewritten.inputs.len();
        for input in &setup.standing.rewritten.inputs {
            // Nothing may be forgotten that this query has not read.
            input.table.readers.join(setup.id);
        }
        Worker {
            store: Store::new(env.storage.clone(), setup.id),
            checkpoints: Checkpoints::new(env.storage.clone(), setup.id),
            offsets: vec![Offsets::default(); inputs],
            epoch: Epoch(0),
            watermarks: Watermarks::new(setup.standing.rewritten.watermarks.len()),
            since: Vec::new(),
            totals: Header::default(),
            checkpointed: Epoch(0),
            writing: None,
            log_file: 0,
            snapshots: vec![None; inputs],
            progress,
            env,
            setup,
        }
    }

    fn inputs(&self) -> &[PlannedInput] {
        &self.setup.standing.rewritten.inputs
    }

    /// Goes back to the newest checkpoint and runs again what was committed after it. Afterwards all readers see the
    /// last committed epoch, even where the one that was begun fails again. Before that, readers are told why not.
    pub async fn recover(&mut self, intents: &[Intent], commits: &[Commit]) -> Result<()> {
        let pending = match self.restore(intents, commits).await {
            Ok(pending) => pending,
            Err(error) => {
                self.setup.relation.refuse(&error);
                return Err(error);
            }
        };
        self.setup.relation.publish();
        self.show(|_| {});
        // An epoch that was begun reads a relation's rows as they were then only if it can ask its changelog for them.
        match pending.filter(|intent| !self.reads_snapshots(intent)) {
            Some(intent) => self.run(intent).await,
            None => Ok(()),
        }
    }

    /// Everything up to the last committed epoch; gives the one that was begun after it.
    async fn restore(&mut self, intents: &[Intent], commits: &[Commit]) -> Result<Option<Intent>> {
        let loaded = self.checkpoints.load()?;
        let at = loaded.as_ref().map_or(Epoch(0), |(header, _)| header.epoch);
        if let Some((header, chain)) = loaded {
            self.load(header, &chain)?;
        }
        let followed = self.setup.relation.lock().follows_from();
        let (schema, identity) = {
            let relation = self.setup.relation.lock();
            (relation.schema().clone(), relation.identity().clone())
        };
        let mut relation = Relation::new(schema, identity)?.of_a_query();
        relation.limit_changelog(self.env.changelog_rows_max);
        self.store.load(&mut relation, Some(at), followed)?;
        self.checkpointed = at;
        for (input, offsets) in self.inputs().iter().zip(&self.offsets) {
            self.release(input, offsets).await?;
        }
        let plan = resume(at, intents, commits)?;
        // All of them from the start: if one cannot be run again now, the next try is to know of the rest too.
        self.since.clone_from(&plan.redo);
        // Until all is back as it was, those who follow go on with what there is: half a changelog would cost them rows.
        let shared = self.setup.relation.clone();
        self.setup.relation = Shared::new(shared.id, shared.name.clone(), relation, Default::default());
        let redone = self.redo_all(plan.redo).await;
        let rebuilt = std::mem::replace(&mut self.setup.relation, shared);
        redone?;
        self.setup.relation.take_over(&rebuilt);
        Ok(plan.pending)
    }

    fn load(&mut self, header: Header, chain: &[Sections]) -> Result<()> {
        for sections in chain {
            self.setup.standing.cell.each_operator(|n, operator| {
                sections.get(n).into_iter().flatten().try_for_each(|batch| operator.state().load(batch))
            })?;
        }
        self.setup.standing.cell.each_operator(|_, operator| {
            operator.restored(header.watermark);
            Ok(())
        })?;
        self.offsets.clone_from(&header.offsets);
        self.epoch = header.epoch;
        self.watermarks = header.watermarks.clone();
        self.totals = header;
        Ok(())
    }

    async fn redo_all(&mut self, epochs: Vec<(Intent, Commit)>) -> Result<()> {
        for (intent, commit) in epochs {
            self.redo(intent, commit).await?;
        }
        Ok(())
    }

    async fn redo(&mut self, intent: Intent, commit: Commit) -> Result<()> {
        let (again, _) = self.execute(&intent).await?;
        if (again.rows_in, again.rows_out) != (commit.rows_in, commit.rows_out) {
            let message = format!(
                "epoch {} of \"{}\" read {} rows and gave {}, but now reads {} and gives {}",
                intent.epoch, self.setup.name, commit.rows_in, commit.rows_out, again.rows_in, again.rows_out
            );
            return Err(Error::new(Kind::DataCorrupted, message)
                .detail("What the epoch had read has changed or is gone.")
                .hint("Put the input back as it was, or drop the view and create it again."));
        }
        self.advance(&intent, &commit);
        Ok(())
    }

    fn reads_snapshots(&self, intent: &Intent) -> bool {
        let reads = |(input, span): (&PlannedInput, &Span)| {
            matches!(input.table.input, Input::Relation(_)) && span.from.only() == 0 && span.to.only() > 0
        };
        self.inputs().iter().zip(&intent.spans).any(reads)
    }

    /// What could be done now. Nothing is durable yet.
    pub async fn next(&mut self) -> Result<Next> {
        let mut spans = Vec::new();
        let mut idle = true;
        for n in 0..self.inputs().len() {
            let Ahead { to, backlog } = self.ahead(n, &self.inputs()[n].table.limit.clone()).await?;
            let span = Span { from: self.offsets[n].clone(), to };
            idle &= span.is_empty();
            self.note_backlog(n, backlog);
            spans.push(span);
        }
        let now = self.env.clock.now();
        let watermark = self.watermarks.next(&self.setup.standing.rewritten.watermarks, now, idle);
        if idle && self.epoch > Epoch(0) && !self.is_due(watermark)? {
            return Ok(Next::Idle);
        }
        let epoch = self.epoch.next();
        Ok(Next::Epoch(Intent { query: self.setup.id, epoch, spans, watermark, now }))
    }

    /// How far an input could be read.
    async fn ahead(&mut self, n: usize, limit: &ReadLimit) -> Result<Ahead> {
        match &self.inputs()[n].table.input {
            Input::Source(source) => source.clone().ahead(&self.offsets[n], limit).await,
            Input::Relation(shared) => {
                let shared = shared.clone();
                Ok(self.ahead_of(n, &shared, limit))
            }
        }
    }

    fn ahead_of(&mut self, n: usize, shared: &Shared, limit: &ReadLimit) -> Ahead {
        let from = Epoch(self.offsets[n].only());
        let mut relation = shared.lock();
        let snapshot = shared.snapshot();
        if from == Epoch(0) {
            relation.follow(snapshot.epoch());
            let rows = Some(snapshot.rows() as u64);
            let to = Offsets::single(snapshot.epoch().0);
            self.snapshots[n] = Some(snapshot);
            return Ahead { to, backlog: Backlog { rows, ..Backlog::default() } };
        }
        // What is read may not have recovered yet to where it was when it was read.
        let (to, rows) = relation.ahead(from, snapshot.epoch().max(from), limit.rows);
        Ahead { to: Offsets::single(to.0), backlog: Backlog { rows: Some(rows), ..Backlog::default() } }
    }

    fn is_due(&self, watermark: Option<i64>) -> Result<bool> {
        let due = self.setup.standing.cell.each_operator(|_, operator| Ok(operator.is_due(watermark)))?;
        Ok(due.contains(&true))
    }

    /// Whether the watermark that the last epoch left would close something in an epoch without rows.
    pub fn closes_next(&self) -> bool {
        let specs = &self.setup.standing.rewritten.watermarks;
        let watermark = self.watermarks.next(specs, self.env.clock.now(), false);
        self.is_due(watermark).unwrap_or(false)
    }

    /// How far everything that is available now reaches.
    pub async fn target(&mut self) -> Result<Vec<Offsets>> {
        let mut target = Vec::new();
        for n in 0..self.inputs().len() {
            target.push(self.ahead(n, &ReadLimit::default()).await?.to);
        }
        Ok(target)
    }

    pub fn has_reached(&self, target: &[Offsets]) -> bool {
        self.offsets.iter().zip(target).all(|(at, target)| at.reaches(target))
    }

    /// Runs a planned epoch to its end: durable, and then visible.
    pub async fn run(&mut self, intent: Intent) -> Result<()> {
        let started = tokio::time::Instant::now();
        // Nobody waits for the intent: the commit's sync covers it, and until then nobody has seen the epoch.
        self.needs_log();
        self.env.log.note(Record::Intent(intent.clone()).encode(&[])?);
        let first = self.reads_snapshots(&intent);
        let (commit, rows_out) = self.execute(&intent).await?;
        debug_assert_eq!(rows_out, commit.rows_out);
        self.env.letters.add(&commit.dead_letters, &commit.late_rows);
        self.advance(&intent, &commit);
        if first {
            // What was read cannot be read again: only a checkpoint makes this epoch one that can be recovered.
            self.checkpoint().await?;
        }
        self.env.log.append(vec![Record::Commit(commit.clone()).encode(&[])?]).await?;
        if !first {
            self.since.push((intent, commit));
        }
        self.setup.relation.publish();
        self.show(|progress| progress.epoch_us = started.elapsed().as_micros() as u64);
        Ok(())
    }

    /// Runs the plan over an intent's spans and applies the changes, in memory.
    async fn execute(&mut self, intent: &Intent) -> Result<(Commit, u64)> {
        let standing = &self.setup.standing;
        let mut streams = Vec::new();
        let mut bad = Vec::new();
        for (n, span) in intent.spans.iter().enumerate() {
            let records = BadRecords::default();
            streams.push(self.streams(n, span, &records)?);
            bad.push(records);
        }
        let parallel = streams.iter().any(|input| input.len() > 1);
        let tick = Tick { epoch: intent.epoch, watermark: intent.watermark, now: intent.now };
        standing.cell.fill(tick, streams, parallel);
        let changes = exec::run(standing.plan.clone(), &standing.cell, self.env.context.clone()).await?;
        let changes = retyped(changes, self.setup.relation.lock().schema())?;
        self.setup.relation.lock().apply(intent.epoch, &changes)?;
        self.snapshots.iter_mut().for_each(|snapshot| *snapshot = None);
        let rows_out = changes.num_rows() as u64;
        let late = standing.cell.take_late();
        let (dead_letters, bad) = self.dead_letters(intent, &bad);
        let commit = Commit {
            query: intent.query,
            epoch: intent.epoch,
            rows_in: standing.cell.rows_in(),
            rows_out,
            late: late.count,
            bad,
            observed: standing.cell.observed(),
            late_rows: self.late_rows(intent, &late.kept)?,
            dead_letters,
        };
        Ok((commit, rows_out))
    }

    /// The bad records of an epoch's inputs, and how many there were.
    fn dead_letters(&self, intent: &Intent, bad: &[BadRecords]) -> (Vec<DeadLetter>, u64) {
        let (mut letters, mut count) = (Vec::new(), 0);
        for (input, bad) in self.inputs().iter().zip(bad) {
            let (records, all) = bad.take();
            count += all;
            letters.extend(records.into_iter().map(|record| DeadLetter {
                source: input.table.name.clone(),
                query: self.setup.name.clone(),
                origin: record.origin,
                position: record.position,
                raw: record.raw,
                reason: record.reason,
                at: intent.now,
            }));
        }
        (letters, count)
    }

    fn late_rows(&self, intent: &Intent, kept: &[RecordBatch]) -> Result<Vec<LateRow>> {
        let mut rows = Vec::new();
        for batch in kept {
            let changes = Changes::from_batch(batch.clone())?;
            let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
            writer.write(changes.rows())?;
            writer.finish()?;
            let text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
            rows.extend(text.lines().map(|row| LateRow {
                query: self.setup.name.clone(),
                epoch: intent.epoch,
                watermark: intent.watermark,
                row: row.to_string(),
                at: intent.now,
            }));
        }
        Ok(rows)
    }

    fn streams(&self, n: usize, span: &Span, bad: &BadRecords) -> Result<Vec<Arc<dyn PartitionStream>>> {
        if span.is_empty() {
            return Ok(Vec::new());
        }
        let input = &self.inputs()[n];
        match &input.table.input {
            Input::Source(source) => {
                let hints = ScanHints {
                    projection: input.projection.clone(),
                    partitions: self.env.context.session_config().target_partitions(),
                    batch_rows: BATCH_ROWS,
                    bad: bad.clone(),
                };
                source.scan(span, &hints)
            }
            Input::Relation(shared) => {
                let (from, to) = (Epoch(span.from.only()), Epoch(span.to.only()));
                if let Some(error) = shared.snapshot().refusal() {
                    // Transient for this query: it waits for the other one.
                    return Err(error.context(format!("\"{}\"", shared.name)).with_kind(Kind::CannotConnectNow));
                }
                let changes = match (&self.snapshots[n], from) {
                    (Some(snapshot), Epoch(0)) => snapshot.batches(None)?.into_iter().map(Changes::insert).collect(),
                    _ => shared.lock().changes(from, to)?,
                };
                Ok(vec![Arc::new(Batches::new(changes, input)?)])
            }
        }
    }

    fn advance(&mut self, intent: &Intent, commit: &Commit) {
        self.epoch = intent.epoch;
        self.offsets = intent.spans.iter().map(|span| span.to.clone()).collect();
        self.watermarks.observe(&commit.observed, commit.rows_in, intent.watermark, intent.now);
        self.totals.watermark = intent.watermark;
        self.totals.rows_in += commit.rows_in;
        self.totals.rows_out += commit.rows_out;
        self.totals.late += commit.late;
        self.totals.bad += commit.bad;
    }

    pub fn needs_checkpoint(&self) -> bool {
        self.epoch > self.checkpointed
    }

    /// Saves everything as of the last epoch; afterwards the inputs may forget what came before it.
    pub async fn checkpoint(&mut self) -> Result<()> {
        self.end_checkpoint().await?;
        if self.needs_checkpoint() {
            self.begin_checkpoint()?;
            self.end_checkpoint().await?;
        }
        Ok(())
    }

    /// Starts to save everything as of the last epoch. Takes what changed since the last save; the rest goes on beside
    /// the next epochs.
    pub fn begin_checkpoint(&mut self) -> Result<()> {
        let cell = &self.setup.standing.cell;
        let fresh = self.checkpoints.wants_whole().then(|| cell.each_operator(|_, operator| operator.fresh()));
        let header = Header {
            epoch: self.epoch,
            inputs: self.inputs().iter().map(|input| input.table.id).collect(),
            offsets: self.offsets.clone(),
            watermarks: self.watermarks.clone(),
            ..self.totals.clone()
        };
        let draft = Draft {
            header,
            fresh: fresh.transpose()?,
            sections: cell.each_operator(|_, operator| Ok(operator.state().save(false)?.rows))?,
            relation: self.store.draft(&mut self.setup.relation.lock())?,
        };
        let mut checkpoints = self.checkpoints.clone();
        self.writing = Some(Writing {
            epoch: self.epoch,
            offsets: self.offsets.clone(),
            log_file: self.env.log.file(),
            outcome: None,
            task: tokio::task::spawn_blocking(move || {
                let saved = checkpoints.save(draft);
                (checkpoints, saved)
            }),
        });
        Ok(())
    }

    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Waits until nothing more is to be written of the checkpoint that was begun; for ever where none was.
    pub async fn written(&mut self) {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        if writing.outcome.is_none() {
            writing.outcome = Some((&mut writing.task).await);
        }
    }

    /// Waits for the checkpoint that was begun, if any, and tells the inputs what they may forget.
    pub async fn end_checkpoint(&mut self) -> Result<()> {
        if !self.is_writing() {
            return Ok(());
        }
        self.written().await;
        let Some(Writing { epoch, offsets, log_file, outcome: Some(outcome), .. }) = self.writing.take() else {
            return Ok(());
        };
        let (checkpoints, saved) = outcome.map_err(|e| Error::internal(format!("a checkpoint died: {e}")))?;
        saved?;
        self.checkpoints = checkpoints;
        self.checkpointed = epoch;
        self.log_file = log_file;
        self.since.retain(|(intent, _)| intent.epoch > epoch);
        for (input, offsets) in self.inputs().iter().zip(&offsets) {
            self.release(input, offsets).await?;
        }
        let read_to = self.setup.relation.lock().follows_from();
        self.store.prune(read_to)
    }

    /// Tells an input that this query will never again ask for what is before `offsets`.
    async fn release(&self, input: &PlannedInput, offsets: &Offsets) -> Result<()> {
        let least = input.table.readers.advance(self.setup.id, offsets);
        match &input.table.input {
            Input::Source(source) => source.forget(&least).await,
            Input::Relation(shared) => {
                shared.lock().forget(Epoch(least.only()));
                Ok(())
            }
        }
    }

    /// From now on a recovery reads the log: whoever shortens it is to know before there is anything in it.
    fn needs_log(&mut self) {
        if !self.needs_checkpoint() {
            self.log_file = self.env.log.file();
        }
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).log_file = Some(self.log_file);
    }

    /// The first log file that a recovery of this query would read; `None` where it needs none.
    pub fn log_file(&self) -> Option<u64> {
        self.needs_checkpoint().then_some(self.log_file)
    }

    /// The epochs that a recovery would have to run again.
    pub fn since(&self) -> (Vec<Intent>, Vec<Commit>) {
        self.since.iter().cloned().unzip()
    }

    fn note_backlog(&mut self, n: usize, backlog: Backlog) {
        let offsets = self.offsets[n].clone();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(input) = progress.inputs.get_mut(n) {
            input.backlog = backlog;
            input.offsets = offsets;
        }
    }

    /// Puts the present numbers where system tables read them.
    pub fn show(&self, also: impl FnOnce(&mut Progress)) {
        let state = self.setup.standing.cell.each_operator(|_, o| Ok((o.state().len(), o.state().bytes())));
        let state = state.unwrap_or_default();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.epoch = self.epoch;
        progress.watermark = self.watermarks.current();
        progress.rows_in = self.totals.rows_in;
        progress.rows_out = self.totals.rows_out;
        progress.late = self.totals.late;
        progress.bad = self.totals.bad;
        progress.checkpoint = self.checkpointed;
        progress.log_file = self.log_file();
        progress.state_rows = state.iter().map(|(rows, _)| *rows as u64).sum();
        progress.state_bytes = state.iter().map(|(_, bytes)| *bytes as u64).sum();
        let backlogs: Vec<Backlog> = progress.inputs.iter().map(|input| input.backlog).collect();
        let input = |(n, input): (usize, &PlannedInput)| InputProgress {
            name: input.table.name.clone(),
            offsets: self.offsets[n].clone(),
            backlog: backlogs.get(n).copied().unwrap_or_default(),
        };
        progress.inputs = self.inputs().iter().enumerate().map(input).collect();
        also(&mut progress);
    }

    pub fn set_state(&self, state: State, error: Option<Error>) {
        self.show(|progress| {
            progress.state = state;
            progress.last_error = error.or_else(|| progress.last_error.take());
        });
    }
}

/// Changes with the names and the nullability of a relation.
fn retyped(changes: Changes, schema: &SchemaRef) -> Result<Changes> {
    let rows = changes.rows();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema.clone(), rows.columns().to_vec(), &options)?;
    Ok(match changes.diffs() {
        Some(diffs) => Changes::new(rows, diffs.clone()),
        None => Changes::insert(rows),
    })
}
