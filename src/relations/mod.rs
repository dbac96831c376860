//! Relations: the rows of tables and views, for clients, and their changes, for other views and subscribers.
//!
//! A relation is its rows at its latest epoch, and its changelog while something follows it. A snapshot shares the rows
//! and never blocks a writer.

mod changelog;
mod shared;
mod snapshot;
mod store;
mod subscriber;

use std::{
    collections::{HashSet, VecDeque},
    sync,
};

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
};

use changelog::Changelog;
pub use changelog::ChangelogLimit;
pub use shared::{SharedRelation, SnapshotBarrier, at_one_moment};
pub use snapshot::{Snapshot, SnapshotChunk};
pub use store::{Draft, Store};
pub use subscriber::Subscriber;

use crate::{
    changes::{Changes, canonical},
    error::{Error, ErrorKind, Result},
    state::{Chunks, Compaction, EncodedKeys, Id, Index, KeyEncoder, consolidate, net},
    time::{Epoch, Micros},
};

/// How the row of a retraction is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// There are no retractions.
    AppendOnly,
    /// By a unique key: positions of its columns.
    Key(Vec<usize>),
    /// By all columns; equal rows are interchangeable.
    Row,
}

/// The contents of a table or view.
#[derive(Debug)]
pub struct Relation {
    schema: SchemaRef,
    identity: Identity,
    chunks: Chunks,
    index: Index,
    keys: Option<KeyEncoder>,
    next: Id,
    epoch: Epoch,
    changelog: Changelog,
    /// Changes not saved to files, oldest first.
    unsaved: Vec<(Epoch, Changes)>,
    unsaved_rows: usize,
    /// Bytes of those with retractions; insertions alone are in `chunks` as well.
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

/// Bytes of a row besides its columns: its address, and an index entry with a short key.
const PLACE_BYTES: usize = 8;
const INDEXED_BYTES: usize = PLACE_BYTES + 56;

/// Watermarks kept for followers.
const WATERMARKS_MAX: usize = 4096;

/// Default of unsaved changed rows beyond the number of rows of the relation.
pub const UNSAVED_ROWS_MIN: usize = 1 << 16;

impl Relation {
    pub fn new(schema: SchemaRef, identity: Identity) -> Result<Self> {
        let keys = match &identity {
            Identity::AppendOnly => None,
            Identity::Key(columns) => Some(KeyEncoder::new(&schema, Some(columns))?),
            Identity::Row => Some(KeyEncoder::new(&schema, None)?),
        };
        Ok(Relation {
            chunks: Chunks::new(schema.clone()),
            schema,
            identity,
            index: Index::default(),
            keys,
            next: 0,
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
        &self.schema
    }
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
    pub fn rows(&self) -> usize {
        self.chunks.rows()
    }
    pub fn bytes(&self) -> usize {
        let unpublished: usize = self.unpublished.iter().map(|(_, changes)| withdrawing(changes)).sum();
        self.chunks.bytes() + self.index.memory() + self.unsaved_bytes.max(unpublished)
    }

    /// Estimated bytes after `changes`. `None` if no more rows are inserted than retracted: such changes are never
    /// refused, so that what was accepted once is accepted at every start.
    pub fn bytes_after(&self, changes: &Changes) -> Option<usize> {
        let (came, went) = sizes(changes);
        (came > went).then(|| self.bytes_with(changes.rows()).saturating_sub(2 * went))
    }

    /// Bytes of deleted rows that snapshots still hold.
    pub fn held_bytes(&self) -> usize {
        self.chunks.held_bytes()
    }

    /// Bytes of unsaved changes.
    pub fn unsaved_bytes(&self) -> usize {
        self.unsaved_bytes
    }

    /// Estimated bytes with more rows.
    pub fn bytes_with(&self, more: &RecordBatch) -> usize {
        let place = if self.keys.is_some() { INDEXED_BYTES } else { PLACE_BYTES };
        self.bytes() + more.get_array_memory_size() + more.num_rows() * place
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.schema.clone(), self.epoch, self.chunks.snapshot(), self.chunks.rows())
    }

    /// Fails exactly if [`Relation::apply`] would, and changes nothing. Looks up retracted rows and the keys of
    /// insertions; for append-only changes it does nothing.
    pub fn check(&self, changes: &Changes) -> Result<()> {
        match (&self.identity, &self.keys) {
            _ if changes.is_insert_only() => Ok(()),
            (Identity::Key(_), _) => self.check_keys(changes),
            (Identity::Row, Some(encoder)) => self.check_rows(changes, encoder),
            _ => Err(Error::internal("a row was withdrawn from an append-only relation")),
        }
    }

    fn check_rows(&self, changes: &Changes, encoder: &KeyEncoder) -> Result<()> {
        let (net, keys) = consolidate(changes, encoder)?;
        let keys = keys.map_or_else(|| encoder.encode(net.rows().columns()), Ok)?;
        let mut row = 0;
        while row < net.num_rows() {
            // Equal rows are consecutive.
            let key = keys.rows.row(row);
            let same = (row..net.num_rows()).take_while(|other| keys.rows.row(*other) == key).count();
            let there = || self.index.find_all(keys.hashes[row], key.as_ref()).take(same).count();
            if net.diff(row) < 0 && there() < same {
                return Err(not_there());
            }
            row += same;
        }
        Ok(())
    }

    fn check_keys(&self, changes: &Changes) -> Result<()> {
        let keys = self.keys_of(changes.rows())?;
        let (mut gone, mut came) = (HashSet::new(), HashSet::new());
        for row in (0..changes.num_rows()).filter(|row| changes.diff(*row) < 0) {
            let key = keys.rows.row(row);
            if self.index.find(keys.hashes[row], key.as_ref()).is_none() || !gone.insert(key) {
                return Err(not_there());
            }
        }
        for row in (0..changes.num_rows()).filter(|row| changes.diff(*row) > 0) {
            let key = keys.rows.row(row);
            let taken = !gone.contains(&key) && self.index.find(keys.hashes[row], key.as_ref()).is_some();
            if taken || !came.insert(key) {
                return Err(key_taken());
            }
        }
        Ok(())
    }

    /// Applies the changes of an epoch. Fails, and is then undefined, if a retracted row does not exist or the key of
    /// an inserted one does.
    pub fn apply(&mut self, epoch: Epoch, changes: &Changes) -> Result<()> {
        debug_assert!(epoch > self.epoch, "epochs only grow");
        let net = match (&self.identity, &self.keys) {
            (Identity::Row, Some(encoder)) => {
                let (net, keys) = consolidate(changes, encoder)?;
                self.change_rows(&net, keys)?;
                net
            }
            _ => {
                self.change(changes)?;
                changes.clone()
            }
        };
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
        self.changelog.push(epoch, changes, self.chunks.rows());
    }

    /// Sets the limit of unsaved rows beyond the number of rows, and the compaction thresholds.
    pub fn set_thresholds(&mut self, unsaved_rows_min: usize, compaction: Compaction) {
        self.unsaved_rows_min = unsaved_rows_min;
        self.chunks.set_compaction(compaction);
        self.index.set_compaction(compaction);
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

    /// Applies consolidated changes: retractions first.
    fn change(&mut self, net: &Changes) -> Result<()> {
        match self.identity {
            _ if net.is_empty() => Ok(()),
            Identity::AppendOnly if net.is_insert_only() => {
                let next = Id::try_from(net.num_rows()).ok().and_then(|rows| self.next.checked_add(rows));
                let next = next.ok_or_else(too_many)?;
                let ids: Vec<Id> = (self.next..next).collect();
                self.next = next;
                self.chunks.append(net.rows(), &ids)
            }
            Identity::AppendOnly => Err(Error::internal("a row was withdrawn from an append-only relation")),
            Identity::Key(_) => self.change_keys(net),
            Identity::Row => self.change_rows(net, None),
        }
    }

    /// By all columns. `keys` are those of the rows, where they are at hand.
    fn change_rows(&mut self, net: &Changes, keys: Option<EncodedKeys>) -> Result<()> {
        let keys = match (keys, &self.keys) {
            (Some(keys), _) => keys,
            (None, Some(encoder)) => encoder.encode(net.rows().columns())?,
            (None, None) => return Err(Error::internal("a relation has no keys")),
        };
        for row in (0..net.num_rows()).filter(|row| net.diff(*row) < 0) {
            let id = self.index.find(keys.hashes[row], keys.rows.row(row).as_ref()).ok_or_else(not_there)?;
            self.chunks.kill(id);
            self.index.remove(id);
        }
        let insert = |row: usize| self.index.insert(keys.hashes[row], keys.rows.row(row).as_ref());
        let ids: Vec<Id> = (0..net.num_rows()).filter(|row| net.diff(*row) > 0).map(insert).collect();
        self.append(net, &ids)
    }

    /// For [`Identity::Key`]: mostly a row is replaced by another of the same key, which keeps its id.
    fn change_keys(&mut self, net: &Changes) -> Result<()> {
        let keys = self.keys_of(net.rows())?;
        let find = |index: &Index, row: usize| index.find(keys.hashes[row], keys.rows.row(row).as_ref());
        let mut gone = Vec::new();
        for row in (0..net.num_rows()).filter(|row| net.diff(*row) < 0) {
            let id = find(&self.index, row).ok_or_else(not_there)?;
            debug_assert!(self.holds(id, net, row), "a row was withdrawn that is another now");
            self.chunks.kill(id);
            gone.push(id);
        }
        let mut ids = Vec::with_capacity(net.num_rows() - gone.len());
        // Retractions and insertions are mostly in the same key order: comparing with the next retraction saves an
        // index lookup.
        let mut went = (0..net.num_rows()).filter(|row| net.diff(*row) < 0).zip(&gone).peekable();
        for row in (0..net.num_rows()).filter(|row| net.diff(*row) > 0) {
            let beside = went.next_if(|(old, _)| keys.rows.row(*old) == keys.rows.row(row));
            let id = beside.map(|(_, id)| *id).or_else(|| find(&self.index, row));
            let id = id.unwrap_or_else(|| self.index.insert(keys.hashes[row], keys.rows.row(row).as_ref()));
            if !self.chunks.reserve(id) {
                return Err(key_taken());
            }
            ids.push(id);
        }
        self.append(net, &ids)?;
        gone.into_iter().filter(|id| !self.chunks.contains(*id)).for_each(|id| self.index.remove(id));
        Ok(())
    }

    /// Stores the inserted rows under `ids`.
    fn append(&mut self, net: &Changes, ids: &[Id]) -> Result<()> {
        if ids.len() == net.num_rows() {
            return self.chunks.append(net.rows(), ids);
        }
        let came: UInt32Array = (0..net.num_rows() as u32).filter(|row| net.diff(*row as usize) > 0).collect();
        self.chunks.append(&take_record_batch(net.rows(), &came)?, ids)
    }

    fn keys_of(&self, rows: &RecordBatch) -> Result<EncodedKeys> {
        let (Identity::Key(key), Some(encoder)) = (&self.identity, &self.keys) else {
            return Err(Error::internal("a relation has no key"));
        };
        let columns = key.iter().map(|c| canonical(rows.column(*c))).collect::<Result<Vec<_>>>()?;
        encoder.encode(&columns)
    }

    /// Whether the row of `id` equals a row of `changes`.
    fn holds(&self, id: Id, changes: &Changes, row: usize) -> bool {
        let bytes = |batch: &RecordBatch| KeyEncoder::new(&self.schema, None).ok()?.encode(batch.columns()).ok();
        let (own, other) = (self.chunks.gather(&[id]), changes.rows().slice(row, 1));
        let own = own.ok().and_then(|own| bytes(&own));
        // A type that cannot be encoded is not compared.
        own.zip(bytes(&other)).is_none_or(|(own, other)| own.rows.row(0) == other.rows.row(0))
    }

    /// Per row of `rows`: the id of the present row with its key, if there is one.
    pub fn find(&self, rows: &RecordBatch) -> Result<Vec<Option<Id>>> {
        if !matches!(self.identity, Identity::Key(_)) {
            return Ok(vec![None; rows.num_rows()]);
        }
        let EncodedKeys { rows, hashes } = self.keys_of(rows)?;
        Ok(rows.iter().zip(hashes).map(|(key, hash)| self.index.find(hash, key.as_ref())).collect())
    }

    /// The rows of ids.
    pub fn gather(&self, ids: &[Id]) -> Result<RecordBatch> {
        self.chunks.gather(ids)
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
        self.changelog.leave(subscriber, self.chunks.rows());
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
        self.changelog.advance(subscriber, up_to, self.chunks.rows());
    }

    /// The epoch after which changes are kept, if they are.
    pub fn follows_from(&self) -> Option<Epoch> {
        self.changelog.is_open().then_some(self.changelog.forgotten())
    }

    /// Notes that no view follows any more.
    pub fn unfollow(&mut self) {
        self.changelog.unfollow(self.epoch, self.chunks.rows());
    }

    /// The changes of the epochs after `from` up to `to`. Fails if they were dropped.
    pub fn changes(&self, from: Epoch, to: Epoch) -> Result<ChangelogSlice> {
        if from < self.changelog.forgotten() && from < to {
            return Err(no_longer_kept(from));
        }
        let in_memory = self.changelog.in_memory();
        Ok(ChangelogSlice {
            schema: self.schema.clone(),
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
        self.changelog.release(up_to, self.chunks.rows());
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

fn key_taken() -> Error {
    Error::internal("a row came whose key is taken")
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

fn too_many() -> Error {
    let message = format!("a table or view cannot have more than {} rows in all its time", Id::MAX);
    Error::new(ErrorKind::LimitExceeded, message)
        .hint("Create another one: rows that went count, too, where it is append-only.")
}

fn not_there() -> Error {
    Error::internal("a row was withdrawn that is not there")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Int64Array, RecordBatch},
        datatypes::{DataType, Field, Schema},
    };

    use super::*;

    #[test]
    fn append_only_relation_out_of_ids_refuses_new_rows() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let mut relation = Relation::new(schema.clone(), Identity::AppendOnly).unwrap();
        let rows = |n: i64| {
            let column = Arc::new(Int64Array::from_iter_values(0..n)) as ArrayRef;
            Changes::insert(RecordBatch::try_new(schema.clone(), vec![column]).unwrap())
        };
        relation.apply(Epoch(1), &rows(3)).unwrap();
        relation.next = Id::MAX - 3;
        let error = relation.apply(Epoch(2), &rows(5)).unwrap_err();
        assert_eq!((error.kind(), relation.rows()), (ErrorKind::LimitExceeded, 3));
    }
}
