//! Rows to Avro messages, with the schema of their columns: a record in which every field is nullable.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use arrow_avro::writer::{
    WriterBuilder,
    format::{AvroBinaryFormat, AvroSoeFormat},
};
use bytes::Bytes;

use crate::{
    error::{Error, ErrorKind, Result},
    formats::Encoder,
};

/// The header before the value of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AvroFraming {
    /// Two bytes and the schema's fingerprint in eight.
    SingleObject,
    None,
}

#[derive(Debug)]
pub(super) struct AvroEncoder(arrow_avro::writer::Encoder);

impl AvroEncoder {
    /// Fails if a column has no Avro type.
    pub fn new(schema: &SchemaRef, framing: AvroFraming) -> Result<AvroEncoder> {
        let builder = WriterBuilder::new(schema.as_ref().clone());
        let encoder = match framing {
            AvroFraming::SingleObject => builder.build_encoder::<AvroSoeFormat>(),
            AvroFraming::None => builder.build_encoder::<AvroBinaryFormat>(),
        };
        let refused =
            |why| Error::new(ErrorKind::InvalidTableDefinition, format!("format avro cannot hold the columns: {why}"));
        encoder.map(AvroEncoder).map_err(refused)
    }
}

impl Encoder for AvroEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<Vec<Option<Bytes>>> {
        let broken = |why| Error::new(ErrorKind::InvalidText, format!("rows cannot be written as Avro: {why}"));
        let done = self.0.encode(rows);
        // The rows before a failed one must not be part of the next epoch's output.
        let encoded = self.0.flush();
        done.map_err(broken)?;
        Ok(encoded.iter().map(Some).collect())
    }
}
