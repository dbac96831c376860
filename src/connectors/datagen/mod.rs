//! `connector = 'datagen'`: rows made up as they are asked for, at a steady rate.
//!
//! Row n is a pure function of the seed and n, so that nothing but the moment of the beginning needs to be kept. The
//! offset is the number of rows made so far.

mod columns;

use std::{ops::Range, sync::Arc, time::Duration};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{Schema, SchemaRef},
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

use self::columns::{Column, FieldOptions};
use super::{Ahead, Backlog, Offsets, ReadLimit, ScanHints, Source, SourceEnv, SourceStream, Span};
use crate::{
    error::{Error, Kind, Result},
    options::{Options, Taker},
    storage::{Journal, Storage},
    time::{Clock, Micros},
};

/// `WITH (connector = 'datagen', …)`.
#[derive(Debug, Clone)]
pub struct DatagenOptions {
    /// 0: as fast as rows are taken.
    rows_per_second: u64,
    seed: u64,
    /// How many rows there will ever be.
    number_of_rows: Option<u64>,
    fields: Vec<FieldOptions>,
}

/// What one epoch takes of a source without a rate, unless its limit says otherwise.
const ROWS_UNPACED: u64 = 100_000;

impl DatagenOptions {
    /// Takes them; `all` is where the names of the fields are found.
    pub fn take(options: &mut Taker, all: &Options) -> Result<DatagenOptions> {
        let number = "a whole number";
        Ok(DatagenOptions {
            rows_per_second: options.parse("rows_per_second", number)?.unwrap_or(10),
            seed: options.parse("seed", number)?.unwrap_or(0),
            number_of_rows: options.parse("number_of_rows", number)?,
            fields: FieldOptions::take(options, all)?,
        })
    }
}

/// Durable: when the first row was due.
#[derive(Debug, Serialize, Deserialize)]
struct Beginning {
    start: Micros,
}

/// Made-up rows as a source.
#[derive(Debug)]
struct Datagen {
    recipe: Arc<Recipe>,
    clock: Arc<dyn Clock>,
    changed: watch::Sender<u64>,
    /// Dropping the source stops its ticking.
    _stop: DropGuard,
}

/// All that decides what the rows are.
#[derive(Debug)]
struct Recipe {
    schema: SchemaRef,
    columns: Vec<Column>,
    start: Micros,
    rows_per_second: u64,
    number_of_rows: u64,
}

/// Opens a generator, new or again.
pub(super) async fn open(
    folder: String,
    name: &str,
    schema: Option<SchemaRef>,
    options: DatagenOptions,
    env: &SourceEnv,
) -> Result<Arc<dyn Source>> {
    let Some(schema) = schema.filter(|s| !s.fields().is_empty()) else {
        let message = format!("source \"{name}\" needs columns: a generator has none of its own");
        return Err(Error::new(Kind::InvalidTableDefinition, message).hint(format!(
            "Declare them: CREATE SOURCE {name} (id BIGINT, at TIMESTAMP) WITH (connector = 'datagen')."
        )));
    };
    let columns = Column::all(&schema, &options.fields, options.seed, name)?;
    let (storage, now) = (env.storage.clone(), env.clock.now());
    let start = tokio::task::spawn_blocking(move || beginning(storage, &folder, now)).await;
    let start = start.map_err(|e| Error::internal(format!("opening a generator: {e}")))??;
    let rows_per_second = options.rows_per_second;
    let number_of_rows = options.number_of_rows.unwrap_or(u64::MAX);
    let recipe = Arc::new(Recipe { schema, columns, start, rows_per_second, number_of_rows });
    let (changed, stop) = (watch::Sender::new(0), CancellationToken::new());
    tokio::spawn(tick(recipe.clone(), env.clock.clone(), changed.clone(), stop.clone()));
    Ok(Arc::new(Datagen { recipe, clock: env.clock.clone(), changed, _stop: stop.drop_guard() }))
}

/// The moment of the beginning, kept from the first time on.
fn beginning(storage: Arc<dyn Storage>, folder: &str, now: Micros) -> Result<Micros> {
    let (journal, records) = Journal::open(storage, folder)?;
    if let Some((_, bytes)) = records.first() {
        let begin: Beginning = serde_json::from_slice(bytes)
            .map_err(|e| Error::new(Kind::DataCorrupted, format!("journal \"{folder}\": {e}")))?;
        return Ok(begin.start);
    }
    let bytes = serde_json::to_vec(&Beginning { start: now }).map_err(|e| Error::internal(e.to_string()))?;
    journal.append(&[Bytes::from(bytes)])?;
    Ok(now)
}

/// Says that there is more, as often as there is, but not more than a hundred times a second.
async fn tick(recipe: Arc<Recipe>, clock: Arc<dyn Clock>, changed: watch::Sender<u64>, stop: CancellationToken) {
    let every = Duration::from_micros(1_000_000_u64.checked_div(recipe.rows_per_second).unwrap_or(0));
    let every = every.clamp(Duration::from_millis(10), Duration::from_secs(1));
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut told = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let due = recipe.due(clock.now());
        // Without a rate there is always more.
        if told != Some(due) || recipe.rows_per_second == 0 {
            told = Some(due);
            changed.send_modify(|n| *n += 1);
        }
    }
}

impl Recipe {
    /// How many rows there are by a moment.
    fn due(&self, now: Micros) -> u64 {
        if self.rows_per_second == 0 {
            return self.number_of_rows;
        }
        let since = u128::try_from(now.saturating_sub(self.start)).unwrap_or(0);
        let rows = since * u128::from(self.rows_per_second) / 1_000_000;
        // The first row is there at once, the next when its time has come.
        u64::try_from(rows).unwrap_or(u64::MAX).saturating_add(1).min(self.number_of_rows)
    }

    /// The moment of a row.
    fn moment(&self, row: u64) -> Micros {
        // Without a rate, time goes on by a millisecond a row.
        let rate = if self.rows_per_second == 0 { 1_000 } else { self.rows_per_second };
        let since = u128::from(row) * 1_000_000 / u128::from(rate);
        self.start.saturating_add(Micros::try_from(since).unwrap_or(Micros::MAX))
    }

    fn batch(&self, rows: Range<u64>, projection: &[usize], output: &SchemaRef) -> Result<RecordBatch> {
        let arrays =
            projection.iter().map(|i| self.columns[*i].values(rows.clone(), &|row| self.moment(row))).collect();
        let count = usize::try_from(rows.end - rows.start).map_err(|e| Error::internal(e.to_string()))?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(output.clone(), arrays, &options)?)
    }
}

#[async_trait]
impl Source for Datagen {
    fn schema(&self) -> SchemaRef {
        self.recipe.schema.clone()
    }

    async fn ahead(&self, of: &Offsets, limit: &ReadLimit) -> Result<Ahead> {
        let from = of.only();
        let recipe = &self.recipe;
        let due = recipe.due(self.clock.now()).max(from);
        let unpaced = recipe.rows_per_second == 0;
        let most = limit.rows.unwrap_or(if unpaced { ROWS_UNPACED } else { u64::MAX }).max(1);
        let backlog = Backlog { rows: (!unpaced || due < u64::MAX).then_some(due - from), ..Backlog::default() };
        let to = Offsets::single(due.min(from.saturating_add(most)));
        Ok(Ahead { to, end: Offsets::single(due), backlog })
    }

    fn scan(&self, span: &Span, hints: &ScanHints) -> Result<Vec<SourceStream>> {
        let fields = self.recipe.schema.fields();
        let projection = hints.columns(fields.len())?;
        let output = Arc::new(Schema::new(projection.iter().map(|i| fields[*i].clone()).collect::<Vec<_>>()));
        let (from, to) = (span.from.only(), span.to.only().max(span.from.only()));
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
