//! The keyed Arrow log: the current row of each key.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int8Array, RecordBatch, new_null_array},
    datatypes::{DataType, Field, Fields, Int8Type, Schema, SchemaRef},
    row::{RowConverter, Rows},
};

use super::{Chunks, Compaction, Durable, Id, Index, Saved, keys::converter_of};
use crate::{changes::OP, error::Result};

/// One row of value columns per key. Upserts and lookups cost O(rows touched).
#[derive(Debug)]
pub struct KeyedLog {
    keys: Fields,
    converter: RowConverter,
    index: Index,
    values: Chunks,
    /// Ids changed since the last save; may contain duplicates and removed ones.
    touched: Vec<Id>,
    /// Keys removed since the last save, as bytes.
    removed: Vec<Vec<u8>>,
    saved_schema: SchemaRef,
}

impl KeyedLog {
    pub fn new(keys: &Fields, values: &Fields) -> Result<Self> {
        let nullable = |f: &Arc<Field>| Arc::new(f.as_ref().clone().with_nullable(true));
        let mut saved: Vec<_> = keys.iter().chain(values).map(nullable).collect();
        saved.push(Arc::new(Field::new(OP, DataType::Int8, false)));
        Ok(KeyedLog {
            keys: keys.clone(),
            converter: converter_of(keys)?,
            index: Index::default(),
            values: Chunks::new(Arc::new(Schema::new(values.clone()))),
            touched: Vec::new(),
            removed: Vec::new(),
            saved_schema: Arc::new(Schema::new(saved)),
        })
    }

    /// Encodes keys as the other methods take them.
    pub fn encode(&self, keys: &[ArrayRef]) -> Result<Rows> {
        Ok(self.converter.convert_columns(keys)?)
    }

    /// Per key: the id of its row, if it has one.
    pub fn find(&self, keys: &Rows) -> Vec<Option<Id>> {
        keys.iter().map(|key| self.index.find(Index::hash(key.as_ref()), key.as_ref())).collect()
    }

    /// The value rows of ids, in their order.
    pub fn gather(&self, ids: &[Id]) -> Result<RecordBatch> {
        self.values.gather(ids)
    }

    /// Sets the rows of distinct keys. `found` is the result of [`KeyedLog::find`] for them.
    pub fn upsert(&mut self, keys: &Rows, found: &[Option<Id>], values: &RecordBatch) -> Result<()> {
        let ids: Vec<Id> = keys
            .iter()
            .zip(found)
            .map(|(key, id)| id.unwrap_or_else(|| self.index.insert(Index::hash(key.as_ref()), key.as_ref())))
            .collect();
        self.touched.extend_from_slice(&ids);
        self.values.append(values, &ids)
    }

    /// Removes a row and its key; does nothing if it is removed already, since a saved log may name a key several
    /// times.
    pub fn remove(&mut self, id: Id) {
        if !self.index.contains(id) {
            return;
        }
        self.removed.push(self.index.bytes_of(id).to_vec());
        self.values.kill(id);
        self.index.remove(id);
    }

    /// All keys and rows (key columns, value columns) in key order: the same after a restart, since a float sum over
    /// them must be the same.
    pub fn all(&self) -> Result<(Vec<ArrayRef>, RecordBatch)> {
        let mut ids: Vec<Id> = self.index.ids().collect();
        ids.sort_unstable_by_key(|id| self.index.bytes_of(*id));
        self.rows_of(&ids)
    }

    fn rows_of(&self, ids: &[Id]) -> Result<(Vec<ArrayRef>, RecordBatch)> {
        let keys = self.decode(ids.iter().map(|id| self.index.bytes_of(*id)))?;
        Ok((keys, self.values.gather(ids)?))
    }

    fn decode<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(keys.map(|bytes| parser.parse(bytes)))?)
    }

    fn saved_batch(&self, keys: Vec<ArrayRef>, values: Vec<ArrayRef>, op: i8) -> Result<RecordBatch> {
        let rows = keys.first().map_or(0, |k| k.len());
        let mut columns = keys;
        columns.extend(values);
        columns.push(Arc::new(Int8Array::from_value(op, rows)));
        Ok(RecordBatch::try_new(self.saved_schema.clone(), columns)?)
    }
}

impl Durable for KeyedLog {
    fn save(&mut self, full: bool) -> Result<Saved> {
        let mut rows = Vec::new();
        if !full && !self.removed.is_empty() {
            let keys = self.decode(self.removed.iter().map(Vec::as_slice))?;
            let nothing = |f: &Arc<Field>| new_null_array(f.data_type(), self.removed.len());
            let values = self.values.schema().fields().iter().map(nothing).collect();
            rows.push(self.saved_batch(keys, values, -1)?);
        }
        let mut ids: Vec<Id> = match full {
            true => self.index.ids().collect(),
            false => std::mem::take(&mut self.touched),
        };
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| self.index.contains(*id));
        if !ids.is_empty() {
            let (keys, values) = self.rows_of(&ids)?;
            rows.push(self.saved_batch(keys, values.columns().to_vec(), 1)?);
        }
        self.touched.clear();
        self.removed.clear();
        Ok(Saved { rows })
    }

    fn load(&mut self, rows: &RecordBatch) -> Result<()> {
        let key_count = self.keys.len();
        let columns = rows.columns();
        let ops = columns[columns.len() - 1].as_primitive::<Int8Type>();
        let keys = self.encode(&columns[..key_count])?;
        let found = self.find(&keys);
        if ops.values().first() == Some(&-1) {
            found.into_iter().flatten().for_each(|id| self.remove(id));
        } else {
            let values = columns[key_count..columns.len() - 1].to_vec();
            let values = RecordBatch::try_new(self.values.schema().clone(), values)?;
            self.upsert(&keys, &found, &values)?;
        }
        self.touched.clear();
        self.removed.clear();
        Ok(())
    }

    fn set_compaction(&mut self, to: Compaction) {
        self.index.set_compaction(to);
        self.values.set_compaction(to);
    }

    fn len(&self) -> usize {
        self.index.len()
    }

    fn bytes(&self) -> usize {
        self.index.memory() + self.values.bytes()
    }
}
