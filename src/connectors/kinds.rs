//! The kinds of sources: opening, checking and removing one.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{
    BatchingPolicy, OnError, ReadLimit, Replayed, SourceEnv,
    datagen::DatagenOptions,
    directory::{self, DirectoryOptions},
    kafka::KafkaOptions,
    nexmark::NexmarkOptions,
    replay,
    socket::SocketOptions,
    source::{SourceConfig, folder},
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::{Options, Taker},
    storage::{Journal, Storage},
};

/// Parses the options of one kind; the second argument is all of them, as written.
type Parse = fn(&mut Taker, &Options) -> Result<Box<dyn SourceConfig>>;

/// All kinds of sources, by the word of option `connector`.
const KINDS: &[(&str, Parse)] = &[
    ("directory", |taker, _| Ok(Box::new(DirectoryOptions::from_options(taker)?))),
    ("datagen", |taker, all| Ok(Box::new(DatagenOptions::from_options(taker, all)?))),
    ("socket", |taker, all| Ok(Box::new(SocketOptions::from_options(taker, all)?))),
    ("kafka", |taker, _| Ok(Box::new(KafkaOptions::from_options(taker)?))),
    ("nexmark", |taker, _| Ok(Box::new(NexmarkOptions::from_options(taker)?))),
];

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
    let source = parse(name, options)?.open(id, name, schema, env).await?;
    Ok(Arc::new(Replayed::open(id, source, &env.storage)?))
}

/// Checks the options of a source without I/O.
pub fn check(name: &str, options: &Options) -> Result<()> {
    parse(name, options).map(|_| ())
}

/// The limit that a source's options set for each epoch: `max_files_per_trigger`, `max_bytes_per_trigger`,
/// `max_rows_per_trigger`, `min_rows_per_trigger` with `max_trigger_delay`.
pub fn read_limit(options: &Options) -> Result<ReadLimit> {
    ReadLimit::from_options(&mut options.taker("the source"))
}

/// Deletes the persistent state of a dropped source; outside data stays.
pub fn remove(id: u64, storage: &dyn Storage) -> Result<()> {
    Journal::remove(storage, &folder(id))?;
    storage.clear(&directory::retained(id))?;
    replay::remove(id, storage)
}

fn parse(name: &str, options: &Options) -> Result<Box<dyn SourceConfig>> {
    let mut taker = options.taker(format!("source \"{name}\""));
    let config = match taker.one_of("connector", KINDS)? {
        Some(parse) => parse(&mut taker, options)?,
        None => return Err(taker.missing("connector")),
    };
    ReadLimit::from_options(&mut taker)?;
    OnError::from_options(&mut taker)?;
    let batching = BatchingPolicy::from_options(&mut taker)?;
    if batching.is_some() && !config.counts_rows_ahead() {
        let message = format!("option \"min_rows_per_trigger\" of source \"{name}\" is not possible");
        return Err(Error::new(ErrorKind::InvalidParameterValue, message)
            .detail("How many rows files have is not known before they are read.")
            .hint("WITH (trigger = '10 s') of the view lets rows gather."));
    }
    taker.finish()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        Options(pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect())
    }

    #[test]
    fn source_kinds_are_each_found_by_their_own_name() {
        let rest: [(&str, &[(&str, &str)]); 5] = [
            ("directory", &[("path", "/data"), ("format", "csv")]),
            ("datagen", &[]),
            ("socket", &[("host", "localhost"), ("port", "7777"), ("format", "text")]),
            ("kafka", &[("bootstrap_servers", "localhost:9092"), ("topic", "t"), ("format", "json")]),
            ("nexmark", &[("table", "bid")]),
        ];
        let names: BTreeSet<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), KINDS.len());
        assert_eq!(names, rest.iter().map(|(name, _)| *name).collect());
        for (name, rest) in rest {
            let mut options = options(rest);
            options.insert("connector", format!(" {} ", name.to_uppercase()));
            check("s", &options).unwrap();
            options.insert("min_rows_per_trigger", "10");
            options.insert("max_trigger_delay", "1 s");
            let gathers = check("s", &options).map_err(|e| e.message().to_string());
            let refusal = "option \"min_rows_per_trigger\" of source \"s\" is not possible";
            assert_eq!(gathers, if name == "directory" { Err(refusal.to_string()) } else { Ok(()) }, "{name}");
        }
    }

    #[test]
    fn source_kind_unknown_or_missing_is_refused() {
        let refusal = |pairs: &[(&str, &str)]| {
            let error = check("s", &options(pairs)).unwrap_err();
            (error.message().to_string(), error.hint_text().map(str::to_string))
        };
        let message = "option \"connector\" of source \"s\" takes one of 'directory', 'datagen', 'socket', 'kafka', \
                       'nexmark', not 'kafak'";
        assert_eq!(refusal(&[("connector", "kafak")]), (message.to_string(), None));
        let hint = "Add connector = '…' to its WITH clause.";
        let missing = ("source \"s\" needs option \"connector\"".to_string(), Some(hint.to_string()));
        assert_eq!(refusal(&[("path", "/data")]), missing);
    }
}
