//! Groups of rows, each row with a count: what group recompute keeps.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int8Array, Int64Array, RecordBatch, Scalar, UInt32Array, new_null_array},
    compute::{is_not_null, kernels::zip::zip},
    datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef},
    row::{RowConverter, Rows, SortField},
};
use hashbrown::HashMap;

use super::{Durable, Saved};
use crate::{
    changes::{DIFF, with_diff},
    error::Result,
};

type Bytes = Box<[u8]>;

/// A group's rows and how often each is there. In order: a sum of floats, or a list, is made anew from the same rows
/// after a restart, and must come out the same to the last bit to be withdrawn.
type Group = BTreeMap<Bytes, i64>;

/// For each group key a Z-set of rows: row bytes to how often. A group without rows is not there.
#[derive(Debug)]
pub struct Multiset {
    key_columns: usize,
    keys: RowConverter,
    rows: RowConverter,
    groups: HashMap<Bytes, Group>,
    count: usize,
    bytes: usize,
    /// Net changes since the last save.
    delta: HashMap<(Bytes, Bytes), i64>,
    saved_schema: SchemaRef,
    /// Whether its rows have no columns: a constant stands for them.
    bare: bool,
}

impl Multiset {
    pub fn new(keys: &Fields, rows: &Fields) -> Result<Self> {
        let one = Fields::from(vec![Field::new("row", DataType::Int8, true)]);
        let (rows, bare) = if rows.is_empty() { (&one, true) } else { (rows, false) };
        let sort = |fields: &Fields| fields.iter().map(|f| SortField::new(f.data_type().clone())).collect::<Vec<_>>();
        let nullable = |f: &Arc<Field>| Arc::new(f.as_ref().clone().with_nullable(true));
        let saved: Vec<_> = keys.iter().chain(rows).map(nullable).collect();
        Ok(Multiset {
            key_columns: keys.len(),
            keys: RowConverter::new(sort(keys))?,
            rows: RowConverter::new(sort(rows))?,
            groups: HashMap::new(),
            count: 0,
            bytes: 0,
            delta: HashMap::new(),
            saved_schema: with_diff(&Schema::new(saved)),
            bare,
        })
    }

    /// Rows as they are kept.
    fn encode(&self, rows: &[ArrayRef], count: usize) -> Result<Rows> {
        if self.bare && rows.is_empty() {
            let one: ArrayRef = Arc::new(Int8Array::from_value(0, count));
            return Ok(self.rows.convert_columns(&[one])?);
        }
        Ok(self.rows.convert_columns(rows)?)
    }

    fn decode<'a>(&self, rows: impl Iterator<Item = &'a Bytes>) -> Result<Vec<ArrayRef>> {
        if self.bare {
            return Ok(Vec::new());
        }
        let parser = self.rows.parser();
        self.rows.convert_rows(rows.map(|row| parser.parse(row)))?.into_iter().map(calmed).collect()
    }

    /// How many columns its rows have.
    pub fn row_columns(&self) -> usize {
        if self.bare { 0 } else { self.saved_schema.fields().len() - self.key_columns - 1 }
    }

    /// Keys as bytes, and back.
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
        let rows = self.encode(rows, diffs.len())?;
        for ((key, row), diff) in keys.iter().zip(rows.iter()).zip(diffs.values()) {
            let (key, row): (Bytes, Bytes) = (key.as_ref().into(), row.as_ref().into());
            self.add(&key, &row, *diff);
            *self.delta.entry((key, row)).or_default() += diff;
        }
        Ok(())
    }

    fn add(&mut self, key: &Bytes, row: &Bytes, diff: i64) {
        // Most often both are there, and neither need be copied.
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

    /// The rows of some groups, each as often as it counts, and for each row the position of its group in `keys`.
    pub fn gather(&self, keys: &[ArrayRef]) -> Result<(Vec<ArrayRef>, Vec<usize>)> {
        let keys = self.keys.convert_columns(keys)?;
        let (mut rows, mut groups) = (Vec::new(), Vec::new());
        for (position, key) in keys.iter().enumerate() {
            let Some(group) = self.groups.get(key.as_ref()) else { continue };
            for (row, count) in group {
                // A negative count is a withdrawal that came before its row; it shows nothing.
                for _ in 0..*count {
                    rows.push(row);
                    groups.push(position);
                }
            }
        }
        Ok((self.decode(rows.into_iter())?, groups))
    }

    /// Makes some rows the only ones of the groups of `keys`; `groups` are the positions of their keys. Gives what came
    /// and what went by that, one row a time.
    pub fn replace(
        &mut self,
        keys: &[ArrayRef],
        rows: &[ArrayRef],
        groups: &UInt32Array,
    ) -> Result<(Vec<ArrayRef>, Int64Array)> {
        let keys = self.keys.convert_columns(keys)?;
        let mut differ: Vec<BTreeMap<Bytes, i64>> = vec![BTreeMap::new(); keys.num_rows()];
        for (row, group) in self.encode(rows, groups.len())?.iter().zip(groups.values()) {
            *differ[*group as usize].entry(row.as_ref().into()).or_default() += 1;
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
        Ok((self.decode(rows.into_iter())?, diffs.into()))
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
        let (keys, rows) = (self.keys.parser(), self.rows.parser());
        let mut columns = self.keys.convert_rows(all.iter().map(|(key, ..)| keys.parse(key)))?;
        columns.extend(self.rows.convert_rows(all.iter().map(|(_, row, _)| rows.parse(row)))?);
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

    fn len(&self) -> usize {
        self.count
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A column without what `arrow-row` leaves under its NULLs: functions such as `date_trunc` compute with it, and panic.
fn calmed(column: ArrayRef) -> Result<ArrayRef> {
    if column.null_count() == 0 || !column.data_type().is_primitive() {
        return Ok(column);
    }
    Ok(zip(&is_not_null(&column)?, &column, &Scalar::new(new_null_array(column.data_type(), 1)))?)
}

/// About what a row costs, and a group without its rows: bytes and their place in a table.
fn row_bytes(row: &Bytes) -> usize {
    row.len() + 40
}

fn group_bytes(key: &Bytes) -> usize {
    key.len() + 64
}
