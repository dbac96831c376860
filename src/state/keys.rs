//! Keys of rows as bytes, and consolidation of changes.

use arrow::{
    array::{ArrayRef, Int64Array, UInt32Array},
    compute::take_record_batch,
    datatypes::{Fields, SchemaRef},
    row::{RowConverter, Rows, SortField},
};
use hashbrown::HashTable;

use super::Index;
use crate::{changes::Changes, error::Result};

/// The keys of some rows, each as bytes that are equal where keys are.
pub type KeyRows = Rows;

/// Makes keys of columns.
#[derive(Debug)]
pub struct KeyEncoder(RowConverter);

/// Keys in the form that an index takes.
pub struct EncodedKeys {
    pub rows: KeyRows,
    pub hashes: Vec<u64>,
}

impl KeyEncoder {
    /// For some columns, or for all.
    pub fn new(schema: &SchemaRef, columns: Option<&[usize]>) -> Result<KeyEncoder> {
        let fields = match columns {
            Some(columns) => columns.iter().map(|column| schema.fields()[*column].clone()).collect(),
            None => schema.fields().clone(),
        };
        Ok(KeyEncoder(converter_of(&fields)?))
    }

    /// Of columns of those types.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<EncodedKeys> {
        let rows = self.0.convert_columns(columns)?;
        let hashes = rows.iter().map(|row| Index::hash(row.as_ref())).collect();
        Ok(EncodedKeys { rows, hashes })
    }
}

/// What encodes columns of the types of some fields, and decodes them.
pub(super) fn converter_of(fields: &Fields) -> Result<RowConverter> {
    let sort = fields.iter().map(|field| SortField::new(field.data_type().clone()));
    Ok(RowConverter::new(sort.collect())?)
}

/// The keys of some rows: comparable with those of other columns of the same types.
pub fn keys_of(columns: &[ArrayRef]) -> Result<KeyRows> {
    let sort = columns.iter().map(|column| SortField::new(column.data_type().clone()));
    Ok(RowConverter::new(sort.collect())?.convert_columns(columns)?)
}

/// Which values of two equally long columns of one type differ. Those of a type that has no bytes always do: correct, if
/// not the shortest answer.
pub fn differing_values(before: &ArrayRef, after: &ArrayRef) -> Result<Vec<bool>> {
    let Ok(converter) = RowConverter::new(vec![SortField::new(before.data_type().clone())]) else {
        return Ok(vec![true; before.len()]);
    };
    let before = converter.convert_columns(std::slice::from_ref(before))?;
    let after = converter.convert_columns(std::slice::from_ref(after))?;
    Ok(before.iter().zip(after.iter()).map(|(before, after)| before != after).collect())
}

/// The same sum with each row once, as ±1 as often as it counts. Rows keep the order in which they first occur.
/// `encoder` is for all columns; the keys that it made are given back where they are still right.
pub fn consolidate(changes: &Changes, encoder: &KeyEncoder) -> Result<(Changes, Option<EncodedKeys>)> {
    if changes.diffs().is_none() {
        return Ok((changes.clone(), None));
    }
    let keys = encoder.encode(changes.rows().columns())?;
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
    Ok(consolidate(changes, &KeyEncoder::new(&changes.schema(), None)?)?.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn keys_of_two_columns_are_equal_where_values_are() {
        let column = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        let (a, b) = (column(vec![Some(1), None, Some(3)]), column(vec![Some(1), None, None]));
        let (left, right) = (keys_of(std::slice::from_ref(&a)).unwrap(), keys_of(std::slice::from_ref(&b)).unwrap());
        let equal: Vec<bool> = left.iter().zip(right.iter()).map(|(left, right)| left == right).collect();
        assert_eq!(equal, [true, true, false]);
        assert_eq!(differing_values(&a, &b).unwrap(), [false, false, true]);
    }
}
