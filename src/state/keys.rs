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

/// The encoded keys of some rows: keys are equal exactly if their bytes are.
pub type KeyRows = Rows;

/// Encodes key columns.
#[derive(Debug)]
pub struct KeyEncoder(RowConverter);

/// Encoded keys and their hashes, as an index takes them.
pub struct EncodedKeys {
    pub rows: KeyRows,
    pub hashes: Vec<u64>,
}

impl KeyEncoder {
    /// An encoder for the columns at these positions, or for all columns.
    pub fn new(schema: &SchemaRef, columns: Option<&[usize]>) -> Result<KeyEncoder> {
        let fields = match columns {
            Some(columns) => columns.iter().map(|column| schema.fields()[*column].clone()).collect(),
            None => schema.fields().clone(),
        };
        Ok(KeyEncoder(converter_of(&fields)?))
    }

    /// Encodes columns of the encoder's types.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<EncodedKeys> {
        let rows = self.0.convert_columns(columns)?;
        let hashes = rows.iter().map(|row| Index::hash(row.as_ref())).collect();
        Ok(EncodedKeys { rows, hashes })
    }
}

/// A converter between columns of the types of some fields and their row bytes.
pub(super) fn converter_of(fields: &Fields) -> Result<RowConverter> {
    let sort = fields.iter().map(|field| SortField::new(field.data_type().clone()));
    Ok(RowConverter::new(sort.collect())?)
}

/// The keys of some rows: comparable with those of other columns of the same types.
pub fn keys_of(columns: &[ArrayRef]) -> Result<KeyRows> {
    let sort = columns.iter().map(|column| SortField::new(column.data_type().clone()));
    Ok(RowConverter::new(sort.collect())?.convert_columns(columns)?)
}

/// Row by row: whether the values of two equally long columns of one type differ. For types that `arrow-row` cannot
/// encode always true: correct, if not minimal.
pub fn differing_values(before: &ArrayRef, after: &ArrayRef) -> Result<Vec<bool>> {
    let Ok(converter) = RowConverter::new(vec![SortField::new(before.data_type().clone())]) else {
        return Ok(vec![true; before.len()]);
    };
    let before = converter.convert_columns(std::slice::from_ref(before))?;
    let after = converter.convert_columns(std::slice::from_ref(after))?;
    Ok(before.iter().zip(after.iter()).map(|(before, after)| before != after).collect())
}

/// Consolidates changes: each distinct row once, repeated as ±1 by its net diff, in the order of first occurrence.
/// `encoder` encodes all columns; its keys are returned if the rows were consolidated already.
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
