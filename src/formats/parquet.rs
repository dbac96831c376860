//! Parquet. Columns are found by name; one that a file lacks is NULL, one of another type is cast.
//!
//! A part of a file is a range of its rows, in proportion to the bytes, so that several threads can read even a file
//! with one row group. A value that does not fit its declared type, also within a list, makes its row bad; a type that
//! cannot be cast, or bytes that are not Parquet, make the whole file bad.

use std::{io::BufReader, ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{Field, Schema, SchemaRef},
};
use bytes::Bytes;
use datafusion::parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
        },
    },
    errors::{ParquetError, Result as ParquetResult},
    file::reader::{ChunkReader, Length},
};

use super::{
    BadSink, BatchIterator, Damage, DecodedRows, Request,
    infer::plain,
    input::{ByteCursor, ByteInput},
    named::{self, Named},
    part::File,
};

/// The rows of a part.
pub(super) fn read(file: File, request: &Request, bad: BadSink) -> Result<BatchIterator, Damage> {
    guarded(|| open(&file, request, bad)).map(|b| Box::new(b) as BatchIterator)
}

/// The columns of a file, with SQL types.
pub(super) fn infer(file: &File) -> Result<SchemaRef, Damage> {
    let metadata = guarded(|| load(&file.input))?;
    let fields = metadata.schema().fields();
    let fields: Vec<_> = fields.iter().map(|f| Field::new(f.name(), plain(f.data_type()), true)).collect();
    Ok(Arc::new(Schema::new(fields)))
}

fn guarded<T>(work: impl FnOnce() -> Result<T, Damage>) -> Result<T, Damage> {
    named::guarded("Parquet", work)
}

fn load(input: &Arc<dyn ByteInput>) -> Result<ArrowReaderMetadata, Damage> {
    Ok(ArrowReaderMetadata::load(&ParquetChunks(input.clone()), ArrowReaderOptions::new())?)
}

fn open(file: &File, request: &Request, bad: BadSink) -> Result<ParquetBatches, Damage> {
    let metadata = load(&file.input)?;
    // The reader returns the columns in file order.
    let (named, read) = Named::new(request, metadata.schema())?;
    let rows = row_range(&metadata, &file.part, file.input.size());
    let mask = ProjectionMask::roots(metadata.parquet_schema(), read);
    let (groups, before) = row_groups(&metadata, &rows);
    // If the levels of repeated values are truncated, skipping rows never ends in the library; reading them is an
    // error.
    let leaves = metadata.parquet_schema().columns().iter().enumerate();
    let repeats = leaves.into_iter().any(|(leaf, column)| mask.leaf_included(leaf) && column.max_rep_level() > 0);
    let (skip, leave_out) = if repeats { (0, before) } else { (before, 0) };
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(ParquetChunks(file.input.clone()), metadata)
        .with_projection(mask)
        .with_row_groups(groups)
        .with_offset(skip)
        .with_limit(leave_out.saturating_add((rows.end - rows.start) as usize))
        .with_batch_size(request.batch_rows.max(1))
        .build()?;
    Ok(ParquetBatches { reader, named, leave_out, row: rows.start, bad, finished: false })
}

/// The rows of a part: the parts of a file cover its rows without a gap.
fn row_range(metadata: &ArrowReaderMetadata, part: &Range<u64>, size: u64) -> Range<u64> {
    let rows = metadata.metadata().file_metadata().num_rows().max(0) as u128;
    let row = |at: u64| (rows * u128::from(at.min(size)) / u128::from(size.max(1))) as u64;
    row(part.start)..row(part.end)
}

/// The row groups with some of the rows, and how many rows to skip at the start of the first.
fn row_groups(metadata: &ArrowReaderMetadata, rows: &Range<u64>) -> (Vec<usize>, usize) {
    let (mut groups, mut skip, mut begin) = (Vec::new(), 0, 0);
    for (i, group) in metadata.metadata().row_groups().iter().enumerate() {
        let end = begin + group.num_rows().max(0) as u64;
        if begin < rows.end && end > rows.start {
            if groups.is_empty() {
                skip = rows.start.saturating_sub(begin) as usize;
            }
            groups.push(i);
        }
        begin = end;
    }
    (groups, skip)
}

struct ParquetBatches {
    reader: ParquetRecordBatchReader,
    named: Named,
    /// Rows to skip: they belong to the previous part.
    leave_out: usize,
    /// The number of rows of the file before the next batch.
    row: u64,
    bad: BadSink,
    finished: bool,
}

impl Iterator for ParquetBatches {
    type Item = Result<DecodedRows, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let next = guarded(|| self.reader.next().transpose().map_err(Damage::from));
        let batch = next.and_then(|batch| batch.map(|b| self.finish(&b)).transpose());
        self.finished = !matches!(batch, Ok(Some(_)));
        batch.transpose()
    }
}

impl ParquetBatches {
    /// Casts, and removes the rows that do not fit.
    fn finish(&mut self, batch: &RecordBatch) -> Result<DecodedRows, Damage> {
        let left_out = self.leave_out.min(batch.num_rows());
        self.leave_out -= left_out;
        let batch = &batch.slice(left_out, batch.num_rows() - left_out);
        let first = self.row as i64 + 1;
        self.row += batch.num_rows() as u64;
        self.named.rows(batch, first, &mut self.bad)
    }
}

/// Adapts an input to Parquet's reader.
struct ParquetChunks(Arc<dyn ByteInput>);

impl Length for ParquetChunks {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for ParquetChunks {
    type T = BufReader<ByteCursor>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::new(ByteCursor { input: self.0.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let eof = || ParquetError::EOF("the file ends too early".to_string());
        if start.checked_add(length as u64).is_none_or(|end| end > self.0.size()) {
            return Err(eof());
        }
        let mut buffer = vec![0; length];
        let mut have = 0;
        while have < length {
            match self.0.read_at(start + have as u64, &mut buffer[have..])? {
                0 => return Err(eof()),
                n => have += n,
            }
        }
        Ok(buffer.into())
    }
}
