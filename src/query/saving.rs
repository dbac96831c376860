//! Saving a query: its checkpoint is taken between two epochs and written concurrently with the next ones.

use std::sync::Mutex;

use super::{
    checkpoints::{CheckpointDraft, CheckpointHeader},
    durability::{Point, Unwritten},
    worker::Worker,
};
use crate::{
    changes::bytes_of,
    checkpoint::{Commit, Intent},
    error::Result,
    memory::BudgetShare,
    relations::Draft as RelationDraft,
};

impl Worker {
    /// Whether there is anything to save. While an epoch is pending, memory is ahead of what was committed.
    pub fn needs_checkpoint(&self) -> bool {
        self.durability.is_behind(self.epoch) && !self.has_pending()
    }

    /// Whether state in memory is consistent with the last epoch and checkpoint. Otherwise the query has to be rebuilt.
    pub fn is_sound(&self) -> bool {
        self.durability.is_sound()
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
        let epoch_context = &self.setup.standing.epoch_context;
        let (room, whole) = self.room_to_save()?;
        let fresh = whole.then(|| epoch_context.each_operator(|_, operator| operator.fresh())).transpose()?;
        // First, since it reads the disk and may fail: what is drained after it exists in this draft only.
        let relation = self.durability.store().draft(&mut self.setup.relation.lock())?;
        if let Some(draft) = &relation {
            self.totals.relation = Some(draft.file());
        }
        let header = CheckpointHeader {
            epoch: self.epoch,
            inputs: self.inputs().iter().map(|input| input.table.id).collect(),
            offsets: self.cursors.offsets(),
            operators: Some(epoch_context.state_ids()),
            watermarks: self.watermarks.clone(),
            commit: self.durability.uncommitted().map(|uncommitted| uncommitted.commit.clone()),
            ..self.totals.clone()
        };
        self.durability.mark_unsound();
        let draft = CheckpointDraft {
            header,
            fresh: fresh.map(Mutex::new),
            sections: epoch_context.each_operator(|_, operator| Ok(operator.state().save(false)?.rows))?,
            relation,
            is_whole: false,
            room,
        };
        self.durability.mark_sound();
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
        let room = self.env.budget.share(format!("a checkpoint of \"{}\"", self.setup.name));
        let state = self.state_bytes()?;
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
            let mut relation = self.setup.relation.lock();
            draft.relation.iter().for_each(|written| written.note_written(&mut relation));
            relation.follows_from()
        };
        let freed = self.release().await.and_then(|()| self.durability.store().prune(read_to));
        if let Err(error) = freed {
            // It is saved; what it supersedes is freed after the next checkpoint.
            tracing::warn!(query = self.setup.name, %error, "what was saved could not be freed yet");
        }
        Ok(())
    }

    /// Lets the inputs release what is before the offsets of the last checkpoint.
    pub async fn release(&self) -> Result<()> {
        self.cursors.release(self.setup.id, self.durability.saved()).await
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
