//! Avro: messages with a schema from the options, and object container files, which contain theirs.
//!
//! Columns are found by name; one that the schema lacks is NULL, one of another type is cast, and only requested
//! columns are decoded. A message is a bare value, or a value after a header: `avro.framing` says which. `'auto'`
//! expects a header if a message begins with the fingerprint of this schema, or else with a zero byte.

mod blocks;
mod columns;
mod container;
mod encode;

use std::{
    fmt,
    io::Read,
    ops::Range,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};
use arrow_avro::{
    reader::{Decoder, ReaderBuilder},
    schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SINGLE_OBJECT_MAGIC, SchemaStore},
};

use self::columns::{at_least_one, bounded, sql_columns};
pub(super) use container::{infer, read};
pub use encode::AvroSpelling;

use super::{
    Damage, Request,
    named::{Named, guarded},
    rescue::Decode,
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::Taker,
};

/// The header before the value of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MessageHeader {
    Auto,
    None,
    /// A zero byte and the schema's registry id in four bytes.
    Confluent,
    /// Two bytes and the schema's fingerprint in eight.
    SingleObject,
}

/// The origin of the message schema.
#[derive(Debug, Clone)]
enum SchemaOrigin {
    Inline(String),
    File(PathBuf),
}

/// The options of messages.
#[derive(Clone)]
pub(super) struct AvroOptions {
    schema: Option<SchemaOrigin>,
    header: MessageHeader,
    /// The schema, read and checked on first use.
    known: Arc<OnceLock<KnownSchema>>,
}

#[derive(Clone)]
struct KnownSchema {
    json: String,
    columns: SchemaRef,
    /// The header of a message of exactly this schema, of the kind [`Header::SingleObject`].
    mark: [u8; MARK_BYTES],
}

const MARK_BYTES: usize = 10;
const CONFLUENT_BYTES: usize = 5;

/// Maximum bytes of a schema file.
const SCHEMA_BYTES_MAX: u64 = 1 << 20;

impl fmt::Debug for AvroOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AvroOptions").field("schema", &self.schema).field("header", &self.header).finish()
    }
}

impl AvroOptions {
    pub fn from_options(options: &mut Taker) -> Result<Self> {
        let schema = match (options.text("avro.schema"), options.text("avro.schema_file")) {
            (Some(_), Some(_)) => {
                return Err(Error::new(
                    ErrorKind::InvalidParameterValue,
                    "options \"avro.schema\" and \"avro.schema_file\" exclude each other",
                ));
            }
            (Some(json), None) => Some(SchemaOrigin::Inline(json)),
            (None, Some(path)) => Some(SchemaOrigin::File(path.into())),
            (None, None) => None,
        };
        let words = [
            ("auto", MessageHeader::Auto),
            ("none", MessageHeader::None),
            ("confluent", MessageHeader::Confluent),
            ("single_object", MessageHeader::SingleObject),
        ];
        let header = options.one_of("avro.framing", &words)?;
        let avro = AvroOptions { schema, header: header.unwrap_or(MessageHeader::Auto), known: Arc::default() };
        match &avro.schema {
            Some(SchemaOrigin::Inline(_)) => avro.check_messages()?,
            Some(SchemaOrigin::File(_)) => {}
            None if header.is_some() => {
                return Err(Error::new(
                    ErrorKind::InvalidParameterValue,
                    "option \"avro.framing\" needs option \"avro.schema\" or \"avro.schema_file\"",
                ));
            }
            None => {}
        }
        Ok(avro)
    }

    /// Accepts no schema: container files contain theirs.
    pub fn check_files(&self) -> Result<()> {
        match self.schema {
            None => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::InvalidParameterValue,
                "options \"avro.schema\" and \"avro.schema_file\" are for messages: an Avro file has its schema in it",
            )),
        }
    }

    /// Requires a schema.
    pub fn check_messages(&self) -> Result<()> {
        self.known().map(|_| ())
    }

    /// The columns of messages; `None` without a schema, or if SQL lacks a type.
    pub fn columns(&self) -> Option<SchemaRef> {
        sql_columns(&self.known().ok()?.columns)
    }

    fn known(&self) -> Result<&KnownSchema> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let (json, what) = match &self.schema {
            Some(SchemaOrigin::Inline(json)) => (json.clone(), "avro.schema"),
            Some(SchemaOrigin::File(path)) => (read_schema(path)?, "avro.schema_file"),
            None => {
                return Err(Error::new(
                    ErrorKind::InvalidParameterValue,
                    "format avro needs option \"avro.schema\" or \"avro.schema_file\" to read messages",
                ));
            }
        };
        let unusable = |why: &dyn fmt::Display| {
            Error::new(
                ErrorKind::InvalidParameterValue,
                format!("option \"{what}\" holds no usable Avro schema: {why}"),
            )
        };
        let known = guarded("Avro", || Ok(KnownSchema::new(json)?)).map_err(|Damage(why)| unusable(&why))?;
        Ok(self.known.get_or_init(|| known))
    }
}

fn read_schema(path: &PathBuf) -> Result<String> {
    let cannot = |why: &dyn fmt::Display| {
        let message = format!("option \"avro.schema_file\": \"{}\" cannot be read: {why}", path.display());
        Error::new(ErrorKind::InvalidParameterValue, message)
    };
    let mut json = String::new();
    let file = std::fs::File::open(path).map_err(|e| cannot(&e))?;
    file.take(SCHEMA_BYTES_MAX).read_to_string(&mut json).map_err(|e| cannot(&e))?;
    Ok(json)
}

impl KnownSchema {
    fn new(json: String) -> Result<KnownSchema, ArrowError> {
        let schema = AvroSchema::new(json.clone());
        let Fingerprint::Rabin(fingerprint) = schema.fingerprint(FingerprintAlgorithm::Rabin)? else {
            return Err(ArrowError::SchemaError("no Rabin fingerprint".to_string()));
        };
        let mut mark = [0; MARK_BYTES];
        mark[..2].copy_from_slice(&SINGLE_OBJECT_MAGIC);
        mark[2..].copy_from_slice(&fingerprint.to_le_bytes());
        let columns = messages(&json, None, 1)?.schema();
        bounded(&columns)?;
        Ok(KnownSchema { json, columns, mark })
    }
}

fn messages(json: &str, read: Option<Vec<usize>>, rows: usize) -> Result<Decoder, ArrowError> {
    let mut store = SchemaStore::new();
    store.register(AvroSchema::new(json.to_string()))?;
    let mut builder = ReaderBuilder::new().with_writer_schema_store(store).with_batch_size(rows);
    if let Some(read) = read {
        builder = builder.with_projection(read);
    }
    builder.build_decoder()
}

/// Decodes messages.
pub(super) struct AvroDecode {
    known: KnownSchema,
    header: MessageHeader,
    read: Vec<usize>,
    named: Named,
    batch_rows: usize,
    /// For full units; a smaller one gets a decoder with a smaller batch size.
    decoder: Option<Decoder>,
}

impl AvroDecode {
    pub fn new(options: &AvroOptions, request: &Request) -> Result<Self> {
        let known = options.known()?.clone();
        let (named, read) = Named::new(request, &known.columns).map_err(|Damage(why)| {
            Error::new(ErrorKind::DatatypeMismatch, format!("the Avro schema does not fit: {why}"))
        })?;
        let (header, read) = (options.header, at_least_one(read, &known.columns));
        Ok(AvroDecode { known, header, read, named, batch_rows: request.batch_rows.max(1), decoder: None })
    }

    /// The value of a message, after its header.
    fn value<'a>(&self, message: &'a [u8]) -> Result<&'a [u8], Damage> {
        let marked = message.strip_prefix(&self.known.mark);
        let numbered = message.strip_prefix(b"\0").and_then(|rest| rest.get(CONFLUENT_BYTES - 1..));
        match self.header {
            MessageHeader::None => Ok(message),
            MessageHeader::Auto => Ok(marked.or(numbered).unwrap_or(message)),
            MessageHeader::Confluent => numbered.ok_or_else(|| Damage("it has no Confluent header".to_string())),
            MessageHeader::SingleObject => {
                marked.ok_or_else(|| Damage("it is no single object of this schema".to_string()))
            }
        }
    }

    fn decode_all(&mut self, bytes: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, Damage> {
        let kept = records.len() * 2 > self.batch_rows && records.len() <= self.batch_rows;
        let rows = if kept { self.batch_rows } else { records.len() };
        let mut decoder = match self.decoder.take().filter(|_| kept) {
            Some(decoder) => decoder,
            None => messages(&self.known.json, Some(self.read.clone()), rows)?,
        };
        for (before, record) in records.iter().enumerate() {
            let value = self.value(&bytes[record.clone()])?;
            // The decoder requires a header before each value, whatever the framing is.
            decoder.decode(&self.known.mark)?;
            let used = decoder.decode(value)?;
            match rows - decoder.capacity() {
                now if now == before + 1 && used == value.len() => {}
                now if now <= before => return Err(Damage("the value is cut off".to_string())),
                _ => return Err(Damage("there are bytes behind the value".to_string())),
            }
        }
        let batch = decoder.flush()?.ok_or_else(|| Damage("no value in it".to_string()))?;
        let (batch, misfits) = self.named.finish(&batch)?;
        if let Some(misfit) = misfits.into_iter().next() {
            return Err(Damage(misfit.reason));
        }
        if kept {
            self.decoder = Some(decoder);
        }
        Ok(batch)
    }
}

impl Decode for AvroDecode {
    fn decode(&mut self, bytes: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String> {
        guarded("Avro", || self.decode_all(bytes, records)).map_err(|Damage(reason)| reason)
    }
}
