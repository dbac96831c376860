//! Groups of rows with counts: the state of group recompute.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array},
    datatypes::{Field, Int64Type, Schema, SchemaRef},
    row::{RowConverter, Rows},
};
use hashbrown::HashMap;

use super::{
    Compaction, Durable, Saved, StateShape,
    keys::converter_of,
    row_bytes::{Bytes, RowBytes},
};
use crate::{
    changes::{DIFF, with_diff},
    error::Result,
};

/// A group's rows with counts. Ordered: a sum of floats, or a list, is recomputed from the same rows after a restart
/// and must be the same to the last bit to be retracted.
type GroupRows = BTreeMap<Bytes, i64>;

/// Per group key a Z-set of rows: row bytes and count. A group without rows has no entry.
#[derive(Debug)]
pub struct Multiset {
    key_columns: usize,
    keys: RowConverter,
    rows: RowBytes,
    groups: HashMap<Bytes, GroupRows>,
    count: usize,
    bytes: usize,
    /// Net changes since the last save.
    delta: HashMap<(Bytes, Bytes), i64>,
    saved_schema: SchemaRef,
}

/// The first rows of a group, by `row_number`, `rank` or `dense_rank`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopN {
    /// The greatest rank included.
    pub most: i64,
    pub counted: RankKind,
}

/// How rows are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RankKind {
    /// By position; ties are ordered by row bytes.
    RowNumber,
    /// By the position of the first of its ties.
    Rank,
    /// By the number of distinct ranks up to it.
    DenseRank,
}

impl Multiset {
    /// The rows of a group are sorted by the order of `shape`, if it has one.
    pub fn new(shape: &StateShape) -> Result<Self> {
        let nullable = |f: &Arc<Field>| Arc::new(f.as_ref().clone().with_nullable(true));
        let saved: Vec<_> = shape.keys.iter().chain(&shape.values).map(nullable).collect();
        Ok(Multiset {
            key_columns: shape.keys.len(),
            keys: converter_of(&shape.keys)?,
            rows: RowBytes::new(&shape.values, &shape.order)?,
            groups: HashMap::new(),
            count: 0,
            bytes: 0,
            delta: HashMap::new(),
            saved_schema: with_diff(&Schema::new(saved)),
        })
    }

    /// Number of columns of its rows.
    pub fn row_columns(&self) -> usize {
        self.rows.columns()
    }

    /// Encodes and decodes keys.
    pub fn encode_keys(&self, keys: &[ArrayRef]) -> Result<Rows> {
        Ok(self.keys.convert_columns(keys)?)
    }

    pub fn decode_keys(&self, keys: &[Bytes]) -> Result<Vec<ArrayRef>> {
        let parser = self.keys.parser();
        Ok(self.keys.convert_rows(keys.iter().map(|key| parser.parse(key)))?)
    }

    /// Adds rows `diffs` times each to the groups of their keys.
    pub fn apply(&mut self, keys: &[ArrayRef], rows: &[ArrayRef], diffs: &Int64Array) -> Result<()> {
        let keys = self.keys.convert_columns(keys)?;
        let rows = self.rows.encode(rows, diffs.len())?;
        for ((key, row), diff) in keys.iter().zip(rows).zip(diffs.values()) {
            let key: Bytes = key.as_ref().into();
            self.add(&key, &row, *diff);
            *self.delta.entry((key, row)).or_default() += diff;
        }
        Ok(())
    }

    fn add(&mut self, key: &Bytes, row: &Bytes, diff: i64) {
        // Usually group and row exist, and neither key is copied.
        let group = match self.groups.get_mut(key) {
            Some(group) => group,
            None => {
                self.bytes += group_bytes(key);
                self.groups.entry(key.clone()).or_default()
            }
        };
        let left = match group.get_mut(row) {
            Some(count) => {
                *count += diff;
                *count
            }
            None => {
                self.bytes += row_bytes(row);
                self.count += 1;
                group.insert(row.clone(), diff);
                diff
            }
        };
        if left == 0 {
            group.remove(row);
            self.bytes -= row_bytes(row);
            self.count -= 1;
        }
        if group.is_empty() {
            self.groups.remove(key);
            self.bytes -= group_bytes(key);
        }
    }

    /// The rows of some groups (or only the `first` of each), repeated by count, and for each row the position of its
    /// group in `keys`.
    pub fn gather(&self, keys: &[ArrayRef], first: Option<TopN>) -> Result<(Vec<ArrayRef>, Vec<usize>)> {
        let keys = self.keys.convert_columns(keys)?;
        let (mut rows, mut groups) = (Vec::new(), Vec::new());
        for (position, key) in keys.iter().enumerate() {
            let Some(group) = self.groups.get(key.as_ref()) else { continue };
            for (row, count) in self.shown(group, first) {
                rows.extend(std::iter::repeat_n(row, count as usize));
                groups.extend(std::iter::repeat_n(position, count as usize));
            }
        }
        Ok((self.rows.decode(&rows)?, groups))
    }

    /// The rows of a group (or only the `first`) with counts.
    fn shown<'a>(&self, group: &'a GroupRows, first: Option<TopN>) -> impl Iterator<Item = (&'a Bytes, i64)> {
        // Rows so far, rows before the current ties, ranks so far, current order key.
        let (mut rows, mut before, mut ranks, mut tie) = (0, 0, 0, None);
        // A negative count is a retraction that arrived before its row: not part of the group.
        group.iter().filter(|(_, count)| **count > 0).map_while(move |(row, count)| {
            let Some(TopN { most, counted }) = first else { return Some((row, *count)) };
            let order = self.rows.order_of(row);
            if tie != Some(order) {
                (before, ranks, tie) = (rows, ranks + 1, Some(order));
            }
            let left = match counted {
                RankKind::RowNumber => most - rows,
                RankKind::Rank if before >= most => 0,
                RankKind::DenseRank if ranks > most => 0,
                RankKind::Rank | RankKind::DenseRank => *count,
            };
            rows += count;
            (left > 0).then(|| (row, left.min(*count)))
        })
    }

    /// Drops the rows after the `first` of some groups: in append-only input they never matter.
    pub fn keep_first(&mut self, keys: &[ArrayRef], first: TopN) -> Result<()> {
        for key in &self.keys.convert_columns(keys)? {
            let Some((key, group)) = self.groups.get_key_value(key.as_ref()) else { continue };
            let last = self.shown(group, Some(first)).last();
            let from = last.map_or(Bound::Unbounded, |(row, _)| Bound::Included(row));
            let behind = group.range::<Bytes, _>((from, Bound::Unbounded));
            let kept = |row| last.filter(|(last, _)| *last == row).map_or(0, |(_, count)| count);
            let gone = behind.map(|(row, count)| (row.clone(), kept(row) - count)).filter(|(_, diff)| *diff != 0);
            let (key, gone): (Bytes, Vec<_>) = (key.clone(), gone.collect());
            for (row, diff) in gone {
                self.add(&key, &row, diff);
                *self.delta.entry((key.clone(), row)).or_default() += diff;
            }
        }
        Ok(())
    }

    /// Replaces the rows of the groups of `keys`; `groups` are the group positions of the new `rows`. Gives the
    /// difference as rows of ±1.
    pub fn replace(
        &mut self,
        keys: &[ArrayRef],
        rows: &[ArrayRef],
        groups: &UInt32Array,
    ) -> Result<(Vec<ArrayRef>, Int64Array)> {
        let keys = self.keys.convert_columns(keys)?;
        let mut differ: Vec<BTreeMap<Bytes, i64>> = vec![BTreeMap::new(); keys.num_rows()];
        for (row, group) in self.rows.encode(rows, groups.len())?.into_iter().zip(groups.values()) {
            *differ[*group as usize].entry(row).or_default() += 1;
        }
        let mut changed: Vec<(Bytes, i64)> = Vec::new();
        for (key, mut differ) in keys.iter().zip(differ) {
            for (row, count) in self.groups.get(key.as_ref()).into_iter().flatten() {
                *differ.entry(row.clone()).or_default() -= count;
            }
            let key: Bytes = key.as_ref().into();
            for (row, diff) in differ.into_iter().filter(|(_, diff)| *diff != 0) {
                self.add(&key, &row, diff);
                *self.delta.entry((key.clone(), row.clone())).or_default() += diff;
                changed.push((row, diff));
            }
        }
        let each = changed
            .iter()
            .flat_map(|(row, diff)| std::iter::repeat_n((row, diff.signum()), diff.unsigned_abs() as usize));
        let (rows, diffs): (Vec<&Bytes>, Vec<i64>) = each.unzip();
        Ok((self.rows.decode(&rows)?, diffs.into()))
    }

    /// Drops whole groups.
    pub fn remove(&mut self, keys: &[ArrayRef]) -> Result<()> {
        for key in &self.keys.convert_columns(keys)? {
            let Some((key, group)) = self.groups.remove_entry(key.as_ref()) else { continue };
            self.count -= group.len();
            self.bytes -= group_bytes(&key);
            for (row, count) in group {
                self.bytes -= row_bytes(&row);
                *self.delta.entry((key.clone(), row)).or_default() -= count;
            }
        }
        Ok(())
    }

    /// The keys of all groups, in order.
    pub fn all_keys(&self) -> Result<Vec<ArrayRef>> {
        let mut keys: Vec<Bytes> = self.groups.keys().cloned().collect();
        keys.sort_unstable();
        self.decode_keys(&keys)
    }

    fn batch(&self, all: &[(&Bytes, &Bytes, i64)]) -> Result<RecordBatch> {
        let keys = self.keys.parser();
        let mut columns = self.keys.convert_rows(all.iter().map(|(key, ..)| keys.parse(key)))?;
        columns.extend(self.rows.decode(&all.iter().map(|(_, row, _)| *row).collect::<Vec<_>>())?);
        columns.push(Arc::new(all.iter().map(|(.., count)| *count).collect::<Int64Array>()));
        Ok(RecordBatch::try_new(self.saved_schema.clone(), columns)?)
    }
}

impl Durable for Multiset {
    fn save(&mut self, full: bool) -> Result<Saved> {
        let rows: Vec<(&Bytes, &Bytes, i64)> = if full {
            self.groups.iter().flat_map(|(key, rows)| rows.iter().map(move |(row, n)| (key, row, *n))).collect()
        } else {
            self.delta.iter().filter(|(_, n)| **n != 0).map(|((key, row), n)| (key, row, *n)).collect()
        };
        let rows = if rows.is_empty() { Vec::new() } else { vec![self.batch(&rows)?] };
        self.delta.clear();
        Ok(Saved { rows })
    }

    fn load(&mut self, rows: &RecordBatch) -> Result<()> {
        debug_assert_eq!(rows.schema().fields().last().map(|f| f.name().as_str()), Some(DIFF));
        let columns = rows.columns();
        let last = columns.len() - 1;
        let diffs = columns[last].as_primitive::<Int64Type>().clone();
        self.apply(&columns[..self.key_columns], &columns[self.key_columns..last], &diffs)?;
        self.delta.clear();
        Ok(())
    }

    /// Nothing to compact: removed rows are freed at once.
    fn set_compaction(&mut self, _: Compaction) {}

    fn len(&self) -> usize {
        self.count
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Estimated bytes of a row, and of a group without its rows.
fn row_bytes(row: &Bytes) -> usize {
    row.len() + 40
}

fn group_bytes(key: &Bytes) -> usize {
    key.len() + 64
}
