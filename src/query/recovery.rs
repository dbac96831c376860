//! What of a worker is durable: its checkpoints, the pending epoch of a sink, and recovery to the last committed epoch.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{
    checkpoints::{CheckpointDraft, CheckpointHeader},
    durability::{Point, Unwritten},
    sink_driver::{Outbox, PendingEpoch},
    worker::Worker,
};
use crate::{
    changes::bytes_of,
    checkpoint::{Commit, Intent, LogRecord, resume},
    error::{Error, ErrorKind, Result},
    exec::in_place,
    memory::BudgetShare,
    relations::{Draft as RelationDraft, Relation, SharedRelation},
    sql::table::TableInput,
    time::Epoch,
};

/// Checkpoints: taken between two epochs, and written concurrently with the next ones.
impl Worker {
    /// Whether there is anything to save. While an epoch is pending, memory is ahead of what was committed.
    pub fn needs_checkpoint(&self) -> bool {
        self.durability.is_behind(self.epoch) && !self.has_pending()
    }

    /// Whether state in memory is consistent with the last epoch and checkpoint. Otherwise the query has to be rebuilt.
    pub fn is_sound(&self) -> bool {
        !self.pipeline.is_poisoned() && self.durability.is_sound()
    }

    /// Saves everything as of the last epoch; afterwards the inputs may release what was read before it.
    pub async fn checkpoint(&mut self) -> Result<()> {
        match self.has_pending() {
            true => self.end_checkpoint().await,
            false => self.save_all().await,
        }
    }

    pub(super) async fn save_all(&mut self) -> Result<()> {
        let ended = self.end_checkpoint().await;
        // A failed write is retried.
        ended.or_else(|error| if self.durability.has_unwritten() { Ok(()) } else { Err(error) })?;
        while self.durability.is_behind(self.epoch) {
            self.begin_checkpoint()?;
            self.end_checkpoint().await?;
        }
        Ok(())
    }

    /// Starts a checkpoint as of the last epoch, or retries the one whose write failed. Drains the changes since the
    /// last save from the state; they are written concurrently with the next epochs.
    pub fn begin_checkpoint(&mut self) -> Result<()> {
        let checkpoint = match self.durability.take_unwritten() {
            Some(unwritten) => unwritten,
            None => self.draft()?,
        };
        self.durability.write(checkpoint);
        Ok(())
    }

    fn draft(&mut self) -> Result<Unwritten> {
        let (room, whole) = self.room_to_save()?;
        let fresh = whole.then(|| self.pipeline.fresh_operators()).transpose()?;
        // First, since it reads the disk and may fail: what is drained after it exists in this draft only.
        let relation = self.pipeline.draft_relation(self.durability.store())?;
        if let Some(draft) = &relation {
            self.totals.relation = Some(draft.file());
        }
        let header = CheckpointHeader {
            epoch: self.epoch,
            inputs: self.pipeline.input_ids(),
            offsets: self.cursors.offsets(),
            operators: Some(self.pipeline.state_ids()),
            watermarks: self.watermarks.clone(),
            commit: self.durability.uncommitted().map(|uncommitted| uncommitted.commit.clone()),
            ..self.totals.clone()
        };
        let draft = CheckpointDraft {
            header,
            fresh: fresh.map(Mutex::new),
            sections: self.pipeline.drain()?,
            relation,
            is_whole: false,
            room,
        };
        let changed: usize = draft.sections.iter().flatten().map(bytes_of).sum();
        draft.room.hold(draft.room.bytes().max(changed) + draft.relation.as_ref().map_or(0, RelationDraft::bytes));
        let point = Point { epoch: self.epoch, offsets: self.cursors.offsets(), log_file: self.env.log.file() };
        Ok(Unwritten { draft, point })
    }

    /// Reserves memory for a checkpoint before it is taken; returns whether it is to be full. The first checkpoint of a
    /// query that has read a snapshot, which cannot be read again, copies all of its state: if that does not fit, its
    /// first epoch fails. Any other is counted even beyond the limit, so that others wait: without checkpoints the log
    /// would grow without bound. A full one in place of a long chain takes two copies; if they do not fit, the chain
    /// grows on until they do.
    fn room_to_save(&self) -> Result<(BudgetShare, bool)> {
        let room = self.env.budget.share(format!("a checkpoint of \"{}\"", self.name));
        let state = self.pipeline.state_bytes()?;
        if self.durability.checkpoints().is_first()
            && self.durability.uncommitted().is_some_and(|uncommitted| uncommitted.first)
        {
            room.ask(state)?;
        }
        let whole = self.durability.checkpoints().wants_whole() && room.ask(2 * state).is_ok();
        Ok((room, whole))
    }

    pub fn is_writing(&self) -> bool {
        self.durability.is_writing()
    }

    /// Waits until the running checkpoint is written or has failed; never completes if none is running.
    pub async fn written(&mut self) {
        self.durability.written().await;
    }

    /// Waits for the running checkpoint, if any, and lets the inputs release what it includes.
    pub async fn end_checkpoint(&mut self) -> Result<()> {
        let Some(draft) = self.durability.end_write().await? else { return Ok(()) };
        let read_to = {
            let mut relation = self.pipeline.relation().lock();
            draft.relation.iter().for_each(|written| written.note_written(&mut relation));
            relation.follows_from()
        };
        let freed = self.release().await.and_then(|()| self.durability.store().prune(read_to));
        if let Err(error) = freed {
            // It is saved; what it supersedes is freed after the next checkpoint.
            tracing::warn!(query = self.name, %error, "what was saved could not be freed yet");
        }
        Ok(())
    }

    /// Lets the inputs release what is before the offsets of the last checkpoint.
    pub async fn release(&self) -> Result<()> {
        self.cursors.release(self.id, self.durability.saved()).await
    }

    /// Marks that a recovery will read the log from the current file on: log compaction must know before anything is in
    /// it.
    pub(super) fn needs_log(&mut self) {
        let log_file = self.durability.needs_log(self.epoch, self.env.log.file());
        self.progress.lock().log_file = Some(log_file);
    }

    /// The intents and commits that a recovery would replay; for a sink also the intent of the epoch that was begun.
    pub fn since(&self) -> (Vec<Intent>, Vec<Commit>) {
        self.durability.since()
    }
}

/// The pending epoch of a sink, in the outbox while the sink is unreachable.
impl Worker {
    /// Saves a pending epoch to outbox and checkpoint, renumbered to `number`. On error the state in memory is not
    /// sound.
    pub(super) async fn saved(&mut self, mut pending: PendingEpoch, number: Epoch) -> Result<PendingEpoch> {
        self.durability.mark_unsound();
        (pending.intent.epoch, pending.commit.epoch, pending.unproven) = (number, number, false);
        self.keep_rows(number, pending.encode(&self.outbox().rows(number))?).await?;
        self.in_checkpoint(pending).await
    }

    async fn keep_rows(&self, number: Epoch, bytes: Vec<u8>) -> Result<()> {
        let outbox = self.outbox();
        let kept = tokio::task::spawn_blocking(move || outbox.keep(number, &bytes)).await;
        kept.map_err(|e| Error::internal(format!("the outbox died: {e}")))?
    }

    /// Checkpoints a pending epoch whose rows are in the outbox.
    async fn in_checkpoint(&mut self, pending: PendingEpoch) -> Result<PendingEpoch> {
        self.durability.mark_unsound();
        self.needs_log();
        match pending.saved {
            // Already applied to state, under its former number.
            true => self.epoch = pending.intent.epoch,
            false => self.advance(&pending.intent, &pending.commit),
        }
        self.checkpoint().await?;
        self.durability.mark_sound();
        Ok(PendingEpoch { saved: true, ..pending })
    }

    /// Saves the pending epoch to outbox and checkpoint while the sink is unreachable, so that it retains neither log
    /// files nor input; recovery then starts with these rows. On error the state in memory is not sound.
    pub async fn save_pending(&mut self) -> Result<()> {
        let (unproven, outbox) = (!self.durability.has_begun(), self.outbox());
        let Some(pending) = self.pending_sink_epoch.as_mut().filter(|pending| !pending.saved) else { return Ok(()) };
        pending.unproven = unproven;
        let number = pending.intent.epoch;
        let bytes = pending.encode(&outbox.rows(number));
        pending.unproven = false;
        // State in memory is changed only after this.
        self.keep_rows(number, bytes?).await?;
        let Some(pending) = self.pending_sink_epoch.take() else { return Ok(()) };
        self.pending_sink_epoch = Some(self.in_checkpoint(PendingEpoch { unproven, ..pending }).await?);
        // If it was begun, its intent is in the log and its number stays; the outbox has the rows.
        self.durability.end_begun();
        self.show(|_| {});
        Ok(())
    }

    /// After a recovery: loads the pending epoch of the checkpoint from the outbox, unless it is committed.
    fn restore_pending(&mut self, commits: &[Commit]) -> Result<()> {
        let is_committed = commits.iter().any(|commit| commit.epoch == self.durability.checkpointed());
        match self.outbox().load(self.durability.checkpointed())?.filter(|_| !is_committed) {
            Some(pending) => {
                self.pending_sink_epoch = Some(pending);
                Ok(())
            }
            // It is committed, or failed before anything was written.
            None => self.discard_pending(),
        }
    }

    /// Deletes outbox files of earlier attempts.
    fn discard_pending(&mut self) -> Result<()> {
        self.outbox().remove()
    }

    pub(super) fn outbox(&self) -> Outbox {
        Outbox::new(self.env.storage.clone(), self.id)
    }
}

/// Recovery: the newest checkpoint is loaded, and the epochs committed after it are replayed.
impl Worker {
    /// Loads the newest checkpoint and replays the epochs committed after it. Afterwards all readers see the last
    /// committed epoch, even if the pending one fails again. If recovery fails, readers get its error.
    pub async fn recover(&mut self, intents: &[Intent], commits: &[Commit]) -> Result<()> {
        // Even if this fails, the next try needs all that was committed. Of several intents of one epoch the last one
        // counts.
        let last: BTreeMap<Epoch, &Intent> = intents.iter().map(|intent| (intent.epoch, intent)).collect();
        let whole = |commit: &Commit| Some(((*last.get(&commit.epoch)?).clone(), commit.clone()));
        let since = commits.iter().filter_map(whole).collect();
        let committed = commits.iter().map(|commit| commit.epoch).max().unwrap_or_default();
        let begun = last.last_key_value().filter(|(epoch, _)| self.sink_driver.is_some() && **epoch > committed);
        self.durability.note_log(since, begun.map(|(_, intent)| (*intent).clone()));
        let pending = match self.restore(intents, commits).await {
            Ok(pending) => pending,
            Err(error) => {
                self.pipeline.relation().refuse(&error);
                return Err(error);
            }
        };
        self.durability.note_recovered();
        self.pipeline.charge_loaded()?;
        self.pipeline.publish();
        self.show(|_| {});
        // A pending epoch that reads a snapshot cannot be replayed: the relation's rows at that time are lost.
        match pending.filter(|intent| !self.cursors.reads_snapshots(intent)) {
            Some(intent) => {
                // Earlier epochs were delivered before this one began.
                if self.sink_driver.is_some() {
                    self.discard_pending()?;
                }
                self.run(intent).await
            }
            None if self.sink_driver.is_some() => {
                self.durability.end_begun();
                self.restore_pending(commits)
            }
            None => Ok(()),
        }
    }

    /// Restores the last committed epoch; returns the intent of the epoch that was begun after it.
    async fn restore(&mut self, intents: &[Intent], commits: &[Commit]) -> Result<Option<Intent>> {
        let room = match self.bytes_to_load()? {
            0 => None,
            bytes => self.env.epochs.enter_recovery(bytes).await,
        };
        let mut loaded = in_place(|| self.durability.open())?;
        let at = loaded.as_ref().map_or(Epoch(0), |header| header.epoch);
        if let Some(header) = &mut loaded {
            // The checkpoint may have been written before its commit.
            let commit = header.commit.take().filter(|commit| !commits.iter().any(|other| other.epoch == commit.epoch));
            if let Some(commit) = commit {
                // The next checkpoint will not have it.
                let record = LogRecord::Commit(commit.clone()).encode(&[])?;
                self.env.commits.append(vec![record], &commit).await?;
            }
        }
        let mut relation = in_place(|| self.load_all(loaded))?;
        drop(room);
        self.durability.note_loaded(at, self.cursors.offsets());
        relation.note_watermark(self.totals.watermark);
        let plan = resume(at, intents, commits)?;
        if !plan.redo.is_empty() || plan.pending.is_some() {
            // Replayed epochs read the inputs as they were then.
            self.inputs_recovered().await;
        }
        self.durability.note_redo(&plan.redo);
        // Until everything is restored, followers read the old relation: they would lose rows to an incomplete
        // changelog.
        let shared = self.pipeline.relation();
        let rebuilt = SharedRelation::new(shared.id, shared.name.clone(), relation, Default::default());
        let shared = self.pipeline.replace_relation(rebuilt);
        let redone = self.redo_all(plan.redo).await;
        let rebuilt = self.pipeline.replace_relation(shared);
        redone?;
        self.pipeline.relation().take_over(&rebuilt);
        Ok(plan.pending)
    }

    /// Loads everything from a checkpoint; returns the relation as of then. Blocking.
    fn load_all(&mut self, loaded: Option<CheckpointHeader>) -> Result<Relation> {
        let at = loaded.as_ref().map_or(Epoch(0), |header| header.epoch);
        if let Some(header) = loaded {
            header.relation.iter().try_for_each(|file| self.durability.store().expect(file))?;
            self.load(header)?;
        }
        self.pipeline.load_relation(&self.env, self.durability.store(), at)
    }

    fn load(&mut self, header: CheckpointHeader) -> Result<()> {
        self.pipeline.load_state(self.durability.checkpoints(), header.watermark)?;
        self.cursors.restore(&header.offsets);
        self.epoch = header.epoch;
        self.watermarks = header.watermarks.clone();
        self.totals = header;
        Ok(())
    }

    /// Bytes of the files to load: an upper bound.
    fn bytes_to_load(&self) -> Result<usize> {
        let (storage, id) = (&self.env.storage, self.id);
        let mut bytes = 0;
        for folder in ["state", "relations"] {
            for path in storage.list(&format!("{folder}/{id}"))? {
                bytes += storage.length(&path)?.unwrap_or(0);
            }
        }
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// An input relation that is still recovering.
    pub fn recovering_input(&self) -> Option<Arc<SharedRelation>> {
        let relations = self.pipeline.inputs().iter().filter_map(|input| match &input.table.input {
            TableInput::Relation(shared) => Some(shared),
            TableInput::Source(..) => None,
        });
        relations.into_iter().find(|shared| shared.is_recovering()).cloned()
    }

    async fn inputs_recovered(&self) {
        while let Some(input) = self.recovering_input() {
            input.recovered().await;
        }
    }

    async fn redo_all(&mut self, epochs: Vec<(Intent, Commit)>) -> Result<()> {
        for (intent, commit) in epochs {
            self.redo(intent, commit).await?;
        }
        Ok(())
    }

    async fn redo(&mut self, intent: Intent, commit: Commit) -> Result<()> {
        let opened = self.cursors.open(&self.env, &intent)?;
        let (again, _) = self.execute(&intent, opened).await?;
        if (again.rows_in, again.rows_out) != (commit.rows_in, commit.rows_out) {
            return Err(changed_input(format!(
                "epoch {} of \"{}\" read {} rows and gave {}, but now reads {} and gives {}",
                intent.epoch, self.name, commit.rows_in, commit.rows_out, again.rows_in, again.rows_out
            )));
        }
        if commit.hash.zip(again.hash).is_some_and(|(was, is)| was.contradicts(is)) {
            let (epoch, name, count) = (intent.epoch, &self.name, commit.rows_out);
            return Err(changed_input(format!("epoch {epoch} of \"{name}\" gave {count} rows, but now gives others")));
        }
        self.advance(&intent, &commit);
        Ok(())
    }
}

/// The error for a replayed epoch whose changes differ from those committed.
fn changed_input(message: String) -> Error {
    Error::new(ErrorKind::DataCorrupted, message)
        .detail("What the epoch had read has changed or is gone.")
        .hint("Put the input back as it was, then ALTER … RESUME; or create another view of the same query beside it.")
}
