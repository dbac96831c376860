//! Delivery of sink epochs: run, kept in the outbox while the sink is unreachable, written, committed.

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
    /// Runs a planned epoch of a sink up to its outgoing rows. Nothing is durable or visible yet, unless it read a
    /// snapshot: then rows and checkpoint are saved.
    pub(super) async fn prepare(&mut self, intent: Intent) -> Result<()> {
        let started = tokio::time::Instant::now();
        let fleeting = self.cursors.reads_snapshots(&intent);
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
        // Rows of a snapshot cannot be read again after a crash: only a checkpoint makes this epoch recoverable, and
        // only the outbox has its rows.
        self.owed = Some(self.saved(owed, number, false).await?);
        Ok(())
    }

    /// Saves a pending epoch to outbox and checkpoint, renumbered to `number`. On error the state in memory is not
    /// sound.
    async fn saved(&mut self, mut owed: PendingEpoch, number: Epoch, unproven: bool) -> Result<PendingEpoch> {
        self.durability.mark_unsound();
        (owed.intent.epoch, owed.commit.epoch, owed.unproven) = (number, number, unproven);
        self.keep_rows(number, owed.encode(&self.outbox().rows(number))?).await?;
        self.in_checkpoint(owed).await
    }

    async fn keep_rows(&self, number: Epoch, bytes: Vec<u8>) -> Result<()> {
        let outbox = self.outbox();
        let kept = tokio::task::spawn_blocking(move || outbox.keep(number, &bytes)).await;
        kept.map_err(|e| Error::internal(format!("the outbox died: {e}")))?
    }

    /// Checkpoints a pending epoch whose rows are in the outbox.
    async fn in_checkpoint(&mut self, owed: PendingEpoch) -> Result<PendingEpoch> {
        self.durability.mark_unsound();
        self.needs_log();
        match owed.saved {
            // Already applied to state, under its former number.
            true => self.epoch = owed.intent.epoch,
            false => self.advance(&owed.intent, &owed.commit),
        }
        self.checkpoint().await?;
        self.durability.mark_sound();
        Ok(PendingEpoch { saved: true, ..owed })
    }

    /// With no pending epoch, compares the sink's last epoch with this query's: the data directory may be an older
    /// copy. Gives whether an epoch must run to rewrite the answer.
    pub async fn ask_outside(&mut self) -> Result<bool> {
        match &mut self.setup.sink_driver {
            Some(sink_driver) => sink_driver.compare(self.epoch).await,
            None => Ok(false),
        }
    }

    /// Whether the sink is to rewrite its whole answer even without changes.
    pub(super) fn rewrites(&self) -> bool {
        self.setup.sink_driver.as_ref().is_some_and(|sink_driver| sink_driver.rewrites)
    }

    /// Whether an epoch was run and is not committed yet (for a sink: written and committed).
    pub fn has_pending(&self) -> bool {
        self.owed.is_some() || self.durability.uncommitted().is_some()
    }

    /// Writes the pending epoch to the sink and commits it. After an error, the next call retries with the same rows.
    pub async fn deliver(&mut self) -> Result<()> {
        let (Some(owed), Some(sink_driver)) = (&self.owed, &mut self.setup.sink_driver) else {
            return self.commit().await;
        };
        let intent = LogRecord::Intent(owed.intent.clone()).encode(&[])?;
        let commit = LogRecord::Commit(owed.commit.clone()).encode(&[])?;
        if owed.rows.is_some() && !self.durability.has_begun() && (!owed.saved || owed.unproven) {
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
                self.durability.begin(begun);
            }
        }
        if let (Some(PendingEpoch { intent, rows: Some(rows), .. }), Some(sink_driver)) =
            (&self.owed, &mut self.setup.sink_driver)
        {
            sink_driver.send(intent.epoch, rows).await?;
        }
        self.needs_log();
        let intent = (!self.durability.has_begun()).then_some(intent);
        let Some(owed) = &self.owed else { return Ok(()) };
        self.env.commits.append(intent.into_iter().chain([commit]).collect(), &owed.commit).await?;
        self.durability.end_begun();
        let Some(PendingEpoch { intent, commit, saved, started, .. }) = self.owed.take() else { return Ok(()) };
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

    /// Saves the pending epoch to outbox and checkpoint while the sink is unreachable, so that it retains neither log
    /// files nor input; recovery then starts with these rows. On error the state in memory is not sound.
    pub async fn save_pending(&mut self) -> Result<()> {
        let (unproven, outbox) = (!self.durability.has_begun(), self.outbox());
        let Some(owed) = self.owed.as_mut().filter(|owed| !owed.saved) else { return Ok(()) };
        owed.unproven = unproven;
        let number = owed.intent.epoch;
        let bytes = owed.encode(&outbox.rows(number));
        owed.unproven = false;
        // State in memory is changed only after this.
        self.keep_rows(number, bytes?).await?;
        let Some(owed) = self.owed.take() else { return Ok(()) };
        self.owed = Some(self.in_checkpoint(PendingEpoch { unproven, ..owed }).await?);
        // If it was begun, its intent is in the log and its number stays; the outbox has the rows.
        self.durability.end_begun();
        self.show(|_| {});
        Ok(())
    }

    /// See [`SinkDriver::go_on`].
    pub fn go_on(&mut self) {
        self.setup.sink_driver.iter_mut().for_each(SinkDriver::go_on);
    }

    /// After a recovery: loads the pending epoch of the checkpoint from the outbox, unless it is committed.
    pub(super) fn restore_pending(&mut self, commits: &[Commit]) -> Result<()> {
        let is_committed = commits.iter().any(|commit| commit.epoch == self.durability.checkpointed());
        match self.outbox().load(self.durability.checkpointed())?.filter(|_| !is_committed) {
            Some(owed) => {
                self.owed = Some(owed);
                Ok(())
            }
            // It is committed, or failed before anything was written.
            None => self.discard_pending(),
        }
    }

    /// Deletes outbox files of earlier attempts.
    pub(super) fn discard_pending(&mut self) -> Result<()> {
        self.outbox().remove()
    }

    fn outbox(&self) -> Outbox {
        Outbox::new(self.env.storage.clone(), self.setup.id)
    }
}
