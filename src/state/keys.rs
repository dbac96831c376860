//! Keys of rows as bytes, and consolidation of changes.

use arrow::{
    array::{ArrayRef, Int64Array, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
    row::{RowConverter, Rows, SortField},
};
use hashbrown::HashTable;

use super::Index;
use crate::{changes::Changes, error::Result};

/// Encoded keys of rows and their hashes.
pub struct KeyCodec {
    pub rows: Rows,
    pub hashes: Vec<u64>,
}

impl KeyCodec {
    /// Encodes `columns`, whose types are those of `converter`.
    pub fn new(converter: &RowConverter, columns: &[ArrayRef]) -> Result<KeyCodec> {
        let rows = converter.convert_columns(columns)?;
        let hashes = rows.iter().map(|row| Index::hash(row.as_ref())).collect();
        Ok(KeyCodec { rows, hashes })
    }
}

/// A row converter for some columns, or for all.
pub fn converter_of(schema: &SchemaRef, columns: Option<&[usize]>) -> Result<RowConverter> {
    let sort = |column: usize| SortField::new(schema.field(column).data_type().clone());
    let fields = match columns {
        Some(columns) => columns.iter().map(|column| sort(*column)).collect(),
        None => (0..schema.fields().len()).map(sort).collect(),
    };
    Ok(RowConverter::new(fields)?)
}

/// Consolidates changes: the net of each row, as rows of ±1. Rows keep the order of their first occurrence. `converter`
/// is for all columns; the encoded keys are returned if they are still those of the rows.
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

/// The net of changes: each row with its summed diff, without zeros.
pub fn net(changes: &Changes) -> Result<Changes> {
    Ok(consolidate(changes, &converter_of(&changes.schema(), None)?)?.0)
}
