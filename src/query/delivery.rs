//! The epochs of a sink on their way out: run, kept for as long as the outside is away, written and committed.

use super::{
    sink_driver::{Outbox, PendingEpoch, SinkDriver},
    worker::Worker,
};
use crate::{
    checkpoint::{Commit, Intent, LogRecord},
    error::{Error, Result},
    time::Epoch,
};

impl Worker {
    /// Runs a planned epoch of a sink as far as its rows. Nothing of it is durable, and nobody has seen any of it.
    pub(super) async fn prepare(&mut self, intent: Intent) -> Result<()> {
        let started = tokio::time::Instant::now();
        let fleeting = self.reads_snapshots(&intent);
        let (commit, changes) = self.take_step(&intent).await?;
        self.share.ask(self.bytes()?)?;
        let Some(sink_driver) = &self.setup.sink_driver else {
            return Err(Error::internal("a view was run as a sink"));
        };
        let rows = sink_driver.outgoing(changes, &self.setup.relation.lock())?;
        let epoch = intent.epoch;
        let owed = PendingEpoch { intent, commit, rows, saved: false, unproven: false, started };
        if !fleeting {
            self.owed = Some(owed);
            return Ok(());
        }
        let number = match &mut self.setup.sink_driver {
            Some(sink_driver) if owed.rows.is_some() => sink_driver.number(epoch).await?,
            _ => epoch,
        };
        // What was read cannot be read again: only a checkpoint makes this epoch one that can be recovered, and only the
        // outbox keeps its rows.
        self.owed = Some(self.saved(owed, number, false).await?);
        Ok(())
    }

    /// What is owed, once a checkpoint and the outbox have it, under a number that may be another. Where it fails, memory
    /// is not sound.
    async fn saved(&mut self, mut owed: PendingEpoch, number: Epoch, unproven: bool) -> Result<PendingEpoch> {
        self.sound = false;
        (owed.intent.epoch, owed.commit.epoch, owed.unproven) = (number, number, unproven);
        self.keep_rows(number, owed.encode()?).await?;
        self.in_checkpoint(owed).await
    }

    async fn keep_rows(&self, number: Epoch, bytes: Vec<u8>) -> Result<()> {
        let outbox = self.outbox();
        let kept = tokio::task::spawn_blocking(move || outbox.keep(number, &bytes)).await;
        kept.map_err(|e| Error::internal(format!("the outbox died: {e}")))?
    }

    /// What is owed and in the outbox, once a checkpoint has it too.
    async fn in_checkpoint(&mut self, owed: PendingEpoch) -> Result<PendingEpoch> {
        self.sound = false;
        self.needs_log();
        match owed.saved {
            // A checkpoint has it, under the number that it had.
            true => self.epoch = owed.intent.epoch,
            false => self.advance(&owed.intent, &owed.commit),
        }
        self.checkpoint().await?;
        self.sound = true;
        Ok(PendingEpoch { saved: true, ..owed })
    }

    /// Asks the outside how far it is, once nothing is owed to it: the data directory may be an older copy. Gives whether an
    /// epoch is to be run because of it.
    pub async fn ask_outside(&mut self) -> Result<bool> {
        match &mut self.setup.sink_driver {
            Some(sink_driver) => sink_driver.compare(self.epoch).await,
            None => Ok(false),
        }
    }

    /// Whether a sink is to write all it has, though nothing has changed.
    pub(super) fn rewrites(&self) -> bool {
        self.setup.sink_driver.as_ref().is_some_and(|sink_driver| sink_driver.rewrites)
    }

    /// Whether an epoch was run that is not committed: its rows are still to go out, or its commit to be written.
    pub fn has_pending(&self) -> bool {
        self.owed.is_some() || self.uncommitted.is_some()
    }

    /// Writes what is owed and commits it. Where that fails, the next call goes on with the same rows.
    pub async fn deliver(&mut self) -> Result<()> {
        let (Some(owed), Some(sink_driver)) = (&self.owed, &mut self.setup.sink_driver) else {
            return self.commit().await;
        };
        let intent = LogRecord::Intent(owed.intent.clone()).encode(&[])?;
        let commit = LogRecord::Commit(owed.commit.clone()).encode(&[])?;
        if owed.rows.is_some() && self.begun.is_none() && (!owed.saved || owed.unproven) {
            let begun = owed.intent.clone();
            let number = sink_driver.number(begun.epoch).await?;
            if number != begun.epoch {
                let Some(owed) = self.owed.take() else { return Ok(()) };
                self.owed = Some(self.saved(owed, number, false).await?);
                return Box::pin(self.deliver()).await;
            }
            if owed.saved {
                self.outbox().mark_in_flight(begun.epoch)?;
                self.owed.iter_mut().for_each(|owed| owed.unproven = false);
            } else {
                self.needs_log();
                self.env.log.append(vec![intent.clone()]).await?;
                self.begun = Some(begun);
            }
        }
        if let (Some(PendingEpoch { intent, rows: Some(rows), .. }), Some(sink_driver)) =
            (&self.owed, &mut self.setup.sink_driver)
        {
            sink_driver.send(intent.epoch, rows).await?;
        }
        self.needs_log();
        let intent = self.begun.is_none().then_some(intent);
        let letters = self.env.letters.clone();
        let recording = letters.recording().await;
        self.env.log.append(intent.into_iter().chain([commit]).collect()).await?;
        self.begun = None;
        let Some(PendingEpoch { intent, commit, saved, started, .. }) = self.owed.take() else { return Ok(()) };
        letters.add(&commit.dead_letters, &commit.late_rows);
        drop(recording);
        if saved {
            self.outbox().remove()?;
        } else {
            self.advance(&intent, &commit);
            self.since.push((intent, commit));
        }
        let took = started.elapsed();
        self.note_speed(took);
        self.show(|status| status.metrics.note_epoch(took));
        Ok(())
    }

    /// Keeps what is owed and cannot go out now, so that it holds on to neither the log nor what it was made of: however
    /// long the outside is away, a recovery begins with the rows of this epoch. Where it fails, memory is not sound.
    pub async fn save_pending(&mut self) -> Result<()> {
        let unproven = self.begun.is_none();
        let Some(owed) = self.owed.as_mut().filter(|owed| !owed.saved) else { return Ok(()) };
        owed.unproven = unproven;
        let (number, bytes) = (owed.intent.epoch, owed.encode());
        owed.unproven = false;
        // Until the outbox has it, memory stays as it is.
        self.keep_rows(number, bytes?).await?;
        let Some(owed) = self.owed.take() else { return Ok(()) };
        self.owed = Some(self.in_checkpoint(PendingEpoch { unproven, ..owed }).await?);
        // Its intent is in the log, if it was begun: it stays what it is, and the outbox says what that is.
        self.begun = None;
        self.show(|_| {});
        Ok(())
    }

    /// See [`SinkDriver::go_on`].
    pub fn go_on(&mut self) {
        self.setup.sink_driver.iter_mut().for_each(SinkDriver::go_on);
    }

    /// After a recovery: takes up what the last epoch of the checkpoint still owes.
    pub(super) fn restore_pending(&mut self, commits: &[Commit]) -> Result<()> {
        let is_committed = commits.iter().any(|commit| commit.epoch == self.checkpointed);
        match self.outbox().load(self.checkpointed)?.filter(|_| !is_committed) {
            Some(owed) => {
                self.owed = Some(owed);
                Ok(())
            }
            // Its commit is there, or it came to nothing before anything was written.
            None => self.discard_pending(),
        }
    }

    /// Nothing is owed of what earlier tries left.
    pub(super) fn discard_pending(&mut self) -> Result<()> {
        self.outbox().remove()
    }

    fn outbox(&self) -> Outbox {
        Outbox::new(self.env.storage.clone(), self.setup.id)
    }
}
