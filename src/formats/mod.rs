//! Bytes to rows and back. A format reads a file, or a part of one, or records that come one by one, and gives record
//! batches of the declared columns.
//!
//! What does not decode is handed back with its bytes, its line and the reason, and never takes a good record with it:
//! blocks are decoded as a whole, and only a block that fails is searched for the records that are to blame. Formats
//! never open files and never wait for anything but [`ByteInput`]; they run on threads that may block.
//!
//! A packed file is read to its end before any of its rows count: only there is known whether they were written.
//!
//! The parts of a file together give the rows of the whole file, each row once, however it was cut.

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

pub use decoder::{Decoded, Decoder, RawRecord, Rejected};
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
