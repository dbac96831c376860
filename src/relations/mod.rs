//! Relations: the rows of tables and views, for clients, and their changes, for other views and subscribers.
//!
//! A relation is its rows at its latest epoch, and its changelog while something follows it. A snapshot shares the rows
//! and never blocks a writer.

mod changelog;
mod rows;
mod shared;
mod snapshot;
mod store;
mod subscriber;

use std::{collections::VecDeque, sync};

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use changelog::Changelog;
pub use changelog::ChangelogLimit;
pub use rows::Identity;
use rows::RelationRows;
pub use shared::{SharedRelation, SnapshotBarrier, at_one_moment};
pub use snapshot::{Snapshot, SnapshotChunk};
pub use store::{Draft, Store};
pub use subscriber::Subscriber;

use crate::{
    changes::Changes,
    error::{Error, ErrorKind, Result},
    state::{Compaction, Id, net},
    time::{Epoch, Micros},
};

/// The contents of a table or view.
#[derive(Debug)]
pub struct Relation {
    rows: RelationRows,
    epoch: Epoch,
    changelog: Changelog,
    /// Changes not saved to files, oldest first.
    unsaved: Vec<(Epoch, Changes)>,
    unsaved_rows: usize,
    /// Bytes of those with retractions; insertions alone are in `rows` as well.
    unsaved_bytes: usize,
    /// The limit of `unsaved_rows` beyond the number of rows of the relation.
    unsaved_rows_min: usize,
    /// The epoch up to which changes are saved.
    saved: Epoch,
    /// Whether `unsaved` may be replaced by a new base once it exceeds the rows; and whether it was.
    rebases: bool,
    rebase: bool,
    /// The query's watermark after each epoch that changed it; the newest ones.
    watermarks: VecDeque<(Epoch, Micros)>,
    /// The changes of epochs not published yet: a new follower's snapshot does not include them.
    unpublished: Vec<(Epoch, Changes)>,
}

/// Watermarks kept for followers.
const WATERMARKS_MAX: usize = 4096;

/// Default of unsaved changed rows beyond the number of rows of the relation.
pub const UNSAVED_ROWS_MIN: usize = 1 << 16;

impl Relation {
    pub fn new(schema: SchemaRef, identity: Identity) -> Result<Self> {
        Ok(Relation {
            rows: RelationRows::new(schema, identity)?,
            epoch: Epoch(0),
            changelog: Changelog::default(),
            unsaved: Vec::new(),
            unsaved_rows: 0,
            unsaved_bytes: 0,
            unsaved_rows_min: UNSAVED_ROWS_MIN,
            saved: Epoch(0),
            rebases: false,
            rebase: false,
            watermarks: VecDeque::new(),
            unpublished: Vec::new(),
        })
    }

    /// For a relation that is only loaded as of a checkpoint made after its save: a partial save is harmless.
    pub fn of_a_query(self) -> Self {
        Relation { rebases: true, ..self }
    }

    pub fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }
    pub fn identity(&self) -> &Identity {
        self.rows.identity()
    }
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
    pub fn rows(&self) -> usize {
        self.rows.len()
    }
    pub fn bytes(&self) -> usize {
        let unpublished: usize = self.unpublished.iter().map(|(_, changes)| withdrawing(changes)).sum();
        self.rows.bytes() + self.unsaved_bytes.max(unpublished)
    }

    /// Estimated bytes after `changes`. `None` if no more rows are inserted than retracted: such changes are never
    /// refused, so that what was accepted once is accepted at every start.
    pub fn bytes_after(&self, changes: &Changes) -> Option<usize> {
        let (came, went) = sizes(changes);
        (came > went).then(|| self.bytes_with(changes.rows()).saturating_sub(2 * went))
    }

    /// Bytes of deleted rows that snapshots still hold.
    pub fn held_bytes(&self) -> usize {
        self.rows.held_bytes()
    }

    /// Bytes of unsaved changes.
    pub fn unsaved_bytes(&self) -> usize {
        self.unsaved_bytes
    }

    /// Estimated bytes with more rows.
    pub fn bytes_with(&self, more: &RecordBatch) -> usize {
        self.bytes() + self.rows.bytes_of(more)
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.schema().clone(), self.epoch, self.rows.snapshot(), self.rows.len())
    }

    /// Fails exactly if [`Relation::apply`] would, and changes nothing.
    pub fn check(&self, changes: &Changes) -> Result<()> {
        self.rows.check(changes)
    }

    /// Applies the changes of an epoch. Fails, and is then undefined, if a retracted row does not exist or the key of
    /// an inserted one does.
    pub fn apply(&mut self, epoch: Epoch, changes: &Changes) -> Result<()> {
        debug_assert!(epoch > self.epoch, "epochs only grow");
        let net = self.rows.apply(changes)?;
        self.epoch = epoch;
        if !net.is_empty() {
            if self.changelog.is_open() {
                self.remember(epoch, net.clone());
            }
            self.keep(epoch, net);
        }
        Ok(())
    }

    /// Keeps changes for the next save. Without followers they serve only recovery, which a full base serves as well:
    /// then they are dropped once there are more than rows.
    fn keep(&mut self, epoch: Epoch, net: Changes) {
        self.unpublished.push((epoch, net.clone()));
        self.unsaved_rows += net.num_rows();
        self.unsaved_bytes += withdrawing(&net);
        self.unsaved.push((epoch, net));
        if self.rebases && !self.changelog.is_open() && self.unsaved_rows > self.rows() + self.unsaved_rows_min {
            self.unsaved.clear();
            (self.unsaved_rows, self.unsaved_bytes) = (0, 0);
            (self.saved, self.rebase) = (self.epoch, true);
        }
    }

    /// Records changes for followers. Over the limit the oldest are dropped; a follower that needs them gets an error
    /// and must be recreated.
    fn remember(&mut self, epoch: Epoch, changes: Changes) {
        self.changelog.push(epoch, changes, self.rows.len());
    }

    /// Sets the limit of unsaved rows beyond the number of rows, and the compaction thresholds.
    pub fn set_thresholds(&mut self, unsaved_rows_min: usize, compaction: Compaction) {
        self.unsaved_rows_min = unsaved_rows_min;
        self.rows.set_compaction(compaction);
    }

    /// Sets the limits of the changelog.
    pub fn limit_changelog(&mut self, limit: &ChangelogLimit) {
        self.changelog.limit(limit);
    }

    /// Estimated bytes of the changes after `from`, up to `to`.
    pub fn bytes_of_changes(&self, from: Epoch, to: Epoch) -> usize {
        let filed = self.changelog.files(from).filter(|file| file.after < to).map(|file| file.bytes as usize);
        filed.chain(self.changelog.entries(from, to).map(|(_, changes)| changes.bytes())).sum()
    }

    /// Notes that `epoch` is published.
    pub fn note_published(&mut self, epoch: Epoch) {
        self.unpublished.retain(|(of, _)| *of > epoch);
    }

    /// Per row of `rows`: the id of the present row with its key, if there is one.
    pub fn find(&self, rows: &RecordBatch) -> Result<Vec<Option<Id>>> {
        self.rows.find(rows)
    }

    /// The rows of ids.
    pub fn gather(&self, ids: &[Id]) -> Result<RecordBatch> {
        self.rows.gather(ids)
    }

    /// Notes the watermark of the newest epoch.
    pub fn note_watermark(&mut self, watermark: Option<Micros>) {
        let Some(watermark) = watermark.filter(|w| self.watermarks.back().is_none_or(|(_, last)| w > last)) else {
            return;
        };
        self.watermarks.push_back((self.epoch, watermark));
        if self.watermarks.len() > WATERMARKS_MAX {
            self.watermarks.pop_front();
        }
    }

    /// The watermark after `epoch`; `None` if there was none or it is no longer known: a follower then keeps the one it
    /// has.
    pub fn watermark(&self, epoch: Epoch) -> Option<Micros> {
        let after = self.watermarks.partition_point(|(noted, _)| *noted <= epoch);
        Some(self.watermarks.get(after.checked_sub(1)?)?.1)
    }

    /// Registers a following view that has read the snapshot at `from`, and records changes after it.
    pub fn follow(&mut self, from: Epoch) {
        // First, since without followers nothing is recorded.
        self.changelog.follow(from);
        self.log_from(from);
    }

    /// Opens the changelog after `from`, unless it is open.
    pub fn log_from(&mut self, from: Epoch) {
        if self.changelog.is_open() {
            return;
        }
        self.changelog.open(Some(from));
        let unseen: Vec<_> = self.unpublished.iter().filter(|(epoch, _)| *epoch > from).cloned().collect();
        if self.unsaved.is_empty() && !unseen.is_empty() {
            // They were dropped for a new base, which does not have the last changes.
            self.unsaved_rows += unseen.iter().map(|(_, changes)| changes.num_rows()).sum::<usize>();
            self.unsaved_bytes += unseen.iter().map(|(_, changes)| withdrawing(changes)).sum::<usize>();
            self.unsaved.extend(unseen.iter().cloned());
            self.saved = from;
        }
        for (epoch, changes) in unseen {
            self.remember(epoch, changes);
        }
    }

    /// To be called before loading: takes over the followers and subscribers of `other`, which it is to replace.
    pub fn serve_as(&mut self, other: &Relation) {
        self.changelog.serve_as(&other.changelog);
    }

    /// To be called before loading: keeps a history, since it had subscribers that may reconnect.
    pub fn keep_history(&mut self) {
        self.changelog.keep_history();
        self.log_from(Epoch(0));
    }

    /// Registers a subscriber that has read up to `at` (the snapshot is at `published`); `None` if the changes after
    /// `at` are not kept.
    pub fn subscribe(&mut self, at: Epoch, published: Epoch) -> Option<u64> {
        self.changelog.keep_history();
        self.log_from(published);
        (at >= self.changelog.in_memory()).then(|| self.changelog.join(at))
    }

    pub fn unsubscribe(&mut self, subscriber: u64) {
        self.changelog.leave(subscriber, self.rows.len());
    }

    /// The changes after `from` up to `to`, epoch by epoch: about `rows` rows, but at least one epoch. `None` if they
    /// were dropped.
    pub fn epochs(&self, from: Epoch, to: Epoch, rows: usize) -> Option<Vec<(Epoch, Changes)>> {
        let mut taken = 0;
        let enough = |(_, changes): &&(Epoch, Changes)| {
            let more = taken < rows;
            taken += changes.num_rows();
            more
        };
        let found = || self.changelog.entries(from, to).take_while(enough).cloned().collect();
        (from >= self.changelog.in_memory()).then(found)
    }

    /// Notes that a subscriber has read up to `up_to`.
    pub fn read(&mut self, subscriber: u64, up_to: Epoch) {
        self.changelog.advance(subscriber, up_to, self.rows.len());
    }

    /// The epoch after which changes are kept, if they are.
    pub fn follows_from(&self) -> Option<Epoch> {
        self.changelog.is_open().then_some(self.changelog.forgotten())
    }

    /// Notes that no view follows any more.
    pub fn unfollow(&mut self) {
        self.changelog.unfollow(self.epoch, self.rows.len());
    }

    /// The changes of the epochs after `from` up to `to`. Fails if they were dropped.
    pub fn changes(&self, from: Epoch, to: Epoch) -> Result<ChangelogSlice> {
        if from < self.changelog.forgotten() && from < to {
            return Err(no_longer_kept(from));
        }
        let in_memory = self.changelog.in_memory();
        Ok(ChangelogSlice {
            schema: self.schema().clone(),
            from,
            filed_to: to.min(in_memory),
            files: self.changelog.files(from).filter(|file| file.after < to).map(|file| file.to).collect(),
            entries: self.changelog.entries(from, to).map(|(_, changes)| changes.clone()).collect(),
        })
    }

    /// The epoch a reader reaches from `from`, at most `published`, with about `rows` changed rows but at least one
    /// epoch or file; and the number of changed rows up to `published`.
    pub fn ahead(&self, from: Epoch, published: Epoch, rows: Option<u64>) -> (Epoch, u64) {
        let files = self.changelog.files(from).map(|file| (file.to.min(published), file.rows));
        let last = self.changelog.files(from).last().map_or(from, |file| file.to);
        let entries = self.changelog.entries(last, published).map(|(epoch, changes)| (*epoch, changes.num_rows()));
        let mut to = from;
        let (mut taken, mut backlog) = (0, 0);
        let mut full = false;
        for (epoch, size) in files.chain(entries) {
            let size = size as u64;
            backlog += size;
            full = full || (to > from && rows.is_some_and(|max| taken + size > max));
            if !full {
                (to, taken) = (epoch, taken + size);
            }
        }
        (if full { to } else { published }, backlog)
    }

    /// Notes that all following views have consumed, and checkpointed, up to `up_to`.
    pub fn forget(&mut self, up_to: Epoch) {
        self.changelog.release(up_to, self.rows.len());
    }
}

/// Changes of several epochs, in memory and in files.
#[derive(Debug, Clone)]
pub struct ChangelogSlice {
    schema: SchemaRef,
    from: Epoch,
    /// Epochs up to this one are in files, later ones in memory.
    filed_to: Epoch,
    files: Vec<Epoch>,
    entries: Vec<Changes>,
}

impl ChangelogSlice {
    pub fn is_in_memory(&self) -> bool {
        self.files.is_empty()
    }

    /// All changes, consolidated over the epochs. Blocks on disk unless all are in memory.
    pub fn read(&self, store: &Store) -> Result<Vec<Changes>> {
        let mut found = Vec::new();
        for file in &self.files {
            found.extend(store.changes_in(*file, &self.schema, self.from, self.filed_to)?);
        }
        found.extend(self.entries.iter().cloned());
        if found.len() < 2 || found.iter().all(Changes::is_insert_only) {
            return Ok(found);
        }
        // Consolidated, so that a reader that fails on a row gets past it once the row is retracted.
        let all = Changes::concat(&self.schema, &found)?;
        Ok(vec![net(&all)?])
    }
}

fn no_longer_kept(from: Epoch) -> Error {
    let message = format!("the changes after epoch {from} are no longer kept: the reader is too far behind");
    Error::new(ErrorKind::ObjectNotInState, message)
        .hint("Create another view of the same query beside it, and raise changelog.max_disk.")
}

/// Estimated bytes of inserted and of retracted rows, by the average row.
pub fn sizes(changes: &Changes) -> (usize, usize) {
    let bytes = changes.rows().get_array_memory_size();
    let went = (0..changes.num_rows()).filter(|row| changes.diff(*row) < 0).count();
    let went = bytes / changes.num_rows().max(1) * went;
    (bytes - went, went)
}

/// Bytes of changes that contain retractions, otherwise 0.
fn withdrawing(changes: &Changes) -> usize {
    if changes.is_insert_only() { 0 } else { changes.bytes() }
}
