//! Tables and views: what clients read, and what other views follow.
//!
//! A relation is its rows at its latest epoch, and its changelog for as long as somebody follows it. A snapshot shares
//! the rows and never blocks a writer.

mod snapshot;
mod store;

use std::{collections::VecDeque, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
    row::{RowConverter, Rows, SortField},
};
use hashbrown::HashTable;

pub use snapshot::Snapshot;
pub use store::{Draft, Store};

use crate::{
    changes::Changes,
    error::{Error, Kind, Result},
    state::{Chunks, Id, Index},
    time::Epoch,
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
    /// The changes of past epochs that a follower may still ask for, oldest first.
    changelog: VecDeque<(Epoch, Changes)>,
    /// Changes up to here are not kept in the changelog.
    forgotten: Epoch,
    followed: bool,
    /// Changed rows in the changelog now, and at the most.
    changelog_rows: usize,
    changelog_rows_max: usize,
    /// What no file holds yet, oldest first.
    unsaved: Vec<(Epoch, Changes)>,
    unsaved_rows: usize,
    /// Whether `unsaved` may be given up, for a new base, where it is more than all rows are; and whether it was.
    rebases: bool,
    rebase: bool,
    /// The changes of the newest epoch: who begins to follow may not have seen it yet.
    newest: Option<(Epoch, Changes)>,
}

/// Changes are kept for the next save up to this many rows more than the relation has.
const UNSAVED_ROWS_MIN: usize = 1 << 16;

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
            changelog: VecDeque::new(),
            forgotten: Epoch(0),
            followed: false,
            changelog_rows: 0,
            changelog_rows_max: usize::MAX,
            unsaved: Vec::new(),
            unsaved_rows: 0,
            rebases: false,
            rebase: false,
            newest: None,
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
        self.chunks.bytes() + self.index.memory()
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.schema.clone(), self.epoch, self.chunks.snapshot(), self.chunks.rows())
    }

    /// Applies the changes of an epoch. Fails, and is then undefined, if a row is withdrawn that is not there.
    pub fn apply(&mut self, epoch: Epoch, changes: &Changes) -> Result<()> {
        debug_assert!(epoch > self.epoch, "epochs only grow");
        let (net, keys) = match (&self.identity, &self.keys) {
            (Identity::AppendOnly, _) if changes.is_insert_only() => (changes.clone(), None),
            (Identity::AppendOnly, _) => {
                return Err(Error::internal("a row was withdrawn from an append-only relation"));
            }
            (Identity::Row, Some(converter)) => consolidate(changes, converter)?,
            _ => (consolidate(changes, &converter_of(&self.schema, None)?)?.0, None),
        };
        self.change(&net, keys)?;
        self.epoch = epoch;
        if !net.is_empty() {
            if self.followed {
                self.remember(epoch, net.clone());
            }
            self.keep(epoch, net);
        }
        Ok(())
    }

    /// Keeps changes for the next save. Where nobody follows they serve recovery alone, and all rows do so too.
    fn keep(&mut self, epoch: Epoch, net: Changes) {
        self.newest = Some((epoch, net.clone()));
        self.unsaved_rows += net.num_rows();
        self.unsaved.push((epoch, net));
        if self.rebases && !self.followed && self.unsaved_rows > self.rows() + UNSAVED_ROWS_MIN {
            self.unsaved.clear();
            self.unsaved_rows = 0;
            self.rebase = true;
        }
    }

    /// Keeps changes for followers. Past the limit the oldest go: a follower that is so far behind is told so, and is to
    /// be made again.
    fn remember(&mut self, epoch: Epoch, changes: Changes) {
        self.changelog_rows += changes.num_rows();
        self.changelog.push_back((epoch, changes));
        while self.changelog_rows > self.changelog_rows_max && self.changelog.len() > 1 {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((epoch, changes)) = self.changelog.pop_front() {
            self.changelog_rows -= changes.num_rows();
            self.forgotten = self.forgotten.max(epoch);
        }
    }

    /// The most changed rows that are kept for followers.
    pub fn limit_changelog(&mut self, rows_max: usize) {
        self.changelog_rows_max = rows_max;
    }

    /// Removes, then adds, the rows of consolidated changes. `keys` are theirs, where they are at hand.
    fn change(&mut self, net: &Changes, keys: Option<Keys>) -> Result<()> {
        if net.is_empty() {
            return Ok(());
        }
        let Some(converter) = &self.keys else {
            let ids: Vec<Id> = (self.next..).take(net.num_rows()).collect();
            self.next += net.num_rows() as Id;
            return self.chunks.append(net.rows(), &ids);
        };
        let keys = match (keys, &self.identity) {
            (Some(keys), _) => keys,
            (None, Identity::Key(key)) => {
                let columns: Vec<_> = key.iter().map(|c| net.rows().column(*c).clone()).collect();
                Keys::new(converter, &columns)?
            }
            (None, _) => Keys::new(converter, net.rows().columns())?,
        };
        for row in (0..net.num_rows()).filter(|row| net.diff(*row) < 0) {
            let id = self.index.find(keys.hashes[row], keys.rows.row(row).as_ref());
            let id = id.ok_or_else(|| Error::internal("a row was withdrawn that is not there"))?;
            self.chunks.kill(id);
            self.index.remove(id);
        }
        let added: Vec<u32> = (0..net.num_rows() as u32).filter(|row| net.diff(*row as usize) > 0).collect();
        let insert = |row: &u32| self.index.insert(keys.hashes[*row as usize], keys.rows.row(*row as usize).as_ref());
        let ids: Vec<Id> = added.iter().map(insert).collect();
        if added.len() == net.num_rows() {
            return self.chunks.append(net.rows(), &ids);
        }
        self.chunks.append(&take_record_batch(net.rows(), &UInt32Array::from(added))?, &ids)
    }

    /// The rows that now have the same key as some others have; each of these at its place, or `None`.
    pub fn find(&self, rows: &RecordBatch) -> Result<Vec<Option<Id>>> {
        let (Identity::Key(key), Some(converter)) = (&self.identity, &self.keys) else {
            return Ok(vec![None; rows.num_rows()]);
        };
        let columns: Vec<_> = key.iter().map(|c| rows.column(*c).clone()).collect();
        let keys = converter.convert_columns(&columns)?;
        Ok(keys.iter().map(|key| self.index.find(Index::hash(key.as_ref()), key.as_ref())).collect())
    }

    /// The rows of ids.
    pub fn gather(&self, ids: &[Id]) -> Result<RecordBatch> {
        self.chunks.gather(ids)
    }

    /// From now on changes are kept for followers: those after `from`, which a follower has just read.
    pub fn follow(&mut self, from: Epoch) {
        if !self.followed {
            self.followed = true;
            self.forgotten = from;
            let missed = self.newest.clone().filter(|(epoch, _)| *epoch > from);
            missed.into_iter().for_each(|(epoch, changes)| self.remember(epoch, changes));
        }
    }

    /// Where the changelog begins, if anybody follows.
    pub fn follows_from(&self) -> Option<Epoch> {
        self.followed.then_some(self.forgotten)
    }

    /// Nobody follows any more.
    pub fn unfollow(&mut self) {
        self.followed = false;
        self.changelog.clear();
        self.changelog_rows = 0;
        self.forgotten = self.epoch;
    }

    /// The changes of the epochs after `from` up to `to`; what came and went between them is left out. Fails where they
    /// were forgotten.
    pub fn changes(&self, from: Epoch, to: Epoch) -> Result<Vec<Changes>> {
        if from < self.forgotten && from < to {
            return Err(Error::new(
                Kind::ObjectNotInState,
                format!("the changes after epoch {from} are no longer kept: the reader is too far behind"),
            )
            .hint("Drop the view that reads them and create it again, or raise changelog.max_rows."));
        }
        let found: Vec<Changes> = self.logged(from, to).map(|(_, changes)| changes.clone()).collect();
        if found.len() < 2 || found.iter().all(Changes::is_insert_only) {
            return Ok(found);
        }
        // A reader that fails on a row gets past it once the row is gone.
        let all = Changes::concat(&self.schema, &found)?;
        Ok(vec![consolidate(&all, &converter_of(&self.schema, None)?)?.0])
    }

    /// The entries of the changelog after `from` up to `to`.
    fn logged(&self, from: Epoch, to: Epoch) -> impl Iterator<Item = &(Epoch, Changes)> {
        let end = self.changelog.partition_point(|(epoch, _)| *epoch <= to);
        let start = self.changelog.partition_point(|(epoch, _)| *epoch <= from).min(end);
        self.changelog.range(start..end)
    }

    /// How far a reader gets from `from`, up to `published`, with about `rows` changed rows at the most but at least
    /// one epoch; and the changed rows up to `published` in all.
    pub fn ahead(&self, from: Epoch, published: Epoch, rows: Option<u64>) -> (Epoch, u64) {
        let mut to = from;
        let (mut taken, mut backlog) = (0, 0);
        let mut full = false;
        for (epoch, changes) in self.logged(from, published) {
            let size = changes.num_rows() as u64;
            backlog += size;
            full = full || (to > from && rows.is_some_and(|max| taken + size > max));
            if !full {
                (to, taken) = (*epoch, taken + size);
            }
        }
        (if full { to } else { published }, backlog)
    }

    /// Every follower has read, and checkpointed, up to here.
    pub fn forget(&mut self, up_to: Epoch) {
        while self.changelog.front().is_some_and(|(epoch, _)| *epoch <= up_to) {
            self.forget_oldest();
        }
        self.forgotten = self.forgotten.max(up_to);
    }
}

/// Keys in the form that an index takes.
struct Keys {
    rows: Rows,
    hashes: Vec<u64>,
}

impl Keys {
    fn new(converter: &RowConverter, columns: &[ArrayRef]) -> Result<Keys> {
        let rows = converter.convert_columns(columns)?;
        let hashes = rows.iter().map(|row| Index::hash(row.as_ref())).collect();
        Ok(Keys { rows, hashes })
    }
}

/// For some columns, or for all.
fn converter_of(schema: &SchemaRef, columns: Option<&[usize]>) -> Result<RowConverter> {
    let sort = |column: usize| SortField::new(schema.field(column).data_type().clone());
    let fields = match columns {
        Some(columns) => columns.iter().map(|column| sort(*column)).collect(),
        None => (0..schema.fields().len()).map(sort).collect(),
    };
    Ok(RowConverter::new(fields)?)
}

/// The same sum with each row once, as ±1 as often as it counts. Rows keep the order in which they first occur.
/// `converter` is for all columns; the keys that it made are given back where they are still right.
fn consolidate(changes: &Changes, converter: &RowConverter) -> Result<(Changes, Option<Keys>)> {
    if changes.diffs().is_none() {
        return Ok((changes.clone(), None));
    }
    let keys = Keys::new(converter, changes.rows().columns())?;
    let mut sums: HashTable<(u32, i64)> = HashTable::with_capacity(changes.num_rows());
    for row in 0..changes.num_rows() {
        let same = |(other, _): &(u32, i64)| keys.rows.row(*other as usize) == keys.rows.row(row);
        let hash = |(other, _): &(u32, i64)| keys.hashes[*other as usize];
        sums.entry(keys.hashes[row], same, hash).or_insert((row as u32, 0)).into_mut().1 += changes.diff(row);
    }
    if sums.len() == changes.num_rows() && sums.iter().all(|(_, sum)| sum.abs() == 1) {
        return Ok((changes.clone(), Some(keys)));
    }
    let mut net: Vec<(u32, i64)> = sums.into_iter().filter(|(_, sum)| *sum != 0).collect();
    net.sort_unstable();
    let (mut at, mut diffs) = (Vec::new(), Vec::new());
    for (row, sum) in net {
        at.extend(std::iter::repeat_n(row, sum.unsigned_abs() as usize));
        diffs.extend(std::iter::repeat_n(sum.signum(), sum.unsigned_abs() as usize));
    }
    let rows = take_record_batch(changes.rows(), &UInt32Array::from(at))?;
    Ok((Changes::new(rows, Int64Array::from(diffs)), None))
}

/// Held while several snapshots are taken, so that they are of one moment; shared by those who publish.
pub type Moment = Arc<std::sync::RwLock<()>>;

/// A relation that many share: its keeper writes, clients and followers read.
#[derive(Debug)]
pub struct Shared {
    pub id: u64,
    pub name: String,
    pub relation: std::sync::Mutex<Relation>,
    published: std::sync::RwLock<Arc<Snapshot>>,
    moment: Moment,
    changed: tokio::sync::watch::Sender<u64>,
}

impl Shared {
    pub fn new(id: u64, name: impl Into<String>, relation: Relation, moment: Moment) -> Arc<Self> {
        let snapshot = Arc::new(relation.snapshot());
        Arc::new(Shared {
            id,
            name: name.into(),
            relation: std::sync::Mutex::new(relation),
            published: std::sync::RwLock::new(snapshot),
            moment,
            changed: tokio::sync::watch::Sender::new(0),
        })
    }

    pub fn lock(&self) -> std::sync::MutexGuard<'_, Relation> {
        self.relation.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What readers see.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Tells readers why they cannot be answered, until something is published: rows that they have read once could not
    /// be brought back yet. Who has an answer keeps it.
    pub fn refuse(&self, error: &Error) {
        let mut published = self.published.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if published.epoch() == Epoch(0) {
            *published = Arc::new(published.refused(error.clone()));
        }
    }

    /// Takes the place of its contents with others of the same epoch, made anew. Who follows goes on following.
    pub fn take_over(&self, rebuilt: &Shared) {
        let (mut own, mut rebuilt) = (self.lock(), rebuilt.lock());
        if let Some(from) = own.follows_from() {
            rebuilt.follow(from);
        }
        std::mem::swap(&mut *own, &mut *rebuilt);
    }

    /// Shows the relation as it is now to readers and followers.
    pub fn publish(&self) {
        let snapshot = Arc::new(self.lock().snapshot());
        let epoch = snapshot.epoch().0;
        let _not_within_a_moment = self.moment.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        *self.published.write().unwrap_or_else(std::sync::PoisonError::into_inner) = snapshot;
        self.changed.send_replace(epoch);
    }

    pub fn changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
