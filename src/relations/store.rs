//! Relations on disk: a base now and then, and the changes since, which are also the changelog.
//!
//! ```text
//! relations/<id>/<epoch>.base    all rows at the epoch
//! relations/<id>/<epoch>.delta   the changes after the file before it, up to the epoch, each row with diff and epoch
//! ```

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt64Array},
    compute::concat_batches,
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type},
};

use super::Relation;
use crate::{
    changes::{Changes, with_diff},
    checkpoint::file,
    error::Result,
    storage::Storage,
    time::Epoch,
};

const EPOCH: &str = "__epoch";

/// Where one relation is saved.
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

    /// What is to be written of a relation to save it at its present epoch; `None` where nothing changed. Cheap: the
    /// bytes are made by [`Draft::write`], which may take its time elsewhere.
    pub fn draft(&self, relation: &mut Relation) -> Result<Option<Draft>> {
        let rows = std::mem::take(&mut relation.unsaved_rows);
        let mut unsaved = std::mem::take(&mut relation.unsaved);
        let rebase = std::mem::take(&mut relation.rebase);
        if unsaved.is_empty() && !rebase {
            return Ok(None);
        }
        let files = self.files()?;
        let deltas = files.iter().rev().take_while(|(_, form)| *form == Form::Delta).count();
        // A new base costs all rows; it pays once the deltas hold as many changes, about.
        let base = rebase || (deltas + 1).is_multiple_of(16) || rows > relation.rows();
        let base = base.then(|| relation.snapshot());
        if base.is_some() && !relation.followed {
            // Nobody will ask how it came to these rows.
            unsaved.clear();
        }
        Ok(Some(Draft { store: self.clone(), epoch: relation.epoch, schema: relation.schema.clone(), unsaved, base }))
    }

    /// Loads the rows as they were at `at` (or at the newest saved epoch), and the changelog after `followed_from`.
    /// Files past `at` are left-overs of a crash and are removed.
    pub fn load(&self, relation: &mut Relation, at: Option<Epoch>, followed_from: Option<Epoch>) -> Result<Epoch> {
        let mut files = self.files()?;
        for (epoch, form) in files.iter().filter(|(epoch, _)| at.is_some_and(|at| *epoch > at)) {
            self.storage.remove(&self.path(*epoch, *form))?;
        }
        files.retain(|(epoch, _)| at.is_none_or(|at| *epoch <= at));
        let base = files.iter().filter(|(_, form)| *form == Form::Base).map(|(epoch, _)| *epoch).max();
        if let Some(base) = base {
            for batch in self.read(base, Form::Base)? {
                relation.change(&Changes::insert(batch), None)?;
            }
            relation.epoch = base;
        }
        relation.followed = followed_from.is_some();
        relation.forgotten = followed_from.unwrap_or(Epoch(0));
        for (epoch, _) in files.iter().filter(|(_, form)| *form == Form::Delta) {
            let wanted = base.is_none_or(|base| *epoch > base) || followed_from.is_some_and(|from| *epoch > from);
            if wanted {
                self.load_delta(relation, *epoch, base, followed_from)?;
            }
        }
        relation.epoch = at.unwrap_or_else(|| files.last().map_or(Epoch(0), |(epoch, _)| *epoch)).max(relation.epoch);
        Ok(relation.epoch)
    }

    fn load_delta(
        &self,
        relation: &mut Relation,
        file: Epoch,
        base: Option<Epoch>,
        followed: Option<Epoch>,
    ) -> Result<()> {
        for batch in self.read(file, Form::Delta)? {
            for (epoch, changes) in by_epoch(&batch, &relation.schema)? {
                if base.is_none_or(|base| epoch > base) {
                    relation.change(&changes, None)?;
                }
                if followed.is_some_and(|from| epoch > from) {
                    relation.remember(epoch, changes);
                }
            }
        }
        Ok(())
    }

    fn read(&self, epoch: Epoch, form: Form) -> Result<Vec<RecordBatch>> {
        let path = self.path(epoch, form);
        let bytes = self.storage.read(&path)?.unwrap_or_default();
        let (_, sections): (u64, _) = file::decode(&path, &bytes)?;
        Ok(sections.concat())
    }

    /// Removes the files that neither a load nor a follower who has read up to `read_to` needs.
    pub fn prune(&self, read_to: Option<Epoch>) -> Result<()> {
        let files = self.files()?;
        let base = files.iter().filter(|(_, form)| *form == Form::Base).map(|(epoch, _)| *epoch).max();
        let Some(base) = base else { return Ok(()) };
        for (epoch, form) in files {
            let followed = form == Form::Delta && read_to.is_some_and(|read_to| epoch > read_to);
            let needed = epoch > base || (epoch == base && form == Form::Base) || followed;
            if !needed {
                self.storage.remove(&self.path(epoch, form))?;
            }
        }
        Ok(())
    }

    /// Removes every trace.
    pub fn remove(&self) -> Result<()> {
        for (epoch, form) in self.files()? {
            self.storage.remove(&self.path(epoch, form))?;
        }
        Ok(())
    }
}

/// What [`Store::draft`] found to be saved.
#[derive(Debug)]
pub struct Draft {
    store: Store,
    epoch: Epoch,
    schema: SchemaRef,
    unsaved: Vec<(Epoch, Changes)>,
    base: Option<super::Snapshot>,
}

impl Draft {
    /// Writes the files. Blocking.
    pub fn write(self) -> Result<()> {
        if !self.unsaved.is_empty() {
            let delta = joined(&self.schema, &self.unsaved)?;
            let bytes = file::encode(&self.epoch.0, &[vec![delta]])?;
            self.store.storage.create(&self.store.path(self.epoch, Form::Delta), &bytes)?;
        }
        if let Some(base) = self.base {
            let batches: Vec<_> = base.batches(None)?.into_iter().filter(|b| b.num_rows() > 0).collect();
            let bytes = file::encode(&self.epoch.0, &[batches])?;
            self.store.storage.create(&self.store.path(self.epoch, Form::Base), &bytes)?;
        }
        Ok(())
    }
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

/// A batch as [`joined`] made it, taken apart again: each epoch's rows lie together.
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
