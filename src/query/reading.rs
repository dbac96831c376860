//! Reading of inputs: how far they reach, and the rows of a span.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::physical_plan::streaming::PartitionStream;

use super::{
    batches::{BatchReader, FiledBatches},
    prefetched::Prefetched,
    worker::Worker,
};
use crate::{
    changes::Changes,
    checkpoint::Intent,
    connectors::{Ahead, Backlog, BadRecords, Offsets, ReadLimit, ScanHints, SourceStream, Span},
    error::{Error, ErrorKind, Result},
    exec::partition_name,
    relations::{SharedRelation, Store},
    sql::{
        incremental::PlannedInput,
        table::{BATCH_ROWS, TableInput},
    },
    time::Epoch,
};

/// The streams of a span, and the collector of their bad records.
pub(super) type OpenedInput = (Vec<SourceStream>, BadRecords);

impl Worker {
    /// How far input `n` can be read within `limit`, and its backlog.
    pub(super) async fn ahead(&mut self, n: usize, limit: &ReadLimit) -> Result<Ahead> {
        match &self.inputs()[n].table.input {
            TableInput::Source(source, _) => source.clone().ahead(&self.offsets[n], limit).await,
            TableInput::Relation(shared) => {
                let shared = shared.clone();
                self.ahead_of(n, &shared, limit)
            }
        }
    }

    fn ahead_of(&mut self, n: usize, shared: &SharedRelation, limit: &ReadLimit) -> Result<Ahead> {
        let from = Epoch(self.offsets[n].only());
        let mut relation = shared.lock();
        let snapshot = shared.snapshot();
        if from == Epoch(0) {
            relation.follow(snapshot.epoch());
            let rows = Some(snapshot.rows() as u64);
            let to = Offsets::single(snapshot.epoch().0);
            self.snapshots[n] = Some(snapshot);
            return Ok(Ahead { end: to.clone(), to, backlog: Backlog { rows, ..Backlog::default() } });
        }
        // At epoch 0 the input has not recovered yet; otherwise it is never behind the offset this query has read.
        if Epoch(0) < snapshot.epoch() && snapshot.epoch() < from {
            let message = format!("\"{}\" is at epoch {}, but was read up to {from}", shared.name, snapshot.epoch());
            return Err(Error::new(ErrorKind::DataCorrupted, message)
                .hint("The data directory lost what had happened. Create another view of the same query beside it; this one keeps what it has come to."));
        }
        let (to, rows) = relation.ahead(from, snapshot.epoch().max(from), limit.rows);
        let end = Offsets::single(snapshot.epoch().max(from).0);
        Ok(Ahead { to: Offsets::single(to.0), end, backlog: Backlog { rows: Some(rows), ..Backlog::default() } })
    }

    /// Partitions with unread rows, by the ends seen last.
    pub(super) fn unread(&self) -> BTreeSet<String> {
        let of = |(n, end): (usize, &Offsets)| {
            let at = &self.offsets[n];
            end.0
                .iter()
                .filter(|(name, end)| **end > at.get(name))
                .map(move |(name, _)| partition_name(n, name))
                .collect::<Vec<_>>()
        };
        self.ends.iter().enumerate().flat_map(of).collect()
    }

    /// The offsets that everything available now ends at, per input.
    pub async fn target(&mut self) -> Result<Vec<Offsets>> {
        let mut target = Vec::new();
        for n in 0..self.inputs().len() {
            target.push(self.ahead(n, &ReadLimit::default()).await?.to);
        }
        Ok(target)
    }

    pub fn has_reached(&self, target: &[Offsets]) -> bool {
        self.offsets.iter().zip(target).all(|(at, target)| at.reaches(target))
    }

    pub(super) fn reads_snapshots(&self, intent: &Intent) -> bool {
        let reads = |(input, span): (&PlannedInput, &Span)| {
            matches!(input.table.input, TableInput::Relation(_)) && span.from.only() == 0 && span.to.only() > 0
        };
        self.inputs().iter().zip(&intent.spans).any(reads)
    }

    /// Opens the spans of an intent, per input.
    pub(super) fn open(&mut self, intent: &Intent) -> Result<Vec<OpenedInput>> {
        (0..intent.spans.len()).map(|n| self.open_input(n, intent)).collect()
    }

    pub(super) fn open_input(&mut self, n: usize, intent: &Intent) -> Result<OpenedInput> {
        self.streams(n, &intent.spans[n], intent.partitions)
    }

    /// Estimated bytes that an intent reads.
    pub(super) fn bytes_to_read(&self, intent: &Intent) -> usize {
        let of = |(n, span): (usize, &Span)| match &self.inputs()[n].table.input {
            _ if span.is_empty() => 0,
            TableInput::Source(..) => self.expected.get(n).copied().unwrap_or(0),
            TableInput::Relation(shared) => match &self.snapshots[n] {
                Some(snapshot) if span.from.only() == 0 => snapshot.bytes(),
                _ => shared.lock().bytes_of_changes(Epoch(span.from.only()), Epoch(span.to.only())),
            },
        };
        intent.spans.iter().enumerate().map(of).sum()
    }

    /// The prefetched streams if they are of this very span, new ones otherwise.
    fn streams(&mut self, n: usize, span: &Span, partitions: usize) -> Result<OpenedInput> {
        let is_same = |next: &Prefetched| next.span == *span && partitions == self.env.partitions();
        let prefetched = self.prefetched[n].take().filter(is_same);
        match prefetched {
            _ if span.is_empty() => Ok((Vec::new(), BadRecords::default())),
            Some(next) => Ok((next.streams, next.bad)),
            None => self.scan(n, span, partitions),
        }
    }

    pub(super) fn scan(&self, n: usize, span: &Span, partitions: usize) -> Result<OpenedInput> {
        let (input, bad) = (&self.inputs()[n], self.env.dead_letters.collector());
        match &input.table.input {
            TableInput::Source(source, on_error) => {
                let projection = input.projection.clone();
                let hints =
                    ScanHints { projection, partitions, batch_rows: BATCH_ROWS, bad: bad.clone(), retain: true };
                let streams = on_error.applied(&input.table.name, source.scan(span, &hints)?, &bad);
                Ok((streams, bad))
            }
            TableInput::Relation(shared) => {
                let (from, to) = (Epoch(span.from.only()), Epoch(span.to.only()));
                if let Some(error) = shared.snapshot().refusal() {
                    // Transient: this query retries until its input has recovered.
                    return Err(error.context(format!("\"{}\"", shared.name)).with_kind(ErrorKind::CannotConnectNow));
                }
                if let (Some(snapshot), Epoch(0)) = (&self.snapshots[n], from) {
                    let rows: Vec<Changes> = snapshot.batches(None)?.into_iter().map(Changes::insert).collect();
                    return Ok((vec![SourceStream::only(Arc::new(BatchReader::new(&rows, input)?))], bad));
                }
                let told = shared.lock().changes(from, to)?;
                let store = Store::new(self.env.storage.clone(), shared.id);
                let stream: Arc<dyn PartitionStream> = match told.is_in_memory() {
                    true => Arc::new(BatchReader::new(&told.read(&store)?, input)?),
                    false => Arc::new(FiledBatches::new(told, store, input)?),
                };
                Ok((vec![SourceStream::only(stream)], bad))
            }
        }
    }

    pub(super) fn note_backlog(&mut self, n: usize, backlog: Backlog) {
        let offsets = self.offsets[n].clone();
        if let Some(input) = self.progress.lock().inputs.get_mut(n) {
            input.set_backlog(backlog);
            input.offsets = offsets;
        }
    }
}
