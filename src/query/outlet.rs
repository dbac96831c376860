//! Where the rows of an epoch go that no relation takes: out, through a sink, once.
//!
//! ```text
//! run the plan ─▶ intent, synced ─▶ write outside ─▶ commit
//!                 └ from here until the commit the epoch stays what it is: the write may have taken effect
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use arrow::{array::RecordBatch, compute::concat_batches};
use serde::{Deserialize, Serialize};

use super::Worker;
use crate::{
    changes::Changes,
    checkpoint::{Commit, Intent, Record, file},
    connectors::{Outgoing, Sink},
    error::{Error, Kind, Result},
    relations::{Relation, net},
    storage::Storage,
    time::Epoch,
};

/// A sink, and how its query feeds it.
#[derive(Debug)]
pub struct Outlet {
    /// Never locked, only ever lent to who has the outlet: so that a sink need not be one that many may look at.
    sink: Mutex<Box<dyn Sink>>,
    keeps: Keeps,
    /// Whether rows are withdrawn: one that comes and goes in an epoch, or comes again as it was, is not told.
    nets: bool,
    /// The last epoch that is there; `None` before it is opened, and after a write that may have taken effect.
    there: Option<Epoch>,
}

/// What is kept of the answer beside the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    Nothing,
    /// All rows, because all of them are written each time.
    ToWrite,
    /// All rows, because only they show whether the key that was named does tell them apart.
    ToCheck,
}

/// An epoch that was run and whose rows are not known to be outside.
#[derive(Debug)]
pub(super) struct Owed {
    intent: Intent,
    commit: Commit,
    /// `None` where nothing changed.
    rows: Option<Outgoing>,
    /// Whether a checkpoint holds the epoch, and the outbox its rows.
    saved: bool,
    started: tokio::time::Instant,
}

impl Outlet {
    pub fn new(sink: Box<dyn Sink>, keeps: Keeps, nets: bool) -> Self {
        Outlet { sink: Mutex::new(sink), keeps, nets, there: None }
    }

    fn sink(&mut self) -> &mut dyn Sink {
        self.sink.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut()
    }

    /// Takes hold of the outside system, unless it is held.
    pub async fn open(&mut self) -> Result<Epoch> {
        if self.there.is_none() {
            self.there = Some(self.sink().open().await?);
        }
        Ok(self.there.unwrap_or_default())
    }

    /// Takes the changes of an epoch: gives their net, and notes what is kept of it.
    pub(super) fn take(&self, epoch: Epoch, changes: Changes, kept: &mut Relation) -> Result<Changes> {
        let changes = if self.nets { net(&changes)? } else { changes };
        if self.keeps != Keeps::Nothing {
            kept.apply(epoch, &changes).map_err(|error| match self.keeps {
                Keeps::ToCheck => Error::new(Kind::UniqueViolation, "two rows have the same primary_key")
                    .detail(error.to_string())
                    .hint("Name the columns that no two rows share, or group by those that are named."),
                _ => error,
            })?;
            // Nobody follows it.
            kept.note_published(epoch);
        }
        Ok(changes)
    }

    /// What is to be written of an epoch.
    fn outgoing(&self, changes: Changes, kept: &Relation) -> Result<Option<Outgoing>> {
        Ok(match (changes.is_empty(), self.keeps) {
            (true, _) => None,
            (false, Keeps::ToWrite) => {
                let rows = concat_batches(kept.schema(), &kept.snapshot().batches(None)?)?;
                Some(Outgoing { changes: Changes::insert(rows), whole: true })
            }
            (false, _) => Some(Outgoing { changes, whole: false }),
        })
    }

    /// An error if what is there is newer than an epoch.
    async fn expect_none_after(&mut self, epoch: Epoch) -> Result<Epoch> {
        let there = self.open().await?;
        if there > epoch {
            let message = format!("the sink holds epoch {there}, but the server has come to {epoch} only");
            return Err(Error::new(Kind::DataCorrupted, message)
                .detail("The data directory is older than what was written from it, or what an epoch had read is gone.")
                .hint("Drop the sink and create it again, where what is outside is not in its way."));
        }
        Ok(there)
    }

    /// Before an epoch is begun: nobody can have written it yet. One that was may be there already.
    async fn expect_new(&mut self, epoch: Epoch) -> Result<()> {
        self.expect_none_after(Epoch(epoch.0.saturating_sub(1))).await.map(drop)
    }

    /// Writes an epoch that was begun, unless it is there.
    async fn send(&mut self, epoch: Epoch, rows: &Outgoing) -> Result<()> {
        if self.expect_none_after(epoch).await? < epoch {
            self.there = None;
            self.sink().write(epoch, rows).await?;
            self.there = Some(epoch);
        }
        Ok(())
    }
}

impl Worker {
    /// Runs a planned epoch of a sink as far as its rows. Nothing of it is durable, and nobody has seen any of it.
    pub(super) async fn prepare(&mut self, intent: Intent) -> Result<()> {
        let started = tokio::time::Instant::now();
        let fleeting = self.reads_snapshots(&intent);
        let (commit, changes) = self.take_step(&intent).await?;
        self.share.ask(self.bytes()?)?;
        let Some(outlet) = &self.setup.outlet else { return Err(Error::internal("a view was run as a sink")) };
        let rows = outlet.outgoing(changes, &self.setup.relation.lock())?;
        let owed = Owed { intent, commit, rows, saved: fleeting, started };
        if fleeting {
            if let (Some(_), Some(outlet)) = (&owed.rows, &mut self.setup.outlet) {
                outlet.expect_new(owed.intent.epoch).await?;
            }
            // What was read cannot be read again: only a checkpoint makes this epoch one that can be recovered, and only
            // the outbox keeps its rows.
            self.needs_log();
            let (outbox, bytes) = (self.outbox(), owed.encode()?);
            let epoch = owed.intent.epoch;
            let kept = tokio::task::spawn_blocking(move || outbox.keep(epoch, &bytes)).await;
            kept.map_err(|e| Error::internal(format!("the outbox died: {e}")))??;
            self.advance(&owed.intent, &owed.commit);
            self.checkpoint().await?;
        }
        self.owed = Some(owed);
        Ok(())
    }

    /// Whether an epoch was run that is not committed: its rows are still to go out, or its commit to be written.
    pub fn owes(&self) -> bool {
        self.owed.is_some() || self.uncommitted.is_some()
    }

    /// Writes what is owed and commits it. Where that fails, the next call goes on with the same rows.
    pub async fn deliver(&mut self) -> Result<()> {
        let (Some(owed), Some(outlet)) = (&self.owed, &mut self.setup.outlet) else { return self.commit().await };
        let intent = Record::Intent(owed.intent.clone()).encode(&[])?;
        let commit = Record::Commit(owed.commit.clone()).encode(&[])?;
        if owed.rows.is_some() && self.begun.is_none() && !owed.saved {
            let begun = owed.intent.clone();
            outlet.expect_new(begun.epoch).await?;
            self.needs_log();
            self.env.log.append(vec![intent.clone()]).await?;
            self.begun = Some(begun);
        }
        if let (Some(Owed { intent, rows: Some(rows), .. }), Some(outlet)) = (&self.owed, &mut self.setup.outlet) {
            outlet.send(intent.epoch, rows).await?;
        }
        self.needs_log();
        let intent = self.begun.is_none().then_some(intent);
        let letters = self.env.letters.clone();
        let recording = letters.recording().await;
        self.env.log.append(intent.into_iter().chain([commit]).collect()).await?;
        self.begun = None;
        let Some(Owed { intent, commit, saved, started, .. }) = self.owed.take() else { return Ok(()) };
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
        self.show(|progress| progress.epoch_us = took.as_micros() as u64);
        Ok(())
    }

    /// After a recovery: takes up what the last epoch of the checkpoint still owes.
    pub(super) fn take_up(&mut self, commits: &[Commit]) -> Result<()> {
        let Some(owed) = self.outbox().load()? else { return Ok(()) };
        let is_committed = commits.iter().any(|commit| commit.epoch == owed.intent.epoch);
        if owed.intent.epoch == self.checkpointed && !is_committed {
            self.owed = Some(owed);
            return Ok(());
        }
        // Its commit is there, or it came to nothing before anything was written.
        self.outbox().remove()
    }

    fn outbox(&self) -> Outbox {
        Outbox::new(self.env.storage.clone(), self.setup.id)
    }
}

/// What the outbox says of an epoch.
#[derive(Debug, Serialize, Deserialize)]
struct Label {
    intent: Intent,
    commit: Commit,
    rows: bool,
    whole: bool,
}

impl Owed {
    fn encode(&self) -> Result<Vec<u8>> {
        let (intent, commit) = (self.intent.clone(), self.commit.clone());
        let whole = self.rows.as_ref().is_some_and(|rows| rows.whole);
        let label = Label { intent, commit, rows: self.rows.is_some(), whole };
        let batches: Vec<RecordBatch> = match &self.rows {
            Some(rows) => vec![rows.changes.clone().into_batch(rows.changes.diffs().is_some())?],
            None => Vec::new(),
        };
        file::encode(&label, &[batches])
    }

    fn decode(path: &str, bytes: &[u8]) -> Result<Owed> {
        let (Label { intent, commit, rows, whole }, sections) = file::decode(path, bytes)?;
        let batch = sections.into_iter().flatten().next();
        let changes = batch.map(Changes::from_batch).transpose()?;
        let rows = changes.filter(|_| rows).map(|changes| Outgoing { changes, whole });
        Ok(Owed { intent, commit, rows, saved: true, started: tokio::time::Instant::now() })
    }
}

/// The rows of an epoch of a sink that could not be made again.
///
/// ```text
/// outbox/<id>/<epoch>.rows
/// ```
#[derive(Debug)]
pub struct Outbox {
    storage: Arc<dyn Storage>,
    folder: String,
}

impl Outbox {
    pub const FOLDER: &str = "outbox";

    pub fn new(storage: Arc<dyn Storage>, query: u64) -> Self {
        Outbox { storage, folder: format!("{}/{query}", Self::FOLDER) }
    }

    /// Keeps an epoch in place of what an earlier try left. Blocking.
    fn keep(&self, epoch: Epoch, bytes: &[u8]) -> Result<()> {
        self.remove()?;
        self.storage.create(&format!("{}/{:016}.rows", self.folder, epoch.0), bytes)
    }

    fn load(&self) -> Result<Option<Owed>> {
        let Some(path) = self.storage.list(&self.folder)?.pop() else { return Ok(None) };
        let bytes = self.storage.read(&path)?.unwrap_or_default();
        Owed::decode(&path, &bytes).map(Some)
    }

    /// Removes every trace.
    pub fn remove(&self) -> Result<()> {
        self.storage.clear(&self.folder)
    }
}
