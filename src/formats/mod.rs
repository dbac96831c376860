//! Bytes to rows and back. A format reads a file, a part of one, or single records, and returns record batches of the
//! declared columns.
//!
//! A record that does not decode is reported with its bytes, its line and the reason, and does not affect valid
//! records: blocks are decoded as a whole, and only a block that fails is searched for bad records. Formats never open
//! files and block only on [`ByteInput`]; they run on threads that may block.
//!
//! A compressed file is read to its end before its rows are returned: only its checksum proves it intact.
//!
//! The parts of a file together return each row of the file exactly once, however it is split.

mod avro;
mod columns;
mod csv;
mod debezium;
mod decimals;
mod decoder;
mod encode;
mod encoder;
mod fitting;
mod format;
mod infer;
mod input;
mod json;
mod named;
mod nulls;
mod packed;
mod parquet;
mod part;
mod positions;
mod raw;
mod reading;
mod records;
mod rescue;
mod row_json;
mod spell;
mod text;
mod timestamps;
mod upsert;
mod write;

pub use decoder::{DecodeError, Decoded, Decoder, RawRecord};
pub use encode::MessageFormat;
pub use encoder::Encoder;
pub use format::{Format, upserts};
pub use input::{ByteInput, Compression, FileInput};
pub use nulls::{field_of, nulls_below};
pub use positions::Positions;
pub use reading::{Bad, BadSink, BatchIterator, Damage, DecodedRows, Request};
pub use row_json::as_json;
pub use spell::CsvDialect;
pub use write::{FileFormat, FileWriter};

#[cfg(test)]
mod tests;
