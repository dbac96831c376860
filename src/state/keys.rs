//! Rows told apart: their keys as bytes, and the net of what came and went.

use arrow::{
    array::{ArrayRef, Int64Array, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
    row::{RowConverter, Rows, SortField},
};
use hashbrown::HashTable;

use super::Index;
use crate::{changes::Changes, error::Result};

/// Keys in the form that an index takes.
pub struct KeyCodec {
    pub rows: Rows,
    pub hashes: Vec<u64>,
}

impl KeyCodec {
    /// Of columns that the converter is for.
    pub fn new(converter: &RowConverter, columns: &[ArrayRef]) -> Result<KeyCodec> {
        let rows = converter.convert_columns(columns)?;
        let hashes = rows.iter().map(|row| Index::hash(row.as_ref())).collect();
        Ok(KeyCodec { rows, hashes })
    }
}

/// For some columns, or for all.
pub fn converter_of(schema: &SchemaRef, columns: Option<&[usize]>) -> Result<RowConverter> {
    let sort = |column: usize| SortField::new(schema.field(column).data_type().clone());
    let fields = match columns {
        Some(columns) => columns.iter().map(|column| sort(*column)).collect(),
        None => (0..schema.fields().len()).map(sort).collect(),
    };
    Ok(RowConverter::new(fields)?)
}

/// The same sum with each row once, as ±1 as often as it counts. Rows keep the order in which they first occur.
/// `converter` is for all columns; the keys that it made are given back where they are still right.
pub fn consolidate(changes: &Changes, converter: &RowConverter) -> Result<(Changes, Option<KeyCodec>)> {
    if changes.diffs().is_none() {
        return Ok((changes.clone(), None));
    }
    let keys = KeyCodec::new(converter, changes.rows().columns())?;
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

/// Changes less what came and went again: each row once, as often as it counts in the end.
pub fn net(changes: &Changes) -> Result<Changes> {
    Ok(consolidate(changes, &converter_of(&changes.schema(), None)?)?.0)
}
