//! Saving a query: its checkpoint is taken between two epochs and written beside the next ones.

use std::sync::PoisonError;

use tokio::task::{JoinError, JoinHandle};

use super::{
    Worker,
    checkpoints::{Checkpoints, Draft, Header},
};
use crate::{
    checkpoint::{Commit, Intent},
    connectors::Offsets,
    error::{Error, Result},
    sql::table::Input,
    time::Epoch,
};

/// A checkpoint on its way to the disk.
#[derive(Debug)]
pub(super) struct Writing {
    task: JoinHandle<(Checkpoints, Result<()>)>,
    outcome: Option<std::result::Result<(Checkpoints, Result<()>), JoinError>>,
    epoch: Epoch,
    offsets: Vec<Offsets>,
    log_file: u64,
}

impl Worker {
    /// Whether a recovery would run anything again.
    fn is_ahead(&self) -> bool {
        self.epoch > self.checkpointed
    }

    /// Whether there is anything to save. While a sink owes an epoch, its memory is ahead of what was committed.
    pub fn needs_checkpoint(&self) -> bool {
        self.is_ahead() && !self.owes()
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
        self.saved = offsets;
        self.release().await?;
        let read_to = self.setup.relation.lock().follows_from();
        self.store.prune(read_to)
    }

    /// Tells the inputs that this query will never again ask for what is before its last checkpoint.
    pub async fn release(&self) -> Result<()> {
        for (input, offsets) in self.inputs().iter().zip(&self.saved) {
            let least = input.table.readers.advance(self.setup.id, offsets);
            match &input.table.input {
                Input::Source(source, _) => source.forget(&least).await?,
                Input::Relation(shared) => shared.lock().forget(Epoch(least.only())),
            }
        }
        Ok(())
    }

    /// From now on a recovery reads the log: whoever shortens it is to know before there is anything in it.
    pub(super) fn needs_log(&mut self) {
        if !self.is_ahead() && self.begun.is_none() {
            self.log_file = self.env.log.file();
        }
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).log_file = Some(self.log_file);
    }

    /// The first log file that a recovery of this query would read; `None` where it needs none.
    pub fn log_file(&self) -> Option<u64> {
        (!self.recovered || self.is_ahead() || self.begun.is_some()).then_some(self.log_file)
    }

    /// The epochs that a recovery would have to run again; of a sink with the one that was begun.
    pub fn since(&self) -> (Vec<Intent>, Vec<Commit>) {
        let (mut intents, commits): (Vec<_>, Vec<_>) = self.since.iter().cloned().unzip();
        intents.extend(self.begun.clone());
        (intents, commits)
    }
}
