//! `connector = 'nexmark'`: the people, auctions and bids of the Nexmark benchmark, made up as they are asked for.
//!
//! The three tables are three views of one stream of events, so that sources with the same options belong together.
//! The offset is the number of an event of that stream, whatever its kind; a source has the rows of its own kind. Event
//! n is a pure function of the options and n, its time too: the same options give the same rows, always and everywhere.

mod columns;
mod dice;
mod events;
mod words;

use std::{ops::Range, sync::Arc};

use arrow::{array::ArrayRef, compute::kernels::cast_utils::string_to_datetime, datatypes::SchemaRef};
use async_trait::async_trait;

use self::{
    columns::NexmarkColumn,
    events::{Events, NexmarkTable},
};
use super::{
    Source, SourceEnv,
    generator::{EventRate, Generator, GeneratorSpec},
    source::{SourceConfig, folder},
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::Taker,
    time::{Micros, with_seconds},
};

/// `WITH (connector = 'nexmark', …)`.
#[derive(Debug, Clone)]
pub struct NexmarkOptions {
    table: NexmarkTable,
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

impl NexmarkOptions {
    /// Takes them.
    pub fn from_options(options: &mut Taker) -> Result<NexmarkOptions> {
        let number = "a whole number";
        let tables = NexmarkTable::ALL.map(|table| (table.name(), table));
        let Some(table) = options.one_of("table", &tables)? else {
            return Err(options.missing("table").hint("Add table = 'person', 'auction' or 'bid' to its WITH clause."));
        };
        let events_per_second = options.parse("events_per_second", number)?.unwrap_or(EVENTS_PER_SECOND);
        if events_per_second > EVENTS_PER_SECOND_MAX {
            let message = format!("option \"events_per_second\" is larger than {EVENTS_PER_SECOND_MAX}");
            return Err(Error::new(ErrorKind::InvalidParameterValue, message)
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
        Error::new(ErrorKind::InvalidParameterValue, message).hint("Write a moment such as '2015-07-15 00:00:00'.")
    })?;
    Ok(moment.timestamp_micros())
}

/// All that decides what the rows are.
#[derive(Debug)]
struct Nexmark {
    table: NexmarkTable,
    schema: SchemaRef,
    columns: Vec<NexmarkColumn>,
    events: Events,
}

#[async_trait]
impl SourceConfig for NexmarkOptions {
    /// Opens a generator, new or again.
    async fn open(
        self: Box<Self>,
        id: u64,
        name: &str,
        schema: Option<SchemaRef>,
        env: &SourceEnv,
    ) -> Result<Arc<dyn Source>> {
        let table = self.table;
        let schema = schema.filter(|s| !s.fields().is_empty()).unwrap_or_else(|| columns::schema(table));
        let columns = NexmarkColumn::all(table, &schema, name)?;
        let spaced = if self.events_per_second == 0 { EVENTS_PER_SECOND } else { self.events_per_second };
        let events = Events { seed: self.seed, start: self.start_time, per_second: spaced };
        let pace = EventRate::open(env, folder(id), self.events_per_second, self.events).await?;
        Ok(Generator::start(Nexmark { table, schema, columns, events }, pace, env.clock.clone()))
    }
}

impl GeneratorSpec for Nexmark {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn values(&self, column: usize, rows: Range<u64>) -> ArrayRef {
        self.columns[column].values(&self.events, rows)
    }

    fn rows_before(&self, events: u64) -> u64 {
        self.table.rows_before(events)
    }
}

#[cfg(test)]
mod tests;
