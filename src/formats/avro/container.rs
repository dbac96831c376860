//! The rows of object container files. Adjacent blocks are decoded together, each as an Avro array of rows, which must
//! end where the block ends. A block that does not is decoded row by row up to its first error, which is reported as a
//! bad record; the other blocks are decoded as usual.

use std::sync::Arc;

use arrow::{
    array::{AsArray, RecordBatch, RecordBatchOptions},
    compute::concat_batches,
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
};
use arrow_avro::{
    reader::{Decoder, ReaderBuilder},
    schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore},
};
use serde_json::{Value, json};

use super::{
    blocks::{Block, BlockHeader, BlockStep, Blocks},
    columns::{at_least_one, bounded, sql_columns},
};
use crate::formats::{
    Bad, BadSink, BatchIterator, Damage, DecodedRows, Request,
    named::{Named, guarded},
    part::File,
};

/// The columns of a file, if SQL has types for them.
pub(in crate::formats) fn infer(file: &File) -> Option<SchemaRef> {
    let columns = guarded("Avro", || Ok(Stored::read(file)?.columns)).ok()?;
    sql_columns(&columns)
}

/// The rows of a file.
pub(in crate::formats) fn read(file: File, request: &Request, bad: BadSink) -> Result<BatchIterator, Damage> {
    guarded("Avro", || {
        let stored = Stored::read(&file)?;
        let (named, read) = Named::new(request, &stored.columns)?;
        let blocks = Blocks::new(&file, &stored.header);
        let read = at_least_one(read, &stored.columns);
        let decoded = RecordBatch::new_empty(stored.columns.project(&read)?.into());
        let container = Container {
            blocks,
            layout: ContainerLayout::new(stored, read),
            named,
            batch_rows: request.batch_rows.max(1),
            decoder: None,
            decoded,
            row: 0,
            lost: 0,
            bad,
            finished: false,
        };
        Ok(Box::new(container) as BatchIterator)
    })
}

/// The schema in a file's header.
struct Stored {
    header: BlockHeader,
    schema: Value,
    /// The columns whose type is not null.
    columns: SchemaRef,
    /// The index of each of `columns` among all columns of the file.
    places: Vec<usize>,
}

impl Stored {
    fn read(file: &File) -> Result<Stored, Damage> {
        let header = BlockHeader::read(file)?;
        let schema: Value = serde_json::from_str(&header.schema)?;
        let all = decoder(&schema, &schema, 1)?.schema();
        bounded(&all)?;
        let places: Vec<_> = (0..all.fields().len()).filter(|n| *all.field(*n).data_type() != DataType::Null).collect();
        let columns = Arc::new(all.project(&places)?);
        Ok(Stored { header, schema, columns, places })
    }
}

/// A dummy header before each value: the decoder requires one.
const MARK: [u8; 5] = [0; 5];

fn decoder(writer: &Value, reader: &Value, values: usize) -> Result<Decoder, ArrowError> {
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store.set(Fingerprint::Id(0), AvroSchema::new(writer.to_string()))?;
    let mut builder = ReaderBuilder::new().with_writer_schema_store(store).with_batch_size(values);
    if writer != reader {
        builder = builder.with_reader_schema(AvroSchema::new(reader.to_string()));
    }
    builder.build_decoder()
}

/// How rows are decoded.
struct ContainerLayout {
    writer: Value,
    /// The reader schema: the requested columns only, if the decoder can skip the others.
    reader: Value,
    /// The indexes of the requested columns among the decoded ones.
    wanted: Vec<usize>,
}

impl ContainerLayout {
    fn new(stored: Stored, read: Vec<usize>) -> ContainerLayout {
        let writer = stored.schema;
        let places: Vec<_> = read.iter().map(|column| stored.places[*column]).collect();
        let reader = projected(&writer, &places);
        // A requested column may refer to a type that is defined in another, skipped one.
        match decoder(&writer, &reader, 1) {
            Ok(_) => ContainerLayout { writer, reader, wanted: (0..read.len()).collect() },
            Err(_) => ContainerLayout { reader: writer.clone(), writer, wanted: places },
        }
    }

    /// A decoder for `blocks` blocks at a time.
    fn of_blocks(&self, blocks: usize) -> Result<Decoder, ArrowError> {
        let block = |row: &Value| {
            let rows = json!({"name": "rows", "type": {"type": "array", "items": row}});
            json!({"type": "record", "name": "tidemark_block", "fields": [rows]})
        };
        decoder(&block(&self.writer), &block(&self.reader), blocks)
    }
}

/// A record schema with some of its fields.
fn projected(schema: &Value, read: &[usize]) -> Value {
    let mut schema = schema.clone();
    if let Some(Value::Array(fields)) = schema.get_mut("fields") {
        *fields = read.iter().filter_map(|field| fields.get(*field).cloned()).collect();
    }
    schema
}

/// Blocks that are decoded together at most: most have thousands of rows, but some writers make one for each row.
const BLOCKS_MAX: usize = 1024;

struct Container {
    blocks: Blocks,
    layout: ContainerLayout,
    named: Named,
    batch_rows: usize,
    /// `None` after an error, which leaves a partial value in the decoder.
    decoder: Option<Decoder>,
    /// Rows that are decoded and not yet returned.
    decoded: RecordBatch,
    /// The number of rows of the file before `decoded`.
    row: u64,
    /// The number of rows lost to an error before the next block.
    lost: u64,
    bad: BadSink,
    finished: bool,
}

impl Container {
    fn batch(&mut self) -> Result<Option<DecodedRows>, Damage> {
        if self.decoded.num_rows() == 0 {
            self.row = self.row.saturating_add(std::mem::take(&mut self.lost));
            let Some(decoded) = guarded("Avro", || self.group(u64::MAX))? else { return Ok(None) };
            self.decoded = decoded;
        }
        let rows = self.batch_rows.min(self.decoded.num_rows());
        let batch = self.decoded.slice(0, rows);
        self.decoded = self.decoded.slice(rows, self.decoded.num_rows() - rows);
        let first = self.row as i64 + 1;
        self.row += rows as u64;
        Ok(Some(self.named.rows(&batch, first, &mut self.bad)?))
    }

    /// The rows of the next blocks before byte offset `until`, if all decode; `None` at the end. A block that does not
    /// decode is returned separately, with the rows before its error.
    fn group(&mut self, until: u64) -> Result<Option<RecordBatch>, Damage> {
        if self.layout.wanted.is_empty() {
            return self.count();
        }
        let begin = self.blocks.at;
        let (mut taken, mut rows) = (Vec::new(), 0);
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => self.layout.of_blocks(BLOCKS_MAX)?,
        };
        while rows < self.batch_rows as u64 && taken.len() < BLOCKS_MAX && self.blocks.at < until {
            let at = self.blocks.at;
            let block = match self.blocks.step() {
                Ok(BlockStep::Block(block)) => block,
                // The valid blocks before it are returned first.
                _ if !taken.is_empty() => {
                    self.blocks.at = at;
                    break;
                }
                Ok(BlockStep::End) => return Ok(None),
                Ok(BlockStep::Bad { rows, reason }) => return Ok(Some(self.lose(rows, reason))),
                Err(damage) => return Err(damage),
            };
            match decode(&mut decoder, &block) {
                Ok(()) => {
                    rows += block.rows;
                    taken.push((at, block.rows));
                }
                Err(_) if !taken.is_empty() => {
                    self.blocks.at = begin;
                    return self.group(block.at);
                }
                Err(_) => return self.salvage(&block).map(Some),
            }
        }
        let batch = match decoder.flush()? {
            Some(blocks) => self.rows_of(&blocks, &taken)?,
            None => self.decoded.slice(0, 0),
        };
        self.decoder = Some(decoder);
        Ok(Some(batch))
    }

    /// The number of rows in the next block, if all columns are NULL and have no bytes.
    fn count(&mut self) -> Result<Option<RecordBatch>, Damage> {
        let block = match self.blocks.step()? {
            BlockStep::End => return Ok(None),
            BlockStep::Bad { rows, reason } => return Ok(Some(self.lose(rows, reason))),
            BlockStep::Block(block) => block,
        };
        if !block.data().is_empty() {
            self.report(block.rows, block.left_behind(block.data().len()));
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(block.rows as usize));
        Ok(Some(RecordBatch::try_new_with_options(self.decoded.schema(), vec![], &rows)?))
    }

    /// Reports a block that cannot be decoded, with the reason; returns an empty batch.
    fn lose(&mut self, rows: u64, reason: String) -> RecordBatch {
        self.report(0, reason);
        self.lost = rows;
        self.decoded.slice(0, 0)
    }

    /// The rows of decoded blocks, up to the first whose row count is wrong: that one is decoded separately.
    fn rows_of(&mut self, blocks: &RecordBatch, taken: &[(u64, u64)]) -> Result<RecordBatch, Damage> {
        let arrays = blocks.column(0).as_list::<i32>();
        let rows = RecordBatch::from(arrays.values().as_struct().clone()).project(&self.layout.wanted)?;
        let is_off = |block: &usize| arrays.value_length(*block) as u64 != taken[*block].1;
        let Some(off) = (0..taken.len()).find(is_off) else { return Ok(rows) };
        self.blocks.at = taken[off].0;
        match (off, self.blocks.step()?) {
            (0, BlockStep::Block(block)) => self.salvage(&block),
            _ => {
                self.blocks.at = taken[off].0;
                Ok(rows.slice(0, arrays.value_offsets()[off] as usize))
            }
        }
    }

    /// Decodes a block row by row up to its first error.
    fn salvage(&mut self, block: &Block) -> Result<RecordBatch, Damage> {
        let mut decoder = decoder(&self.layout.writer, &self.layout.reader, 1)?;
        let (mut batches, mut left, mut wrong) = (Vec::new(), block.data(), None);
        for _ in 0..block.rows {
            let row = guarded("Avro", || one_row(&mut decoder, &mut left));
            match row {
                Ok(row) => batches.push(row.project(&self.layout.wanted)?),
                Err(Damage(reason)) => {
                    wrong = Some(reason);
                    break;
                }
            }
        }
        match wrong {
            Some(reason) => self.report(batches.len() as u64, block.nonsense(&reason)),
            None if !left.is_empty() => self.report(batches.len() as u64, block.left_behind(left.len())),
            None => {}
        }
        self.lost = block.rows - batches.len() as u64;
        match batches.first() {
            Some(first) => Ok(concat_batches(&first.schema(), &batches)?),
            None => Ok(self.decoded.slice(0, 0)),
        }
    }

    /// Reports an error for `rows` rows from the next one on.
    fn report(&mut self, rows: u64, reason: String) {
        let position = self.row.saturating_add(rows).saturating_add(1) as i64;
        (self.bad)(Bad { position, raw: Vec::new(), reason });
    }
}

/// Decodes a whole block, which must be exactly one array.
fn decode(decoder: &mut Decoder, block: &Block) -> Result<(), Damage> {
    let before = decoder.capacity();
    guarded("Avro", || {
        decoder.decode(&MARK)?;
        let used = decoder.decode(&block.array)?;
        match used == block.array.len() && decoder.capacity() + 1 == before {
            true => Ok(()),
            false => Err(Damage("it is no array of its rows".to_string())),
        }
    })
}

/// Decodes the first of some rows, and advances past it.
fn one_row(decoder: &mut Decoder, left: &mut &[u8]) -> Result<RecordBatch, Damage> {
    decoder.decode(&MARK)?;
    let used = decoder.decode(left)?;
    let row = decoder.flush()?.ok_or_else(|| Damage("a row is cut off".to_string()))?;
    *left = &left[used..];
    Ok(row)
}

impl Iterator for Container {
    type Item = Result<DecodedRows, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let batch = self.batch().transpose();
        self.finished = !matches!(batch, Some(Ok(_)));
        batch
    }
}
