//! The records of a span as streams of rows, one for each partition, that run in parallel.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arrow::datatypes::SchemaRef;
use datafusion::{
    arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions},
    error::Result as DataFusionResult,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter},
        streaming::PartitionStream,
    },
};
use futures::StreamExt;
use tokio::{sync::mpsc::Sender, time::Instant};

use super::{
    client::ClientPhase,
    columns::Builder,
    cursor::{ConsumedMessage, Halt, PartitionConsumer},
    include::Include,
    place::PartitionOffset,
    pool::Pool,
    sizes::MessageSizes,
    topics::{Loss, TopicWatch},
};
use crate::{
    connectors::{BadRecord, BadRecords, OriginSender},
    error::{Error, ErrorKind, Result},
    formats::{DecodeError, Decoder, Format, Positions, RawRecord, Request},
};

/// Batches that are decoded before the query takes them.
const BATCHES_AHEAD: usize = 4;

/// How long a partition may deliver nothing of its known records; longer than a broker's restart.
const SILENCE: Duration = Duration::from_secs(20);

/// How long it waits for records before it looks whether there are any to wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What every stream of a scan shares.
#[derive(Debug)]
pub(super) struct KafkaScan {
    pub watch: Arc<TopicWatch>,
    pub pool: Arc<Pool>,
    pub sizes: Arc<MessageSizes>,
    pub format: Format,
    /// Of the decoded columns.
    pub request: Request,
    /// For each column of the output whether it is decoded or included, and which of them it is.
    pub columns: Vec<OutputColumn>,
    pub included: Vec<Include>,
    pub output: SchemaRef,
    pub bad: BadRecords,
    /// How many partitions the source has.
    pub partitions: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputColumn {
    /// By its place in the decoded batch.
    Decoded(usize),
    /// By its place among the included columns that are wanted.
    Included(usize),
}

/// The rows of one partition.
pub(super) struct PartitionScan {
    pub scan: Arc<KafkaScan>,
    pub place: PartitionOffset,
    pub from: u64,
    pub to: u64,
    /// Whether its reader has read from it before: a new one starts with the first existing record.
    pub begun: bool,
    /// The cursor at its start when the scan was planned.
    pub cursor: Mutex<Option<PartitionConsumer>>,
    pub teller: OriginSender,
}

impl fmt::Debug for PartitionScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PartitionScan { place, from, to, .. } = self;
        f.debug_struct("Part").field("place", place).field("from", from).field("to", to).finish()
    }
}

/// Returns an unused cursor to the pool.
impl Drop for PartitionScan {
    fn drop(&mut self) {
        if let Some(cursor) = self.cursor.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            self.scan.pool.give_back(cursor);
        }
    }
}

impl PartitionStream for PartitionScan {
    fn schema(&self) -> &SchemaRef {
        &self.scan.output
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let PartitionScan { from, to, begun, .. } = *self;
        let cursor = Mutex::new(self.cursor.lock().unwrap_or_else(PoisonError::into_inner).take());
        let (scan, place, teller) = (self.scan.clone(), self.place.clone(), self.teller.clone());
        let part = PartitionScan { scan, place, from, to, begun, cursor, teller };
        // The reading begins with the first poll, and ends when the stream is dropped.
        let stream = futures::stream::once(async move {
            let mut builder = RecordBatchReceiverStream::builder(part.scan.output.clone(), BATCHES_AHEAD);
            let rows = builder.tx();
            builder.spawn_blocking(move || Ok(part.read(&rows)?));
            builder.build()
        });
        Box::pin(RecordBatchStreamAdapter::new(self.scan.output.clone(), stream.flatten()))
    }
}

impl PartitionScan {
    /// Reads on a thread that may block.
    fn read(&self, rows: &Sender<DataFusionResult<RecordBatch>>) -> Result<()> {
        let KafkaScan { watch, pool, .. } = self.scan.as_ref();
        if self.from >= self.to {
            return Ok(());
        }
        if watch.ledger.ask(|known| known.is_over(&self.place)) {
            return self.lost(self.from, "the topic was deleted and made again").map(|_| ());
        }
        let mut batch = Batch::new(self)?;
        let mut from = self.from.max(watch.ledger.ask(|known| known.given_up(&self.place)));
        while from < self.to {
            let stood = self.cursor.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut cursor = match stood {
                Some(cursor) if cursor.position() == from => cursor,
                elsewhere => {
                    elsewhere.into_iter().for_each(|cursor| pool.give_back(cursor));
                    pool.acquire(&self.place, from, self.to, self.scan.partitions)?
                }
            };
            let read = self.read_with(&mut cursor, &mut batch, rows);
            from = cursor.position();
            match read {
                Ok(()) => pool.give_back(cursor),
                Err(halt) => {
                    let client = cursor.client.clone();
                    drop(cursor);
                    pool.lose(&client, &self.place.partition);
                    match halt {
                        Halt::OutOfRange => from = self.over_the_gap(from)?,
                        Halt::Failed(error) => return Err(error.context(format!("source \"{}\"", watch.name))),
                    }
                }
            }
            if rows.is_closed() {
                return Ok(());
            }
        }
        batch.flush(rows)
    }

    fn read_with(
        &self,
        cursor: &mut PartitionConsumer,
        batch: &mut Batch,
        rows: &Sender<DataFusionResult<RecordBatch>>,
    ) -> Result<(), Halt> {
        let (mut at, mut moved) = (cursor.position(), Instant::now());
        while cursor.position() < self.to {
            cursor.read(self.to, LOOK_AGAIN, |message| batch.push(message))?;
            if batch.decoder.is_full() {
                batch.flush(rows)?;
            }
            if rows.is_closed() {
                break;
            }
            if cursor.position() > at {
                (at, moved) = (cursor.position(), Instant::now());
            } else if moved.elapsed() > SILENCE {
                let why = format!("it gives nothing of partition {} from offset {at} on", self.place.partition);
                return Err(cursor.client.away(&why).into());
            }
        }
        Ok(())
    }

    /// Where to continue if the record at `from` does not exist.
    fn over_the_gap(&self, from: u64) -> Result<u64> {
        let watch = &self.scan.watch;
        let low = watch.client.offsets(std::slice::from_ref(&self.place.partition), ClientPhase::First)?;
        let low = low.first().copied().unwrap_or(0);
        if low <= from {
            // The partition ends before: the next look ahead finds out why.
            watch.look_soon();
            self.lost(from, "the partition ends before the offset that was to be read next")?;
            return Ok(self.to);
        }
        let low = low.min(self.to);
        if self.begun || from > self.from {
            watch.passed_by(watch.loss(), &self.place, from, low)?;
            self.report(from, format!("offsets {from} to {} were deleted before they were read", low - 1));
        }
        Ok(low)
    }

    /// Handles records lost before they were read: an error, or a dead letter.
    fn lost(&self, from: u64, why: &str) -> Result<()> {
        let watch = &self.scan.watch;
        if watch.loss() == Loss::Skip || watch.ledger.ask(|known| known.is_over(&self.place)) {
            let reason = format!("offsets {from} to {} cannot be read: {why}", self.to - 1);
            self.report(from, reason);
            return Ok(());
        }
        let message =
            format!("source \"{}\" has lost records of partition {}: {why}", watch.name, self.place.partition);
        let hint = format!("ALTER SOURCE {} RESET OFFSETS goes on with what there is.", watch.name);
        Err(Error::new(ErrorKind::DataCorrupted, message).hint(hint))
    }

    fn report(&self, offset: u64, reason: String) {
        let (origin, position) = (self.place.partition.to_string(), Some(offset as i64));
        self.scan.bad.push(BadRecord { origin, position, raw: Vec::new(), reason });
    }
}

/// Rows that are being collected.
struct Batch<'a> {
    part: &'a PartitionScan,
    decoder: Box<dyn Decoder>,
    included: Vec<Builder>,
    /// Of the partition.
    name: Arc<str>,
    /// The offset of each record that the decoder has.
    offsets: Vec<u64>,
    bytes: u64,
}

impl<'a> Batch<'a> {
    fn new(part: &'a PartitionScan) -> Result<Batch<'a>> {
        let decoder = part.scan.format.decoder(&part.scan.request)?;
        let included = part.scan.included.iter().map(Builder::new).collect();
        let name = part.place.partition.to_string().into();
        Ok(Batch { part, decoder, included, name, offsets: Vec::new(), bytes: 0 })
    }

    fn push(&mut self, message: &ConsumedMessage) {
        let partition = &self.part.place.partition;
        if let Some(reason) = self.included.iter().find_map(|column| column.check(message).err()) {
            let raw = message.value().unwrap_or_default();
            let raw = raw[..raw.len().min(BadRecord::RAW_BYTES_MAX)].to_vec();
            let (origin, position) = (partition.to_string(), Some(message.offset() as i64));
            self.part.scan.bad.push(BadRecord { origin, position, raw, reason });
            return;
        }
        self.included.iter_mut().for_each(|column| column.push(partition, message));
        self.decoder.push(RawRecord { key: message.key(), value: message.value() });
        self.offsets.push(message.offset());
        self.bytes += (message.key().map_or(0, <[u8]>::len) + message.value().map_or(0, <[u8]>::len)) as u64;
    }

    /// Sends what was collected, if anybody still wants it.
    fn flush(&mut self, rows: &Sender<DataFusionResult<RecordBatch>>) -> Result<()> {
        if self.offsets.is_empty() {
            return Ok(());
        }
        let mut decoded = self.decoder.flush();
        for DecodeError { record, raw, reason } in std::mem::take(&mut decoded.errors) {
            let position = self.offsets.get(record).map(|offset| *offset as i64);
            self.part.scan.bad.push(BadRecord { origin: self.name.to_string(), position, raw, reason });
        }
        self.part.scan.sizes.record(self.offsets.len() as u64, std::mem::take(&mut self.bytes));
        let offsets = std::mem::take(&mut self.offsets);
        let included: Vec<ArrayRef> =
            self.included.iter_mut().map(|column| decoded.beside(&column.finish())).collect::<Result<_>>()?;
        let columns = self.part.scan.columns.iter().map(|column| match column {
            OutputColumn::Decoded(n) => decoded.rows.column(*n).clone(),
            OutputColumn::Included(n) => included[*n].clone(),
        });
        let count = RecordBatchOptions::new().with_row_count(Some(decoded.rows.num_rows()));
        let output = self.part.scan.output.clone();
        let batch = RecordBatch::try_new_with_options(output, columns.collect(), &count)?;
        if batch.num_rows() > 0 {
            self.part.teller.send(&self.name, || Positions::Each(decoded.positions(&offsets)));
            // Whoever does not want it any more has dropped the stream.
            let _ = rows.blocking_send(Ok(batch));
        }
        Ok(())
    }
}
