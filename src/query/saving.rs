//! Saving a query: its checkpoint is taken between two epochs and written beside the next ones.

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
    /// Whether there is anything to save. While an epoch is owed, memory is ahead of what was committed.
    pub fn needs_checkpoint(&self) -> bool {
        self.durability.is_behind(self.epoch) && !self.has_pending()
    }

    /// Whether memory is what the last epoch and the last checkpoint left. Otherwise the query is to be made anew.
    pub fn is_sound(&self) -> bool {
        self.durability.is_sound()
    }

    /// Saves everything as of the last epoch; afterwards the inputs may forget what came before it.
    pub async fn checkpoint(&mut self) -> Result<()> {
        match self.has_pending() {
            true => self.end_checkpoint().await,
            false => self.save_all().await,
        }
    }

    pub(super) async fn save_all(&mut self) -> Result<()> {
        let ended = self.end_checkpoint().await;
        // What could not be written is tried again.
        ended.or_else(|error| if self.durability.has_unwritten() { Ok(()) } else { Err(error) })?;
        while self.durability.is_behind(self.epoch) {
            self.begin_checkpoint()?;
            self.end_checkpoint().await?;
        }
        Ok(())
    }

    /// Starts to save everything as of the last epoch, or as of where it could not be saved yet. Takes what changed since
    /// the last save; the rest goes on beside the next epochs.
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
        // It looks at the disk, which may fail; what is taken after it is in this draft alone.
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

    /// Asks for what a checkpoint will take, before it is there, and says whether it is to be whole. The first one of a
    /// query that has read what it cannot read again copies all of its state: where there is no room for that, its first
    /// epoch fails, as one that would make too much. Any other is held in any case, so that others wait: without it the
    /// log would grow for ever. A whole one in place of a long chain takes two copies; where there is no room for them,
    /// the chain grows on until there is.
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

    /// Waits until nothing more is to be written of the checkpoint that was begun; for ever where none was.
    pub async fn written(&mut self) {
        self.durability.written().await;
    }

    /// Waits for the checkpoint that was begun, if any, and tells the inputs what they may forget.
    pub async fn end_checkpoint(&mut self) -> Result<()> {
        let Some(draft) = self.durability.end_write().await? else { return Ok(()) };
        let read_to = {
            let mut relation = self.setup.relation.lock();
            draft.relation.iter().for_each(|written| written.note_written(&mut relation));
            relation.follows_from()
        };
        let freed = self.release().await.and_then(|()| self.durability.store().prune(read_to));
        if let Err(error) = freed {
            // It is saved; what it makes superfluous is freed after the next one.
            tracing::warn!(query = self.setup.name, %error, "what was saved could not be freed yet");
        }
        Ok(())
    }

    /// Tells the inputs that this query will never again ask for what is before its last checkpoint.
    pub async fn release(&self) -> Result<()> {
        self.cursors.release(self.setup.id, self.durability.saved()).await
    }

    /// From now on a recovery reads the log: whoever shortens it is to know before there is anything in it.
    pub(super) fn needs_log(&mut self) {
        let log_file = self.durability.needs_log(self.epoch, self.env.log.file());
        self.progress.lock().log_file = Some(log_file);
    }

    /// The epochs that a recovery would have to run again; of a sink with the one that was begun.
    pub fn since(&self) -> (Vec<Intent>, Vec<Commit>) {
        self.durability.since()
    }
}
