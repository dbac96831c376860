//! Encoding of rows as bytes whose order is that of the ORDER BY columns, if there are any.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, Int8Array, Scalar, new_null_array},
    compute::{SortOptions, is_not_null, kernels::zip::zip},
    datatypes::{DataType, Fields},
    row::{RowConverter, SortField},
};

use crate::error::Result;

pub(super) type Bytes = Box<[u8]>;

/// Layout: `order ‖ rest ‖ length of order`, the first and last part only with an ORDER BY. No encoding is a prefix of
/// another, so rows are equal exactly if their bytes are.
#[derive(Debug)]
pub(super) struct RowBytes {
    /// Converter and number of the ORDER BY columns.
    order: Option<(RowConverter, usize)>,
    rest: RowConverter,
    /// Number of the other columns; without any, a constant stands for them.
    others: usize,
}

const LENGTH_BYTES: usize = size_of::<u32>();

impl RowBytes {
    /// `order` are the directions of the first columns, by which rows are ordered.
    pub fn new(columns: &Fields, order: &[SortOptions]) -> Result<Self> {
        let (first, others) = columns.split_at(order.len());
        let field = |f: &Arc<arrow::datatypes::Field>| SortField::new(f.data_type().clone());
        let first = first.iter().zip(order).map(|(f, by)| SortField::new_with_options(f.data_type().clone(), *by));
        let rest: Vec<SortField> = match others.is_empty() {
            true => vec![SortField::new(DataType::Int8)],
            false => others.iter().map(field).collect(),
        };
        let converter = (!order.is_empty()).then(|| RowConverter::new(first.collect())).transpose()?;
        Ok(RowBytes {
            order: converter.map(|converter| (converter, order.len())),
            rest: RowConverter::new(rest)?,
            others: others.len(),
        })
    }

    pub fn columns(&self) -> usize {
        self.others + self.order.as_ref().map_or(0, |(_, columns)| *columns)
    }

    /// `count` is the number of rows, which may have no columns.
    pub fn encode(&self, columns: &[ArrayRef], count: usize) -> Result<Vec<Bytes>> {
        let (first, others) = columns.split_at(columns.len() - self.others);
        let rest = match self.others {
            0 => self.rest.convert_columns(&[Arc::new(Int8Array::from_value(0, count))])?,
            _ => self.rest.convert_columns(others)?,
        };
        let Some((order, _)) = &self.order else {
            return Ok(rest.iter().map(|row| row.as_ref().into()).collect());
        };
        let order = order.convert_columns(first)?;
        let row = |(order, rest): (arrow::row::Row<'_>, arrow::row::Row<'_>)| {
            let length = (order.as_ref().len() as u32).to_le_bytes();
            [order.as_ref(), rest.as_ref(), &length].concat().into_boxed_slice()
        };
        Ok(order.iter().zip(rest.iter()).map(row).collect())
    }

    pub fn decode(&self, rows: &[&Bytes]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        if let Some((order, _)) = &self.order {
            let parser = order.parser();
            columns = order.convert_rows(rows.iter().map(|row| parser.parse(self.order_of(row))))?;
        }
        if self.others > 0 {
            let parser = self.rest.parser();
            columns.extend(self.rest.convert_rows(rows.iter().map(|row| parser.parse(self.rest_of(row))))?);
        }
        columns.into_iter().map(calmed).collect()
    }

    fn rest_of<'a>(&self, row: &'a Bytes) -> &'a [u8] {
        match &self.order {
            Some(_) => &row[self.order_of(row).len()..row.len() - LENGTH_BYTES],
            None => row,
        }
    }

    /// The ORDER BY part of a row's bytes; equal for ties.
    pub fn order_of<'a>(&self, row: &'a Bytes) -> &'a [u8] {
        match (&self.order, row.last_chunk::<LENGTH_BYTES>()) {
            (Some(_), Some(length)) => &row[..u32::from_le_bytes(*length) as usize],
            _ => &[],
        }
    }
}

/// Replaces the values that `arrow-row` leaves under NULLs: functions such as `date_trunc` compute on them and panic.
fn calmed(column: ArrayRef) -> Result<ArrayRef> {
    if column.null_count() == 0 || !column.data_type().is_primitive() {
        return Ok(column);
    }
    Ok(zip(&is_not_null(&column)?, &column, &Scalar::new(new_null_array(column.data_type(), 1)))?)
}
