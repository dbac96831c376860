//! Writes the epochs of a query to a sink, each exactly once.
//!
//! ```text
//! run the plan ─▶ intent, synced ─▶ write outside ─▶ commit
//!                 └ from here until the commit the epoch stays what it is: the write may have taken effect
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use arrow::{array::RecordBatch, compute::concat_batches};
use serde::{Deserialize, Serialize};

use crate::{
    changes::Changes,
    checkpoint::{Commit, Intent, file},
    connectors::{OPEN_TIMEOUT, Outgoing, Sink, Timeouts, WRITE_TIMEOUT, within},
    error::{Error, ErrorKind, Result},
    relations::Relation,
    state::net,
    storage::Storage,
    time::Epoch,
};

/// Drives one sink: nets changes, numbers epochs and writes them.
#[derive(Debug)]
pub struct SinkDriver {
    /// For errors: `sink "s"`.
    label: String,
    /// In a mutex only so that a sink need not be `Sync`; never contended, access is through `&mut self`.
    sink: Mutex<Box<dyn Sink>>,
    keeps: Retention,
    /// Whether the answer has retractions: then changes are consolidated to their net per row before they are written.
    nets: bool,
    /// The last epoch the sink holds; `None` (unknown) before it is opened, and after a write that failed but may have
    /// taken effect.
    delivered: Option<Epoch>,
    /// Whether new epochs are numbered after the sink's last one even if that is unknown here (`ALTER SINK … RESET
    /// OFFSETS`).
    goes_on: bool,
    /// Whether the next epoch rewrites the whole answer even if nothing has changed: the sink is ahead of an older copy
    /// of the data directory.
    pub(super) rewrites: bool,
    timeouts: Timeouts,
}

/// Which rows of the answer a sink's query keeps in its relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    Nothing,
    /// All rows: each epoch writes the whole answer (complete mode).
    ToWrite,
    /// All rows: to check that the declared `primary_key` is unique.
    ToCheck,
}

/// An epoch that was run and whose rows are not confirmed in the sink.
#[derive(Debug)]
pub(super) struct PendingEpoch {
    pub(super) intent: Intent,
    pub(super) commit: Commit,
    /// `None` where nothing changed.
    pub(super) rows: Option<Outgoing>,
    /// Whether a checkpoint includes the epoch and the outbox has its rows.
    pub(super) saved: bool,
    /// Whether it was saved before the sink could be asked if its epoch number is still free.
    pub(super) unproven: bool,
    pub(super) started: tokio::time::Instant,
}

impl SinkDriver {
    pub fn new(label: String, sink: Box<dyn Sink>, keeps: Retention, nets: bool, timeouts: Timeouts) -> Self {
        SinkDriver {
            label,
            sink: Mutex::new(sink),
            keeps,
            nets,
            delivered: None,
            goes_on: false,
            rewrites: false,
            timeouts,
        }
    }

    fn sink(&mut self) -> &mut dyn Sink {
        self.sink.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut()
    }

    /// Opens the sink unless it is open (fencing other writers). Gives the last epoch it holds.
    pub async fn open(&mut self) -> Result<Epoch> {
        if self.delivered.is_none() {
            let (limit, label) = (self.timeouts.open, self.label.clone());
            self.delivered = Some(within(limit, OPEN_TIMEOUT, &label, self.sink().open()).await?);
        }
        Ok(self.delivered.unwrap_or_default())
    }

    /// Gives the net of an epoch's changes, and applies it to the relation `kept` as `Retention` says. Fails with a
    /// unique violation on a duplicate primary key.
    pub(super) fn apply(&self, epoch: Epoch, changes: Changes, kept: &mut Relation) -> Result<Changes> {
        let changes = if self.nets { net(&changes)? } else { changes };
        if self.keeps != Retention::Nothing {
            kept.apply(epoch, &changes).map_err(|error| match self.keeps {
                Retention::ToCheck => Error::new(ErrorKind::UniqueViolation, "two rows have the same primary_key")
                    .detail(error.to_string())
                    .hint("Name the columns that no two rows share, or group by those that are named."),
                _ => error,
            })?;
            // It has no followers.
            kept.note_published(epoch);
        }
        Ok(changes)
    }

    /// The rows to write: changes, or the whole answer in complete mode; `None` if nothing changed.
    pub(super) fn outgoing(&self, changes: Changes, kept: &Relation) -> Result<Option<Outgoing>> {
        Ok(match (changes.is_empty() && !self.rewrites, self.keeps) {
            (true, _) => None,
            (false, Retention::ToWrite) => {
                let rows = concat_batches(kept.schema(), &kept.snapshot().batches(None)?)?;
                Some(Outgoing { changes: Changes::insert(rows), whole: true })
            }
            (false, _) => Some(Outgoing { changes, whole: false }),
        })
    }

    /// The number for an epoch that was not begun: the sink must not hold it yet. If the sink is ahead, the data
    /// directory is an older copy and what the sink's newer epochs read is unknown. Only complete mode, or a sink that
    /// was told to go on, continues after them; otherwise the error is `DataCorrupted`.
    pub(super) async fn number(&mut self, epoch: Epoch) -> Result<Epoch> {
        let there = self.open().await?;
        match there < epoch {
            true => Ok(epoch),
            false if self.keeps == Retention::ToWrite || self.goes_on => Ok(there.next()),
            false => Err(behind(epoch, there)),
        }
    }

    /// Compares the sink's last epoch with `epoch`, the last one here, once after opening. If the sink is ahead (older
    /// copy of the data directory), complete mode is to rewrite the answer and others fail; see [`SinkDriver::number`].
    /// Gives whether an epoch must run for it.
    pub(super) async fn compare(&mut self, epoch: Epoch) -> Result<bool> {
        if self.delivered.is_some() || self.open().await? <= epoch || self.goes_on {
            return Ok(false);
        }
        self.rewrites = self.keeps == Retention::ToWrite;
        match (self.rewrites, self.delivered) {
            (false, Some(there)) => Err(behind(epoch.next(), there)),
            _ => Ok(true),
        }
    }

    /// From now on new epochs are numbered after the sink's last one.
    pub fn go_on(&mut self) {
        self.goes_on = true;
    }

    /// Writes an epoch that was begun, unless the sink holds it already. Between its intent and its commit no other
    /// epoch can have its number.
    pub(super) async fn send(&mut self, epoch: Epoch, rows: &Outgoing) -> Result<()> {
        if self.open().await? < epoch {
            self.delivered = None;
            let (limit, label) = (self.timeouts.write, self.label.clone());
            within(limit, WRITE_TIMEOUT, &label, self.sink().write(epoch, rows)).await?;
            (self.delivered, self.rewrites) = (Some(epoch), false);
        }
        Ok(())
    }
}

fn behind(epoch: Epoch, there: Epoch) -> Error {
    let message = format!("the sink holds epoch {there}, but the server has come to {} only", epoch.0 - 1);
    let known = if epoch == there { format!("epoch {there}") } else { format!("epochs {epoch} to {there}") };
    Error::new(ErrorKind::DataCorrupted, message)
        .detail(format!("The data directory is older than what was written from it: it does not know what {known} had read."))
        .hint(
            "To have every row once, start from a newer copy of the data directory. Or ALTER SINK … RESET OFFSETS goes on \
             behind it: all that is outside stays, and what is read again is written again.",
        )
}

/// The header of an outbox file.
#[derive(Debug, Serialize, Deserialize)]
struct Label {
    intent: Intent,
    commit: Commit,
    rows: bool,
    whole: bool,
    #[serde(default)]
    unproven: bool,
}

impl PendingEpoch {
    /// As the file at `path`.
    pub(super) fn encode(&self, path: &str) -> Result<Vec<u8>> {
        let (intent, commit) = (self.intent.clone(), self.commit.clone());
        let whole = self.rows.as_ref().is_some_and(|rows| rows.whole);
        let label = Label { intent, commit, rows: self.rows.is_some(), whole, unproven: self.unproven };
        let batches: Vec<RecordBatch> = match &self.rows {
            Some(rows) => vec![rows.changes.clone().into_batch(rows.changes.diffs().is_some())?],
            None => Vec::new(),
        };
        file::encode(path, &label, &[batches])
    }

    fn decode(path: &str, bytes: &[u8]) -> Result<PendingEpoch> {
        let (Label { intent, commit, rows, whole, unproven }, sections) = file::decode(path, bytes)?;
        let batch = sections.into_iter().flatten().next();
        let changes = batch.map(Changes::from_batch).transpose()?;
        let rows = changes.filter(|_| rows).map(|changes| Outgoing { changes, whole });
        Ok(PendingEpoch { intent, commit, rows, saved: true, unproven, started: tokio::time::Instant::now() })
    }
}

/// The rows of a pending sink epoch that cannot be computed again.
///
/// ```text
/// outbox/<id>/<epoch>.rows
/// outbox/<id>/<epoch>.begun   there once a write of it may have taken effect, if that was not sure before
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

    pub(super) fn rows(&self, epoch: Epoch) -> String {
        format!("{}/{:016}.rows", self.folder, epoch.0)
    }

    /// Writes an epoch's file, replacing one of an earlier attempt. Files of other epochs stay until a checkpoint
    /// decides which of them counts. Blocking.
    pub(super) fn keep(&self, epoch: Epoch, bytes: &[u8]) -> Result<()> {
        self.storage.remove(&self.rows(epoch))?;
        self.storage.create(&self.rows(epoch), bytes)
    }

    /// Loads a pending epoch, if there is one of this number.
    pub(super) fn load(&self, epoch: Epoch) -> Result<Option<PendingEpoch>> {
        let path = self.rows(epoch);
        let Some(bytes) = self.storage.read(&path)? else { return Ok(None) };
        let mut pending = PendingEpoch::decode(&path, &bytes)?;
        pending.unproven &= self.storage.read(&self.in_flight_path(epoch))?.is_none();
        Ok(Some(pending))
    }

    fn in_flight_path(&self, epoch: Epoch) -> String {
        format!("{}/{:016}.begun", self.folder, epoch.0)
    }

    /// Notes that the sink did not hold this epoch before: if it holds it from now on, it is this one. Blocking.
    pub(super) fn mark_in_flight(&self, epoch: Epoch) -> Result<()> {
        match self.storage.create(&self.in_flight_path(epoch), &[]) {
            Err(error) if error.kind() != ErrorKind::DuplicateObject => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes all files of this query.
    pub fn remove(&self) -> Result<()> {
        self.storage.clear(&self.folder)
    }
}
