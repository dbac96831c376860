//! The trait of all sources: how far they can be read, and the rows of a span. Beside it what all kinds of sources share:
//! spans and readers, the origins of rows, bad records and what becomes of them, minimum batches.

mod bad_records;
mod batching;
mod on_error;
mod origins;
mod span;

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::physical_plan::streaming::PartitionStream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use bad_records::{BadRecord, BadRecords};
pub use batching::BatchingPolicy;
pub use on_error::OnError;
pub use origins::{Origin, OriginQueue, OriginSender};
pub use span::{Offsets, Readers, START, Span};

use super::Fence;
use crate::{
    error::{Error, Result},
    options::Taker,
    storage::Storage,
    time::Clock,
};

/// The environment of a source.
#[derive(Debug, Clone)]
pub struct SourceEnv {
    /// For its persistent state, in folder `sources/<id>`.
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    /// Data that is not given twice is not taken before this is cancelled; `None` is at once.
    pub begins: Option<CancellationToken>,
    /// Which files it may use.
    pub fence: Fence,
    /// Only for planning, never read: an unreachable outside system is no error.
    pub rehearsal: bool,
}

impl SourceEnv {
    /// An environment that starts at once and may use every file.
    pub fn new(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>) -> SourceEnv {
        SourceEnv { storage, clock, begins: None, fence: Fence::default(), rehearsal: false }
    }
}

/// The folder of a source's persistent state.
pub(super) fn folder(id: u64) -> String {
    format!("sources/{id}")
}

/// A source: an outside, growing, replayable input.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// The schema of its rows. They are insertions, unless there is a column [`OP`](crate::changes::OP) of upserts and
    /// deletes by key: then one stream has all rows of a partition, in order.
    fn schema(&self) -> SchemaRef;

    /// Whether it may have more than one partition: then each tracks its own event time.
    fn is_partitioned(&self) -> bool {
        false
    }

    /// How far it can be read now from `of` (empty: from the start), within `limit`. Whatever this returns stays
    /// readable, under the same offsets, across a restart, until [`Source::forget`].
    async fn ahead(&self, of: &Offsets, limit: &ReadLimit) -> Result<Ahead>;

    /// The rows of a span as streams that may run in parallel: at least one, and about `hints.partitions` of them. A
    /// stream's rows are of one partition. Nothing is read before a stream is polled. Bad records go to `hints.bad`, not
    /// into the error.
    fn scan(&self, span: &Span, hints: &ScanHints) -> Result<Vec<SourceStream>>;

    /// Every query has checkpointed beyond `before`: earlier rows may be released.
    async fn forget(&self, before: &Offsets) -> Result<()>;

    /// Gives up records lost outside, so that readers continue with the existing ones.
    async fn reset(&self) -> Result<()> {
        let error = Error::unsupported("RESET OFFSETS of this kind of source");
        Err(error.hint("It is for sources that may lose what was not read yet, such as kafka."))
    }

    /// What could not be read again by a new reader.
    async fn irreplaceable(&self) -> Result<Irreplaceable> {
        Ok(Irreplaceable::default())
    }

    /// Changes its value whenever there may be more ahead. A hint: it may also fire for nothing.
    fn changed(&self) -> watch::Receiver<u64>;

    /// The state of its connection, for operators; `None` if it has none.
    fn state(&self) -> Option<String> {
        None
    }
}

/// The options of a source of one kind, checked without I/O: all that it takes to open it.
#[async_trait]
pub trait SourceConfig: Send {
    /// Whether it can tell how many rows there are before they are read, as `min_rows_per_trigger` needs.
    fn counts_rows_ahead(&self) -> bool {
        true
    }

    /// Opens source `id`, new or again, as [`connectors::open`](super::open) promises.
    async fn open(
        self: Box<Self>,
        id: u64,
        name: &str,
        schema: Option<SchemaRef>,
        env: &SourceEnv,
    ) -> Result<Arc<dyn Source>>;
}

/// What would be lost by replacing a source, or a view that has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Irreplaceable {
    /// Records that only it has: the sender does not send them again.
    pub records: u64,
    /// A new reader would not find all rows that others have read: some were released, or deleted outside.
    pub forgotten: bool,
}

/// The most that one epoch may take from a source. At least one unit (a file, a record) is always taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReadLimit {
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub files: Option<u64>,
}

impl ReadLimit {
    pub(super) fn from_options(options: &mut Taker) -> Result<ReadLimit> {
        let number = "a whole number";
        Ok(ReadLimit {
            rows: options.parse("max_rows_per_trigger", number)?,
            bytes: options.bytes("max_bytes_per_trigger")?,
            files: options.parse("max_files_per_trigger", number)?,
        })
    }
}

/// What a source could give now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ahead {
    /// Where a span that stays within the limit would end.
    pub to: Offsets,
    /// Where a span without a limit would end: a partition beyond the read offset has unread rows.
    pub end: Offsets,
    /// The whole backlog, regardless of the limit; `None` if unknown.
    pub backlog: Backlog,
}

/// Rows of one partition of a source, in its order.
#[derive(Debug, Clone)]
pub struct SourceStream {
    /// As in [`Offsets`].
    pub partition: String,
    pub rows: Arc<dyn PartitionStream>,
    /// The origins of the rows; `None` if unknown.
    pub origins: Option<Arc<OriginQueue>>,
}

impl SourceStream {
    /// The stream of a single-partition input.
    pub fn only(rows: Arc<dyn PartitionStream>) -> Self {
        SourceStream { partition: Offsets::ONLY.to_string(), rows, origins: None }
    }

    /// A stream with origins.
    pub fn with_origins<S: PartitionStream + 'static>(partition: &str, rows: impl FnOnce(OriginSender) -> S) -> Self {
        let origins = Arc::new(OriginQueue::default());
        let rows = Arc::new(rows(origins.sender()));
        SourceStream { partition: partition.to_string(), rows, origins: Some(origins) }
    }
}

/// Unread rows, bytes and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub files: Option<u64>,
}

/// What the reader of a span asks for.
#[derive(Debug, Clone)]
pub struct ScanHints {
    /// Which columns, by index in the source's schema, in this order; `None` is all. May be empty (to count rows).
    pub projection: Option<Vec<usize>>,
    /// How many streams can run in parallel, from 1.
    pub partitions: usize,
    /// The rows of a record batch.
    pub batch_rows: usize,
    /// The collector of records that do not decode.
    pub bad: BadRecords,
    /// Whether a recovery may read the span again: then the source retains what it reads until [`Source::forget`].
    pub retain: bool,
}

impl ScanHints {
    /// The projected columns of a source with `all` columns.
    pub fn columns(&self, all: usize) -> Result<Vec<usize>> {
        let wanted = self.projection.clone().unwrap_or_else(|| (0..all).collect());
        match wanted.iter().any(|column| *column >= all) {
            true => Err(Error::internal("a projection names a column that the source does not have")),
            false => Ok(wanted),
        }
    }
}
