//! Outside systems: where rows come from, and where changes go. One file or folder a kind; the list of kinds of sources
//! is [`Connector`], that of sinks is in `sink/options.rs`.
//!
//! A source is replayable: the same span gives the same rows, in this process and in the next. A sink takes an epoch
//! whole or not at all, and knows which was the last.

mod batching;
mod datagen;
mod directory;
mod fence;
mod generator;
mod kafka;
mod nexmark;
mod on_error;
mod origins;
mod postgres;
mod replay;
pub mod sink;
mod socket;
mod span;
mod timeouts;

use std::{
    collections::BinaryHeap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::physical_plan::streaming::PartitionStream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use batching::BatchingPolicy;
pub use directory::decode_log;
pub use fence::{Allowed, Fence};
pub use on_error::OnError;
pub use origins::{Origin, OriginQueue, OriginSender};
pub use replay::{LetterId, ReplayMarks, Replayed};
pub use sink::{Delivery, Outgoing, Sink, SinkDef, SinkOptions, open_sink};
pub use span::{Offsets, Readers, START, Span};
pub use timeouts::{OPEN_TIMEOUT, Timeouts, WRITE_TIMEOUT, within};

use self::{
    datagen::DatagenOptions, directory::DirectoryOptions, kafka::KafkaOptions, nexmark::NexmarkOptions,
    socket::SocketOptions,
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::{Options, Taker},
    storage::{Journal, Storage},
    time::Clock,
};

/// The kinds of connectors, each with its options.
#[derive(Debug, Clone)]
enum Connector {
    Directory(DirectoryOptions),
    Datagen(DatagenOptions),
    Socket(SocketOptions),
    Kafka(Box<KafkaOptions>),
    Nexmark(NexmarkOptions),
}

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

/// Opens the source `name`, new or again. `schema` is what its statement declares; `None` infers the columns from what
/// the source holds. Dropping the source stops all that it does on its own.
///
/// What is outside and missing is an error for a new source; one that was there before opens, and says it in
/// [`Source::ahead`].
pub async fn open(
    id: u64,
    name: &str,
    schema: Option<SchemaRef>,
    options: &Options,
    env: &SourceEnv,
) -> Result<Arc<Replayed>> {
    env.fence.check_options(options)?;
    let source = match Connector::take(name, options)? {
        Connector::Directory(options) => directory::open(id, name, schema, options, env).await?,
        Connector::Datagen(options) => datagen::open(folder(id), name, schema, options, env).await?,
        Connector::Socket(options) => socket::open(folder(id), name, schema, options, env).await?,
        Connector::Kafka(options) => kafka::open(folder(id), name, schema, *options, env).await?,
        Connector::Nexmark(options) => nexmark::open(folder(id), name, schema, options, env).await?,
    };
    Ok(Arc::new(Replayed::open(id, source, &env.storage)?))
}

/// Checks the options of a source without a look at the world outside.
pub fn check(name: &str, options: &Options) -> Result<()> {
    Connector::take(name, options).map(|_| ())
}

/// The limit that a source's options set for each epoch: `max_files_per_trigger`, `max_bytes_per_trigger`,
/// `max_rows_per_trigger`, `min_rows_per_trigger` with `max_trigger_delay`.
pub fn read_limit(options: &Options) -> Result<ReadLimit> {
    ReadLimit::take(&mut options.taker("the source"))
}

/// Deletes everything durable of a source that was dropped. What is outside stays.
pub fn remove(id: u64, storage: &dyn Storage) -> Result<()> {
    Journal::remove(storage, &folder(id))?;
    storage.clear(&directory::retained(id))?;
    replay::remove(id, storage)
}

fn folder(id: u64) -> String {
    format!("sources/{id}")
}

impl Connector {
    fn take(name: &str, options: &Options) -> Result<Connector> {
        let mut taker = options.taker(format!("source \"{name}\""));
        #[derive(Clone, Copy)]
        enum Word {
            Directory,
            Datagen,
            Socket,
            Kafka,
            Nexmark,
        }
        let words = [
            ("directory", Word::Directory),
            ("datagen", Word::Datagen),
            ("socket", Word::Socket),
            ("kafka", Word::Kafka),
            ("nexmark", Word::Nexmark),
        ];
        let connector = match taker.one_of("connector", &words)? {
            None => taker.required("connector").map(|_| None)?,
            Some(Word::Directory) => Some(Connector::Directory(DirectoryOptions::take(&mut taker)?)),
            Some(Word::Datagen) => Some(Connector::Datagen(DatagenOptions::take(&mut taker, options)?)),
            Some(Word::Socket) => Some(Connector::Socket(SocketOptions::take(&mut taker, options)?)),
            Some(Word::Kafka) => Some(Connector::Kafka(Box::new(KafkaOptions::take(&mut taker)?))),
            Some(Word::Nexmark) => Some(Connector::Nexmark(NexmarkOptions::take(&mut taker)?)),
        };
        ReadLimit::take(&mut taker)?;
        OnError::take(&mut taker)?;
        let patience = BatchingPolicy::take(&mut taker)?;
        if patience.is_some() && matches!(connector, Some(Connector::Directory(_))) {
            let message = format!("option \"min_rows_per_trigger\" of source \"{name}\" is not possible");
            return Err(Error::new(ErrorKind::InvalidParameterValue, message)
                .detail("How many rows files have is not known before they are read.")
                .hint("WITH (trigger = '10 s') of the view lets rows gather."));
        }
        taker.finish()?;
        connector.ok_or_else(|| Error::internal("a missing option was there"))
    }
}

impl ReadLimit {
    fn take(options: &mut Taker) -> Result<ReadLimit> {
        let number = "a whole number";
        Ok(ReadLimit {
            rows: options.parse("max_rows_per_trigger", number)?,
            bytes: options.bytes("max_bytes_per_trigger")?,
            files: options.parse("max_files_per_trigger", number)?,
        })
    }
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

/// One record that did not decode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadRecord {
    /// The file, or topic and partition, that it stood in.
    pub origin: String,
    /// The line from 1, or the offset; `None` where the whole file is bad.
    pub position: Option<i64>,
    /// The bytes as they came, cut at [`BadRecord::RAW_BYTES_MAX`].
    pub raw: Vec<u8>,
    pub reason: String,
}

impl BadRecord {
    /// Enough to see and to replay a record; a whole bad file is not copied.
    pub const RAW_BYTES_MAX: usize = 64 << 10;
    /// A reason may quote a value that is as long as its record.
    pub const REASON_BYTES_MAX: usize = 1 << 10;

    /// Cuts what is too long.
    fn cut(mut self) -> BadRecord {
        self.raw.truncate(Self::RAW_BYTES_MAX);
        if self.reason.len() > Self::REASON_BYTES_MAX {
            let boundary = (0..=Self::REASON_BYTES_MAX).rev().find(|at| self.reason.is_char_boundary(*at));
            self.reason.truncate(boundary.unwrap_or(0));
            self.reason.push('…');
        }
        self
    }

    fn bytes(&self) -> usize {
        size_of::<BadRecord>() + self.origin.len() + self.raw.len() + self.reason.len()
    }
}

/// Collects the bad records of one scan, from all its streams. Clones share the collection.
///
/// Keeps the first of them, by file and position, up to a number and a size, and counts the rest, so that a file of
/// garbage can fill neither the memory nor the log. Which ones are kept does not hang on which stream comes first.
#[derive(Debug, Clone)]
pub struct BadRecords {
    collected: Arc<Mutex<CollectedBadRecords>>,
    rows_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct CollectedBadRecords {
    /// The last one first.
    kept: BinaryHeap<BadRecord>,
    bytes: usize,
    /// Kept or not.
    count: u64,
    /// The first of those that are not kept: none behind it is.
    end: Option<BadRecord>,
}

impl Default for BadRecords {
    fn default() -> Self {
        BadRecords::new(Self::ROWS_MAX, Self::BYTES_MAX)
    }
}

impl BadRecords {
    pub const ROWS_MAX: usize = 10_000;
    /// They all go into one record of the log, and a client who asks for them gets them in one piece.
    pub const BYTES_MAX: usize = 16 << 20;

    /// Keeps at most so many, of so many bytes.
    pub fn new(rows_max: usize, bytes_max: usize) -> BadRecords {
        BadRecords { collected: Arc::default(), rows_max, bytes_max }
    }

    pub fn push(&self, record: BadRecord) {
        let record = record.cut();
        let mut inner = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        inner.count += 1;
        if inner.end.as_ref().is_some_and(|end| record >= *end) {
            return;
        }
        inner.bytes += record.bytes();
        inner.kept.push(record);
        while (inner.kept.len() > self.rows_max || inner.bytes > self.bytes_max)
            && let Some(last) = inner.kept.pop()
        {
            inner.bytes -= last.bytes();
            inner.end = Some(last);
        }
    }

    /// The first one that is kept.
    fn first(&self) -> Option<BadRecord> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner).kept.iter().min().cloned()
    }

    /// What was collected, in order, and how many there were in all. Leaves it empty.
    pub fn take(&self) -> (Vec<BadRecord>, u64) {
        let mut inner = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        let CollectedBadRecords { kept, count, .. } = std::mem::take(&mut *inner);
        (kept.into_sorted_vec(), count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_records_are_kept_up_to_a_number_of_bytes_and_counted_beyond() {
        let bad = BadRecords::default();
        for line in 0..2_000 {
            let record = |raw, reason| BadRecord { origin: "f".to_string(), position: Some(line), raw, reason };
            bad.push(record(vec![b'x'; 60_000], "é".repeat(60_000)));
        }
        let (kept, count) = bad.take();
        assert_eq!(count, 2_000);
        assert!((250..300).contains(&kept.len()), "{}", kept.len());
        assert!(kept[0].reason.len() < 1_100 && kept[0].reason.ends_with("é…"));
        assert_eq!(bad.take().1, 0);
    }

    #[test]
    fn bad_records_that_are_kept_are_the_first_whoever_comes_first() {
        let record = |line: i64| {
            let raw = vec![b'x'; if line % 7 == 0 { 3_000 } else { 10 }];
            BadRecord { origin: "f".to_string(), position: Some(line), raw, reason: String::new() }
        };
        for (rows, bytes) in [(5, 1 << 20), (1_000, 10_000), (0, 1 << 20), (1_000, 0)] {
            let orders: [Vec<i64>; 3] =
                [(0..100).collect(), (0..100).rev().collect(), (0..100).map(|n| n * 37 % 100).collect()];
            let kept = orders.map(|order| {
                let bad = BadRecords::new(rows, bytes);
                order.into_iter().for_each(|line| bad.push(record(line)));
                let (kept, count) = bad.take();
                assert_eq!(count, 100);
                kept.into_iter().filter_map(|record| record.position).collect::<Vec<_>>()
            });
            assert_eq!((&kept[1], &kept[2]), (&kept[0], &kept[0]), "{rows} rows, {bytes} bytes");
            assert!(kept[0].iter().copied().eq(0..kept[0].len() as i64));
            assert_eq!(kept[0].is_empty(), rows == 0 || bytes == 0);
        }
    }
}
