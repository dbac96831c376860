//! The rows of one side of a join, by key, each with its count and its number of matches.
//!
//! ```text
//! key bytes ─▶ group ─▶ ids of its rows, in order ─▶ row (Arrow), count, matches, expiry watermark
//! row bytes ─▶ id       only if rows can be retracted
//! ```
//!
//! Ids are allocated smallest first, and a group lists its rows by id: the same changes give the same pairs in the same
//! order after a restart, since a sum of floats over them must be retracted to the last bit.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef, UInt32Type},
    row::{RowConverter, Rows},
};
use hashbrown::HashTable;

use super::{Chunks, Close, Compaction, Id, Index, NEVER, expect_columns, keys::converter_of};
use crate::{error::Result, time::Micros};

/// One side of a join.
#[derive(Debug)]
pub struct JoinState {
    rows: Chunks,
    metas: Vec<RowMeta>,
    /// Free ids below the length of `slots`.
    free: BinaryHeap<Reverse<Id>>,
    keys: RowConverter,
    groups: Index,
    /// Per group: the ids of its rows, ascending.
    members: Vec<Vec<Id>>,
    by_row: Option<ByRow>,
    close: Option<Close>,
    /// Rows by the watermark after which no new match is possible.
    expiry: BTreeSet<(Micros, Id)>,
    count: usize,
    /// Ids changed, and removed, since the last save; may contain duplicates.
    touched: Vec<Id>,
    removed: Vec<Id>,
}

/// Metadata of one row.
#[derive(Debug, Clone, Copy)]
pub struct RowMeta {
    /// Multiplicity of the row; 0 if the id is free.
    pub count: i64,
    /// Number of matches in the other side.
    pub matches: i64,
    group: Id,
    expiry: Micros,
}

/// The group of rows with a NULL key, which match nothing.
const NULL_KEY: Id = Id::MAX;
const FREE: RowMeta = RowMeta { count: 0, matches: 0, group: NULL_KEY, expiry: NEVER };

/// An index from whole rows to ids.
#[derive(Debug)]
struct ByRow {
    converter: RowConverter,
    table: HashTable<Id>,
    /// Per id: the bytes of its row.
    bytes: Vec<Box<[u8]>>,
    held: usize,
}

impl ByRow {
    fn find(&self, row: &[u8]) -> Option<Id> {
        self.table.find(Index::hash(row), |id| *self.bytes[*id as usize] == *row).copied()
    }

    fn insert(&mut self, id: Id, row: &[u8]) {
        if self.bytes.len() <= id as usize {
            self.bytes.resize(id as usize + 1, Box::default());
        }
        self.bytes[id as usize] = row.into();
        self.held += row.len();
        let bytes = &self.bytes;
        self.table.insert_unique(Index::hash(row), id, |id| Index::hash(&bytes[*id as usize]));
    }

    fn remove(&mut self, id: Id) {
        let row = std::mem::take(&mut self.bytes[id as usize]);
        self.held -= row.len();
        if let Ok(found) = self.table.find_entry(Index::hash(&row), |other| *other == id) {
            found.remove();
        }
    }
}

impl JoinState {
    /// For rows of schema `rows` by key columns `keys`. `withdraws`: whether rows can be retracted. `close`: when a row
    /// can have no new match, by its own columns.
    pub fn new(rows: &SchemaRef, keys: &Fields, withdraws: bool, close: Option<Close>) -> Result<Self> {
        let by_row = |_| {
            let converter = converter_of(rows.fields())?;
            Ok::<_, crate::error::Error>(ByRow { converter, table: HashTable::new(), bytes: Vec::new(), held: 0 })
        };
        Ok(JoinState {
            rows: Chunks::new(rows.clone()),
            metas: Vec::new(),
            free: BinaryHeap::new(),
            keys: converter_of(keys)?,
            groups: Index::default(),
            members: Vec::new(),
            by_row: withdraws.then_some(()).map(by_row).transpose()?,
            close,
            expiry: BTreeSet::new(),
            count: 0,
            touched: Vec::new(),
            removed: Vec::new(),
        })
    }

    pub fn set_compaction(&mut self, to: Compaction) {
        self.groups.set_compaction(to);
        self.rows.set_compaction(to);
    }

    pub fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    /// Encodes keys as the other methods take them.
    pub fn encode(&self, keys: &[ArrayRef]) -> Result<Rows> {
        Ok(self.keys.convert_columns(keys)?)
    }

    /// The ids of the rows with a key.
    pub fn members(&self, key: &[u8]) -> &[Id] {
        let group = self.groups.find(Index::hash(key), key);
        group.map_or(&[], |group| &self.members[group as usize])
    }

    pub fn meta(&self, id: Id) -> RowMeta {
        self.metas[id as usize]
    }

    /// The rows of ids, in their order.
    pub fn gather(&self, ids: &[Id]) -> Result<RecordBatch> {
        self.rows.gather(ids)
    }

    /// Consolidates rows: positions (of the first of equal rows) and diffs of distinct rows with a diff other than 0.
    /// `None` if the side has no retractions.
    pub fn net(&self, rows: &RecordBatch, diffs: &Int64Array) -> Result<Option<(UInt32Array, Vec<i64>)>> {
        let Some(by_row) = &self.by_row else { return Ok(None) };
        let encoded = by_row.encode(rows)?;
        let mut seen: HashTable<u32> = HashTable::with_capacity(rows.num_rows());
        let (mut first, mut sums): (Vec<u32>, Vec<i64>) = Default::default();
        let bytes = |row: u32| encoded.row(row as usize);
        for (row, diff) in diffs.values().iter().enumerate() {
            let hash = Index::hash(encoded.row(row).as_ref());
            match seen.find(hash, |at| bytes(first[*at as usize]) == encoded.row(row)) {
                Some(at) => sums[*at as usize] += diff,
                None => {
                    seen.insert_unique(hash, first.len() as u32, |at| Index::hash(bytes(first[*at as usize]).as_ref()));
                    first.push(row as u32);
                    sums.push(*diff);
                }
            }
        }
        let left = |at: &usize| sums[*at] != 0;
        let kept: Vec<usize> = (0..first.len()).filter(left).collect();
        Ok(Some((kept.iter().map(|at| first[*at]).collect(), kept.iter().map(|at| sums[*at]).collect())))
    }

    /// Adds rows with `diffs` (distinct rows, if the side has retractions); returns their ids and former metadata.
    /// `has_null_key` says which rows have a NULL key. A new row gets `matches` matches. Rows whose count drops to 0 are
    /// removed only by [`JoinState::purge_deleted`].
    pub fn add(
        &mut self,
        rows: &RecordBatch,
        keys: &Rows,
        has_null_key: impl Fn(usize) -> bool,
        diffs: &[i64],
        matches: &[i64],
    ) -> Result<Vec<(Id, RowMeta)>> {
        let encoded = self.by_row.as_ref().map(|by_row| by_row.encode(rows)).transpose()?;
        let found = |row: usize| self.by_row.as_ref()?.find(encoded.as_ref()?.row(row).as_ref());
        let known: Vec<Option<Id>> = (0..rows.num_rows()).map(found).collect();
        let moments = self.close.map(|close| close.moments(rows.columns())).transpose()?;
        let (mut ids, mut new, mut new_ids) = (Vec::with_capacity(known.len()), Vec::new(), Vec::new());
        for (row, id) in known.into_iter().enumerate() {
            let id = match id {
                Some(id) => id,
                None => {
                    let id = self.free_id();
                    if let (Some(by_row), Some(encoded)) = (&mut self.by_row, &encoded) {
                        by_row.insert(id, encoded.row(row).as_ref());
                    }
                    let key = (!has_null_key(row)).then(|| keys.row(row));
                    let moment = moments.as_ref().map_or(NEVER, |moments| moments.value(row));
                    self.insert(id, key.as_ref().map(AsRef::as_ref), matches[row], moment);
                    new.push(row as u32);
                    new_ids.push(id);
                    id
                }
            };
            let slot = &mut self.metas[id as usize];
            ids.push((id, *slot));
            slot.count += diffs[row];
            self.touched.push(id);
        }
        if !new.is_empty() {
            let all = new.len() == rows.num_rows();
            let new = if all { rows.clone() } else { take_record_batch(rows, &UInt32Array::from(new))? };
            self.rows.append(&new, &new_ids)?;
        }
        Ok(ids)
    }

    fn free_id(&mut self) -> Id {
        if let Some(Reverse(id)) = self.free.pop() {
            return id;
        }
        self.metas.push(FREE);
        (self.metas.len() - 1) as Id
    }

    fn insert(&mut self, id: Id, key: Option<&[u8]>, matches: i64, moment: Micros) {
        let group = match key {
            Some(key) => {
                let hash = Index::hash(key);
                let group = self.groups.find(hash, key).unwrap_or_else(|| self.groups.insert(hash, key));
                if self.members.len() <= group as usize {
                    self.members.resize(group as usize + 1, Vec::new());
                }
                let members = &mut self.members[group as usize];
                // Mostly the last position.
                let place = members.partition_point(|other| *other < id);
                members.insert(place, id);
                group
            }
            None => NULL_KEY,
        };
        if moment != NEVER {
            self.expiry.insert((moment, id));
        }
        self.metas[id as usize] = RowMeta { count: 0, matches, group, expiry: moment };
        self.count += 1;
    }

    /// Adds `more` to the match count of a row.
    pub fn add_matches(&mut self, id: Id, more: i64) {
        self.metas[id as usize].matches += more;
        self.touched.push(id);
    }

    /// Removes those of `ids` whose count is 0.
    pub fn purge_deleted(&mut self, ids: &[Id]) {
        for id in ids {
            let slot = self.metas[*id as usize];
            if slot.count == 0 && self.rows.contains(*id) {
                self.remove(*id);
            }
        }
    }

    fn remove(&mut self, id: Id) {
        let RowMeta { group, expiry: moment, .. } = std::mem::replace(&mut self.metas[id as usize], FREE);
        if group != NULL_KEY {
            let members = &mut self.members[group as usize];
            if let Ok(place) = members.binary_search(&id) {
                members.remove(place);
            }
            if members.is_empty() {
                *members = Vec::new();
                self.groups.remove(group);
            }
        }
        if moment != NEVER {
            self.expiry.remove(&(moment, id));
        }
        self.by_row.iter_mut().for_each(|by_row| by_row.remove(id));
        self.rows.kill(id);
        self.free.push(Reverse(id));
        self.removed.push(id);
        self.count -= 1;
    }

    /// The rows that can have no new match at `watermark`, in order of expiry.
    pub fn expired(&self, watermark: Option<Micros>) -> Vec<Id> {
        let Some(watermark) = watermark else { return Vec::new() };
        self.expiry.range(..=(watermark, Id::MAX)).map(|(_, id)| *id).collect()
    }

    pub fn is_due(&self, watermark: Option<Micros>) -> bool {
        watermark.is_some_and(|watermark| self.expiry.first().is_some_and(|(moment, _)| *moment <= watermark))
    }

    /// Removes rows.
    pub fn forget(&mut self, ids: &[Id]) {
        ids.iter().for_each(|id| self.remove(*id));
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn bytes(&self) -> usize {
        let by_row = self.by_row.as_ref().map_or(0, |by| by.held + by.bytes.len() * 16 + by.table.capacity() * 5);
        let members = self.members.len() * size_of::<Vec<Id>>() + self.count * size_of::<Id>();
        let expiry = self.expiry.len() * 24;
        self.rows.bytes() + self.metas.len() * size_of::<RowMeta>() + self.groups.memory() + members + expiry + by_row
    }

    /// The batches to save: everything if `full`, otherwise what changed since the last save. `name` distinguishes the
    /// sides.
    ///
    /// Freed ids are a batch with only the id column; rows are a batch of id, count, matches and row columns.
    pub fn save(&mut self, name: &str, full: bool) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        let (mut touched, removed) = (std::mem::take(&mut self.touched), std::mem::take(&mut self.removed));
        if !full && !removed.is_empty() {
            let column: ArrayRef = std::sync::Arc::new(UInt32Array::from(removed));
            batches.push(RecordBatch::try_from_iter([(name, column)])?);
        }
        if full {
            touched = (0..self.metas.len() as Id).collect();
        }
        touched.sort_unstable();
        touched.dedup();
        touched.retain(|id| self.rows.contains(*id));
        if !touched.is_empty() {
            let of = |what: fn(&RowMeta) -> i64| -> ArrayRef {
                std::sync::Arc::new(touched.iter().map(|id| what(&self.metas[*id as usize])).collect::<Int64Array>())
            };
            let (counts, matches) = (of(|slot| slot.count), of(|slot| slot.matches));
            let rows = self.rows.gather(&touched)?;
            let mut fields = vec![
                Field::new(name, DataType::UInt32, false),
                Field::new("count", DataType::Int64, false),
                Field::new("matches", DataType::Int64, false),
            ];
            fields.extend(rows.schema().fields().iter().map(|f| f.as_ref().clone()));
            let mut columns: Vec<ArrayRef> = vec![std::sync::Arc::new(UInt32Array::from(touched)), counts, matches];
            columns.extend(rows.columns().iter().cloned());
            batches.push(RecordBatch::try_new(std::sync::Arc::new(Schema::new(fields)), columns)?);
        }
        Ok(batches)
    }

    /// The row columns of a saved batch; `None` if it has only freed ids.
    pub fn saved_rows(&self, saved: &RecordBatch) -> Result<Option<RecordBatch>> {
        if saved.num_columns() == 1 {
            return Ok(None);
        }
        expect_columns(saved.schema().fields().get(3..).unwrap_or_default(), self.schema().fields().iter())?;
        Ok(Some(RecordBatch::try_new(self.schema().clone(), saved.columns()[3..].to_vec())?))
    }

    /// Loads a saved batch of freed ids.
    pub fn load_removed(&mut self, saved: &RecordBatch) {
        for id in saved.column(0).as_primitive::<UInt32Type>().values() {
            if self.rows.contains(*id) {
                self.remove(*id);
            }
        }
        self.removed.clear();
    }

    /// Loads a saved batch of rows with these keys.
    pub fn load_rows(
        &mut self,
        saved: &RecordBatch,
        rows: &RecordBatch,
        keys: &Rows,
        has_null_key: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let ids = saved.column(0).as_primitive::<UInt32Type>();
        let (counts, matches) =
            (saved.column(1).as_primitive::<Int64Type>(), saved.column(2).as_primitive::<Int64Type>());
        let encoded = self.by_row.as_ref().map(|by_row| by_row.encode(rows)).transpose()?;
        let moments = self.close.map(|close| close.moments(rows.columns())).transpose()?;
        for (row, id) in ids.values().iter().enumerate() {
            // An earlier save may have stored another row under this id.
            if self.rows.contains(*id) {
                self.remove(*id);
            }
            if self.metas.len() <= *id as usize {
                self.metas.resize(*id as usize + 1, FREE);
            }
            if let (Some(by_row), Some(encoded)) = (&mut self.by_row, &encoded) {
                by_row.insert(*id, encoded.row(row).as_ref());
            }
            let key = (!has_null_key(row)).then(|| keys.row(row));
            let moment = moments.as_ref().map_or(NEVER, |moments| moments.value(row));
            self.insert(*id, key.as_ref().map(AsRef::as_ref), matches.value(row), moment);
            self.metas[*id as usize].count = counts.value(row);
        }
        self.rows.append(rows, ids.values())?;
        self.loaded();
        Ok(())
    }

    /// Rebuilds the list of free ids after a load.
    fn loaded(&mut self) {
        self.free = (0..self.metas.len() as Id).filter(|id| !self.rows.contains(*id)).map(Reverse).collect();
        self.touched.clear();
        self.removed.clear();
    }
}

impl ByRow {
    fn encode(&self, rows: &RecordBatch) -> Result<Rows> {
        Ok(self.converter.convert_columns(rows.columns())?)
    }
}
