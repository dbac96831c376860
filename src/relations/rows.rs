//! The rows of a relation, and how a retraction finds its row.

use std::collections::HashSet;

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
};

use crate::{
    changes::{Changes, canonical},
    error::{Error, ErrorKind, Result},
    state::{Chunks, Compaction, EncodedKeys, Id, Index, KeyEncoder, LiveRows, consolidate},
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

/// Bytes of a row besides its columns: its address, and an index entry with a short key.
const PLACE_BYTES: usize = 8;
const INDEXED_BYTES: usize = PLACE_BYTES + 56;

/// The rows of a relation, each with an id; an index finds them by their identity.
#[derive(Debug)]
pub(super) struct RelationRows {
    identity: Identity,
    chunks: Chunks,
    /// Empty if append-only.
    index: Index,
    keys: Option<KeyEncoder>,
    /// The id of the next row, if append-only.
    next: Id,
}

impl RelationRows {
    pub fn new(schema: SchemaRef, identity: Identity) -> Result<Self> {
        let keys = match &identity {
            Identity::AppendOnly => None,
            Identity::Key(columns) => Some(KeyEncoder::new(&schema, Some(columns))?),
            Identity::Row => Some(KeyEncoder::new(&schema, None)?),
        };
        Ok(RelationRows { identity, chunks: Chunks::new(schema), index: Index::default(), keys, next: 0 })
    }

    pub fn schema(&self) -> &SchemaRef {
        self.chunks.schema()
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn len(&self) -> usize {
        self.chunks.rows()
    }

    pub fn bytes(&self) -> usize {
        self.chunks.bytes() + self.index.memory()
    }

    /// Estimated bytes that `more` rows would take.
    pub fn bytes_of(&self, more: &RecordBatch) -> usize {
        let place = if self.keys.is_some() { INDEXED_BYTES } else { PLACE_BYTES };
        more.get_array_memory_size() + more.num_rows() * place
    }

    /// Bytes of deleted rows that snapshots still hold.
    pub fn held_bytes(&self) -> usize {
        self.chunks.held_bytes()
    }

    pub fn snapshot(&self) -> Vec<LiveRows> {
        self.chunks.snapshot()
    }

    pub fn set_compaction(&mut self, to: Compaction) {
        self.chunks.set_compaction(to);
        self.index.set_compaction(to);
    }

    /// Fails exactly if [`RelationRows::apply`] would, and changes nothing. Looks up retracted rows and the keys of
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
        let (net, keys) = consolidated(changes, encoder)?;
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

    /// Applies changes, retractions first, and gives them consolidated. Fails, and is then undefined, if a retracted row
    /// does not exist or the key of an inserted one does.
    pub fn apply(&mut self, changes: &Changes) -> Result<Changes> {
        let (Identity::Row, Some(encoder)) = (&self.identity, &self.keys) else {
            self.apply_consolidated(changes)?;
            return Ok(changes.clone());
        };
        let (net, keys) = consolidated(changes, encoder)?;
        self.change_rows(&net, &keys)?;
        Ok(net)
    }

    /// Applies changes that are consolidated already, as [`RelationRows::apply`] does.
    pub fn apply_consolidated(&mut self, net: &Changes) -> Result<()> {
        match (&self.identity, &self.keys) {
            _ if net.is_empty() => Ok(()),
            (Identity::Key(_), _) => self.change_keys(net),
            (Identity::Row, Some(encoder)) => {
                let keys = encoder.encode(net.rows().columns())?;
                self.change_rows(net, &keys)
            }
            (Identity::AppendOnly, _) if net.is_insert_only() => self.insert(net),
            _ => Err(Error::internal("a row was withdrawn from an append-only relation")),
        }
    }

    /// For [`Identity::AppendOnly`].
    fn insert(&mut self, new: &Changes) -> Result<()> {
        let next = Id::try_from(new.num_rows()).ok().and_then(|rows| self.next.checked_add(rows));
        let next = next.ok_or_else(too_many)?;
        let ids: Vec<Id> = (self.next..next).collect();
        self.next = next;
        self.chunks.append(new.rows(), &ids)
    }

    /// For [`Identity::Row`]: consolidated changes, by all columns.
    fn change_rows(&mut self, net: &Changes, keys: &EncodedKeys) -> Result<()> {
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
        let bytes = |batch: &RecordBatch| KeyEncoder::new(self.schema(), None).ok()?.encode(batch.columns()).ok();
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
}

/// Consolidated changes, and their keys by all columns.
fn consolidated(changes: &Changes, encoder: &KeyEncoder) -> Result<(Changes, EncodedKeys)> {
    let (net, keys) = consolidate(changes, encoder)?;
    let keys = keys.map_or_else(|| encoder.encode(net.rows().columns()), Ok)?;
    Ok((net, keys))
}

fn key_taken() -> Error {
    Error::internal("a row came whose key is taken")
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
        let mut stored = RelationRows::new(schema.clone(), Identity::AppendOnly).unwrap();
        let rows = |n: i64| {
            let column = Arc::new(Int64Array::from_iter_values(0..n)) as ArrayRef;
            Changes::insert(RecordBatch::try_new(schema.clone(), vec![column]).unwrap())
        };
        stored.apply(&rows(3)).unwrap();
        stored.next = Id::MAX - 3;
        let error = stored.apply(&rows(5)).unwrap_err();
        assert_eq!((error.kind(), stored.len()), (ErrorKind::LimitExceeded, 3));
    }
}
