//! Bytes: each record unchanged, in one bytea column.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryArray, BinaryViewArray, LargeBinaryArray, RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use super::{Request, rescue::Decode};
use crate::error::{Error, ErrorKind, Result};

/// The only column, by default.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("value", DataType::Binary, true)]))
}

/// Accepts only one column, of type bytea.
pub(super) fn check(schema: &Schema) -> Result<()> {
    match schema.fields().as_ref() {
        [f] if matches!(f.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView) => Ok(()),
        _ => Err(Error::new(ErrorKind::InvalidTableDefinition, "format bytes has exactly one column, of type bytea")
            .hint("Leave the columns out to get one that is called value.")),
    }
}

/// Returns records unchanged.
pub(super) struct BytesDecode {
    output: SchemaRef,
}

impl BytesDecode {
    pub fn new(request: &Request) -> Self {
        BytesDecode { output: request.output() }
    }
}

impl Decode for BytesDecode {
    fn decode(&mut self, bytes: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String> {
        let values = records.iter().map(|r| Some(&bytes[r.clone()]));
        let array = self.output.fields().first().map(|f| -> ArrayRef {
            match f.data_type() {
                DataType::LargeBinary => Arc::new(values.collect::<LargeBinaryArray>()),
                DataType::BinaryView => Arc::new(values.collect::<BinaryViewArray>()),
                _ => Arc::new(values.collect::<BinaryArray>()),
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
        RecordBatch::try_new_with_options(self.output.clone(), array.into_iter().collect(), &options)
            .map_err(|e| e.to_string())
    }
}
