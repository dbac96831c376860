//! Shared by generating sources (datagen, nexmark): event rate, row ranges, and the persisted start time.

use std::{fmt::Debug, ops::Range, sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::SchemaRef,
};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::{
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Ahead, Backlog, Offsets, ReadLimit, ScanHints, Source, SourceEnv, SourceStream, Span};
use crate::{
    changes::batch_of,
    error::{Error, ErrorKind, Result},
    storage::{Journal, Storage},
    time::{Clock, Micros},
};

/// The version of the form of the journal's records: raised where an older release would misread them.
const RECORD_VERSION: u16 = 1;

/// Numbers are BIGINT: at a thousand million a second this is 146 years away.
const EVENTS_MAX: u64 = i64::MAX as u64 / 2;

/// Events per epoch of a source without a rate, unless limited.
const EVENTS_UNPACED: u64 = 100_000;

/// The definition of generated rows: each is a pure function of its number.
pub(super) trait GeneratorSpec: Debug + Send + Sync + 'static {
    fn schema(&self) -> &SchemaRef;

    /// The values of a column, for rows by their numbers.
    fn values(&self, column: usize, rows: Range<u64>) -> ArrayRef;

    /// Number of rows of the first `events` events. Offsets count events.
    fn rows_before(&self, events: u64) -> u64 {
        events
    }
}

/// Events at a steady rate, up to the last one.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventRate {
    /// When the first event was due.
    pub begun: Micros,
    /// 0: all are there at once.
    pub per_second: u64,
    most: u64,
    endless: bool,
}

/// Durable: when the first event was due.
#[derive(Debug, Serialize, Deserialize)]
struct Beginning {
    begun: Micros,
}

impl EventRate {
    /// The rate of a new or reopened source, which continues from its first start. `most` is the number of events;
    /// `None` is endless.
    pub async fn open(env: &SourceEnv, folder: String, per_second: u64, most: Option<u64>) -> Result<EventRate> {
        let (storage, now) = (env.storage.clone(), env.clock.now());
        let begun = tokio::task::spawn_blocking(move || beginning(storage, &folder, now)).await;
        let begun = begun.map_err(|e| Error::internal(format!("opening a generator: {e}")))??;
        let endless = per_second == 0 && most.is_none();
        Ok(EventRate { begun, per_second, most: most.unwrap_or(EVENTS_MAX).min(EVENTS_MAX), endless })
    }

    /// Number of events due by `now`.
    fn due(&self, now: Micros) -> u64 {
        if self.per_second == 0 {
            return self.most;
        }
        let since = u128::try_from(now.saturating_sub(self.begun)).unwrap_or(0);
        let events = since * u128::from(self.per_second) / 1_000_000;
        // The first event is due at once.
        u64::try_from(events).unwrap_or(u64::MAX).saturating_add(1).min(self.most)
    }
}

/// The start time, persisted at the first open.
fn beginning(storage: Arc<dyn Storage>, folder: &str, now: Micros) -> Result<Micros> {
    let (journal, records) = Journal::open(storage, folder, RECORD_VERSION)?;
    if let Some((_, bytes)) = records.first() {
        let beginning: Beginning = serde_json::from_slice(bytes)
            .map_err(|e| Error::new(ErrorKind::DataCorrupted, format!("journal \"{folder}\": {e}")))?;
        return Ok(beginning.begun);
    }
    let bytes = serde_json::to_vec(&Beginning { begun: now }).map_err(|e| Error::internal(e.to_string()))?;
    journal.append(&[Bytes::from(bytes)])?;
    Ok(now)
}

/// Notifies of new events, at most a hundred times a second.
async fn tick(pace: EventRate, clock: Arc<dyn Clock>, changed: watch::Sender<u64>, stop: CancellationToken) {
    let every = Duration::from_micros(1_000_000_u64.checked_div(pace.per_second).unwrap_or(0));
    let every = every.clamp(Duration::from_millis(10), Duration::from_secs(1));
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut announced = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let due = pace.due(clock.now());
        if announced != Some(due) || pace.endless {
            announced = Some(due);
            changed.send_modify(|n| *n += 1);
        }
        // The last event came, and no other will.
        if due == pace.most && !pace.endless {
            return;
        }
    }
}

/// The generating source.
#[derive(Debug)]
pub(super) struct Generator<R> {
    recipe: Arc<R>,
    pace: EventRate,
    clock: Arc<dyn Clock>,
    changed: watch::Sender<u64>,
    /// Dropping the source stops its ticking.
    _stop: DropGuard,
}

impl<R: GeneratorSpec> Generator<R> {
    /// Starts the source.
    pub fn start(recipe: R, pace: EventRate, clock: Arc<dyn Clock>) -> Arc<dyn Source> {
        let (changed, stop) = (watch::Sender::new(0), CancellationToken::new());
        tokio::spawn(tick(pace, clock.clone(), changed.clone(), stop.clone()));
        Arc::new(Generator { recipe: Arc::new(recipe), pace, clock, changed, _stop: stop.drop_guard() })
    }
}

#[async_trait]
impl<R: GeneratorSpec> Source for Generator<R> {
    fn schema(&self) -> SchemaRef {
        self.recipe.schema().clone()
    }

    /// The row limit counts events: so nexmark sources of one stream stay aligned, and joins of them need less state.
    async fn ahead(&self, of: &Offsets, limit: &ReadLimit) -> Result<Ahead> {
        let from = of.only();
        let due = self.pace.due(self.clock.now()).max(from);
        let unpaced = self.pace.per_second == 0;
        let most = limit.rows.unwrap_or(if unpaced { EVENTS_UNPACED } else { u64::MAX }).max(1);
        let waiting = self.recipe.rows_before(due) - self.recipe.rows_before(from);
        // The backlog of an endless source is unknown.
        let backlog = Backlog { rows: (!self.pace.endless).then_some(waiting), ..Backlog::default() };
        let to = Offsets::single(due.min(from.saturating_add(most)));
        Ok(Ahead { to, end: Offsets::single(due), backlog })
    }

    fn scan(&self, span: &Span, hints: &ScanHints) -> Result<Vec<SourceStream>> {
        let schema = self.recipe.schema();
        let projection = hints.columns(schema.fields().len())?;
        let output = Arc::new(schema.project(&projection)?);
        let from = self.recipe.rows_before(span.from.only());
        let to = self.recipe.rows_before(span.to.only()).max(from);
        let batch_rows = hints.batch_rows.max(1) as u64;
        // A stream of its own is worth it for some full batches.
        let streams = (to - from).div_ceil(batch_rows.saturating_mul(4)).clamp(1, hints.partitions.max(1) as u64);
        let share = (to - from).div_ceil(streams);
        let stream = |i: u64| {
            let begin = from + (i * share).min(to - from);
            let rows = begin..begin.saturating_add(share).min(to);
            let (recipe, projection, output) = (self.recipe.clone(), projection.clone(), output.clone());
            SourceStream::only(Arc::new(GeneratedRows { recipe, projection, output, rows, batch_rows }))
        };
        Ok((0..streams).map(stream).collect())
    }

    async fn forget(&self, _: &Offsets) -> Result<()> {
        Ok(())
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// A range of rows as a stream.
#[derive(Debug)]
struct GeneratedRows<R> {
    recipe: Arc<R>,
    projection: Vec<usize>,
    output: SchemaRef,
    rows: Range<u64>,
    batch_rows: u64,
}

impl<R: GeneratorSpec> PartitionStream for GeneratedRows<R> {
    fn schema(&self) -> &SchemaRef {
        &self.output
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (recipe, projection, output) = (self.recipe.clone(), self.projection.clone(), self.output.clone());
        let (end, step) = (self.rows.end, self.batch_rows);
        let mut at = self.rows.start;
        let batches = std::iter::from_fn(move || {
            let rows = at..at.saturating_add(step).min(end);
            at = rows.end;
            (!rows.is_empty()).then(|| batch(&*recipe, rows, &projection, &output).map_err(Into::into))
        });
        Box::pin(RecordBatchStreamAdapter::new(self.output.clone(), futures::stream::iter(batches)))
    }
}

fn batch(
    recipe: &impl GeneratorSpec,
    rows: Range<u64>,
    projection: &[usize],
    output: &SchemaRef,
) -> Result<RecordBatch> {
    let count = usize::try_from(rows.end - rows.start).map_err(|e| Error::internal(e.to_string()))?;
    let arrays = projection.iter().map(|column| recipe.values(*column, rows.clone())).collect();
    batch_of(output, arrays, count)
}
