//! Turns upserts and deletes by key into changes: the last one of a key replaces its previous row.
//!
//! ```text
//! set a=1 · set a=2 · set b=1 · remove c        one epoch, each key in the order of its partition
//!           +(a,2)    +(b,1)    -(c,…)          and -(a,…), -(b,…) for stored rows; an unchanged row emits nothing
//! ```

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int8Array, Int64Array, RecordBatch, UInt32Array},
    compute::{concat_batches, take},
    datatypes::{DataType, Field, Fields, Int8Type, Schema, SchemaRef},
};

use super::{
    grouping::differing,
    input_buffer::{Buffered, InputBuffer},
};
use crate::{
    changes::{Changes, batch_of, canonical},
    error::{Error, Result},
    exec::{Collector, Evaluated, Operator, StepOutput},
    state::{Durable, KeyedLog},
    time::{Micros, Tick},
};

/// Stores the current row of each key. Its input has the columns of its output, then the key columns not among them,
/// then the [`OP`](crate::changes::OP).
#[derive(Debug)]
pub struct Upsert {
    output: SchemaRef,
    input: SchemaRef,
    /// Key columns, as positions in the input.
    key: Vec<usize>,
    /// Output columns that are not in the key.
    values: Vec<usize>,
    current: KeyedLog,
}

impl Upsert {
    pub fn new(input: &SchemaRef, output: SchemaRef, key: Vec<usize>) -> Result<Self> {
        let values: Vec<usize> = (0..output.fields().len()).filter(|i| !key.contains(i)).collect();
        let keys: Fields = key.iter().map(|i| input.fields()[*i].clone()).collect();
        let mut kept: Vec<_> = values.iter().map(|i| output.fields()[*i].clone()).collect();
        if kept.is_empty() {
            kept.push(Arc::new(Field::new("row", DataType::Int8, true)));
        }
        let current = KeyedLog::new(&keys, &Fields::from(kept))?;
        Ok(Upsert { output, input: input.clone(), key, values, current })
    }

    /// Applies rows in order; returns the net changes.
    pub fn fold(&mut self, rows: &RecordBatch) -> Result<Changes> {
        let (rows, ops) = self.last_by_key(&self.in_one_form(rows)?)?;
        let keys: Vec<ArrayRef> = self.key.iter().map(|i| rows.column(*i).clone()).collect();
        let encoded = self.current.encode(&keys)?;
        let found = self.current.find(&encoded);
        let known: UInt32Array = (0..found.len() as u32).filter(|row| found[*row as usize].is_some()).collect();
        let ids: Vec<_> = found.iter().flatten().copied().collect();
        let before = self.current.gather(&ids)?;
        let after = self.stored_values(&rows)?;
        let differs = differing(before.columns(), &at(after.columns(), &known)?)?;

        let (mut withdrawn, mut old, mut new) = (Vec::new(), Vec::new(), Vec::new());
        let mut removed = Vec::new();
        let mut place = 0;
        for (row, id) in found.iter().enumerate() {
            let set = ops.value(row) > 0;
            match id {
                Some(id) => {
                    if !set || differs[place] {
                        withdrawn.push(row as u32);
                        old.push(place as u32);
                    }
                    match set {
                        true if differs[place] => new.push(row as u32),
                        true => {}
                        false => removed.push(*id),
                    }
                    place += 1;
                }
                None if set => new.push(row as u32),
                None => {}
            }
        }
        let new = UInt32Array::from(new);
        let (new_keys, new_values) = (at(&keys, &new)?, at(after.columns(), &new)?);
        let new_found: Vec<_> = new.values().iter().map(|row| found[*row as usize]).collect();
        let values = RecordBatch::try_new(after.schema(), new_values.clone())?;
        let new_encoded = self.current.encode(&new_keys)?;
        self.current.upsert(&new_encoded, &new_found, &values)?;
        removed.into_iter().for_each(|id| self.current.remove(id));

        let gone = self.assembled(&at(&keys, &withdrawn.into())?, &at(before.columns(), &old.into())?)?;
        let gone = Changes::new(gone.clone(), Int64Array::from_value(-1, gone.num_rows()));
        let came = Changes::insert(self.assembled(&new_keys, &new_values)?);
        Changes::concat(&self.output, &[gone, came])
    }

    /// The current rows of all keys.
    pub fn rows(&self) -> Result<RecordBatch> {
        let (keys, values) = self.current.all()?;
        self.assembled(&keys, values.columns())
    }

    /// Rows with canonical keys (`-0.0`, NaN), which are also emitted: equal keys have equal bytes.
    fn in_one_form(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        for key in &self.key {
            columns[*key] = canonical(&columns[*key])?;
        }
        batch_of(&rows.schema(), columns, rows.num_rows())
    }

    /// The last row of each key, and its operation.
    fn last_by_key(&self, rows: &RecordBatch) -> Result<(RecordBatch, Int8Array)> {
        let keys: Vec<ArrayRef> = self.key.iter().map(|i| rows.column(*i).clone()).collect();
        let encoded = self.current.encode(&keys)?;
        let mut seen = HashSet::with_capacity(rows.num_rows());
        let mut last: Vec<u32> =
            (0..rows.num_rows() as u32).rev().filter(|row| seen.insert(encoded.row(*row as usize).data())).collect();
        last.reverse();
        let columns = at(rows.columns(), &last.into())?;
        let ops = columns.last().map(|ops| ops.as_primitive::<Int8Type>().clone());
        let ops = ops.ok_or_else(|| Error::internal("rows without an operation"))?;
        Ok((RecordBatch::try_new(rows.schema(), columns)?, ops))
    }

    /// The stored value columns of rows.
    fn stored_values(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let fields = self.values.iter().map(|i| self.output.fields()[*i].clone());
        let columns = self.values.iter().map(|i| rows.column(*i).clone());
        match self.values.is_empty() {
            false => Ok(RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns.collect())?),
            true => {
                let field = Field::new("row", DataType::Int8, true);
                let column = Arc::new(Int8Array::from_value(0, rows.num_rows()));
                Ok(RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column])?)
            }
        }
    }

    /// Output rows from key columns and stored value columns.
    fn assembled(&self, keys: &[ArrayRef], values: &[ArrayRef]) -> Result<RecordBatch> {
        let rows = keys.first().map_or(0, |key| key.len());
        let column = |i: usize| match self.key.iter().position(|key| *key == i) {
            Some(key) => keys.get(key),
            None => self.values.iter().position(|value| *value == i).and_then(|value| values.get(value)),
        };
        let columns = (0..self.output.fields().len()).map(|i| column(i).cloned());
        let columns = columns.collect::<Option<Vec<_>>>().ok_or_else(|| Error::internal("a row lost a column"))?;
        batch_of(&self.output, columns, rows)
    }
}

fn at(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    Ok(columns.iter().map(|column| take(column, rows, None)).collect::<Result<_, _>>()?)
}

/// The rows of its input, as they came.
struct UpsertInput;

impl Buffered for UpsertInput {
    type Rows = RecordBatch;

    fn evaluate(&self, batch: RecordBatch, _: &Tick) -> Result<Evaluated> {
        Ok(Evaluated::plain(batch))
    }

    fn keep(&self, rows: Evaluated) -> Result<RecordBatch> {
        Ok(rows.batch)
    }
}

impl Operator for Upsert {
    fn schema(&self) -> SchemaRef {
        self.output.clone()
    }

    fn collector(&self, _: usize, tick: &Tick) -> Result<Box<dyn Collector>> {
        Ok(InputBuffer::collector(UpsertInput, tick))
    }

    fn step(&mut self, collected: Vec<Box<dyn Collector>>, _: &Tick) -> Result<StepOutput> {
        let (batches, late) = InputBuffer::<UpsertInput>::drain(collected)?;
        let changes = match batches.is_empty() {
            true => Changes::empty(self.output.clone()),
            false => self.fold(&concat_batches(&batches[0].schema(), &batches)?)?,
        };
        Ok(StepOutput { changes, late })
    }

    fn fresh(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Upsert::new(&self.input, self.output.clone(), self.key.clone())?))
    }

    fn state(&mut self) -> &mut dyn Durable {
        &mut self.current
    }

    fn state_version(&self) -> u16 {
        1
    }

    fn restored(&mut self, _: Option<Micros>) {}

    fn is_due(&self, _: Option<Micros>, _: Micros) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;
    use crate::changes::OP;

    fn upsert() -> Upsert {
        let fields = vec![
            Field::new("v", DataType::Utf8, true),
            Field::new("k", DataType::Int64, false),
            Field::new(OP, DataType::Int8, false),
        ];
        let output = Arc::new(Schema::new(fields[..1].to_vec()));
        Upsert::new(&Arc::new(Schema::new(fields)), output, vec![1]).unwrap()
    }

    /// Upserts where there is a value, deletes where there is none; returns the changes in text order.
    fn fold(upsert: &mut Upsert, rows: &[(i64, Option<&str>)]) -> Vec<String> {
        let values = rows.iter().map(|(_, v)| *v).collect::<StringArray>();
        let keys = Int64Array::from_iter_values(rows.iter().map(|(k, _)| *k));
        let ops = Int8Array::from_iter_values(rows.iter().map(|(_, v)| if v.is_some() { 1 } else { -1 }));
        let batch =
            RecordBatch::try_new(upsert.input.clone(), vec![Arc::new(values), Arc::new(keys), Arc::new(ops)]).unwrap();
        let changes = upsert.fold(&batch).unwrap();
        let values = changes.rows().column(0).as_string::<i32>().clone();
        let mut lines: Vec<String> =
            (0..changes.num_rows()).map(|row| format!("{:+}{}", changes.diff(row), values.value(row))).collect();
        lines.sort();
        lines
    }

    #[test]
    fn upsert_last_row_of_a_key_replaces_the_previous_one() {
        let mut upsert = upsert();
        assert_eq!(fold(&mut upsert, &[(1, Some("a")), (1, Some("b")), (2, Some("c"))]), ["+1b", "+1c"]);
        assert_eq!(fold(&mut upsert, &[(1, Some("b")), (2, Some("d")), (2, None), (2, Some("e"))]), ["+1e", "-1c"]);
        assert_eq!(fold(&mut upsert, &[(2, None), (3, None), (1, Some("x")), (1, None)]), ["-1b", "-1e"]);
        assert_eq!(upsert.rows().unwrap().num_rows(), 0);
        assert_eq!(fold(&mut upsert, &[(2, None)]), [""; 0]);
    }

    #[test]
    fn upsert_restored_state_continues_the_same() {
        let mut first = upsert();
        fold(&mut first, &[(1, Some("a")), (2, Some("b"))]);
        let saved = first.state().save(true).unwrap();
        fold(&mut first, &[(2, None), (3, Some("c"))]);
        let more = first.state().save(false).unwrap();
        let mut second = first.fresh().unwrap();
        saved.rows.iter().chain(&more.rows).for_each(|rows| second.state().load(rows).unwrap());
        assert_eq!(second.state().len(), 2);
        let mut third = upsert();
        saved.rows.iter().chain(&more.rows).for_each(|rows| third.state().load(rows).unwrap());
        assert_eq!(fold(&mut third, &[(1, Some("z")), (2, None), (3, None)]), ["+1z", "-1a", "-1c"]);
    }
}
