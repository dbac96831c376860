//! The lines of a span as streams of rows that run in parallel.

use std::{fmt, ops::Range, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::Result as DataFusionResult,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter},
        streaming::PartitionStream,
    },
};
use futures::StreamExt;
use tokio::sync::mpsc::Sender;

use super::{lines::LineGroup, received::Received};
use crate::{
    connectors::{BadRecord, BadRecords, Offsets, OriginSender, SourceStream},
    error::Result,
    formats::{Decoder, Format, Positions, RawRecord, Request},
};

/// Batches that are decoded before the query takes them.
const BATCHES_AHEAD: usize = 4;

/// Streams of fewer full batches are not worth their threads.
const STREAM_BATCHES_MIN: u64 = 4;

/// What every stream of a scan shares.
pub(super) struct SocketScan {
    received: Arc<Received>,
    format: Format,
    request: Request,
    output: SchemaRef,
    /// Where dead letters say that they come from.
    origin: Arc<str>,
    bad: BadRecords,
    /// Whether a line of white space is a record.
    blank: bool,
}

impl SocketScan {
    pub fn new(
        received: Arc<Received>,
        format: Format,
        request: Request,
        origin: String,
        bad: BadRecords,
    ) -> SocketScan {
        let output = request.output();
        let blank = matches!(format.name(), "text" | "bytes");
        SocketScan { received, format, request, output, origin: origin.into(), bad, blank }
    }

    /// Shares lines out among at most `partitions` streams.
    pub fn streams(self: Arc<Self>, lines: Range<u64>, partitions: usize) -> Vec<SourceStream> {
        let from = lines.start.max(self.received.bounds().0).min(lines.end);
        let count = lines.end - from;
        let least = self.request.batch_rows as u64 * STREAM_BATCHES_MIN;
        let streams = count.div_ceil(least).clamp(1, partitions as u64);
        let share = count.div_ceil(streams);
        let stream = |n: u64| {
            let from = from + (n * share).min(count);
            let lines = from..from.saturating_add(share).min(lines.end);
            SourceStream::with_origins(Offsets::ONLY, |teller| SocketLines { scan: self.clone(), lines, teller })
        };
        (0..streams).map(stream).collect()
    }

    /// Decodes lines on a thread that may block, until nobody wants their rows any more.
    fn read(
        &self,
        lines: Range<u64>,
        rows: &Sender<DataFusionResult<RecordBatch>>,
        teller: &OriginSender,
    ) -> Result<()> {
        let mut decoder = self.format.decoder(&self.request)?;
        let mut pushed = Vec::new();
        for piece in self.received.pieces(lines) {
            for (group, part) in self.received.load(piece)? {
                let mut odd = group.odd.iter().peekable();
                for (number, line) in numbered(&group, &part) {
                    while odd.next_if(|odd| group.first + odd.line < number).is_some() {}
                    if let Some(odd) = odd.next_if(|odd| group.first + odd.line == number) {
                        self.report(number, line.to_vec(), odd.reason());
                        continue;
                    }
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    if !self.blank && line.trim_ascii().is_empty() {
                        continue;
                    }
                    decoder.push(RawRecord::from(line));
                    pushed.push(number);
                    if decoder.is_full() && !self.flush(decoder.as_mut(), &mut pushed, rows, teller) {
                        return Ok(());
                    }
                }
            }
        }
        self.flush(decoder.as_mut(), &mut pushed, rows, teller);
        Ok(())
    }

    /// Sends on what was decoded; tells whether anyone still wants rows. `pushed` has the number of each line.
    fn flush(
        &self,
        decoder: &mut dyn Decoder,
        pushed: &mut Vec<u64>,
        rows: &Sender<DataFusionResult<RecordBatch>>,
        teller: &OriginSender,
    ) -> bool {
        if decoder.pending() == 0 {
            return true;
        }
        let mut decoded = decoder.flush();
        let pushed = std::mem::take(pushed);
        for error in std::mem::take(&mut decoded.errors) {
            let number = pushed.get(error.record).copied().unwrap_or_default();
            self.report(number, error.raw, error.reason);
        }
        if decoded.rows.num_rows() == 0 {
            return true;
        }
        teller.send(&self.origin, || Positions::Each(decoded.positions(&pushed)));
        rows.blocking_send(Ok(decoded.rows)).is_ok()
    }

    fn report(&self, number: u64, raw: Vec<u8>, reason: String) {
        self.bad.push(BadRecord { origin: self.origin.to_string(), position: i64::try_from(number).ok(), raw, reason });
    }
}

/// Some lines of a group, each with its number and without its line break.
fn numbered<'a>(group: &'a LineGroup, part: &Range<u64>) -> impl Iterator<Item = (u64, &'a [u8])> {
    let lines = group.text.split(|b| *b == b'\n');
    let skip = part.start - group.first;
    part.clone().zip(lines.skip(usize::try_from(skip).unwrap_or(usize::MAX)))
}

/// A range of lines as a stream.
struct SocketLines {
    scan: Arc<SocketScan>,
    lines: Range<u64>,
    teller: OriginSender,
}

impl fmt::Debug for SocketLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("of", &self.scan.origin).field("lines", &self.lines).finish()
    }
}

impl PartitionStream for SocketLines {
    fn schema(&self) -> &SchemaRef {
        &self.scan.output
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (scan, lines, teller) = (self.scan.clone(), self.lines.clone(), self.teller.clone());
        // The reading thread begins with the first poll, and ends when the stream is dropped.
        let stream = futures::stream::once(async move {
            let mut builder = RecordBatchReceiverStream::builder(scan.output.clone(), BATCHES_AHEAD);
            let rows = builder.tx();
            builder.spawn_blocking(move || Ok(scan.read(lines, &rows, &teller)?));
            builder.build()
        });
        Box::pin(RecordBatchStreamAdapter::new(self.scan.output.clone(), stream.flatten()))
    }
}
