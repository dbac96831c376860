//! Relations on disk: a full base now and then, and deltas since, which are also the changelog.
//!
//! ```text
//! relations/<id>/<epoch>.base    all rows at the epoch
//! relations/<id>/<epoch>.delta   the changes after an epoch that it names, up to its own, each row with diff and epoch
//! relations/<id>/history         there if somebody subscribed once: changes are kept for those who come back
//! ```

use std::{io, ops::ControlFlow, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt64Array},
    compute::concat_batches,
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type},
};

use serde::{Deserialize, Serialize};

use super::{Relation, changelog::Filed, no_longer_kept};
use crate::{
    changes::{Changes, with_diff},
    checkpoint::file::{SectionDecoder, SectionEncoder},
    error::{Error, ErrorKind, Result},
    storage::{Reading, Storage},
    time::Epoch,
};

/// The batches of a file, created lazily.
type StoredBatches<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + 'a>;

const EPOCH: &str = "__epoch";

/// The files of one relation.
#[derive(Debug, Clone)]
pub struct Store {
    storage: Arc<dyn Storage>,
    folder: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Base,
    Delta,
}

impl Store {
    pub fn new(storage: Arc<dyn Storage>, id: u64) -> Self {
        Store { storage, folder: format!("relations/{id}") }
    }

    fn path(&self, epoch: Epoch, form: Form) -> String {
        let extension = if form == Form::Base { "base" } else { "delta" };
        format!("{}/{:016}.{extension}", self.folder, epoch.0)
    }

    fn files(&self) -> Result<Vec<(Epoch, Form)>> {
        let parse = |path: String| {
            let (stem, extension) = path.rsplit('/').next()?.split_once('.')?.to_owned();
            let form = if extension == "base" { Form::Base } else { Form::Delta };
            Some((Epoch(stem.parse().ok()?), form))
        };
        Ok(self.storage.list(&self.folder)?.into_iter().filter_map(parse).collect())
    }

    /// What must be written to save a relation at its present epoch; `None` if nothing changed. Cheap: [`Draft::write`]
    /// encodes and writes, possibly on another thread. If that fails, call [`Draft::put_back`].
    pub fn draft(&self, relation: &mut Relation) -> Result<Option<Draft>> {
        if relation.unsaved.is_empty() && !relation.rebase {
            return Ok(None);
        }
        let files = self.files()?;
        let deltas = files.iter().rev().take_while(|(_, form)| *form == Form::Delta).count();
        // A new base writes all rows; it pays once the deltas have about as many changes.
        let base = relation.rebase || (deltas + 1).is_multiple_of(16) || relation.unsaved_rows > relation.rows();
        let base = base.then(|| relation.snapshot());
        let (epoch, after) = (relation.epoch, std::mem::replace(&mut relation.saved, relation.epoch));
        Ok(Some(Draft {
            store: self.clone(),
            schema: relation.schema().clone(),
            epoch,
            after,
            rows: std::mem::take(&mut relation.unsaved_rows),
            bytes: std::mem::take(&mut relation.unsaved_bytes),
            unsaved: std::mem::take(&mut relation.unsaved),
            rebase: std::mem::take(&mut relation.rebase),
            // With a base, only followers need the delta.
            has_delta: base.is_none() || relation.changelog.is_open(),
            base,
        }))
    }

    /// Loads the rows at epoch `at` (or the newest saved one), and the changelog after `followed_from`. Files after
    /// `at` are left over from a crash and are removed. `room` is called with the bytes the relation is about to hold,
    /// and may refuse.
    pub fn load(
        &self,
        relation: &mut Relation,
        at: Option<Epoch>,
        followed_from: Option<Epoch>,
        room: &dyn Fn(usize) -> Result<()>,
    ) -> Result<Epoch> {
        let mut files = self.files()?;
        let left = files.iter().filter(|(epoch, _)| at.is_some_and(|at| *epoch > at));
        let left: Vec<String> = left.map(|(epoch, form)| self.path(*epoch, *form)).collect();
        self.storage.remove_all(&left)?;
        files.retain(|(epoch, _)| at.is_none_or(|at| *epoch <= at));
        let base = files.iter().filter(|(_, form)| *form == Form::Base).map(|(epoch, _)| *epoch).max();
        if let Some(base) = base {
            self.each(base, Form::Base, |batch| {
                room(relation.bytes_with(&batch))?;
                relation.rows.apply_consolidated(&Changes::insert(batch))
            })?;
            relation.epoch = base;
        }
        let newest = files.last().map_or(Epoch(0), |(epoch, _)| *epoch);
        let wanted =
            |epoch: Epoch| base.is_none_or(|base| epoch > base) || followed_from.is_some_and(|from| epoch > from);
        let mut deltas = Vec::new();
        for (epoch, _) in files.iter().filter(|(epoch, form)| *form == Form::Delta && wanted(*epoch)) {
            let (header, bytes) = self.peek(*epoch)?;
            let rows = header.rows.map_or_else(|| self.count(*epoch), Ok)?;
            deltas.push(Filed { after: header.after, to: *epoch, rows, bytes });
        }
        // After a gap between files, the changes before it are dropped: a reader behind it gets an error.
        let start = deltas.iter().rev().try_fold(newest, |start, file| match file.to >= start {
            true => ControlFlow::Continue(file.after.min(start)),
            false => ControlFlow::Break(start),
        });
        let (ControlFlow::Continue(start) | ControlFlow::Break(start)) = start;
        relation.changelog.open(followed_from.map(|from| from.max(start)));
        relation.changelog.set_filed();
        for file in deltas {
            let to = file.to;
            relation.changelog.note_file(file);
            self.each(to, Form::Delta, |batch| load_delta(relation, &batch, room))?;
        }
        relation.saved = newest;
        relation.epoch = at.unwrap_or(newest).max(relation.epoch);
        Ok(relation.epoch)
    }

    /// Calls `take` with the batches of a file, one at a time.
    fn each(&self, epoch: Epoch, form: Form, mut take: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        let path = self.path(epoch, form);
        let (_, decoder): (StoreHeader, _) = SectionDecoder::new(&path, self.file(&path)?)?;
        decoder.each(|_, batch| batch.map_or(Ok(()), &mut take))
    }

    /// The header of a delta file, and its size in bytes.
    fn peek(&self, epoch: Epoch) -> Result<(StoreHeader, u64)> {
        let path = self.path(epoch, Form::Delta);
        let header = SectionDecoder::new(&path, self.file(&path)?)?.0;
        Ok((header, self.storage.length(&path)?.unwrap_or(0)))
    }

    /// The number of rows of a delta file.
    fn count(&self, epoch: Epoch) -> Result<usize> {
        let mut rows = 0;
        self.each(epoch, Form::Delta, |batch| {
            rows += batch.num_rows();
            Ok(())
        })?;
        Ok(rows)
    }

    /// Opens a file; a missing one is `DataCorrupted`.
    fn file(&self, path: &str) -> Result<Box<dyn Reading>> {
        Ok(self.storage.open(path)?.unwrap_or_else(|| Box::new(io::empty())))
    }

    /// The changes of a delta file after epoch `after`, up to `to`. Blocking.
    pub(super) fn changes_in(&self, file: Epoch, schema: &SchemaRef, after: Epoch, to: Epoch) -> Result<Vec<Changes>> {
        let mut found = Vec::new();
        let read = self.each(file, Form::Delta, |batch| {
            let wanted = by_epoch(&batch, schema)?.into_iter().filter(|(epoch, _)| after < *epoch && *epoch <= to);
            found.extend(wanted.map(|(_, changes)| changes));
            Ok(())
        });
        match read {
            // Files are limited too: it was removed after the reader had its slice.
            Err(_) if self.storage.length(&self.path(file, Form::Delta))?.is_none() => Err(no_longer_kept(after)),
            read => read.map(|()| found),
        }
    }

    /// Fails if a file does not exist.
    pub fn expect(&self, file: &str) -> Result<()> {
        match self.storage.list(&self.folder)?.iter().any(|found| found == file) {
            true => Ok(()),
            false => {
                Err(Error::new(ErrorKind::DataCorrupted, format!("file \"{file}\" of the data directory is missing"))
                    .hint("Restore the data directory from a copy."))
            }
        }
    }

    /// Removes the files that neither a load nor a follower at `read_to` needs.
    pub fn prune(&self, read_to: Option<Epoch>) -> Result<()> {
        let files = self.files()?;
        let base = files.iter().filter(|(_, form)| *form == Form::Base).map(|(epoch, _)| *epoch).max();
        let Some(base) = base else { return Ok(()) };
        let needed = |(epoch, form): &(Epoch, Form)| {
            let followed = *form == Form::Delta && read_to.is_some_and(|read_to| *epoch > read_to);
            *epoch > base || (*epoch == base && *form == Form::Base) || followed
        };
        let old: Vec<String> =
            files.iter().filter(|file| !needed(file)).map(|(epoch, form)| self.path(*epoch, *form)).collect();
        self.storage.remove_all(&old)
    }

    /// Notes that a history is kept for subscribers. Durable on return.
    pub fn keep_history(&self) -> Result<()> {
        match self.storage.create(&self.history(), &[]) {
            Err(error) if error.kind() != ErrorKind::DuplicateObject => Err(error),
            _ => Ok(()),
        }
    }

    pub fn keeps_history(&self) -> Result<bool> {
        Ok(self.storage.read(&self.history())?.is_some())
    }

    fn history(&self) -> String {
        format!("{}/history", self.folder)
    }

    /// Removes all its files.
    pub fn remove(&self) -> Result<()> {
        self.storage.clear(&self.folder)
    }
}

/// The header of a file.
#[derive(Debug, Serialize, Deserialize)]
struct StoreHeader {
    /// It has all changes after this epoch, up to its own.
    after: Epoch,
    /// Number of rows; missing in files of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows: Option<usize>,
}

/// What [`Store::draft`] found to save.
#[derive(Debug)]
pub struct Draft {
    store: Store,
    schema: SchemaRef,
    epoch: Epoch,
    after: Epoch,
    rows: usize,
    bytes: usize,
    unsaved: Vec<(Epoch, Changes)>,
    rebase: bool,
    has_delta: bool,
    base: Option<super::Snapshot>,
}

impl Draft {
    /// Writes the files. Blocking.
    pub fn write(&self) -> Result<()> {
        if self.has_delta && !self.unsaved.is_empty() {
            let header = StoreHeader { after: self.after, rows: Some(self.rows) };
            let batches = || Box::new(parts(&self.unsaved).map(|part| joined(&self.schema, part))) as StoredBatches<'_>;
            self.create(Form::Delta, header, batches)?;
        }
        if let Some(base) = &self.base {
            let header = StoreHeader { after: self.epoch, rows: None };
            self.create(Form::Base, header, || Box::new((0..).map_while(|n| base.piece(n))))?;
        }
        Ok(())
    }

    /// Writes a file, batch by batch.
    fn create<'a>(&self, form: Form, header: StoreHeader, batches: impl Fn() -> StoredBatches<'a>) -> Result<()> {
        let path = self.store.path(self.epoch, form);
        let created = self.store.storage.create_with(&path, &mut |file| {
            let mut encoder = SectionEncoder::new(file, &path, &header)?;
            encoder.section(batches().filter(|batch| !matches!(batch, Ok(batch) if batch.num_rows() == 0)))?;
            encoder.finish()?;
            Ok(())
        });
        match created {
            // Written by an earlier attempt.
            Err(error) if error.kind() != ErrorKind::DuplicateObject => Err(error),
            _ => Ok(()),
        }
    }

    /// Bytes it holds that the relation no longer does.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The file that a load of its epoch needs.
    pub fn file(&self) -> String {
        self.store.path(self.epoch, if self.base.is_some() { Form::Base } else { Form::Delta })
    }

    /// Notes in `relation` that it was written.
    pub fn note_written(&self, relation: &mut Relation) {
        if self.has_delta && !self.unsaved.is_empty() {
            let path = self.store.path(self.epoch, Form::Delta);
            // The size only limits what is kept: if it is unknown, the size in memory is close enough.
            let bytes = self.store.storage.length(&path).ok().flatten();
            let bytes = bytes.unwrap_or_else(|| self.unsaved.iter().map(|(_, changes)| changes.bytes() as u64).sum());
            let file = Filed { after: self.after, to: self.epoch, rows: self.rows, bytes };
            relation.changelog.note_file(file);
        }
    }

    /// Returns unsaved changes to the relation after a failed write: the next draft includes them.
    pub fn put_back(self, relation: &mut Relation) {
        relation.saved = self.after;
        relation.unsaved_rows += self.rows;
        relation.unsaved_bytes += self.bytes;
        relation.rebase |= self.rebase;
        let since = std::mem::replace(&mut relation.unsaved, self.unsaved);
        relation.unsaved.extend(since);
    }
}

/// Bytes per batch of a delta file: small changes of many epochs are concatenated up to this.
const PART_BYTES: usize = 8 << 20;

fn parts(unsaved: &[(Epoch, Changes)]) -> impl Iterator<Item = &[(Epoch, Changes)]> {
    let mut rest = unsaved;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |(_, changes): &&(Epoch, Changes)| {
            let first = bytes == 0;
            bytes += changes.bytes().max(1);
            first || bytes <= PART_BYTES
        };
        let count = rest.iter().take_while(fits).count();
        let (part, after) = rest.split_at(count);
        rest = after;
        (count > 0).then_some(part)
    })
}

/// The changes of many epochs as one batch: rows, diff, epoch.
fn joined(schema: &SchemaRef, unsaved: &[(Epoch, Changes)]) -> Result<RecordBatch> {
    let mut fields: Vec<_> = with_diff(schema).fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(EPOCH, DataType::UInt64, false)));
    let rows = concat_batches(schema, unsaved.iter().map(|(_, changes)| changes.rows()))?;
    let diffs: Vec<i64> = unsaved.iter().flat_map(|(_, c)| c.diff_column().values().to_vec()).collect();
    let epochs: Vec<u64> = unsaved.iter().flat_map(|(epoch, c)| std::iter::repeat_n(epoch.0, c.num_rows())).collect();
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(diffs)) as ArrayRef);
    columns.push(Arc::new(UInt64Array::from(epochs)));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Splits a batch made by [`joined`] by epoch; rows of an epoch are consecutive.
fn by_epoch(batch: &RecordBatch, schema: &SchemaRef) -> Result<Vec<(Epoch, Changes)>> {
    let width = schema.fields().len();
    let epochs = batch.column(width + 1).as_primitive::<UInt64Type>().values();
    let mut found = Vec::new();
    let mut start = 0;
    for run in epochs.chunk_by(|a, b| a == b) {
        let part = batch.slice(start, run.len());
        let rows = RecordBatch::try_new(schema.clone(), part.columns()[..width].to_vec())?;
        let diffs = part.column(width).as_primitive::<Int64Type>().clone();
        let whole = diffs.values().iter().all(|d| *d == 1);
        let changes = if whole { Changes::insert(rows) } else { Changes::new(rows, diffs) };
        found.push((Epoch(run[0]), changes));
        start += run.len();
    }
    Ok(found)
}

/// Applies the changes of a file that the relation does not have yet, and records those that followers may ask for.
fn load_delta(relation: &mut Relation, batch: &RecordBatch, room: &dyn Fn(usize) -> Result<()>) -> Result<()> {
    for (epoch, changes) in by_epoch(batch, relation.schema())? {
        if epoch > relation.epoch {
            relation.bytes_after(&changes).map_or(Ok(()), room)?;
            relation.rows.apply_consolidated(&changes)?;
            relation.epoch = epoch;
        }
        if relation.changelog.is_open() && epoch > relation.changelog.recorded() {
            relation.remember(epoch, changes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        relations::{ChangelogLimit, Identity},
        storage::MemoryStorage,
    };

    fn relation() -> Relation {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        Relation::new(schema, Identity::Row).unwrap()
    }

    fn insert(relation: &mut Relation, epoch: u64, values: std::ops::Range<i64>) {
        let column = Arc::new(Int64Array::from_iter_values(values)) as ArrayRef;
        let rows = RecordBatch::try_new(relation.schema().clone(), vec![column]).unwrap();
        relation.apply(Epoch(epoch), &Changes::insert(rows)).unwrap();
    }

    /// What a reader is told who has read up to an epoch.
    fn changes_since(relation: &Relation, store: &Store, from: u64) -> Vec<Changes> {
        relation.changes(Epoch(from), relation.epoch()).unwrap().read(store).unwrap()
    }

    #[test]
    fn changes_for_a_far_reader_come_from_files_and_memory_also_after_load() {
        let store = Store::new(Arc::new(MemoryStorage::default()), 1);
        let limit = ChangelogLimit::new(20, u64::MAX, u64::MAX);
        let mut relation = relation();
        relation.limit_changelog(&limit);
        relation.follow(Epoch(0));
        store.load(&mut relation, None, Some(Epoch(0)), &|_| Ok(())).unwrap();
        for epoch in 1..=20 {
            insert(&mut relation, epoch, epoch as i64 * 10..epoch as i64 * 10 + 5);
            if epoch % 3 == 0 {
                let draft = store.draft(&mut relation).unwrap().unwrap();
                draft.write().unwrap();
                draft.note_written(&mut relation);
                store.prune(relation.follows_from()).unwrap();
            }
        }
        assert!(relation.changelog.in_memory() > Epoch(10), "most are in no memory");
        let mut loaded = super::tests::relation();
        loaded.limit_changelog(&limit);
        loaded.follow(Epoch(0));
        store.load(&mut loaded, None, Some(Epoch(0)), &|_| Ok(())).unwrap();
        assert_eq!((loaded.epoch(), loaded.follows_from()), (Epoch(18), Some(Epoch(0))));
        for relation in [&relation, &loaded] {
            for from in 0..relation.epoch().0 {
                let rows: usize = changes_since(relation, &store, from).iter().map(Changes::num_rows).sum();
                assert_eq!(rows as u64, (relation.epoch().0 - from) * 5, "from {from}");
            }
            // Epoch by epoch, or file by file.
            let (mut at, mut rows) = (Epoch(0), 0);
            while at < relation.epoch() {
                let (to, backlog) = relation.ahead(at, relation.epoch(), Some(1));
                assert!(to > at && backlog >= (relation.epoch().0 - to.0) * 5, "{at} to {to}: {backlog}");
                let changes = relation.changes(at, to).unwrap().read(&store).unwrap();
                rows += changes.iter().map(Changes::num_rows).sum::<usize>() as u64;
                at = to;
            }
            assert_eq!(rows, relation.epoch().0 * 5);
        }
        relation.forget(Epoch(20));
        store.prune(relation.follows_from()).unwrap();
        assert!(relation.changes(Epoch(3), Epoch(20)).is_err(), "all that followed are past it");
    }

    #[test]
    fn draft_of_a_failed_write_is_written_later_once() {
        // Both files, or only the second, fail the first time; more may come before the next.
        for (fail_at, more) in [(1, false), (2, false), (1, true), (2, true)] {
            let storage = Arc::new(MemoryStorage::default());
            let store = Store::new(storage.clone(), 1);
            let mut saved = relation();
            insert(&mut saved, 1, 0..10);
            saved.rebase = true;
            saved.follow(Epoch(0));
            storage.fail_at(fail_at);
            let draft = store.draft(&mut saved).unwrap().unwrap();
            assert!(draft.write().is_err());
            draft.put_back(&mut saved);
            storage.heal();
            if more {
                insert(&mut saved, 2, 10..15);
            }
            store.draft(&mut saved).unwrap().unwrap().write().unwrap();
            let mut loaded = relation();
            loaded.follow(Epoch(0));
            store.load(&mut loaded, None, Some(Epoch(0)), &|_| Ok(())).unwrap();
            let rows = if more { 15 } else { 10 };
            assert_eq!((loaded.rows(), loaded.epoch()), (rows, saved.epoch()), "{fail_at} {more}");
            let read: usize = changes_since(&loaded, &store, 0).iter().map(Changes::num_rows).sum();
            assert_eq!(read, rows, "each change is told once");
        }
    }

    #[test]
    fn follower_at_an_epoch_gets_the_unpublished_next_one() {
        let mut relation = relation();
        insert(&mut relation, 1, 0..5);
        insert(&mut relation, 2, 5..10);
        relation.follow(Epoch(1));
        assert_eq!(relation.changes(Epoch(1), Epoch(2)).unwrap().entries.len(), 1);
    }

    #[test]
    fn missing_delta_file_is_an_error_for_a_follower_before_it() {
        let store = Store::new(Arc::new(MemoryStorage::default()), 1);
        let mut saved = relation();
        for epoch in 1..=4 {
            insert(&mut saved, epoch, epoch as i64 * 10..epoch as i64 * 10 + 5);
            store.draft(&mut saved).unwrap().unwrap().write().unwrap();
        }
        store.storage.remove(&store.path(Epoch(2), Form::Delta)).unwrap();
        let mut loaded = relation();
        loaded.follow(Epoch(1));
        store.load(&mut loaded, None, Some(Epoch(1)), &|_| Ok(())).unwrap();
        assert!(loaded.changes(Epoch(1), Epoch(4)).is_err());
        assert_eq!(changes_since(&loaded, &store, 2).len(), 2);
    }
}
