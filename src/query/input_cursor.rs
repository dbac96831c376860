//! One input of a query: its offset, its end, and the rows of a span.

use std::{sync::Arc, time::Duration};

use datafusion::physical_plan::streaming::PartitionStream;

use super::{
    admission::Admission,
    batches::{BatchReader, FiledBatches},
    prefetch::Prefetched,
    setup::QueryEnv,
};
use crate::{
    changes::Changes,
    connectors::{Ahead, Backlog, BadRecords, BatchingPolicy, Offsets, ReadLimit, ScanHints, SourceStream, Span},
    error::{Error, ErrorKind, Result},
    exec::partition_name,
    relations::{SharedRelation, Snapshot, SnapshotChunk, Store},
    sql::{
        incremental::PlannedInput,
        table::{BATCH_ROWS, TableInput},
    },
    time::{Epoch, Micros},
};

/// The streams of a span, and the collector of their bad records.
pub(super) type OpenedInput = (Vec<SourceStream>, BadRecords);

/// Estimates: bytes of a row, and bytes that an epoch reads of an input with neither backlog nor limit.
const EXPECTED_ROW_BYTES: u64 = 256;
const EXPECTED_BYTES: u64 = 16 << 20;

/// The read position of one input. Invariants:
///
/// - `offsets` is where the last applied epoch ended; planning and prefetching never move it.
/// - A span that starts at epoch 0 of a relation is read from `snapshot`, which was taken when the span was planned and
///   stays until the epoch was run.
/// - `prefetched` is passed only to an epoch that reads exactly its span; any other epoch drops it.
#[derive(Debug)]
pub(super) struct InputCursor {
    input: PlannedInput,
    offsets: Offsets,
    /// The end offset of the input when it was last checked.
    end: Offsets,
    admission: Admission,
    /// The read planned for the next epoch, until its duration is observed.
    planned: Option<PlannedRead>,
    snapshot: Option<Arc<Snapshot>>,
    /// The prefetched span that follows the one being read.
    prefetched: Option<Prefetched>,
}

/// What the next epoch is to read of an input.
#[derive(Debug, Clone)]
pub(super) struct PlannedRead {
    pub(super) span: Span,
    pub(super) backlog: Backlog,
    /// The span was prefetched, so that the epoch has no reason to wait.
    pub(super) is_ready: bool,
    limit: ReadLimit,
    /// Whether the input has more rows than the planned span.
    full: bool,
}

impl InputCursor {
    pub(super) fn new(input: PlannedInput, epoch_target: Option<Duration>) -> Self {
        InputCursor {
            input,
            offsets: Offsets::default(),
            end: Offsets::default(),
            admission: Admission::new(epoch_target),
            planned: None,
            snapshot: None,
            prefetched: None,
        }
    }

    pub(super) fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    pub(super) fn planned(&self) -> Option<&PlannedRead> {
        self.planned.as_ref()
    }

    /// The most that the next epoch may take.
    pub(super) fn limit(&self) -> ReadLimit {
        self.admission.limit(&self.input.table.limit)
    }

    /// Whether it is the same relation or source as `other`, at the same offset.
    pub(super) fn is_twin_of(&self, other: &InputCursor) -> bool {
        self.input.table.id == other.input.table.id && self.offsets == other.offsets
    }

    /// Sets the position, to the end of a span that was read or to that of a checkpoint.
    pub(super) fn advance(&mut self, to: &Offsets) {
        self.offsets.clone_from(to);
    }

    pub(super) fn forget_plan(&mut self) {
        self.planned = None;
    }

    pub(super) fn forget_snapshot(&mut self) {
        self.snapshot = None;
    }

    pub(super) fn end_prefetch(&mut self) {
        self.prefetched = None;
    }

    /// How far the input can be read within `limit`, and its backlog.
    pub(super) async fn ahead(&mut self, limit: &ReadLimit) -> Result<Ahead> {
        match &self.input.table.input {
            TableInput::Source(source, _) => source.clone().ahead(&self.offsets, limit).await,
            TableInput::Relation(shared) => {
                let shared = shared.clone();
                self.ahead_of(&shared, limit)
            }
        }
    }

    fn ahead_of(&mut self, shared: &SharedRelation, limit: &ReadLimit) -> Result<Ahead> {
        let from = Epoch(self.offsets.only());
        let mut relation = shared.lock();
        let snapshot = shared.snapshot();
        if from == Epoch(0) {
            relation.follow(snapshot.epoch());
            let rows = Some(snapshot.rows() as u64);
            let to = Offsets::single(snapshot.epoch().0);
            self.snapshot = Some(snapshot);
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

    /// Plans the next read, up to where `twin` reads if there is one.
    pub(super) async fn plan(&mut self, twin: Option<&InputCursor>) -> Result<()> {
        let limit = self.limit();
        let read = twin.and_then(|twin| Some((twin, twin.planned.as_ref()?)));
        let Ahead { to, end, backlog } = match read {
            Some((twin, read)) => {
                self.snapshot.clone_from(&twin.snapshot);
                Ahead { to: read.span.to.clone(), end: twin.end.clone(), backlog: read.backlog }
            }
            None => self.ahead(&limit).await?,
        };
        // A prefetched span is read as it is, even if the input has grown since.
        let prefetched = self.prefetched.as_ref().filter(|next| next.span.from == self.offsets);
        let prefetched = prefetched.filter(|next| read.is_none() || next.span.to == to);
        let is_ready = prefetched.is_some();
        let (to, limit) = prefetched.map_or((to, limit), |next| (next.span.to.clone(), next.limit));
        let full = to != end;
        let span = Span { from: self.offsets.clone(), to };
        self.planned = Some(PlannedRead { span, backlog, is_ready, limit, full });
        self.end = end;
        Ok(())
    }

    /// The minimum batch that the backlog of the planned read falls short of.
    pub(super) fn short_of(&self, backlog: Backlog) -> Option<BatchingPolicy> {
        self.input.table.batching.filter(|policy| backlog.rows.is_some_and(|rows| rows < policy.rows))
    }

    /// Feeds the duration of the planned epoch to the admission. Returns whether an epoch was planned.
    pub(super) fn observe(&mut self, took: Duration) -> bool {
        let Some(PlannedRead { limit, full, .. }) = self.planned.take() else { return false };
        self.admission.observe(&limit, full, took);
        true
    }

    /// Partitions with unread rows, by the end seen last; as input `n` names them.
    pub(super) fn unread(&self, n: usize) -> impl Iterator<Item = String> + '_ {
        let unread = self.end.0.iter().filter(|(name, end)| **end > self.offsets.get(name));
        unread.map(move |(name, _)| partition_name(n, name))
    }

    /// The watermark of an input view at the end of `span`.
    pub(super) fn watermark(&self, span: &Span) -> Option<Micros> {
        match &self.input.table.input {
            TableInput::Relation(shared) => shared.lock().watermark(Epoch(span.to.only())),
            TableInput::Source(..) => None,
        }
    }

    /// Whether `span` is read from a snapshot, which cannot be read again after a crash.
    pub(super) fn reads_snapshot(&self, span: &Span) -> bool {
        matches!(self.input.table.input, TableInput::Relation(_)) && span.from.only() == 0 && span.to.only() > 0
    }

    /// The snapshot in pieces of about `bytes`; empty if `span` is not read from it.
    pub(super) fn pieces(&self, span: &Span, bytes: usize) -> Vec<SnapshotChunk> {
        match &self.snapshot {
            Some(snapshot) if span.from.only() == 0 => snapshot.pieces(bytes),
            _ => Vec::new(),
        }
    }

    /// The rows of one piece of the snapshot.
    pub(super) fn open_piece(&self, piece: &SnapshotChunk) -> Result<OpenedInput> {
        let Some(snapshot) = &self.snapshot else { return Ok((Vec::new(), BadRecords::default())) };
        let rows: Vec<Changes> = snapshot.read(piece)?.into_iter().map(Changes::insert).collect();
        let stream = SourceStream::only(Arc::new(BatchReader::new(&rows, &self.input)?));
        Ok((vec![stream], BadRecords::default()))
    }

    /// Estimated bytes of a span.
    pub(super) fn bytes_to_read(&self, span: &Span) -> usize {
        match &self.input.table.input {
            _ if span.is_empty() => 0,
            TableInput::Source(..) => self.planned.as_ref().map_or(0, PlannedRead::bytes),
            TableInput::Relation(shared) => match &self.snapshot {
                Some(snapshot) if span.from.only() == 0 => snapshot.bytes(),
                _ => shared.lock().bytes_of_changes(Epoch(span.from.only()), Epoch(span.to.only())),
            },
        }
    }

    /// The rows of a span: the prefetched streams if they are of exactly this span, new ones otherwise.
    pub(super) fn open(&mut self, env: &QueryEnv, span: &Span, partitions: usize) -> Result<OpenedInput> {
        let is_same = |next: &Prefetched| next.span == *span && partitions == env.partitions();
        let prefetched = self.prefetched.take().filter(is_same);
        match prefetched {
            _ if span.is_empty() => Ok((Vec::new(), BadRecords::default())),
            Some(next) => Ok((next.streams, next.bad)),
            None => self.scan(env, span, partitions),
        }
    }

    fn scan(&self, env: &QueryEnv, span: &Span, partitions: usize) -> Result<OpenedInput> {
        let (input, bad) = (&self.input, env.dead_letters.collector());
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
                if let (Some(snapshot), Epoch(0)) = (&self.snapshot, from) {
                    let rows: Vec<Changes> = snapshot.batches(None)?.into_iter().map(Changes::insert).collect();
                    return Ok((vec![SourceStream::only(Arc::new(BatchReader::new(&rows, input)?))], bad));
                }
                let slice = shared.lock().changes(from, to)?;
                let store = Store::new(env.storage.clone(), shared.id);
                let stream: Arc<dyn PartitionStream> = match slice.is_in_memory() {
                    true => Arc::new(BatchReader::new(&slice.read(&store)?, input)?),
                    false => Arc::new(FiledBatches::new(slice, store, input)?),
                };
                Ok((vec![SourceStream::only(stream)], bad))
            }
        }
    }

    /// Starts the scan of what a source has after `span`, up to where `twin` prefetched if it did. Errors are ignored:
    /// the epoch that reads the span gets them again.
    pub(super) async fn prefetch(&mut self, env: &QueryEnv, span: &Span, twin: Option<&InputCursor>) {
        let TableInput::Source(source, _) = &self.input.table.input else { return };
        if span.to.reaches(&self.end) {
            return;
        }
        let limit = self.limit();
        let before = twin.and_then(|twin| twin.prefetched.as_ref()).filter(|next| next.span.from == span.to);
        let to = match before.map(|next| next.span.to.clone()) {
            Some(to) => to,
            None => match source.ahead(&span.to, &limit).await {
                Ok(Ahead { to, .. }) => to,
                Err(_) => return,
            },
        };
        let next = Span { from: span.to.clone(), to };
        if let Ok((streams, bad)) = self.scan(env, &next, env.partitions())
            && !next.is_empty()
        {
            self.prefetched = Some(Prefetched::start(next, limit, streams, bad, &env.context));
        }
    }

    /// Lets the input release, as far as query `id` is concerned, what is before `offsets`.
    pub(super) async fn release(&self, id: u64, offsets: &Offsets) -> Result<()> {
        let least = self.input.table.readers.advance(id, offsets);
        match &self.input.table.input {
            TableInput::Source(source, _) => source.forget(&least).await?,
            TableInput::Relation(shared) => shared.lock().forget(Epoch(least.only())),
        }
        Ok(())
    }
}

impl PlannedRead {
    /// Estimated bytes, by limit and backlog.
    fn bytes(&self) -> usize {
        let PlannedRead { limit, backlog, .. } = self;
        let rows = backlog.rows.map(|rows| rows.min(limit.rows.unwrap_or(u64::MAX)).saturating_mul(EXPECTED_ROW_BYTES));
        let bytes = backlog.bytes.or(rows).unwrap_or(u64::MAX).min(limit.bytes.unwrap_or(EXPECTED_BYTES));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}
