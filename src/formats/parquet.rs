//! Parquet. Columns are found by name; one that a file lacks is NULL, one of another type is cast.
//!
//! A part of a file is a range of its rows, in proportion to the bytes, so that even a file of one row group can be
//! read by several threads. A value that does not fit its declared type, be it inside a list, makes its row bad; a type
//! that cannot be cast, or bytes that are no Parquet, make the whole file bad.

use std::{
    io::BufReader,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array},
    compute::filter_record_batch,
    datatypes::{Field, FieldRef, Schema, SchemaRef},
    util::display::{ArrayFormatter, FormatOptions},
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
    Bad, BadSink, Batches, Damage, File, Request,
    csv::find,
    fitting::{Fitted, can_fit, fit},
    infer::plain,
    input::{Cursor, Input},
};

/// The rows of a part.
pub(super) fn read(file: File, request: &Request, bad: BadSink) -> Result<Batches, Damage> {
    guarded(|| open(&file, request, bad)).map(|b| Box::new(b) as Batches)
}

/// The columns of a file, in types that SQL has words for.
pub(super) fn infer(file: &File) -> Result<SchemaRef, Damage> {
    let metadata = guarded(|| load(&file.input))?;
    let fields = metadata.schema().fields();
    let fields: Vec<_> = fields.iter().map(|f| Field::new(f.name(), plain(f.data_type()), true)).collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The decoder trusts what it reads in more places than it checks: a panic of its is a damaged file.
fn guarded<T>(work: impl FnOnce() -> Result<T, Damage>) -> Result<T, Damage> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Damage("its bytes make no sense as Parquet".to_string())))
}

fn load(input: &Arc<dyn Input>) -> Result<ArrowReaderMetadata, Damage> {
    Ok(ArrowReaderMetadata::load(&Chunks(input.clone()), ArrowReaderOptions::new())?)
}

fn open(file: &File, request: &Request, bad: BadSink) -> Result<ParquetBatches, Damage> {
    let metadata = load(&file.input)?;
    let names: Vec<String> = metadata.schema().fields().iter().map(|f| f.name().clone()).collect();
    let output = request.output();
    let mut roots = Vec::new();
    for field in output.fields() {
        let root = find(&names, field.name());
        if let Some(stored) = root.map(|i| metadata.schema().field(i))
            && !can_fit(stored.data_type(), field.data_type())
        {
            let (name, stored, declared) = (field.name(), stored.data_type(), field.data_type());
            return Err(Damage(format!("its column \"{name}\" of type {stored} cannot be cast to {declared}")));
        }
        roots.push(root);
    }
    // The reader gives the columns in the order of the file.
    let mut read: Vec<usize> = roots.iter().flatten().copied().collect();
    read.sort_unstable();
    read.dedup();
    let columns = output
        .fields()
        .iter()
        .zip(&roots)
        .map(|(field, root)| Column { field: field.clone(), source: root.and_then(|r| read.binary_search(&r).ok()) });
    let columns = columns.collect();
    let rows = row_range(&metadata, &file.part, file.input.size());
    let mask = ProjectionMask::roots(metadata.parquet_schema(), read);
    let (groups, skip) = row_groups(&metadata, &rows);
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(Chunks(file.input.clone()), metadata)
        .with_projection(mask)
        .with_row_groups(groups)
        .with_offset(skip)
        .with_limit((rows.end - rows.start) as usize)
        .with_batch_size(request.batch_rows.max(1))
        .build()?;
    Ok(ParquetBatches { reader, schema: output, columns, row: rows.start, bad, finished: false })
}

/// The rows that belong to a part: the parts of a file cover its rows without a gap.
fn row_range(metadata: &ArrowReaderMetadata, part: &Range<u64>, size: u64) -> Range<u64> {
    let rows = metadata.metadata().file_metadata().num_rows().max(0) as u128;
    let row = |at: u64| (rows * u128::from(at.min(size)) / u128::from(size.max(1))) as u64;
    row(part.start)..row(part.end)
}

/// The row groups that hold some rows, and how many rows of the first do not belong to them.
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
    schema: SchemaRef,
    columns: Vec<Column>,
    /// The rows of the file before the next batch.
    row: u64,
    bad: BadSink,
    finished: bool,
}

struct Column {
    field: FieldRef,
    /// Which column of the reader's batches; `None` where the file has none.
    source: Option<usize>,
}

impl Iterator for ParquetBatches {
    type Item = Result<RecordBatch, Damage>;

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
    /// Casts, and leaves out the rows that do not fit.
    fn finish(&mut self, batch: &RecordBatch) -> Result<RecordBatch, Damage> {
        let rows = batch.num_rows();
        let mut arrays = Vec::with_capacity(self.columns.len());
        let mut reasons: Vec<(usize, Vec<u8>, String)> = Vec::new();
        for column in &self.columns {
            let stored = column.source.map(|i| batch.column(i).clone());
            let fitted = match &stored {
                None => Fitted { array: new_null_array(column.field.data_type(), rows), lost: Vec::new() },
                Some(stored) => fit(stored, column.field.data_type())?,
            };
            column.misfits(stored.as_ref(), &fitted, &mut reasons);
            arrays.push(fitted.array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let first = self.row;
        self.row += rows as u64;
        if reasons.is_empty() {
            return Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?);
        }
        reasons.sort_by_key(|(row, ..)| *row);
        reasons.dedup_by_key(|(row, ..)| *row);
        let mut keep = vec![true; rows];
        for (row, raw, reason) in reasons {
            keep[row] = false;
            (self.bad)(Bad { position: (first + row as u64 + 1) as i64, raw, reason });
        }
        // Rows without a value that must be there are still in it here.
        let loose: Vec<_> = self.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let loose = RecordBatch::try_new_with_options(Arc::new(Schema::new(loose)), arrays, &options)?;
        let kept = filter_record_batch(&loose, &BooleanArray::from(keep))?;
        let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), kept.columns().to_vec(), &options)?)
    }
}

impl Column {
    /// Finds the rows whose value was lost by the cast, or is missing and may not be.
    fn misfits(&self, stored: Option<&ArrayRef>, fitted: &Fitted, reasons: &mut Vec<(usize, Vec<u8>, String)>) {
        let Fitted { array, lost } = fitted;
        let forbidden = array.null_count() > 0 && !self.field.is_nullable();
        if lost.is_empty() && !forbidden {
            return;
        }
        let name = self.field.name();
        for row in 0..array.len() {
            match stored.filter(|_| lost.get(row) == Some(&true)) {
                Some(stored) => {
                    let text = show(stored, row);
                    let reason = format!("{text} in column \"{name}\" does not fit type {}", self.field.data_type());
                    reasons.push((row, text.into_bytes(), reason));
                }
                None if forbidden && array.is_null(row) => {
                    reasons.push((row, Vec::new(), format!("column \"{name}\" is NULL, and may not be")));
                }
                None => {}
            }
        }
    }
}

fn show(array: &ArrayRef, row: usize) -> String {
    let formatter = ArrayFormatter::try_new(array, &FormatOptions::default());
    formatter.map(|f| f.value(row).to_string()).unwrap_or_default()
}

/// An input as Parquet's reader wants it.
struct Chunks(Arc<dyn Input>);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::new(Cursor { input: self.0.clone(), at: start }))
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
