//! Tables: rows that clients write, durable in the log before they are acknowledged, and later in files.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use arrow::{
    array::{Array, Int64Array, RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::SchemaRef,
    util::display::{ArrayFormatter, FormatOptions},
};
use bytes::Bytes;
use datafusion::{logical_expr::Expr, sql::sqlparser::ast};
use tokio::sync::OwnedMutexGuard;

use super::detached::to_its_end;
use crate::{
    changes::{Changes, canonical, with_diff},
    checkpoint::{Log, LogRecord, TableRows, file},
    error::{Error, ErrorKind, Result},
    memory::BudgetShare,
    relations::{Relation, SharedRelation, Store, sizes},
    sql::literals::WriteTarget,
    state::{Id, keys_of},
    time::{self, Epoch},
};

/// A table and its write path.
#[derive(Debug)]
pub struct WritableTable {
    pub shared: Arc<SharedRelation>,
    pub columns: SchemaRef,
    /// Positions in `columns`; empty without a primary key.
    pub key: Vec<usize>,
    pub append_only: bool,
    /// Column defaults for INSERT and COPY; NULL for others.
    pub defaults: Arc<HashMap<String, Expr>>,
    /// The defaults as written in SQL.
    pub written_defaults: HashMap<String, ast::Expr>,
    /// The relation's schema: all columns nullable.
    rows: SchemaRef,
    store: Store,
    log: Arc<Log>,
    share: BudgetShare,
    /// Bytes of rows per log record; a statement with more takes several.
    record_bytes_max: usize,
    /// Set when a logged statement could not be applied: no more writes until a restart.
    poisoned: OnceLock<Error>,
    /// One writer at a time, so that what it reads is what it changes.
    writer: Arc<tokio::sync::Mutex<()>>,
}

/// What an insert does with a row whose key exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnConflict {
    Fail,
    Skip,
    /// `DO UPDATE SET column = excluded.column` for these columns.
    Update(Vec<usize>),
}

impl WritableTable {
    pub fn new(
        shared: Arc<SharedRelation>,
        columns: SchemaRef,
        key: Vec<usize>,
        append_only: bool,
        store: Store,
        log: Arc<Log>,
        share: BudgetShare,
    ) -> Self {
        let rows = shared.lock().schema().clone();
        WritableTable {
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
            record_bytes_max: usize::MAX,
            poisoned: OnceLock::new(),
            writer: Arc::default(),
        }
    }

    pub fn with_records_of(mut self, bytes_max: usize) -> Self {
        self.record_bytes_max = bytes_max;
        self
    }

    pub fn with_defaults(mut self, defaults: HashMap<String, Expr>, written: HashMap<String, ast::Expr>) -> Self {
        (self.defaults, self.written_defaults) = (Arc::new(defaults), written);
        self
    }

    /// Its columns and defaults, for rewriting statements that write into it.
    pub fn target(&self) -> WriteTarget<'_> {
        WriteTarget { columns: &self.columns, defaults: &self.written_defaults }
    }

    /// Inserts rows, in the schema of the table; returns how many were inserted or updated.
    pub async fn insert(self: &Arc<Self>, batches: &[RecordBatch], on_conflict: &OnConflict) -> Result<u64> {
        let rows = concat_batches(&self.rows, &self.retyped(batches)?)?;
        self.check_not_null(&rows)?;
        time::check(&rows)?;
        let writer = self.writer.clone().lock_owned().await;
        let changes = match self.key.is_empty() {
            true => Changes::insert(rows),
            false => self.keyed(&rows, on_conflict)?,
        };
        let count = (0..changes.num_rows()).filter(|row| changes.diff(*row) > 0).count() as u64;
        self.write(writer, changes).await?;
        Ok(count)
    }

    /// Deletes and inserts rows as one change. `select` computes both, in the schema of the table, while other writers
    /// are blocked.
    pub async fn change<F>(self: &Arc<Self>, select: F) -> Result<u64>
    where
        F: Future<Output = Result<(Vec<RecordBatch>, Vec<RecordBatch>)>>,
    {
        if self.append_only {
            return Err(Error::new(ErrorKind::Unsupported, format!("table \"{}\" is append-only", self.shared.name))
                .hint("A table that is created without APPEND ONLY takes UPDATE and DELETE."));
        }
        let writer = self.writer.clone().lock_owned().await;
        let (old, new) = select.await?;
        let schema = self.rows.clone();
        let old = concat_batches(&schema, &self.retyped(&old)?)?;
        let new = concat_batches(&schema, &self.retyped(&new)?)?;
        self.check_not_null(&new)?;
        time::check(&new)?;
        self.check_keys(&old, &new)?;
        let count = old.num_rows() as u64;
        let went = Changes::new(old.clone(), Int64Array::from_value(-1, old.num_rows()));
        self.write(writer, Changes::concat(&schema, &[went, Changes::insert(new)])?).await?;
        Ok(count)
    }

    /// Logs, applies and publishes changes, even if the caller goes away: what is in the log is in the table.
    async fn write(self: &Arc<Self>, writer: OwnedMutexGuard<()>, changes: Changes) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let table = self.clone();
        to_its_end(async move {
            let _writer = writer;
            table.log_and_apply(changes).await
        })
        .await
    }

    async fn log_and_apply(&self, changes: Changes) -> Result<()> {
        if self.shared.is_dropped() {
            // Dropped while this waited for the lock.
            let message = format!("relation \"{}\" does not exist", self.shared.name);
            return Err(Error::new(ErrorKind::UndefinedTable, message).detail("It was dropped or replaced meanwhile."));
        }
        self.in_order()?;
        // Before it is logged, since every start applies what is in the log.
        self.shared.lock().check(&changes)?;
        if let Err(error) = self.ask_for(&changes) {
            // Unsaved changes take room too: save them and try again.
            if self.shared.lock().unsaved_bytes() == 0 || self.save().await.is_err() {
                return Err(error);
            }
            self.ask_for(&changes)?;
        }
        let epoch = self.shared.lock().epoch().next();
        let slices = slices(changes.num_rows(), changes.rows().get_array_memory_size(), self.record_bytes_max);
        let count = slices.len();
        let transaction = self.log.begin_transaction();
        for (part, (start, rows)) in slices.into_iter().enumerate() {
            let bytes = encode(&changes.slice(start, rows))?;
            let (table, part, more) = (self.shared.id, part as u32, part + 1 < count);
            let rows = TableRows { table, epoch, transaction, part, more };
            self.log.append(vec![LogRecord::Rows(rows).encode(&bytes)?]).await?;
        }
        if let Err(error) = self.shared.lock().apply(epoch, &changes) {
            return Err(self.poison(error));
        }
        self.shared.publish();
        self.hold();
        Ok(())
    }

    /// Reserves memory for changes. Deletes, and updates of no greater size, are never refused, unless readers still
    /// hold deleted rows.
    fn ask_for(&self, changes: &Changes) -> Result<()> {
        let relation = self.shared.lock();
        let (came, went) = sizes(changes);
        let held = relation.held_bytes() > 0;
        if came <= went && !(held && came > 0) {
            return Ok(());
        }
        // Updated first: a request below the present share would always succeed.
        self.share.hold(relation.bytes());
        let freed = if held { went } else { 2 * went };
        self.share.ask(relation.bytes_with(changes.rows()).saturating_sub(freed))
    }

    /// Blocks writers while the guard is held.
    pub async fn hold_writers(&self) -> OwnedMutexGuard<()> {
        self.writer.clone().lock_owned().await
    }

    /// Fails if the table is poisoned.
    fn in_order(&self) -> Result<()> {
        self.poisoned.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Refuses further writes; readers keep their snapshot.
    fn poison(&self, error: Error) -> Error {
        let name = &self.shared.name;
        let poisoned =
            Error::new(ErrorKind::ObjectNotInState, format!("table \"{name}\" takes no rows until a restart"))
                .detail(format!("A statement is in the log that could not be applied: {error}"))
                .hint("Restart the server: it applies what is in the log.");
        tracing::error!(table = name, %error, "a durable statement could not be applied");
        self.poisoned.get_or_init(|| poisoned).clone()
    }

    /// Updates its share of the memory budget.
    pub fn hold(&self) {
        self.share.hold(self.shared.lock().bytes());
    }

    /// Replays the log's changes at a start. A statement whose last record is missing is dropped.
    pub fn redo_all(&self, records: &[(TableRows, Bytes)]) -> Result<()> {
        let of_one = |(before, _): &(TableRows, Bytes), (rows, _): &(TableRows, Bytes)| {
            (rows.transaction, rows.epoch) == (before.transaction, before.epoch) && rows.part > before.part
        };
        for records in records.chunk_by(of_one) {
            let Some((rows, _)) = records.last().filter(|(rows, _)| rows.epoch > self.shared.lock().epoch()) else {
                continue;
            };
            // In an older log the last record of a statement may be missing: then the statement is dropped.
            if rows.transaction == TableRows::NO_TRANSACTION && rows.more {
                continue;
            }
            if records.iter().enumerate().any(|(n, (rows, _))| rows.part as usize != n) {
                let message = format!("the log lacks a part of epoch {} of table \"{}\"", rows.epoch, self.shared.name);
                return Err(
                    Error::new(ErrorKind::DataCorrupted, message).hint("Restore the data directory from a copy.")
                );
            }
            let mut parts = Vec::new();
            for (_, bytes) in records {
                let batches = file::from_ipc(bytes)?.into_iter().map(Changes::from_batch);
                parts.extend(batches.collect::<Result<Vec<_>>>()?);
            }
            self.redo(rows.epoch, &parts)?;
        }
        Ok(())
    }

    fn redo(&self, epoch: Epoch, parts: &[Changes]) -> Result<()> {
        let mut relation = self.shared.lock();
        let changes = Changes::concat(&relation.schema().clone(), parts)?;
        let changes = if changes.is_insert_only() { Changes::insert(changes.rows().clone()) } else { changes };
        // Unsaved changes were saved before a statement was refused for lack of memory.
        if let Some(bytes) = relation.bytes_after(&changes) {
            self.share.load(bytes.saturating_sub(relation.unsaved_bytes()))?;
        }
        relation.apply(epoch, &changes)
    }

    /// Saves unsaved changes to files: no earlier log file is needed afterwards.
    pub async fn checkpoint(&self) -> Result<()> {
        // With writers blocked, so that exactly the logged changes are saved.
        let _writer = self.writer.lock().await;
        self.save().await
    }

    /// The same, with the writer lock held.
    async fn save(&self) -> Result<()> {
        self.in_order()?;
        let draft = self.store.draft(&mut self.shared.lock())?;
        if let Some(draft) = draft {
            let writing = tokio::task::spawn_blocking(move || (draft.write(), draft)).await;
            let (written, draft) = writing.map_err(|e| Error::internal(format!("a checkpoint died: {e}")))?;
            if let Err(error) = written {
                draft.put_back(&mut self.shared.lock());
                return Err(error);
            }
            draft.note_written(&mut self.shared.lock());
        }
        let followed = self.shared.lock().follows_from();
        self.store.prune(followed)
    }

    fn retyped(&self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let schema = &self.rows;
        let retype = |batch: &RecordBatch| {
            let columns = batch.columns().iter().zip(schema.fields());
            let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()));
            Ok(RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)?)
        };
        batches.iter().map(retype).collect()
    }

    fn check_not_null(&self, rows: &RecordBatch) -> Result<()> {
        for (column, field) in rows.columns().iter().zip(self.columns.fields()) {
            if !field.is_nullable() && column.null_count() > 0 {
                let (name, table) = (field.name(), &self.shared.name);
                return Err(Error::new(
                    ErrorKind::NotNullViolation,
                    format!("null value in column \"{name}\" of relation \"{table}\" violates not-null constraint"),
                ));
            }
        }
        Ok(())
    }

    /// The changes of an insert into a table with a primary key.
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
                        ErrorKind::CardinalityViolation,
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
        time::check(&new)?;
        let went = Changes::new(old, Int64Array::from_value(-1, ids.len()));
        Changes::concat(relation.schema(), &[went, Changes::insert(new), inserted])
    }

    /// Fails if keys of `new` are not unique once `old` is deleted.
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
        let columns = self.key.iter().map(|c| canonical(rows.column(*c))).collect::<Result<Vec<_>>>()?;
        Ok(keys_of(&columns)?.iter().map(|key| key.as_ref().to_vec()).collect())
    }

    fn duplicate(&self, rows: &RecordBatch, row: usize) -> Error {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for column in &self.key {
            names.push(self.columns.field(*column).name().clone());
            let formatter = ArrayFormatter::try_new(rows.column(*column), &FormatOptions::default());
            values.push(formatter.map_or_else(|_| "?".to_string(), |f| f.value(row).to_string()));
        }
        let name = &self.shared.name;
        Error::new(
            ErrorKind::UniqueViolation,
            format!("duplicate key value violates unique constraint \"{name}_pkey\""),
        )
        .detail(format!("Key ({})=({}) already exists.", names.join(", "), values.join(", ")))
    }
}

/// Splits rows into parts of about `bytes_max`: (first row, number of rows).
fn slices(rows: usize, bytes: usize, bytes_max: usize) -> Vec<(usize, usize)> {
    let parts = bytes.div_ceil(bytes_max.max(1)).clamp(1, rows.max(1));
    let rows_max = rows.div_ceil(parts).max(1);
    (0..rows).step_by(rows_max).map(|start| (start, rows_max.min(rows - start))).collect()
}

fn encode(changes: &Changes) -> Result<Vec<u8>> {
    let diff = changes.diffs().is_some();
    let batch = changes.clone().into_batch(diff)?;
    let schema = if diff { with_diff(&changes.schema()) } else { changes.schema() };
    file::ipc(&schema, &[batch])
}

/// How deleted rows of a table are found.
pub fn identity(key: &[usize], append_only: bool) -> crate::relations::Identity {
    use crate::relations::Identity;
    match (key.is_empty(), append_only) {
        (false, _) => Identity::Key(key.to_vec()),
        (true, true) => Identity::AppendOnly,
        (true, false) => Identity::Row,
    }
}

/// The relation of a table. All its columns are nullable, so that NOT NULL is checked here with a Postgres error.
pub fn relation(columns: &SchemaRef, key: &[usize], append_only: bool) -> Result<Relation> {
    let fields: Vec<_> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    Relation::new(Arc::new(arrow::datatypes::Schema::new(fields)), identity(key, append_only))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::ArrayRef,
        datatypes::{DataType, Field, Schema},
    };

    use super::*;
    use crate::{
        checkpoint::{Logged, Transactions},
        memory::Budget,
        storage::MemoryStorage,
    };

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("a", DataType::Int64, true)]))
    }

    fn rows(ids: &[i64]) -> RecordBatch {
        let column = || Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef;
        RecordBatch::try_new(schema(), vec![column(), column()]).unwrap()
    }

    /// A table on a log, with the log's records replayed.
    fn opened(storage: &Arc<MemoryStorage>, key: &[usize], record_bytes_max: usize) -> Result<Arc<WritableTable>> {
        let (log, records) = Log::open(storage.clone(), 0)?;
        let shared = SharedRelation::new(1, "t", relation(&schema(), key, false)?, Arc::default());
        let (store, share) = (Store::new(storage.clone(), 1), Budget::new(1 << 30).share("table"));
        let table = WritableTable::new(shared, schema(), key.to_vec(), false, store, Arc::new(log), share);
        let table = table.with_records_of(record_bytes_max);
        let logged = |logged: Logged| match logged.record {
            LogRecord::Rows(rows) => Some((rows, logged.bytes)),
            _ => None,
        };
        let mut transactions = Transactions::default();
        records.iter().for_each(|logged| transactions.add(&logged.record));
        let mut rows: Vec<_> = records.into_iter().filter_map(logged).collect();
        rows.retain(|(rows, _)| transactions.has_ended(rows));
        table.redo_all(&rows)?;
        Ok(Arc::new(table))
    }

    fn count(table: &WritableTable) -> usize {
        table.shared.lock().rows()
    }

    #[tokio::test]
    async fn table_write_that_cannot_be_applied_is_refused_before_it_is_logged() {
        for key in [&[][..], &[0]] {
            let storage = Arc::new(MemoryStorage::default());
            let table = opened(&storage, key, usize::MAX).unwrap();
            table.insert(&[rows(&[1, 2, 3])], &OnConflict::Fail).await.unwrap();
            let writes = storage.writes();
            // Missing rows, a row deleted twice, and duplicate keys.
            for (old, new) in [(&[4][..], &[5][..]), (&[1, 1], &[]), (&[1, 4], &[1])] {
                let change = async { Ok((vec![rows(old)], vec![rows(new)])) };
                assert!(table.change(change).await.is_err(), "{key:?}: {old:?} to {new:?}");
            }
            assert_eq!(storage.writes(), writes, "{key:?}: it is in the log");
            table.change(async { Ok((vec![rows(&[1, 2])], vec![rows(&[1, 7])])) }).await.unwrap();
            table.insert(&[rows(&[8])], &OnConflict::Fail).await.unwrap();
            assert_eq!((count(&table), count(&opened(&storage, key, usize::MAX).unwrap())), (4, 4), "{key:?}");
        }
    }

    #[tokio::test]
    async fn table_statement_of_several_log_records_is_atomic_at_every_crash() {
        let ids: Vec<i64> = (0..100).collect();
        for crash in 1.. {
            let storage = Arc::new(MemoryStorage::default());
            let table = opened(&storage, &[0], 200).unwrap();
            table.insert(&[rows(&[-1])], &OnConflict::Fail).await.unwrap();
            let before = storage.writes();
            storage.fail_at(before + crash);
            let done = table.insert(&[rows(&ids)], &OnConflict::Fail).await.is_ok();
            assert_eq!(count(&table), if done { 101 } else { 1 });
            assert!(!done || storage.writes() > before + 4, "it has several records");
            let storage = Arc::new(storage.survivor());
            let table = opened(&storage, &[0], 200).unwrap();
            assert_eq!(count(&table), if done { 101 } else { 1 }, "write {crash}");
            // The next statement takes the epoch of the one that failed.
            table.insert(&[rows(&[500, 501])], &OnConflict::Fail).await.unwrap();
            let rows = count(&table);
            assert_eq!(count(&opened(&storage, &[0], 200).unwrap()), rows, "write {crash}");
            if done {
                break;
            }
        }
    }
}
