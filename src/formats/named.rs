//! The last step of every typed format: columns are found by name and cast, and rows that lost values in the cast are
//! reported.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array},
    compute::filter_record_batch,
    datatypes::{DataType, FieldRef, Schema, SchemaRef},
    util::display::{ArrayFormatter, FormatOptions},
};

use super::{
    Bad, BadSink, Damage, DecodedRows, Positions, Request,
    csv::find,
    fitting::{Fitted, can_fit, fit},
    nulls::nulls_below,
};
use crate::time::{out_of_range, rows_out_of_range};

/// How the output columns are built from the columns read.
#[derive(Debug)]
pub(super) struct Named {
    schema: SchemaRef,
    columns: Vec<NamedColumn>,
}

#[derive(Debug)]
struct NamedColumn {
    field: FieldRef,
    /// The index among the columns read; `None` if the file lacks it: all NULL.
    source: Option<usize>,
}

/// A row with a value that does not fit its declared type.
#[derive(Debug)]
pub(super) struct Misfit {
    pub row: usize,
    /// The value, as text.
    pub raw: Vec<u8>,
    pub reason: String,
}

impl Named {
    /// Also returns the indexes of the stored columns to read, ascending.
    pub fn new(request: &Request, stored: &Schema) -> Result<(Named, Vec<usize>), Damage> {
        let names: Vec<String> = stored.fields().iter().map(|f| f.name().clone()).collect();
        let schema = request.output();
        let mut places = Vec::new();
        for field in schema.fields() {
            let place = find(&names, field.name());
            if let Some(stored) = place.map(|i| stored.field(i))
                && !can_fit(stored.data_type(), field.data_type())
            {
                let (name, stored, declared) = (field.name(), stored.data_type(), field.data_type());
                return Err(Damage(format!("its column \"{name}\" of type {stored} cannot be cast to {declared}")));
            }
            places.push(place);
        }
        let mut read: Vec<usize> = places.iter().flatten().copied().collect();
        read.sort_unstable();
        read.dedup();
        let columns = schema.fields().iter().zip(&places).map(|(field, place)| NamedColumn {
            field: field.clone(),
            source: place.and_then(|place| read.binary_search(&place).ok()),
        });
        let columns = columns.collect();
        Ok((Named { schema, columns }, read))
    }

    /// Casts rows of a file, numbered from `first` (from 1); rows that do not fit are reported as bad.
    pub fn rows(&self, batch: &RecordBatch, first: i64, bad: &mut BadSink) -> Result<DecodedRows, Damage> {
        let (rows, misfits) = self.finish(batch)?;
        let positions = Positions::without(first, batch.num_rows(), misfits.iter().map(|misfit| misfit.row));
        for misfit in misfits {
            bad(Bad { position: first + misfit.row as i64, raw: misfit.raw, reason: misfit.reason });
        }
        Ok(DecodedRows { batch: rows, positions })
    }

    /// Casts, and removes the rows that do not fit.
    pub fn finish(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<Misfit>), Damage> {
        let rows = batch.num_rows();
        let mut arrays = Vec::with_capacity(self.columns.len());
        let mut misfits = Vec::new();
        for column in &self.columns {
            let stored = column.source.map(|i| batch.column(i).clone());
            let fitted = match &stored {
                None => Fitted { array: new_null_array(column.field.data_type(), rows), lost: Vec::new() },
                Some(stored) => fit(stored, column.field.data_type())?,
            };
            column.misfits(stored.as_ref(), &fitted, &mut misfits);
            arrays.push(nulls_below(&fitted.array)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        if misfits.is_empty() {
            return Ok((RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?, misfits));
        }
        misfits.sort_by_key(|misfit| misfit.row);
        misfits.dedup_by_key(|misfit| misfit.row);
        let mut keep = vec![true; rows];
        misfits.iter().for_each(|misfit| keep[misfit.row] = false);
        // Rows that lack a NOT NULL value are only removed below.
        let loose: Vec<_> = self.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let loose = RecordBatch::try_new_with_options(Arc::new(Schema::new(loose)), arrays, &options)?;
        let kept = filter_record_batch(&loose, &BooleanArray::from(keep))?;
        let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
        let kept = RecordBatch::try_new_with_options(self.schema.clone(), kept.columns().to_vec(), &options)?;
        Ok((kept, misfits))
    }
}

impl NamedColumn {
    /// Finds the rows where the cast lost a value, or where a NOT NULL value is missing.
    fn misfits(&self, stored: Option<&ArrayRef>, fitted: &Fitted, misfits: &mut Vec<Misfit>) {
        let Fitted { array, lost } = fitted;
        let forbidden = array.null_count() > 0 && !self.field.is_nullable();
        let outside = rows_out_of_range(array);
        if lost.is_empty() && outside.is_empty() && !forbidden {
            return;
        }
        let name = self.field.name();
        for row in outside {
            let reason = format!("{} in column \"{name}\"", out_of_range(self.field.data_type()));
            let raw = stored.map(|stored| number(stored, row)).unwrap_or_default();
            misfits.push(Misfit { row, raw: raw.into_bytes(), reason });
        }
        for row in 0..array.len() {
            match stored.filter(|_| lost.get(row) == Some(&true)) {
                Some(stored) => {
                    let text = show(stored, row);
                    let reason = format!("{text} in column \"{name}\" does not fit type {}", self.field.data_type());
                    misfits.push(Misfit { row, raw: text.into_bytes(), reason });
                }
                None if forbidden && array.is_null(row) => {
                    let reason = format!("column \"{name}\" is NULL, and may not be");
                    misfits.push(Misfit { row, raw: Vec::new(), reason });
                }
                None => {}
            }
        }
    }
}

/// The stored integer of a time: one out of range has no other text.
fn number(array: &ArrayRef, row: usize) -> String {
    arrow::compute::cast(&array.slice(row, 1), &DataType::Int64).map_or_else(|_| show(array, row), |n| show(&n, 0))
}

fn show(array: &ArrayRef, row: usize) -> String {
    let formatter = ArrayFormatter::try_new(array, &FormatOptions::default());
    formatter.map(|f| f.value(row).to_string()).unwrap_or_default()
}

/// Runs a decoder that may not check all that it reads: a panic is reported as damage.
pub(super) fn guarded<T>(format: &str, work: impl FnOnce() -> Result<T, Damage>) -> Result<T, Damage> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Damage(format!("its bytes make no sense as {format}"))))
}
