//! The kinds of sources: opening, checking and removing one.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{
    BatchingPolicy, OnError, ReadLimit, Replayed, SourceEnv,
    datagen::{self, DatagenOptions},
    directory::{self, DirectoryOptions},
    kafka::{self, KafkaOptions},
    nexmark::{self, NexmarkOptions},
    replay,
    socket::{self, SocketOptions},
    source::folder,
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::Options,
    storage::{Journal, Storage},
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

/// Opens the source `name`, new or again. `schema` is what its statement declares; `None` infers the columns from what
/// the source holds. Dropping the source stops all that it does on its own.
///
/// A missing outside system is an error for a new source; a restored one opens, and gives the error in
/// [`Source::ahead`](super::Source::ahead).
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

/// Checks the options of a source without I/O.
pub fn check(name: &str, options: &Options) -> Result<()> {
    Connector::take(name, options).map(|_| ())
}

/// The limit that a source's options set for each epoch: `max_files_per_trigger`, `max_bytes_per_trigger`,
/// `max_rows_per_trigger`, `min_rows_per_trigger` with `max_trigger_delay`.
pub fn read_limit(options: &Options) -> Result<ReadLimit> {
    ReadLimit::take(&mut options.taker("the source"))
}

/// Deletes the persistent state of a dropped source; outside data stays.
pub fn remove(id: u64, storage: &dyn Storage) -> Result<()> {
    Journal::remove(storage, &folder(id))?;
    storage.clear(&directory::retained(id))?;
    replay::remove(id, storage)
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
        let batching = BatchingPolicy::take(&mut taker)?;
        if batching.is_some() && matches!(connector, Some(Connector::Directory(_))) {
            let message = format!("option \"min_rows_per_trigger\" of source \"{name}\" is not possible");
            return Err(Error::new(ErrorKind::InvalidParameterValue, message)
                .detail("How many rows files have is not known before they are read.")
                .hint("WITH (trigger = '10 s') of the view lets rows gather."));
        }
        taker.finish()?;
        connector.ok_or_else(|| Error::internal("a missing option was there"))
    }
}
