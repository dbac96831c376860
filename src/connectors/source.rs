//! What every source does, whatever kind it is: how far it could be read, and the rows of a span of it.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::physical_plan::streaming::PartitionStream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{BadRecords, Fence, Offsets, OriginQueue, OriginSender, Span};
use crate::{
    error::{Error, Result},
    options::Taker,
    storage::Storage,
    time::Clock,
};

/// What a source lives on.
#[derive(Debug, Clone)]
pub struct SourceEnv {
    /// Where it keeps what must survive, in folder `sources/<id>`.
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    /// Nothing is taken from outside that is not given twice before this is fired; `None` is at once.
    pub begins: Option<CancellationToken>,
    /// What of the machine it may reach.
    pub fence: Fence,
    /// It is only planned with, and never read: that somebody outside does not answer is no error.
    pub rehearsal: bool,
}

impl SourceEnv {
    /// One that begins at once and may reach everything.
    pub fn new(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>) -> SourceEnv {
        SourceEnv { storage, clock, begins: None, fence: Fence::default(), rehearsal: false }
    }
}

/// Where a source keeps what must survive, by its id.
pub(super) fn folder(id: u64) -> String {
    format!("sources/{id}")
}

/// An outside, growing, replayable input.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// The columns that its rows have. All of them come, unless a column [`OP`](crate::changes::OP) says that they set
    /// and remove rows by key: then one stream has all rows of a partition, in order.
    fn schema(&self) -> SchemaRef;

    /// Whether it may have more than one partition: then each tracks its own event time.
    fn is_partitioned(&self) -> bool {
        false
    }

    /// How far could be read now, going on from `of` (empty: from the beginning), within a limit. Whatever this
    /// returns stays readable, under the same numbers, across a restart, until it is forgotten.
    async fn ahead(&self, of: &Offsets, limit: &ReadLimit) -> Result<Ahead>;

    /// The rows of a span as streams that may run in parallel: at least one, and about `hints.partitions` of them. A
    /// stream's rows are of one partition. Nothing is read before a stream is polled. Bad records go to `hints.bad`, not
    /// into the error.
    fn scan(&self, span: &Span, hints: &ScanHints) -> Result<Vec<SourceStream>>;

    /// Everything before `before` is committed and checkpointed by every query that reads this source: it may be freed.
    async fn forget(&self, before: &Offsets) -> Result<()>;

    /// Gives up what is lost outside, so that everybody goes on with what there is.
    async fn reset(&self) -> Result<()> {
        let error = Error::unsupported("RESET OFFSETS of this kind of source");
        Err(error.hint("It is for sources that may lose what was not read yet, such as kafka."))
    }

    /// What of it cannot be had again.
    async fn irreplaceable(&self) -> Result<Irreplaceable> {
        Ok(Irreplaceable::default())
    }

    /// Changes its value whenever there may be more ahead. A hint: it may also fire for nothing.
    fn changed(&self) -> watch::Receiver<u64>;

    /// How its tie to the outside is now, where it has one that an operator should know of.
    fn state(&self) -> Option<String> {
        None
    }
}

/// What is lost with a source, or with a view that has read it, whatever is made in their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Irreplaceable {
    /// Records that it alone holds: who sent them does not send them again.
    pub records: u64,
    /// A new reader would not find all that others have read: it was freed, or is gone outside.
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
    pub(super) fn take(options: &mut Taker) -> Result<ReadLimit> {
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
    /// Where one without a limit would: a partition that goes further than what was read of it has unread rows.
    pub end: Offsets,
    /// What is ahead in all, limit or not; `None` where the source cannot tell.
    pub backlog: Backlog,
}

/// Rows of one partition of a source, in its order.
#[derive(Debug, Clone)]
pub struct SourceStream {
    /// As in [`Offsets`].
    pub partition: String,
    pub rows: Arc<dyn PartitionStream>,
    /// Where the rows stood; `None` where that is not known.
    pub origins: Option<Arc<OriginQueue>>,
}

impl SourceStream {
    /// Of an input that has but one partition.
    pub fn only(rows: Arc<dyn PartitionStream>) -> Self {
        SourceStream { partition: Offsets::ONLY.to_string(), rows, origins: None }
    }

    /// One that tells where its rows stood.
    pub fn told<S: PartitionStream + 'static>(partition: &str, rows: impl FnOnce(OriginSender) -> S) -> Self {
        let origins = Arc::new(OriginQueue::default());
        let rows = Arc::new(rows(origins.sender()));
        SourceStream { partition: partition.to_string(), rows, origins: Some(origins) }
    }
}

/// What waits to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub files: Option<u64>,
}

/// What the reader of a span wants.
#[derive(Debug, Clone)]
pub struct ScanHints {
    /// Which columns, by index in the source's schema, in this order; `None` is all. May be empty (to count rows).
    pub projection: Option<Vec<usize>>,
    /// How many streams can run in parallel, from 1.
    pub partitions: usize,
    /// The rows of a record batch.
    pub batch_rows: usize,
    /// Where records go that do not decode.
    pub bad: BadRecords,
    /// Whether the span may have to be read again after a restart: then the source holds what it reads of it until
    /// [`Source::forget`].
    pub retain: bool,
}

impl ScanHints {
    /// The columns that are wanted of a source with so many.
    pub fn columns(&self, all: usize) -> Result<Vec<usize>> {
        let wanted = self.projection.clone().unwrap_or_else(|| (0..all).collect());
        match wanted.iter().any(|column| *column >= all) {
            true => Err(Error::internal("a projection names a column that the source does not have")),
            false => Ok(wanted),
        }
    }
}
