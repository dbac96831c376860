//! `connector = 'nexmark'`: the people, auctions and bids of the Nexmark benchmark, made up as they are asked for.
//!
//! The three tables are three views of one stream of events, so that sources with the same options belong together.
//! The offset is the number of an event of that stream, whatever its kind; a source has the rows of its own kind. Event
//! n is a pure function of the options and n, its time too: the same options give the same rows, always and everywhere.

mod columns;
mod dice;
mod events;
mod pace;
mod words;

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::kernels::cast_utils::string_to_datetime,
    datatypes::SchemaRef,
};
use async_trait::async_trait;
use datafusion::{
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    columns::Column,
    events::{Events, Table},
    pace::Pace,
};
use super::{Ahead, Backlog, Offsets, ReadLimit, ScanHints, Source, SourceEnv, SourceStream, Span};
use crate::{
    error::{Error, Kind, Result},
    options::Taker,
    time::{Clock, Micros, with_seconds},
};

/// `WITH (connector = 'nexmark', …)`.
#[derive(Debug, Clone)]
pub struct NexmarkOptions {
    table: Table,
    /// Of all three kinds; 0: as fast as they are taken.
    events_per_second: u64,
    /// How many there will ever be, of all three kinds.
    events: Option<u64>,
    seed: u64,
    /// The event time of the first event.
    start_time: Micros,
}

/// The benchmark's own rate. Without a pace, event time goes on as if this were it.
const EVENTS_PER_SECOND: u64 = 10_000;

/// More would have a thousand events in a microsecond.
const EVENTS_PER_SECOND_MAX: u64 = 1_000_000_000;

/// 2015-07-15, when the benchmark's auctions begin.
const START_TIME: Micros = 1_436_918_400_000_000;

/// What one epoch takes of a source without pace and end, unless its limit says otherwise.
const EVENTS_UNPACED: u64 = 100_000;

impl NexmarkOptions {
    /// Takes them.
    pub fn take(options: &mut Taker) -> Result<NexmarkOptions> {
        let number = "a whole number";
        let tables = Table::ALL.map(|table| (table.name(), table));
        let Some(table) = options.one_of("table", &tables)? else {
            return Err(options.missing("table").hint("Add table = 'person', 'auction' or 'bid' to its WITH clause."));
        };
        let events_per_second = options.parse("events_per_second", number)?.unwrap_or(EVENTS_PER_SECOND);
        if events_per_second > EVENTS_PER_SECOND_MAX {
            let message = format!("option \"events_per_second\" is larger than {EVENTS_PER_SECOND_MAX}");
            return Err(Error::new(Kind::InvalidParameterValue, message)
                .hint("With events_per_second = 0 they come as fast as they are taken."));
        }
        Ok(NexmarkOptions {
            table,
            events_per_second,
            events: options.parse("events", number)?,
            seed: options.parse("seed", number)?.unwrap_or(0),
            start_time: options.text("start_time").map_or(Ok(START_TIME), |text| start_time(&text))?,
        })
    }
}

/// A moment in words; without an offset it is UTC.
fn start_time(text: &str) -> Result<Micros> {
    let moment = string_to_datetime(&chrono::Utc, &with_seconds(text.trim())).map_err(|_| {
        let message = format!("option \"start_time\" cannot be '{text}'");
        Error::new(Kind::InvalidParameterValue, message).hint("Write a moment such as '2015-07-15 00:00:00'.")
    })?;
    Ok(moment.timestamp_micros())
}

/// One of the three tables as a source.
#[derive(Debug)]
struct Nexmark {
    recipe: Arc<Recipe>,
    pace: Arc<Pace>,
    clock: Arc<dyn Clock>,
    changed: watch::Sender<u64>,
    /// Dropping the source stops its ticking.
    _stop: DropGuard,
}

/// All that decides what the rows are.
#[derive(Debug)]
struct Recipe {
    table: Table,
    schema: SchemaRef,
    columns: Vec<Column>,
    events: Events,
}

/// Opens a generator, new or again.
pub(super) async fn open(
    folder: String,
    name: &str,
    schema: Option<SchemaRef>,
    options: NexmarkOptions,
    env: &SourceEnv,
) -> Result<Arc<dyn Source>> {
    let table = options.table;
    let schema = schema.filter(|s| !s.fields().is_empty()).unwrap_or_else(|| columns::schema(table));
    let columns = Column::all(table, &schema, name)?;
    let spaced = if options.events_per_second == 0 { EVENTS_PER_SECOND } else { options.events_per_second };
    let events = Events { seed: options.seed, start: options.start_time, per_second: spaced };
    let pace = Arc::new(Pace::open(env, folder, options.events_per_second, options.events).await?);
    let (changed, stop) = (watch::Sender::new(0), CancellationToken::new());
    tokio::spawn(pace::tick(pace.clone(), env.clock.clone(), changed.clone(), stop.clone()));
    let recipe = Arc::new(Recipe { table, schema, columns, events });
    Ok(Arc::new(Nexmark { recipe, pace, clock: env.clock.clone(), changed, _stop: stop.drop_guard() }))
}

impl Recipe {
    /// Some rows, by their numbers among those of the table.
    fn batch(&self, rows: Range<u64>, projection: &[usize], output: &SchemaRef) -> Result<RecordBatch> {
        let count = usize::try_from(rows.end - rows.start).map_err(|e| Error::internal(e.to_string()))?;
        let arrays = projection.iter().map(|i| self.columns[*i].values(&self.events, rows.clone())).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(output.clone(), arrays, &options)?)
    }
}

#[async_trait]
impl Source for Nexmark {
    fn schema(&self) -> SchemaRef {
        self.recipe.schema.clone()
    }

    /// The limit of rows counts events: then sources that belong together stay side by side, and joins of them need not
    /// remember what the others have not come to yet.
    async fn ahead(&self, of: &Offsets, limit: &ReadLimit) -> Result<Ahead> {
        let from = of.only();
        let due = self.pace.due(self.clock.now()).max(from);
        let endless = self.pace.is_endless();
        let most = limit.rows.unwrap_or(if endless { EVENTS_UNPACED } else { u64::MAX }).max(1);
        let waiting = self.recipe.table.rows_before(due) - self.recipe.table.rows_before(from);
        let backlog = Backlog { rows: (!endless).then_some(waiting), ..Backlog::default() };
        let to = Offsets::single(due.min(from.saturating_add(most)));
        Ok(Ahead { to, end: Offsets::single(due), backlog })
    }

    fn scan(&self, span: &Span, hints: &ScanHints) -> Result<Vec<SourceStream>> {
        let projection = hints.columns(self.recipe.columns.len())?;
        let output = Arc::new(self.recipe.schema.project(&projection)?);
        let table = self.recipe.table;
        let from = table.rows_before(span.from.only());
        let to = table.rows_before(span.to.only()).max(from);
        let batch_rows = hints.batch_rows.max(1) as u64;
        // A stream of its own is worth it for some full batches.
        let streams = (to - from).div_ceil(batch_rows.saturating_mul(4)).clamp(1, hints.partitions.max(1) as u64);
        let share = (to - from).div_ceil(streams);
        let stream = |i: u64| {
            let begin = from + (i * share).min(to - from);
            let rows = begin..begin.saturating_add(share).min(to);
            let (recipe, projection, output) = (self.recipe.clone(), projection.clone(), output.clone());
            SourceStream::only(Arc::new(Rows { recipe, projection, output, rows, batch_rows }))
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
struct Rows {
    recipe: Arc<Recipe>,
    projection: Vec<usize>,
    output: SchemaRef,
    rows: Range<u64>,
    batch_rows: u64,
}

impl PartitionStream for Rows {
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
            (!rows.is_empty()).then(|| recipe.batch(rows, &projection, &output).map_err(Into::into))
        });
        Box::pin(RecordBatchStreamAdapter::new(self.output.clone(), futures::stream::iter(batches)))
    }
}

#[cfg(test)]
mod tests;
