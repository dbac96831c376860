//! Debezium's envelope: a change of a row as the row before, the row after, and what was done.
//!
//! ```json
//! {"before": {"id": 1, "n": 4}, "after": {"id": 1, "n": 5}, "op": "u"}
//! ```

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray, StructArray, UInt32Array},
    buffer::NullBuffer,
    compute::take,
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use crate::{connectors::sink::Pair, error::Result};

/// The columns of the envelope of rows with these columns.
pub fn schema(of: &SchemaRef) -> SchemaRef {
    let row = DataType::Struct(of.fields().clone());
    Arc::new(Schema::new(vec![
        Field::new("before", row.clone(), true),
        Field::new("after", row, true),
        Field::new("op", DataType::Utf8, false),
    ]))
}

/// The envelopes of changes; `pairs` are rows of `rows`, by number.
pub fn envelopes(rows: &RecordBatch, pairs: &[Pair]) -> Result<RecordBatch> {
    let side = |of: fn(&Pair) -> Option<u32>| -> Result<ArrayRef> {
        let at: UInt32Array = pairs.iter().map(of).collect();
        let columns = rows.columns().iter().map(|column| take(column, &at, None)).collect::<Result<Vec<_>, _>>()?;
        let there = NullBuffer::from_iter(pairs.iter().map(|pair| of(pair).is_some()));
        Ok(Arc::new(StructArray::try_new(rows.schema().fields().clone(), columns, Some(there))?))
    };
    let op = |pair: &Pair| match (pair.went, pair.came) {
        (None, _) => "c",
        (Some(_), Some(_)) => "u",
        (Some(_), None) => "d",
    };
    let ops = StringArray::from_iter_values(pairs.iter().map(op));
    let columns = vec![side(|pair| pair.went)?, side(|pair| pair.came)?, Arc::new(ops)];
    Ok(RecordBatch::try_new(schema(&rows.schema()), columns)?)
}
