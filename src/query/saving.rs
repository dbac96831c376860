//! Saving a query: its checkpoint is taken between two epochs and written beside the next ones.

use std::sync::Mutex;

use super::{
    checkpoints::{CheckpointDraft, CheckpointHeader},
    progress::UNRECOVERED,
    worker::Worker,
    writing::{Point, Unwritten, Writing},
};
use crate::{
    changes::bytes_of,
    checkpoint::{Commit, Intent},
    error::{Error, Result},
    memory::BudgetShare,
    relations::Draft as RelationDraft,
    sql::table::TableInput,
    time::Epoch,
};

impl Worker {
    /// Whether a recovery would run anything again.
    fn is_ahead(&self) -> bool {
        self.epoch > self.checkpointed
    }

    /// Whether there is anything to save. While an epoch is owed, memory is ahead of what was committed.
    pub fn needs_checkpoint(&self) -> bool {
        self.is_ahead() && !self.has_pending()
    }

    /// Whether a checkpoint waits to be written that could not be.
    pub fn has_unwritten(&self) -> bool {
        self.unwritten.is_some()
    }

    /// Whether memory is what the last epoch and the last checkpoint left. Otherwise the query is to be made anew.
    pub fn is_sound(&self) -> bool {
        self.sound
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
        ended.or_else(|error| if self.has_unwritten() { Ok(()) } else { Err(error) })?;
        while self.is_ahead() {
            self.begin_checkpoint()?;
            self.end_checkpoint().await?;
        }
        Ok(())
    }

    /// Starts to save everything as of the last epoch, or as of where it could not be saved yet. Takes what changed since
    /// the last save; the rest goes on beside the next epochs.
    pub fn begin_checkpoint(&mut self) -> Result<()> {
        let Unwritten { mut draft, point } = match self.unwritten.take() {
            Some(unwritten) => unwritten,
            None => self.draft()?,
        };
        let mut checkpoints = self.checkpoints.clone();
        let task = tokio::task::spawn_blocking(move || {
            let saved = checkpoints.save(&mut draft);
            (checkpoints, draft, saved)
        });
        self.writing = Some(Writing { task, point, outcome: None });
        Ok(())
    }

    fn draft(&mut self) -> Result<Unwritten> {
        let epoch_context = &self.setup.standing.epoch_context;
        let (room, whole) = self.room_to_save()?;
        let fresh = whole.then(|| epoch_context.each_operator(|_, operator| operator.fresh())).transpose()?;
        // It looks at the disk, which may fail; what is taken after it is in this draft alone.
        let relation = self.store.draft(&mut self.setup.relation.lock())?;
        if let Some(draft) = &relation {
            self.totals.relation = Some(draft.file());
        }
        let header = CheckpointHeader {
            epoch: self.epoch,
            inputs: self.inputs().iter().map(|input| input.table.id).collect(),
            offsets: self.offsets.clone(),
            operators: Some(epoch_context.state_ids()),
            watermarks: self.watermarks.clone(),
            commit: self.uncommitted.as_ref().map(|uncommitted| uncommitted.commit.clone()),
            ..self.totals.clone()
        };
        self.sound = false;
        let draft = CheckpointDraft {
            header,
            fresh: fresh.map(Mutex::new),
            sections: epoch_context.each_operator(|_, operator| Ok(operator.state().save(false)?.rows))?,
            relation,
            is_whole: false,
            room,
        };
        self.sound = true;
        let changed: usize = draft.sections.iter().flatten().map(bytes_of).sum();
        draft.room.hold(draft.room.bytes().max(changed) + draft.relation.as_ref().map_or(0, RelationDraft::bytes));
        let point = Point { epoch: self.epoch, offsets: self.offsets.clone(), log_file: self.env.log.file() };
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
        if self.checkpoints.is_first() && self.uncommitted.as_ref().is_some_and(|uncommitted| uncommitted.first) {
            room.ask(state)?;
        }
        let whole = self.checkpoints.wants_whole() && room.ask(2 * state).is_ok();
        Ok((room, whole))
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
        let Some(Writing { point, outcome: Some(outcome), .. }) = self.writing.take() else { return Ok(()) };
        let (checkpoints, draft, saved) = outcome.map_err(|e| {
            self.sound = false;
            Error::internal(format!("a checkpoint died: {e}"))
        })?;
        self.checkpoints = checkpoints;
        if let Err(error) = saved {
            self.unwritten = Some(Unwritten { draft, point });
            return Err(error);
        }
        self.checkpointed = point.epoch;
        self.log_file = point.log_file;
        self.since.retain(|(intent, _)| intent.epoch > point.epoch);
        self.saved = point.offsets;
        let read_to = {
            let mut relation = self.setup.relation.lock();
            draft.relation.iter().for_each(|written| written.note_written(&mut relation));
            relation.follows_from()
        };
        let freed = self.release().await.and_then(|()| self.store.prune(read_to));
        if let Err(error) = freed {
            // It is saved; what it makes superfluous is freed after the next one.
            tracing::warn!(query = self.setup.name, %error, "what was saved could not be freed yet");
        }
        Ok(())
    }

    /// Tells the inputs that this query will never again ask for what is before its last checkpoint.
    pub async fn release(&self) -> Result<()> {
        for (input, offsets) in self.inputs().iter().zip(&self.saved) {
            let least = input.table.readers.advance(self.setup.id, offsets);
            match &input.table.input {
                TableInput::Source(source, _) => source.forget(&least).await?,
                TableInput::Relation(shared) => shared.lock().forget(Epoch(least.only())),
            }
        }
        Ok(())
    }

    /// From now on a recovery reads the log: whoever shortens it is to know before there is anything in it.
    pub(super) fn needs_log(&mut self) {
        if !self.is_ahead() && self.begun.is_none() {
            self.log_file = self.env.log.file();
        }
        let log_file = if self.recovered { self.log_file } else { UNRECOVERED };
        self.progress.lock().log_file = Some(log_file);
    }

    /// The first log file that a recovery of this query would read; `None` where it needs none.
    pub fn log_file(&self) -> Option<u64> {
        if !self.recovered {
            return Some(UNRECOVERED);
        }
        (self.is_ahead() || self.begun.is_some()).then_some(self.log_file)
    }

    /// The epochs that a recovery would have to run again; of a sink with the one that was begun.
    pub fn since(&self) -> (Vec<Intent>, Vec<Commit>) {
        let (mut intents, commits): (Vec<_>, Vec<_>) = self.since.iter().cloned().unzip();
        intents.extend(self.begun.clone());
        (intents, commits)
    }
}
