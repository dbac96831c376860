//! The list of formats, with the options and capabilities of each.

use std::{ops::Range, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};

use super::{
    BadSink, BatchIterator, ByteInput, Compression, Damage, Decoder, Request,
    avro::{self, AvroOptions},
    csv::{self, CsvOptions},
    debezium,
    decoder::Messages,
    infer,
    json::{self, JsonOptions},
    packed::Packed,
    parquet,
    part::File,
    raw, rescue, text,
    upsert::UpsertDecoder,
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::{Options, Taker},
};

/// A format and its options, as `WITH (format = 'csv', header = true, …)` says them.
#[derive(Debug, Clone)]
pub struct Format {
    kind: FormatKind,
    /// `None`: derived from the file's extension.
    compression: Option<Compression>,
}

#[derive(Debug, Clone)]
enum FormatKind {
    Avro(AvroOptions),
    Bytes,
    Csv(CsvOptions),
    DebeziumJson(JsonOptions),
    Json(JsonOptions),
    Parquet,
    Text,
    UpsertJson(JsonOptions),
}

const DEBEZIUM: &str = "debezium_json";
const UPSERT: &str = "upsert_json";

/// Whether the format in the options is an upsert format. Its rows then also have the column
/// [`OP`](crate::changes::OP), and the key columns are those of the schema that are not nullable.
pub fn upserts(options: &Options) -> bool {
    options.get("format").is_some_and(|name| [DEBEZIUM, UPSERT].contains(&name.trim().to_lowercase().as_str()))
}

impl Format {
    /// Takes `format` and the options of that format.
    pub fn from_options(options: &mut Taker) -> Result<Format> {
        #[derive(Clone, Copy)]
        enum Word {
            Avro,
            Bytes,
            Csv,
            DebeziumJson,
            Json,
            Parquet,
            Text,
            UpsertJson,
        }
        let words = [
            ("csv", Word::Csv),
            ("json", Word::Json),
            ("parquet", Word::Parquet),
            ("text", Word::Text),
            ("bytes", Word::Bytes),
            ("avro", Word::Avro),
            (DEBEZIUM, Word::DebeziumJson),
            (UPSERT, Word::UpsertJson),
            ("ndjson", Word::Json),
            ("jsonl", Word::Json),
        ];
        let Some(word) = options.one_of("format", &words)? else {
            return Err(options.missing("format"));
        };
        let kind = match word {
            Word::Avro => {
                let kind = FormatKind::Avro(AvroOptions::from_options(options)?);
                return Ok(Format { kind, compression: Some(Compression::None) });
            }
            Word::Bytes => return Ok(Format { kind: FormatKind::Bytes, compression: Some(Compression::None) }),
            Word::Csv => FormatKind::Csv(CsvOptions::from_options(options)?),
            Word::DebeziumJson => FormatKind::DebeziumJson(JsonOptions::flat(options)?),
            Word::Json => FormatKind::Json(JsonOptions::from_options(options)?),
            Word::UpsertJson => {
                let kind = FormatKind::UpsertJson(JsonOptions::flat(options)?);
                return Ok(Format { kind, compression: Some(Compression::None) });
            }
            Word::Parquet => return Ok(Format { kind: FormatKind::Parquet, compression: Some(Compression::None) }),
            Word::Text => FormatKind::Text,
        };
        let words = [
            ("auto", None),
            ("none", Some(Compression::None)),
            ("gzip", Some(Compression::Gzip)),
            ("zstd", Some(Compression::Zstd)),
        ];
        Ok(Format { kind, compression: options.one_of("compression", &words)?.flatten() })
    }

    /// The name of the format.
    pub fn name(&self) -> &'static str {
        match self.kind {
            FormatKind::Avro(_) => "avro",
            FormatKind::Bytes => "bytes",
            FormatKind::Csv(_) => "csv",
            FormatKind::DebeziumJson(_) => DEBEZIUM,
            FormatKind::UpsertJson(_) => UPSERT,
            FormatKind::Json(_) => "json",
            FormatKind::Parquet => "parquet",
            FormatKind::Text => "text",
        }
    }

    /// Whether it supports the types of these columns.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        match self.kind {
            FormatKind::Bytes => return raw::check(schema),
            FormatKind::Text => return text::check(schema),
            _ => {}
        }
        let cannot = |f: &arrow::datatypes::Field| match self.kind {
            FormatKind::Csv(_) => !csv::can_hold(f.data_type()),
            FormatKind::Json(_) | FormatKind::DebeziumJson(_) | FormatKind::UpsertJson(_) => {
                !json::can_hold(f.data_type())
            }
            FormatKind::Avro(_) | FormatKind::Bytes | FormatKind::Parquet | FormatKind::Text => false,
        };
        match schema.fields().iter().find(|f| cannot(f)) {
            None => Ok(()),
            Some(f) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("format {} cannot hold column \"{}\" of type {}", self.name(), f.name(), f.data_type()),
            )),
        }
    }

    /// Whether the order of a partition's rows matters: then one stream must read all of the partition.
    pub fn is_ordered(&self) -> bool {
        matches!(self.kind, FormatKind::DebeziumJson(_) | FormatKind::UpsertJson(_))
    }

    /// Whether files can have this format.
    pub fn check_files(&self) -> Result<()> {
        match &self.kind {
            FormatKind::Avro(options) => options.check_files(),
            FormatKind::Bytes => Err(self.cannot("read files")),
            FormatKind::UpsertJson(_) => {
                Err(self.cannot("read files").detail("A line has no key beside it, and cannot remove a row."))
            }
            _ => Ok(()),
        }
    }

    /// Whether messages can have this format, with these options.
    pub fn check_messages(&self) -> Result<()> {
        match &self.kind {
            FormatKind::Avro(options) => options.check_messages()?,
            FormatKind::Parquet => return Err(self.cannot("read messages")),
            FormatKind::Csv(options) if options.header => {
                return Err(self.cannot("read messages with a header").hint("Leave option \"header\" out."));
            }
            _ => {}
        }
        match self.compression {
            None | Some(Compression::None) => Ok(()),
            Some(_) => Err(self.cannot("read compressed messages").hint("Leave option \"compression\" out.")),
        }
    }

    fn cannot(&self, what: &str) -> Error {
        Error::new(ErrorKind::InvalidParameterValue, format!("format {} cannot {what}", self.name()))
    }

    /// The columns of messages if the statement declares none; `None` if it must declare them.
    pub fn implied(&self) -> Option<SchemaRef> {
        match &self.kind {
            FormatKind::Avro(options) => options.columns(),
            FormatKind::Bytes => Some(raw::schema()),
            FormatKind::Text => Some(text::schema()),
            FormatKind::Csv(_) | FormatKind::Json(_) | FormatKind::Parquet => None,
            FormatKind::DebeziumJson(_) | FormatKind::UpsertJson(_) => None,
        }
    }

    /// A decoder of messages.
    pub fn decoder(&self, request: &Request) -> Result<Box<dyn Decoder>> {
        self.check_messages()?;
        let (decode, blank): (Box<dyn rescue::Decode>, bool) = match &self.kind {
            FormatKind::Avro(options) => (Box::new(avro::AvroDecode::new(options, request)?), true),
            FormatKind::Bytes => (Box::new(raw::BytesDecode::new(request)), true),
            FormatKind::Csv(options) => (Box::new(csv::CsvDecode::new(options, None, request)), false),
            FormatKind::DebeziumJson(options) => {
                let decode = Box::new(debezium::DebeziumDecode::new(options, request));
                return Ok(Box::new(Messages::new(decode, request.output(), false, request.batch_rows).silent()));
            }
            FormatKind::UpsertJson(options) => return Ok(Box::new(UpsertDecoder::new(options, request))),
            FormatKind::Json(options) => (Box::new(json::JsonDecode::new(options, request)), false),
            FormatKind::Text => (Box::new(text::TextDecode::new(request)), true),
            FormatKind::Parquet => return Err(self.cannot("read messages")),
        };
        Ok(Box::new(Messages::new(decode, request.output(), blank, request.batch_rows)))
    }

    /// Whether a file of this name may be read in several parts in parallel.
    pub fn splits(&self, name: &str) -> bool {
        let plain = self.compression(name) == Compression::None;
        match &self.kind {
            FormatKind::Csv(options) => plain && !options.multiline,
            FormatKind::Json(options) => plain && !options.multiline,
            FormatKind::Avro(_) | FormatKind::Bytes => false,
            FormatKind::DebeziumJson(_) | FormatKind::UpsertJson(_) => false,
            FormatKind::Parquet => true,
            FormatKind::Text => plain,
        }
    }

    /// Reads the records that begin in a part, a range of byte offsets in the stored file. A file that does not split
    /// (see [`Format::splits`]) is one part.
    pub fn read(
        &self,
        name: &str,
        input: Arc<dyn ByteInput>,
        part: Range<u64>,
        request: &Request,
        bad: BadSink,
    ) -> Result<BatchIterator, Damage> {
        let file = File { input, part, compression: self.compression(name) };
        match file.compression {
            Compression::None => self.read_plain(file, request, bad),
            _ => {
                let (format, wanted) = (self.clone(), request.clone());
                let read = Box::new(move |file| format.read_plain(file, &wanted, bad));
                Ok(Box::new(Packed::new(file, request, read)?))
            }
        }
    }

    /// Reads the records of a part of an uncompressed file.
    fn read_plain(&self, file: File, request: &Request, bad: BadSink) -> Result<BatchIterator, Damage> {
        match &self.kind {
            FormatKind::Avro(_) => avro::read(file, request, bad),
            FormatKind::Bytes | FormatKind::UpsertJson(_) => {
                Err(Damage(format!("format {} cannot read files", self.name())))
            }
            FormatKind::DebeziumJson(options) => debezium::read(options, file, request, bad),
            FormatKind::Csv(options) => csv::read(options, file, request, bad),
            FormatKind::Json(options) => json::read(options, file, request, bad),
            FormatKind::Parquet => parquet::read(file, request, bad),
            FormatKind::Text => text::read(file, request, bad),
        }
    }

    /// Infers the columns of files; `None` if they contain no indication. Unreadable files are skipped.
    pub fn infer(&self, files: &[(String, Arc<dyn ByteInput>)]) -> Option<SchemaRef> {
        let file = |(name, input): &(String, Arc<dyn ByteInput>)| File {
            part: 0..input.size(),
            input: input.clone(),
            compression: self.compression(name),
        };
        let mut files = files.iter().map(file);
        match &self.kind {
            FormatKind::Csv(options) => infer::csv(options, files),
            FormatKind::Json(_) => infer::json(files),
            FormatKind::Parquet => files.find_map(|f| parquet::infer(&f).ok()),
            FormatKind::Avro(_) => files.find_map(|f| avro::infer(&f)),
            FormatKind::Bytes | FormatKind::DebeziumJson(_) | FormatKind::UpsertJson(_) => None,
            FormatKind::Text => Some(text::schema()),
        }
    }

    fn compression(&self, name: &str) -> Compression {
        self.compression.unwrap_or_else(|| Compression::of(name))
    }
}
