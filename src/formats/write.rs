//! Encodes rows as whole files: Parquet, CSV and JSON lines. A file is built in memory, so that it is written
//! completely or not at all.

use std::fmt;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use datafusion::parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use super::spell::{CsvDialect, Spelling};
use crate::{
    error::{Error, Result},
    options::Taker,
};

/// A format of files and its options, as `WITH (format = 'csv', header = true, …)` says them.
#[derive(Debug, Clone)]
pub struct FileFormat(WriterKind);

#[derive(Debug, Clone)]
enum WriterKind {
    Parquet,
    Text {
        spelling: Spelling,
        /// Whether the first line has the column names.
        header: bool,
    },
}

impl FileFormat {
    /// Takes `format` and the options of that format.
    pub fn from_options(options: &mut Taker) -> Result<FileFormat> {
        let words = [("parquet", 0), ("csv", 1), ("json", 2), ("ndjson", 2), ("jsonl", 2)];
        Ok(FileFormat(match options.one_of("format", &words)? {
            Some(0) => WriterKind::Parquet,
            Some(1) => {
                let spelling = Spelling::Csv(CsvDialect::from_options(options)?);
                WriterKind::Text { spelling, header: options.boolean("header", true)? }
            }
            Some(_) => WriterKind::Text { spelling: Spelling::Json, header: false },
            None => return Err(options.missing("format")),
        }))
    }

    /// The name of the format, and the extension of its files.
    pub fn name(&self) -> &'static str {
        match &self.0 {
            WriterKind::Parquet => "parquet",
            WriterKind::Text { spelling, .. } => spelling.name(),
        }
    }

    /// Whether it is Parquet, as Delta tables require.
    pub fn is_parquet(&self) -> bool {
        matches!(self.0, WriterKind::Parquet)
    }

    /// Starts a file of rows with these columns, if the format supports their types.
    pub fn writer(&self, schema: &SchemaRef) -> Result<FileWriter> {
        Ok(FileWriter(match &self.0 {
            WriterKind::Parquet => {
                let zstd = Compression::ZSTD(ZstdLevel::default());
                let properties = WriterProperties::builder().set_compression(zstd).build();
                let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties));
                WriterState::Parquet(Box::new(writer.map_err(failed)?))
            }
            WriterKind::Text { spelling, header } => {
                spelling.check(schema)?;
                let mut lines = Vec::new();
                if *header {
                    spelling.write(&RecordBatch::new_empty(schema.clone()), true, &mut lines)?;
                }
                WriterState::Text { spelling: spelling.clone(), header: lines.len(), lines }
            }
        }))
    }
}

/// A file that is being written.
pub struct FileWriter(WriterState);

enum WriterState {
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    Text {
        spelling: Spelling,
        lines: Vec<u8>,
        /// Bytes of the header, with which each file starts.
        header: usize,
    },
}

impl FileWriter {
    /// Adds rows.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        match &mut self.0 {
            WriterState::Parquet(writer) => writer.write(rows).map_err(failed),
            WriterState::Text { spelling, lines, .. } => spelling.write(rows, false, lines),
        }
    }

    /// Appends the rows of a complete file of the same columns and format.
    pub fn append(&mut self, file: Bytes) -> Result<()> {
        match &mut self.0 {
            WriterState::Parquet(writer) => {
                let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
                for rows in reader.map_err(failed)? {
                    writer.write(&rows?).map_err(failed)?;
                }
            }
            WriterState::Text { lines, header, .. } => lines.extend_from_slice(file.get(*header..).unwrap_or_default()),
        }
        Ok(())
    }

    /// The approximate size of the file so far, in bytes.
    pub fn size(&self) -> usize {
        match &self.0 {
            WriterState::Parquet(writer) => writer.bytes_written() + writer.in_progress_size(),
            WriterState::Text { lines, .. } => lines.len(),
        }
    }

    /// Completes the file and returns its bytes.
    pub fn finish(self) -> Result<Vec<u8>> {
        match self.0 {
            WriterState::Parquet(writer) => writer.into_inner().map_err(failed),
            WriterState::Text { lines, .. } => Ok(lines),
        }
    }
}

impl fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWriter").field("size", &self.size()).finish_non_exhaustive()
    }
}

fn failed(error: datafusion::parquet::errors::ParquetError) -> Error {
    Error::from(datafusion::error::DataFusionError::ParquetError(Box::new(error)))
}
