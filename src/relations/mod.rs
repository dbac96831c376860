//! Tables and views: what clients read, and what other views follow.
//!
//! A relation is its rows at its latest epoch, and its changelog for as long as somebody follows it. A snapshot shares
//! the rows and never blocks a writer.

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
    row::RowConverter,
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
    state::{Chunks, Compaction, Id, Index, KeyCodec, consolidate, converter_of, net},
    time::{Epoch, Micros},
};

/// How rows are found again when they are withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// They never are.
    AppendOnly,
    /// By some columns, which no two rows share.
    Key(Vec<usize>),
    /// By all columns; equal rows are as good as one another.
    Row,
}

/// The contents of a table or view.
#[derive(Debug)]
pub struct Relation {
    schema: SchemaRef,
    identity: Identity,
    chunks: Chunks,
    index: Index,
    keys: Option<RowConverter>,
    next: Id,
    epoch: Epoch,
    changelog: Changelog,
    /// What no file holds yet, oldest first.
    unsaved: Vec<(Epoch, Changes)>,
    unsaved_rows: usize,
    /// What those of them take that withdraw rows: what only comes is in the chunks, about.
    unsaved_bytes: usize,
    /// So many more than the relation has rows.
    unsaved_rows_min: usize,
    /// The epoch that they begin after.
    saved: Epoch,
    /// Whether `unsaved` may be given up, for a new base, where it is more than all rows are; and whether it was.
    rebases: bool,
    rebase: bool,
    /// The watermark of its query after each epoch that moved it; the newest ones.
    watermarks: VecDeque<(Epoch, Micros)>,
    /// The changes of the epochs that were not published yet: who begins to follow has not seen them.
    unpublished: Vec<(Epoch, Changes)>,
}

/// What a row costs besides its columns: its place, and its entry in an index with a short key.
const PLACE_BYTES: usize = 8;
const INDEXED_BYTES: usize = PLACE_BYTES + 56;

/// Watermarks that are kept for followers.
const WATERMARKS_MAX: usize = 4096;

/// Changes are kept for the next save up to this many rows more than the relation has, unless it is told otherwise.
pub const UNSAVED_ROWS_MIN: usize = 1 << 16;

impl Relation {
    pub fn new(schema: SchemaRef, identity: Identity) -> Result<Self> {
        let keys = match &identity {
            Identity::AppendOnly => None,
            Identity::Key(columns) => Some(converter_of(&schema, Some(columns))?),
            Identity::Row => Some(converter_of(&schema, None)?),
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

    /// For a relation that is only ever loaded as of a checkpoint made after its save: half a save does no harm.
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

    /// About what it would hold with changes. `None` where no more comes than goes: these are never refused, so that what
    /// was taken once is taken again at every start.
    pub fn bytes_after(&self, changes: &Changes) -> Option<usize> {
        let (came, went) = sizes(changes);
        (came > went).then(|| self.bytes_with(changes.rows()).saturating_sub(2 * went))
    }

    /// What snapshots hold of rows that are gone.
    pub fn held_bytes(&self) -> usize {
        self.chunks.held_bytes()
    }

    /// What changes take that wait to be saved.
    pub fn unsaved_bytes(&self) -> usize {
        self.unsaved_bytes
    }

    /// About what it would hold with more rows.
    pub fn bytes_with(&self, more: &RecordBatch) -> usize {
        let place = if self.keys.is_some() { INDEXED_BYTES } else { PLACE_BYTES };
        self.bytes() + more.get_array_memory_size() + more.num_rows() * place
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.schema.clone(), self.epoch, self.chunks.snapshot(), self.chunks.rows())
    }

    /// Fails, and touches nothing, where [`Relation::apply`] would fail. Costs a look at what is withdrawn and at the keys
    /// that take its place; what only comes is not looked at.
    pub fn check(&self, changes: &Changes) -> Result<()> {
        match (&self.identity, &self.keys) {
            _ if changes.is_insert_only() => Ok(()),
            (Identity::Key(_), _) => self.check_keys(changes),
            (Identity::Row, Some(converter)) => self.check_rows(changes, converter),
            _ => Err(Error::internal("a row was withdrawn from an append-only relation")),
        }
    }

    fn check_rows(&self, changes: &Changes, converter: &RowConverter) -> Result<()> {
        let (net, keys) = consolidate(changes, converter)?;
        let keys = keys.map_or_else(|| KeyCodec::new(converter, net.rows().columns()), Ok)?;
        let mut row = 0;
        while row < net.num_rows() {
            // Rows that are equal lie together.
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

    /// Applies the changes of an epoch. Fails, and is then undefined, if a row is withdrawn that is not there, or if
    /// one comes whose key is taken.
    pub fn apply(&mut self, epoch: Epoch, changes: &Changes) -> Result<()> {
        debug_assert!(epoch > self.epoch, "epochs only grow");
        let net = match (&self.identity, &self.keys) {
            (Identity::Row, Some(converter)) => {
                let (net, keys) = consolidate(changes, converter)?;
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

    /// Keeps changes for the next save. Where nobody follows they serve recovery alone, and all rows do so too.
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

    /// Keeps changes for followers. Past the limit the oldest go: a follower that is so far behind is told so, and is to
    /// be made again.
    fn remember(&mut self, epoch: Epoch, changes: Changes) {
        self.changelog.push(epoch, changes, self.chunks.rows());
    }

    /// How many changes may wait for a save, above as many as there are rows, and when its rows are put in order anew.
    pub fn set_thresholds(&mut self, unsaved_rows_min: usize, compaction: Compaction) {
        self.unsaved_rows_min = unsaved_rows_min;
        self.chunks.set_compaction(compaction);
        self.index.set_compaction(compaction);
    }

    /// The most that is kept for followers.
    pub fn limit_changelog(&mut self, limit: &ChangelogLimit) {
        self.changelog.limit(limit);
    }

    /// About what the changes after an epoch take, up to another.
    pub fn bytes_of_changes(&self, from: Epoch, to: Epoch) -> usize {
        let filed = self.changelog.files(from).filter(|file| file.after < to).map(|file| file.bytes as usize);
        filed.chain(self.changelog.entries(from, to).map(|(_, changes)| changes.bytes())).sum()
    }

    /// Everybody sees an epoch now.
    pub fn note_published(&mut self, epoch: Epoch) {
        self.unpublished.retain(|(of, _)| *of > epoch);
    }

    /// Removes, then adds, the rows of consolidated changes.
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
    fn change_rows(&mut self, net: &Changes, keys: Option<KeyCodec>) -> Result<()> {
        let keys = match (keys, &self.keys) {
            (Some(keys), _) => keys,
            (None, Some(converter)) => KeyCodec::new(converter, net.rows().columns())?,
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

    /// By key: in most changes the row of a key goes and another comes, whose place in the index is then the same.
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
        // The rows that go and those that come are most often in one order of keys: a look beside saves one into the index.
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

    /// Adds the rows that came, under ids.
    fn append(&mut self, net: &Changes, ids: &[Id]) -> Result<()> {
        if ids.len() == net.num_rows() {
            return self.chunks.append(net.rows(), ids);
        }
        let came: UInt32Array = (0..net.num_rows() as u32).filter(|row| net.diff(*row as usize) > 0).collect();
        self.chunks.append(&take_record_batch(net.rows(), &came)?, ids)
    }

    fn keys_of(&self, rows: &RecordBatch) -> Result<KeyCodec> {
        let (Identity::Key(key), Some(converter)) = (&self.identity, &self.keys) else {
            return Err(Error::internal("a relation has no key"));
        };
        let columns = key.iter().map(|c| canonical(rows.column(*c))).collect::<Result<Vec<_>>>()?;
        KeyCodec::new(converter, &columns)
    }

    /// Whether an id's row is a row of some changes.
    fn holds(&self, id: Id, changes: &Changes, row: usize) -> bool {
        let bytes = |batch: &RecordBatch| KeyCodec::new(&converter_of(&self.schema, None).ok()?, batch.columns()).ok();
        let (own, other) = (self.chunks.gather(&[id]), changes.rows().slice(row, 1));
        let own = own.ok().and_then(|own| bytes(&own));
        // A type that has no bytes is not compared.
        own.zip(bytes(&other)).is_none_or(|(own, other)| own.rows.row(0) == other.rows.row(0))
    }

    /// The rows that now have the same key as some others have; each of these at its place, or `None`.
    pub fn find(&self, rows: &RecordBatch) -> Result<Vec<Option<Id>>> {
        if !matches!(self.identity, Identity::Key(_)) {
            return Ok(vec![None; rows.num_rows()]);
        }
        let KeyCodec { rows, hashes } = self.keys_of(rows)?;
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

    /// The watermark after an epoch; `None` where there was none, or where it is too long ago to be known: a follower
    /// then goes by the one that it has.
    pub fn watermark(&self, epoch: Epoch) -> Option<Micros> {
        let after = self.watermarks.partition_point(|(noted, _)| *noted <= epoch);
        Some(self.watermarks.get(after.checked_sub(1)?)?.1)
    }

    /// From now on changes are kept for a view that follows: those after `from`, which it has just read.
    pub fn follow(&mut self, from: Epoch) {
        // First: nothing is kept for nobody.
        self.changelog.follow(from);
        self.log_from(from);
    }

    /// Opens the changelog, if it is not open yet.
    pub fn log_from(&mut self, from: Epoch) {
        if self.changelog.is_open() {
            return;
        }
        self.changelog.open(Some(from));
        let unseen: Vec<_> = self.unpublished.iter().filter(|(epoch, _)| *epoch > from).cloned().collect();
        if self.unsaved.is_empty() && !unseen.is_empty() {
            // They were given up for a new base, which does not tell what came last.
            self.unsaved_rows += unseen.iter().map(|(_, changes)| changes.num_rows()).sum::<usize>();
            self.unsaved_bytes += unseen.iter().map(|(_, changes)| withdrawing(changes)).sum::<usize>();
            self.unsaved.extend(unseen.iter().cloned());
            self.saved = from;
        }
        for (epoch, changes) in unseen {
            self.remember(epoch, changes);
        }
    }

    /// Before it is loaded: it serves the followers and subscribers of another one, whose place it is to take.
    pub fn serve_as(&mut self, other: &Relation) {
        self.changelog.serve_as(&other.changelog);
    }

    /// Before it is loaded: somebody has subscribed to it once, and may come back.
    pub fn keep_history(&mut self) {
        self.changelog.keep_history();
        self.log_from(Epoch(0));
    }

    /// A place for a subscriber who has read up to `at`, and sees no more than was `published`; `None` where what comes
    /// after `at` is not kept.
    pub fn subscribe(&mut self, at: Epoch, published: Epoch) -> Option<u64> {
        self.changelog.keep_history();
        self.log_from(published);
        (at >= self.changelog.in_memory()).then(|| self.changelog.join(at))
    }

    pub fn unsubscribe(&mut self, subscriber: u64) {
        self.changelog.leave(subscriber, self.chunks.rows());
    }

    /// The changes after `from` up to `to`, epoch by epoch: about `rows` of them, but at least an epoch. `None` where they
    /// were forgotten.
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

    /// A subscriber has read up to here.
    pub fn read(&mut self, subscriber: u64, up_to: Epoch) {
        self.changelog.advance(subscriber, up_to, self.chunks.rows());
    }

    /// Where the changelog begins, if changes are kept.
    pub fn follows_from(&self) -> Option<Epoch> {
        self.changelog.is_open().then_some(self.changelog.forgotten())
    }

    /// No view follows any more.
    pub fn unfollow(&mut self) {
        self.changelog.unfollow(self.epoch, self.chunks.rows());
    }

    /// The changes of the epochs after `from` up to `to`. Fails where they were forgotten.
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

    /// How far a reader gets from `from`, up to `published`, with about `rows` changed rows at the most but at least
    /// one epoch, or a file of them; and about how many rows were changed up to `published` in all.
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

    /// Every view that follows has read, and checkpointed, up to here.
    pub fn forget(&mut self, up_to: Epoch) {
        self.changelog.release(up_to, self.chunks.rows());
    }
}

/// Changes of several epochs, in memory and in files.
#[derive(Debug, Clone)]
pub struct ChangelogSlice {
    schema: SchemaRef,
    from: Epoch,
    /// What comes up to here is in files, the rest in memory.
    filed_to: Epoch,
    files: Vec<Epoch>,
    entries: Vec<Changes>,
}

impl ChangelogSlice {
    pub fn is_in_memory(&self) -> bool {
        self.files.is_empty()
    }

    /// All of them; what came and went between the epochs is left out. Blocking, where not all are in memory.
    pub fn read(&self, store: &Store) -> Result<Vec<Changes>> {
        let mut found = Vec::new();
        for file in &self.files {
            found.extend(store.changes_in(*file, &self.schema, self.from, self.filed_to)?);
        }
        found.extend(self.entries.iter().cloned());
        if found.len() < 2 || found.iter().all(Changes::is_insert_only) {
            return Ok(found);
        }
        // A reader that fails on a row gets past it once the row is gone.
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

/// The bytes of the rows that come, and of those that go; about, where a row is as large as another.
pub fn sizes(changes: &Changes) -> (usize, usize) {
    let bytes = changes.rows().get_array_memory_size();
    let went = (0..changes.num_rows()).filter(|row| changes.diff(*row) < 0).count();
    let went = bytes / changes.num_rows().max(1) * went;
    (bytes - went, went)
}

/// What changes take, where some of them withdraw rows.
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
