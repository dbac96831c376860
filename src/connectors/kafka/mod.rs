//! `connector = 'kafka'`: topics of Apache Kafka, or of what speaks its protocol.
//!
//! A partition's offsets are Kafka's own. What a query has read stands in its own log and nowhere else; a consumer group
//! only shows it to others. A partition is read up to the end that committed transactions have.
//!
//! ```text
//! ahead ─▶ topics: what there is, since when ─▶ fair_share: how much of each ─▶ pool: cursors that fetch from there on
//! scan  ─▶ pool: the cursor that stands there ─▶ decoder, beside it what is included ─▶ rows
//! ```
//! Records that are gone before they were read (the topic made again, retention) are found, named, and an error or
//! passed over, as `on_data_loss` says. Passed over, they are one dead letter each time.

mod allowed;
mod client;
mod columns;
mod connection;
mod cursor;
mod envelope;
mod fair_share;
mod group;
mod include;
mod ledger;
mod message_builder;
mod options;
mod place;
mod pool;
mod producer;
mod properties;
mod scan;
mod sink;
mod sizes;
mod start;
mod topics;

use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use tokio::sync::watch as channel;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use options::KafkaOptions;
pub use sink::KafkaSinkOptions;

use self::{
    client::ClientPhase,
    fair_share::share,
    group::ConsumerGroup,
    include::{with_included, without_included},
    ledger::SinkLedger,
    place::{PartitionOffset, TopicPartition},
    pool::Pool,
    scan::{KafkaScan, OutputColumn, PartitionScan},
    sizes::MessageSizes,
    topics::TopicWatch,
};
use super::{
    Ahead, Backlog, Irreplaceable, Offsets, ReadLimit, ScanHints, Source, SourceEnv, SourceStream, Span,
    source::{SourceConfig, folder},
};
use crate::{
    error::{Error, ErrorKind, Result},
    formats::Request,
};

/// Topics as a source.
#[derive(Debug)]
struct Kafka {
    schema: SchemaRef,
    /// The columns that are decoded; those that are included come after them.
    decoded: SchemaRef,
    asked: Arc<Asked>,
    changed: Arc<channel::Sender<u64>>,
    group: Option<Arc<ConsumerGroup>>,
    /// Dropping the source stops what it does on its own.
    _stop: DropGuard,
}

/// Partitions, each with where it begins; and where they end.
type EndOffsets = (Vec<(PartitionOffset, u64)>, Vec<u64>);

/// What answers how far there is to read.
#[derive(Debug)]
struct Asked {
    watch: Arc<TopicWatch>,
    pool: Arc<Pool>,
    /// The first offsets that were there at the last look, by place.
    firsts: Mutex<Vec<(PartitionOffset, u64)>>,
    sizes: Arc<MessageSizes>,
}

#[async_trait]
impl SourceConfig for KafkaOptions {
    /// Opens topics, new or again.
    async fn open(
        self: Box<Self>,
        id: u64,
        name: &str,
        schema: Option<SchemaRef>,
        env: &SourceEnv,
    ) -> Result<Arc<dyn Source>> {
        let options = *self;
        let decoded = match schema {
            Some(schema) => without_included(&schema, &options.include),
            None => options.format.implied().ok_or_else(|| {
                let message = format!("source \"{name}\" has no columns");
                Error::new(ErrorKind::InvalidTableDefinition, message).hint("Declare the columns of its messages.")
            })?,
        };
        options.format.check(&decoded)?;
        let schema = with_included(&decoded, &options.include)?;
        let group = options.group.clone().map(|group| Arc::new(ConsumerGroup::new(group)));
        let changed = Arc::new(channel::Sender::new(0));
        let pool = Arc::new(Pool::new(options.clone(), changed.clone()));
        let (storage, source, rehearsal) = (env.storage.clone(), name.to_string(), env.rehearsal);
        let watch = blocking(move || {
            let ledger = SinkLedger::open(storage, &folder(id))?;
            let is_new = ledger.ask(|known| known.lives.is_empty());
            let watch = TopicWatch::new(&source, options, ledger)?;
            if is_new {
                match watch.begin() {
                    Err(error) if rehearsal && error.kind() == ErrorKind::CannotConnectNow => {
                        tracing::warn!("source \"{source}\" is planned without its topics: {error}");
                    }
                    begun => begun.map_err(|e| e.context(format!("source \"{source}\"")))?,
                }
            }
            Ok(Arc::new(watch))
        });
        let watch = watch.await?;
        let stop = CancellationToken::new();
        tokio::spawn(tend(watch.clone(), pool.clone(), changed.clone(), stop.clone()));
        let (firsts, sizes) = Default::default();
        let asked = Arc::new(Asked { watch, pool, firsts, sizes });
        Ok(Arc::new(Kafka { schema, decoded, asked, changed, group, _stop: stop.drop_guard() }))
    }
}

/// Runs work that blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::internal(format!("asking kafka: {e}")))?
}

/// Tends the clients, and has everybody ask again now and then: that is how new partitions are found.
async fn tend(watch: Arc<TopicWatch>, pool: Arc<Pool>, changed: Arc<channel::Sender<u64>>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(watch.options.discovery) => {}
        }
        let (watch, pool) = (watch.clone(), pool.clone());
        let tended = blocking(move || {
            watch.client.tell();
            pool.tend();
            Ok(())
        });
        if let Err(error) = tended.await {
            tracing::debug!(%error, "cannot tend the clients of a kafka source");
        }
        changed.send_modify(|n| *n += 1);
    }
}

impl Asked {
    /// How far could be read. Blocks.
    fn ahead(&self, of: &Offsets, limit: &ReadLimit) -> Result<Ahead> {
        let looked = self.watch.look_if_due()?;
        let (mut places, mut ends) = self.ends()?;
        // Whatever was read of a partition is there, unless the partition is not what it was.
        let back = places.iter().zip(&ends).find_map(|((place, _), end)| {
            let read = of.get(&place.to_string());
            (read > *end).then(|| (place.clone(), *end, read))
        });
        if let Some((place, end, read)) = back {
            self.watch.went_back(self.watch.loss(), &place, end, read)?;
            (places, ends) = self.ends()?;
        }
        let firsts = self.firsts(&places, looked)?;
        let (mut from, mut rows) = (Vec::new(), Vec::new());
        for (((place, start), end), first) in places.iter().zip(&ends).zip(&firsts) {
            let read = of.0.get(&place.to_string()).copied();
            let position = read.unwrap_or(*start).max(self.watch.ledger.ask(|known| known.given_up(place)));
            if position < *first && read.is_some() {
                self.watch.passed_by(self.watch.loss(), place, position, *first)?;
            }
            from.push(position.max(*first).min(*end));
            rows.push(end.saturating_sub(position.max(*first)));
        }
        let fits = limit.bytes.map(|bytes| self.sizes.messages(bytes));
        let taken = match limit.rows.into_iter().chain(fits).min() {
            Some(limit) => share(&rows, limit),
            None => rows.clone(),
        };
        let (mut to, mut end) = (of.clone(), of.clone());
        for (n, (place, _)) in places.iter().enumerate() {
            if rows[n] > 0 {
                if taken[n] > 0 {
                    to.0.insert(place.to_string(), from[n] + taken[n]);
                }
                end.0.insert(place.to_string(), from[n] + rows[n]);
            }
        }
        let standing: Vec<(PartitionOffset, u64)> = places.into_iter().map(|(place, _)| place).zip(from).collect();
        self.pool.stand(&standing, standing.len())?;
        let backlog = Backlog { rows: Some(rows.iter().sum()), ..Backlog::default() };
        Ok(Ahead { to, end, backlog })
    }

    /// Whether a topic was made again, or has deleted what it began with. Blocks.
    fn has_forgotten(&self) -> Result<bool> {
        let known = self.watch.ledger.known();
        if known.lives.values().any(|lives| lives.len() > 1) {
            return Ok(true);
        }
        let places = known.partition_starts();
        let partitions: Vec<TopicPartition> = places.iter().map(|(place, _)| place.partition.clone()).collect();
        let firsts = self.watch.client.offsets(&partitions, ClientPhase::First)?;
        Ok(places.iter().zip(firsts).any(|((place, start), first)| first.max(known.given_up(place)) > *start))
    }

    fn ends(&self) -> Result<EndOffsets> {
        let places = self.watch.ledger.ask(|known| known.partition_starts());
        let partitions: Vec<TopicPartition> = places.iter().map(|(place, _)| place.partition.clone()).collect();
        let ends = self.watch.client.offsets(&partitions, ClientPhase::End)?;
        Ok((places, ends))
    }

    /// The first offset that is there of each place, as of the last look: what goes in between, a scan finds out.
    fn firsts(&self, places: &[(PartitionOffset, u64)], looked: bool) -> Result<Vec<u64>> {
        let mut firsts = self.firsts.lock().unwrap_or_else(PoisonError::into_inner);
        let same = places.iter().map(|(place, _)| place).eq(firsts.iter().map(|(place, _)| place));
        if looked || !same {
            let partitions: Vec<TopicPartition> = places.iter().map(|(place, _)| place.partition.clone()).collect();
            let offsets = self.watch.client.offsets(&partitions, ClientPhase::First)?;
            *firsts = places.iter().map(|(place, _)| place.clone()).zip(offsets).collect();
        }
        Ok(firsts.iter().map(|(_, first)| *first).collect())
    }
}

#[async_trait]
impl Source for Kafka {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn is_partitioned(&self) -> bool {
        true
    }

    async fn ahead(&self, of: &Offsets, limit: &ReadLimit) -> Result<Ahead> {
        let (asked, of, limit) = (self.asked.clone(), of.clone(), *limit);
        let named = |e: Error| match e.kind() {
            ErrorKind::CannotConnectNow if !e.message().starts_with("source ") => {
                e.context(format!("source \"{}\"", self.asked.watch.name))
            }
            _ => e,
        };
        blocking(move || asked.ahead(&of, &limit)).await.map_err(named)
    }

    fn scan(&self, span: &Span, hints: &ScanHints) -> Result<Vec<SourceStream>> {
        let projection = hints.columns(self.schema.fields().len())?;
        let Asked { watch, pool, .. } = self.asked.as_ref();
        let (mut decoded, mut included, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        for index in &projection {
            if *index < self.decoded.fields().len() {
                columns.push(OutputColumn::Decoded(decoded.len()));
                decoded.push(*index);
            } else {
                columns.push(OutputColumn::Included(included.len()));
                included.push(watch.options.include[index - self.decoded.fields().len()].clone());
            }
        }
        let output = Arc::new(self.schema.project(&projection)?);
        let batch_rows = hints.batch_rows.max(1);
        let request = Request { schema: self.decoded.clone(), projection: decoded, batch_rows };
        let (format, bad) = (watch.options.format.clone(), hints.bad.clone());
        let (watch, pool, partitions) = (watch.clone(), pool.clone(), span.to.0.len());
        let sizes = self.asked.sizes.clone();
        let scan =
            Arc::new(KafkaScan { watch, pool, sizes, format, request, columns, included, output, bad, partitions });
        let mut streams = Vec::new();
        for (name, to) in &span.to.0 {
            let place = PartitionOffset::parse(name)
                .ok_or_else(|| Error::internal(format!("\"{name}\" is no partition of a kafka source")))?;
            let start = || scan.watch.ledger.ask(|known| known.start(&place));
            let read = span.from.0.get(name).copied();
            let from = read.unwrap_or_else(start);
            if from < *to {
                let cursor = Mutex::new(scan.pool.try_acquire(&place, from, *to));
                let (begun, to, scan) = (read.is_some(), *to, scan.clone());
                let part = |teller| PartitionScan { scan, place, from, to, begun, cursor, teller };
                streams.push(SourceStream::with_origins(name, part));
            }
        }
        if streams.is_empty() {
            let place = PartitionOffset { partition: TopicPartition { topic: "".into(), number: 0 }, life: 1 };
            let cursor = Mutex::default();
            let part = |teller| PartitionScan { scan, place, from: 0, to: 0, begun: true, cursor, teller };
            streams.push(SourceStream::with_origins(Offsets::ONLY, part));
        }
        Ok(streams)
    }

    /// Kafka keeps what it keeps; only whoever looks at the group learns of it.
    async fn forget(&self, before: &Offsets) -> Result<()> {
        let Some(group) = self.group.clone() else { return Ok(()) };
        let (watch, before) = (self.asked.watch.clone(), before.clone());
        let committed = blocking(move || group.commit(&watch.options, &watch.ledger.known(), &before)).await;
        if let Err(error) = committed {
            tracing::warn!(source = self.asked.watch.name, %error, "the consumer group does not show what was read");
        }
        Ok(())
    }

    async fn reset(&self) -> Result<()> {
        let asked = self.asked.clone();
        blocking(move || asked.watch.reset()).await?;
        self.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    async fn irreplaceable(&self) -> Result<Irreplaceable> {
        let asked = self.asked.clone();
        let forgotten = blocking(move || asked.has_forgotten()).await?;
        Ok(Irreplaceable { records: 0, forgotten })
    }

    fn changed(&self) -> channel::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests;
