//! Tables: rows that clients write. Durable before they are acknowledged, in the log first and in files later.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, Int64Array, RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::SchemaRef,
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::{logical_expr::Expr, sql::sqlparser::ast};
use tokio::sync::OwnedMutexGuard;

use crate::{
    changes::{Changes, with_diff},
    checkpoint::{Log, Record, Rows, file},
    error::{Error, Kind, Result},
    relations::{Relation, Shared, Store},
    state::{Id, Share},
    time::Epoch,
};

/// A table with its writer's side.
#[derive(Debug)]
pub struct Table {
    pub shared: Arc<Shared>,
    pub columns: SchemaRef,
    /// Indexes into `columns`; empty where there is no key.
    pub key: Vec<usize>,
    pub append_only: bool,
    /// What a column is where an INSERT or a COPY does not say; NULL where it is not in here.
    pub defaults: Arc<HashMap<String, Expr>>,
    /// The same as they were written.
    pub written_defaults: HashMap<String, ast::Expr>,
    /// The columns as the relation has them: all may be NULL.
    rows: SchemaRef,
    store: Store,
    log: Arc<Log>,
    share: Share,
    /// One writer at a time: what it read to decide is what it changes.
    writer: Arc<tokio::sync::Mutex<()>>,
}

/// What an insert does with a row whose key is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnConflict {
    Fail,
    Skip,
    /// `DO UPDATE SET column = excluded.column`: these columns are taken over.
    Update(Vec<usize>),
}

impl Table {
    pub fn new(
        shared: Arc<Shared>,
        columns: SchemaRef,
        key: Vec<usize>,
        append_only: bool,
        store: Store,
        log: Arc<Log>,
        share: Share,
    ) -> Self {
        let rows = shared.lock().schema().clone();
        Table {
            shared,
            columns,
            key,
            append_only,
            defaults: Arc::default(),
            written_defaults: HashMap::new(),
            rows,
            store,
            log,
            share,
            writer: Arc::default(),
        }
    }

    pub fn with_defaults(mut self, defaults: HashMap<String, Expr>, written: HashMap<String, ast::Expr>) -> Self {
        (self.defaults, self.written_defaults) = (Arc::new(defaults), written);
        self
    }

    /// Adds rows, given in the schema of the table; gives how many were added or changed.
    pub async fn insert(self: &Arc<Self>, batches: Vec<RecordBatch>, on_conflict: &OnConflict) -> Result<u64> {
        let rows = concat_batches(&self.rows, &self.retyped(batches)?)?;
        self.check_not_null(&rows)?;
        let writer = self.writer.clone().lock_owned().await;
        let changes = match self.key.is_empty() {
            true => Changes::insert(rows),
            false => self.keyed(&rows, on_conflict)?,
        };
        let count = (0..changes.num_rows()).filter(|row| changes.diff(*row) > 0).count() as u64;
        self.write(writer, changes).await?;
        Ok(count)
    }

    /// Takes rows away and adds others, as one change; both in the schema of the table. `select` gives them from what
    /// the table holds, while nobody else writes.
    pub async fn change<F>(self: &Arc<Self>, select: F) -> Result<u64>
    where
        F: Future<Output = Result<(Vec<RecordBatch>, Vec<RecordBatch>)>>,
    {
        if self.append_only {
            return Err(Error::new(Kind::Unsupported, format!("table \"{}\" is append-only", self.shared.name))
                .hint("Create it without APPEND ONLY to update and delete its rows."));
        }
        let writer = self.writer.clone().lock_owned().await;
        let (old, new) = select.await?;
        let schema = self.rows.clone();
        let old = concat_batches(&schema, &self.retyped(old)?)?;
        let new = concat_batches(&schema, &self.retyped(new)?)?;
        self.check_not_null(&new)?;
        self.check_keys(&old, &new)?;
        let count = old.num_rows() as u64;
        let went = Changes::new(old.clone(), Int64Array::from_value(-1, old.num_rows()));
        self.write(writer, Changes::concat(&schema, &[went, Changes::insert(new)])?).await?;
        Ok(count)
    }

    /// Makes changes durable, and then visible. Whoever asked for it may go: what the log has, the table has too.
    async fn write(self: &Arc<Self>, writer: OwnedMutexGuard<()>, changes: Changes) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let table = self.clone();
        super::to_its_end(async move {
            let _writer = writer;
            table.log_and_apply(changes).await
        })
        .await
    }

    async fn log_and_apply(&self, changes: Changes) -> Result<()> {
        let epoch = self.shared.lock().epoch().next();
        if changes.diffs().is_none() {
            // Before it is durable. What only goes, or takes the place of another, is never refused.
            self.share.ask(self.shared.lock().bytes_with(changes.rows()))?;
        }
        let bytes = encode(&changes)?;
        let record = Record::Rows(Rows { table: self.shared.id, epoch }).encode(&bytes)?;
        self.log.append(vec![record]).await?;
        self.shared.lock().apply(epoch, &changes)?;
        self.shared.publish();
        self.hold();
        Ok(())
    }

    /// Notes what the table holds in memory.
    pub fn hold(&self) {
        self.share.hold(self.shared.lock().bytes());
    }

    /// Runs a change of the log again, at the start.
    pub fn redo(&self, epoch: Epoch, bytes: &[u8]) -> Result<()> {
        let mut relation = self.shared.lock();
        if epoch > relation.epoch() {
            for batch in file::from_ipc(bytes)? {
                let changes = Changes::from_batch(batch)?;
                let changes = if changes.is_insert_only() { Changes::insert(changes.rows().clone()) } else { changes };
                relation.apply(epoch, &changes)?;
            }
        }
        Ok(())
    }

    /// Writes what the log alone holds to files: afterwards no log file before the present one is needed.
    pub async fn checkpoint(&self) -> Result<()> {
        // Writers wait: what is saved is exactly what was logged.
        let _writer = self.writer.lock().await;
        let draft = self.store.draft(&mut self.shared.lock())?;
        if let Some(draft) = draft {
            let writing = tokio::task::spawn_blocking(move || (draft.write(), draft)).await;
            let (written, draft) = writing.map_err(|e| Error::internal(format!("a checkpoint died: {e}")))?;
            if let Err(error) = written {
                draft.put_back(&mut self.shared.lock());
                return Err(error);
            }
        }
        let followed = self.shared.lock().follows_from();
        self.store.prune(followed)
    }

    fn retyped(&self, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        let schema = &self.rows;
        let retype = |batch: RecordBatch| {
            let columns = batch.columns().iter().zip(schema.fields());
            let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()));
            Ok(RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)?)
        };
        batches.into_iter().map(retype).collect()
    }

    fn check_not_null(&self, rows: &RecordBatch) -> Result<()> {
        for (column, field) in rows.columns().iter().zip(self.columns.fields()) {
            if !field.is_nullable() && column.null_count() > 0 {
                let (name, table) = (field.name(), &self.shared.name);
                return Err(Error::new(
                    Kind::NotNullViolation,
                    format!("null value in column \"{name}\" of relation \"{table}\" violates not-null constraint"),
                ));
            }
        }
        Ok(())
    }

    /// The changes that an insert into a table with a key comes down to.
    fn keyed(&self, rows: &RecordBatch, on_conflict: &OnConflict) -> Result<Changes> {
        let relation = self.shared.lock();
        let found = relation.find(rows)?;
        let keys = self.keys(rows)?;
        let mut seen = HashSet::new();
        let (mut added, mut replaced): (Vec<u32>, Vec<(u32, Id)>) = (Vec::new(), Vec::new());
        for (row, there) in found.iter().enumerate() {
            let first = seen.insert(keys[row].as_slice());
            match (there, on_conflict) {
                (None, _) if first => added.push(row as u32),
                (_, OnConflict::Fail) => return Err(self.duplicate(rows, row)),
                (_, OnConflict::Skip) => {}
                (Some(id), OnConflict::Update(_)) if first => replaced.push((row as u32, *id)),
                (_, OnConflict::Update(_)) => {
                    return Err(Error::new(
                        Kind::CardinalityViolation,
                        "ON CONFLICT DO UPDATE command cannot affect row a second time",
                    )
                    .hint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values."));
                }
            }
        }
        let inserted = Changes::insert(take_record_batch(rows, &UInt32Array::from(added))?);
        let OnConflict::Update(columns) = on_conflict else { return Ok(inserted) };
        if replaced.is_empty() {
            return Ok(inserted);
        }
        let ids: Vec<Id> = replaced.iter().map(|(_, id)| *id).collect();
        let old = relation.gather(&ids)?;
        let excluded = take_record_batch(rows, &replaced.iter().map(|(row, _)| *row).collect::<UInt32Array>())?;
        let column = |n: usize| if columns.contains(&n) { excluded.column(n) } else { old.column(n) }.clone();
        let new = RecordBatch::try_new(old.schema(), (0..old.num_columns()).map(column).collect())?;
        self.check_not_null(&new)?;
        let went = Changes::new(old, Int64Array::from_value(-1, ids.len()));
        Changes::concat(relation.schema(), &[went, Changes::insert(new), inserted])
    }

    /// Whether the keys of new rows stay unique once old rows are gone.
    fn check_keys(&self, old: &RecordBatch, new: &RecordBatch) -> Result<()> {
        if self.key.is_empty() || new.num_rows() == 0 {
            return Ok(());
        }
        let went: HashSet<Vec<u8>> = self.keys(old)?.into_iter().collect();
        let found = self.shared.lock().find(new)?;
        let mut seen = HashSet::new();
        for (row, key) in self.keys(new)?.into_iter().enumerate() {
            if (found[row].is_some() && !went.contains(&key)) || !seen.insert(key) {
                return Err(self.duplicate(new, row));
            }
        }
        Ok(())
    }

    fn keys(&self, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        use arrow::row::{RowConverter, SortField};
        let columns: Vec<_> = self.key.iter().map(|c| rows.column(*c).clone()).collect();
        let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
        let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
        Ok(keys.iter().map(|key| key.as_ref().to_vec()).collect())
    }

    fn duplicate(&self, rows: &RecordBatch, row: usize) -> Error {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for column in &self.key {
            names.push(self.columns.field(*column).name().clone());
            let formatter = ArrayFormatter::try_new(rows.column(*column), &FormatOptions::default());
            values.push(formatter.map_or_else(|_| "?".to_string(), |f| f.value(row).to_string()));
        }
        let name = &self.shared.name;
        Error::new(Kind::UniqueViolation, format!("duplicate key value violates unique constraint \"{name}_pkey\""))
            .detail(format!("Key ({})=({}) already exists.", names.join(", "), values.join(", ")))
    }
}

fn encode(changes: &Changes) -> Result<Vec<u8>> {
    let diff = changes.diffs().is_some();
    let batch = changes.clone().into_batch(diff)?;
    let schema = if diff { with_diff(&changes.schema()) } else { changes.schema() };
    file::ipc(&schema, &[batch])
}

/// How a table's rows are told apart.
pub fn identity(key: &[usize], append_only: bool) -> crate::relations::Identity {
    use crate::relations::Identity;
    match (key.is_empty(), append_only) {
        (false, _) => Identity::Key(key.to_vec()),
        (true, true) => Identity::AppendOnly,
        (true, false) => Identity::Row,
    }
}

/// The relation of a table: every column may be NULL as far as Arrow knows, so that a constraint is an error of ours.
pub fn relation(columns: &SchemaRef, key: &[usize], append_only: bool) -> Result<Relation> {
    let fields: Vec<_> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    Relation::new(Arc::new(arrow::datatypes::Schema::new(fields)), identity(key, append_only))
}
