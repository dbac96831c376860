//! The configuration of a server: `tidemark.yaml` and the command line, read once into one [`Config`].
//!
//! `config/tidemark.yaml` shows every key with its default and its reason. A file may leave out any of them; a key
//! that it does not know is an error with its line. Later layers win: defaults, the file, a pipeline's `server:`, flags.

mod environment;
mod limit;
pub mod memory;
pub mod pipeline;
pub mod plan;
mod raw;
pub mod yaml;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

pub use environment::Environment;
pub use limit::MemoryLimit;
pub use memory::Limits;
pub use raw::RawConfig;

use crate::{
    connectors::{OPEN_TIMEOUT, WRITE_TIMEOUT},
    error::Result,
    options::{parse_bytes, parse_duration},
};
use yaml::{Document, PathStep, Scalar, Scalars};

/// The default listen address. The port is 5432 with every digit one up: 5432 is Postgres itself, 5433 its
/// second cluster on Debian, 6432 PgBouncer.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:6543";

/// Every setting of a server, valid and complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `host:port`; port 0 is any free port.
    pub listen: String,
    /// The data directory; created if missing.
    pub data_dir: PathBuf,
    /// The memory limit of the process: most other limits default to shares of it.
    pub memory_limit: MemoryLimit,
    /// Whether it may listen on other than loopback addresses, though there is no authentication.
    pub insecure: bool,
    pub connectors: Connectors,
    pub sessions: SessionOptions,
    pub query: Query,
    pub state: StateOptions,
    pub epoch: EpochLimits,
    pub checkpoint: Checkpoint,
    pub journal: JournalOptions,
    pub changelog: ChangelogOptions,
    pub dead_letters: DeadLetters,
    pub late_rows: NewestRows,
    pub threads: Threads,
    pub logging: Logging,
}

/// Which files and variables of the machine connectors may access, for any client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connectors {
    /// Folders that sinks write to, and `clean_source` cleans.
    pub write: Vec<PathBuf>,
    pub read: ReadFrom,
    /// Environment variables that secrets may refer to; a `*` at the end is a prefix match.
    pub environment: Vec<String>,
    /// Timeout of opening a source or sink, and of writing an epoch to a sink.
    pub open_timeout: Duration,
    pub write_timeout: Duration,
}

/// Which folders sources may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadFrom {
    /// All folders if only clients on this machine can connect, who could read them anyway; else those that connectors
    /// write.
    Auto,
    Anywhere,
    Folders(Vec<PathBuf>),
}

/// Limits of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Maximum number of sessions; the next one is refused with 53300.
    pub max: usize,
    /// Sessions reserved for addresses that have none yet.
    pub reserved: usize,
    /// Timeout of a connection's startup.
    pub startup_timeout: Duration,
    /// Maximum number of connections in startup, in total; and per address.
    pub starting_max: usize,
    pub starting_per_address: usize,
    /// The longest message accepted: a statement, a parameter, a piece of COPY.
    pub message_bytes_max: u64,
    /// Memory of all sessions together: messages, statements, parameters, rows not sent yet.
    pub memory_limit: MemoryLimit,
}

/// Limits of client statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Working memory of all running `SELECT`s together.
    pub memory_limit: MemoryLimit,
    /// The size of one value made by a function.
    pub value_limit: MemoryLimit,
    /// Rows of one `COPY … FROM STDIN`, which become durable together at its end.
    pub copy_limit_bytes: u64,
}

/// Limits of the state of tables and views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateOptions {
    /// Memory of all of them together.
    pub memory_limit: MemoryLimit,
}

/// Default limits of what one epoch reads of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochLimits {
    /// Memory of all running epochs together.
    pub memory_limit: MemoryLimit,
    pub target: Duration,
    pub max_rows: u64,
    pub max_bytes: MemoryLimit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Interval of a query's checkpoints; a restart replays the epochs since the last one.
    pub interval: Duration,
}

/// The log of intents and commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalOptions {
    pub segment_size: MemoryLimit,
    pub record_size_bytes: u64,
}

/// Limits of changelogs: the changes of relations that are kept for followers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangelogOptions {
    pub max_rows: u64,
    /// Memory of all changelogs together.
    pub memory_limit: MemoryLimit,
    /// Bytes on disk per changelog.
    pub max_disk: u64,
}

/// Limits of dead letters: the newest are kept, and of one epoch the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    pub max_rows: u64,
    pub max_bytes: MemoryLimit,
    pub epoch_max_rows: u64,
    pub epoch_max_bytes: u64,
}

/// Limits of a system table that keeps the newest rows and drops the oldest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestRows {
    pub max_rows: u64,
    pub max_bytes: MemoryLimit,
}

/// Worker threads of the runtimes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threads {
    pub network: usize,
    /// For statements of clients; 0 is one per core.
    pub query: usize,
    /// For epochs; 0 is one per core.
    pub epoch: usize,
    /// Maximum of concurrent calls that cannot be interrupted: each has a thread.
    pub aside: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// A filter of `tracing`: a level, or `level,room=level`.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line per event.
    Text,
    /// The same with short room names and no date.
    Compact,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: DEFAULT_LISTEN.to_string(),
            data_dir: PathBuf::from("./tidemark-data"),
            memory_limit: MemoryLimit::Auto,
            insecure: false,
            connectors: Connectors {
                write: vec![PathBuf::from(".")],
                read: ReadFrom::Auto,
                environment: vec!["TIDEMARK_SECRET_*".to_string()],
                open_timeout: Duration::from_secs(30),
                write_timeout: Duration::from_secs(600),
            },
            sessions: SessionOptions {
                max: 100,
                reserved: 3,
                startup_timeout: Duration::from_secs(10),
                starting_max: 256,
                starting_per_address: 64,
                message_bytes_max: 64 << 20,
                memory_limit: MemoryLimit::Auto,
            },
            query: Query { memory_limit: MemoryLimit::Auto, value_limit: MemoryLimit::Auto, copy_limit_bytes: 1 << 30 },
            state: StateOptions { memory_limit: MemoryLimit::Auto },
            epoch: EpochLimits {
                memory_limit: MemoryLimit::Auto,
                target: Duration::from_millis(250),
                max_rows: 1_000_000,
                max_bytes: MemoryLimit::Auto,
            },
            checkpoint: Checkpoint { interval: Duration::from_secs(10) },
            journal: JournalOptions { segment_size: MemoryLimit::Auto, record_size_bytes: 16 << 20 },
            changelog: ChangelogOptions { max_rows: 10_000_000, memory_limit: MemoryLimit::Auto, max_disk: 16 << 30 },
            dead_letters: DeadLetters {
                max_rows: 100_000,
                max_bytes: MemoryLimit::Auto,
                epoch_max_rows: 10_000,
                epoch_max_bytes: 16 << 20,
            },
            late_rows: NewestRows { max_rows: 100_000, max_bytes: MemoryLimit::Auto },
            threads: Threads { network: 2, query: 0, epoch: 0, aside: 64 },
            logging: Logging { level: "info".to_string(), format: LogFormat::Text },
        }
    }
}

impl Config {
    /// The defaults, overridden by the file.
    pub fn load(document: &Document, environment: &Environment) -> Result<Config> {
        let raw = document.parse::<RawConfig>()?.unwrap_or_default();
        let mut config = Config::default();
        config.apply(&raw, &Layer { document, environment, below: Vec::new() })?;
        Ok(config)
    }

    /// Overrides the settings that `raw` has.
    pub fn apply(&mut self, raw: &RawConfig, layer: &Layer) -> Result<()> {
        layer.set(&mut self.listen, &raw.listen, "listen", "host:port", address)?;
        layer.set(&mut self.data_dir, &raw.data_dir, "data_dir", "a folder", folder)?;
        layer.set(&mut self.memory_limit, &raw.memory_limit, "memory_limit", A_LIMIT, limit)?;
        layer.set(&mut self.insecure, &raw.insecure, "insecure", "true or false", yes_or_no)?;
        self.apply_connectors(raw, layer)?;
        self.apply_sessions(raw, layer)?;
        self.apply_queries(raw, layer)?;
        self.apply_storage(raw, layer)?;
        self.apply_process(raw, layer)
    }

    fn apply_connectors(&mut self, raw: &RawConfig, layer: &Layer) -> Result<()> {
        if let Some(raw) = &raw.connectors {
            let (open, write) = (&mut self.connectors.open_timeout, &mut self.connectors.write_timeout);
            layer.set(open, &raw.open_timeout, OPEN_TIMEOUT, A_DURATION, parse_duration)?;
            layer.set(write, &raw.write_timeout, WRITE_TIMEOUT, A_DURATION, parse_duration)?;
        }
        if let Some(raw) = raw.connectors.as_ref().and_then(|raw| raw.allow.as_ref()) {
            let allow = &mut self.connectors;
            layer.set_list(&mut allow.write, &raw.write, "connectors.allow.write", "folders", folders)?;
            let places = "auto, anywhere or folders";
            layer.set_list(&mut allow.read, &raw.read, "connectors.allow.read", places, read_from)?;
            let names = "names of environment variables, * at the end for all that begin so";
            layer.set_list(
                &mut allow.environment,
                &raw.environment,
                "connectors.allow.environment",
                names,
                variables,
            )?;
        }
        Ok(())
    }

    fn apply_sessions(&mut self, raw: &RawConfig, layer: &Layer) -> Result<()> {
        if let Some(raw) = &raw.sessions {
            let sessions = &mut self.sessions;
            layer.set(&mut sessions.max, &raw.max, "sessions.max", "a number from 1", from_one)?;
            layer.set(&mut sessions.reserved, &raw.reserved, "sessions.reserved", A_COUNT, count)?;
            let (starting, from) = (&mut sessions.starting_max, "a number from 1");
            layer.set(starting, &raw.starting_max, "sessions.starting_max", from, from_one)?;
            let starting = &mut sessions.starting_per_address;
            layer.set(starting, &raw.starting_per_address, "sessions.starting_per_address", from, from_one)?;
            layer.set(&mut sessions.memory_limit, &raw.memory_limit, "sessions.memory_limit", A_LIMIT, limit)?;
            let timeout = &mut sessions.startup_timeout;
            layer.set(timeout, &raw.startup_timeout, "sessions.startup_timeout", A_DURATION, parse_duration)?;
            let longest = &mut sessions.message_bytes_max;
            layer.set(longest, &raw.message_max, "sessions.message_max", A_SIZE, size)?;
        }
        Ok(())
    }

    fn apply_queries(&mut self, raw: &RawConfig, layer: &Layer) -> Result<()> {
        if let Some(raw) = &raw.query {
            layer.set(&mut self.query.memory_limit, &raw.memory_limit, "query.memory_limit", A_LIMIT, limit)?;
            layer.set(&mut self.query.value_limit, &raw.value_limit, "query.value_limit", A_LIMIT, limit)?;
            layer.set(&mut self.query.copy_limit_bytes, &raw.copy_limit, "query.copy_limit", A_SIZE, size)?;
        }
        if let Some(raw) = &raw.state {
            layer.set(&mut self.state.memory_limit, &raw.memory_limit, "state.memory_limit", A_LIMIT, limit)?;
        }
        if let Some(raw) = &raw.epoch {
            layer.set(&mut self.epoch.memory_limit, &raw.memory_limit, "epoch.memory_limit", A_LIMIT, limit)?;
            layer.set(&mut self.epoch.target, &raw.target, "epoch.target", A_DURATION, parse_duration)?;
            layer.set(&mut self.epoch.max_rows, &raw.max_rows, "epoch.max_rows", "a number from 1", from_one)?;
            layer.set(&mut self.epoch.max_bytes, &raw.max_bytes, "epoch.max_bytes", A_LIMIT, limit)?;
        }
        Ok(())
    }

    fn apply_storage(&mut self, raw: &RawConfig, layer: &Layer) -> Result<()> {
        if let Some(raw) = &raw.checkpoint {
            let interval = &mut self.checkpoint.interval;
            layer.set(interval, &raw.interval, "checkpoint.interval", A_DURATION, parse_duration)?;
        }
        if let Some(raw) = &raw.journal {
            let segment = &mut self.journal.segment_size;
            layer.set(segment, &raw.segment_size, "journal.segment_size", A_LIMIT, limit)?;
            let record = &mut self.journal.record_size_bytes;
            layer.set(record, &raw.record_size, "journal.record_size", A_SIZE, size)?;
        }
        if let Some(raw) = &raw.changelog {
            let rows = &mut self.changelog.max_rows;
            layer.set(rows, &raw.max_rows, "changelog.max_rows", "a number from 1", from_one)?;
            let bytes = &mut self.changelog.memory_limit;
            layer.set(bytes, &raw.memory_limit, "changelog.memory_limit", A_LIMIT, limit)?;
            layer.set(&mut self.changelog.max_disk, &raw.max_disk, "changelog.max_disk", A_SIZE, size)?;
        }
        if let Some(raw) = &raw.dead_letters {
            let kept = &mut self.dead_letters;
            layer.set(&mut kept.max_rows, &raw.max_rows, "dead_letters.max_rows", A_COUNT, count)?;
            layer.set(&mut kept.max_bytes, &raw.max_bytes, "dead_letters.max_bytes", A_LIMIT, limit)?;
            let rows = &mut kept.epoch_max_rows;
            layer.set(rows, &raw.epoch_max_rows, "dead_letters.epoch_max_rows", A_COUNT, count)?;
            let bytes = &mut kept.epoch_max_bytes;
            layer.set(bytes, &raw.epoch_max_bytes, "dead_letters.epoch_max_bytes", A_SIZE, size)?;
        }
        if let Some(raw) = &raw.late_rows {
            let kept = &mut self.late_rows;
            layer.set(&mut kept.max_rows, &raw.max_rows, "late_rows.max_rows", A_COUNT, count)?;
            layer.set(&mut kept.max_bytes, &raw.max_bytes, "late_rows.max_bytes", A_LIMIT, limit)?;
        }
        Ok(())
    }

    fn apply_process(&mut self, raw: &RawConfig, layer: &Layer) -> Result<()> {
        if let Some(raw) = &raw.threads {
            let threads = &mut self.threads;
            layer.set(&mut threads.network, &raw.network, "threads.network", "a number from 1 to 1024", workers)?;
            let many = "a number up to 1024, 0 for one a core";
            layer.set(&mut threads.query, &raw.query, "threads.query", many, workers_or_cores)?;
            layer.set(&mut threads.epoch, &raw.epoch, "threads.epoch", many, workers_or_cores)?;
            layer.set(&mut threads.aside, &raw.aside, "threads.aside", "a number from 1 to 1024", workers)?;
        }
        if let Some(raw) = &raw.logging {
            let logging = &mut self.logging;
            let levels = "error, warn, info, debug, trace or a filter such as info,tidemark::wire=debug";
            layer.set(&mut logging.level, &raw.level, "logging.level", levels, filter)?;
            layer.set(&mut logging.format, &raw.format, "logging.format", "text or compact", log_format)?;
        }
        Ok(())
    }
}

/// One layer of settings: its document, and the YAML path of the settings in it.
#[derive(Debug)]
pub struct Layer<'a> {
    pub document: &'a Document,
    pub environment: &'a Environment,
    /// The path of the node with the settings: empty, or `server`.
    pub below: Vec<PathStep>,
}

impl Layer<'_> {
    /// Expands and parses one value; an error names the key, the valid values, and the text as written, so that a value
    /// from the environment is never shown.
    fn set<T>(
        &self,
        target: &mut T,
        raw: &Option<Scalar>,
        key: &str,
        takes: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<()> {
        let Some(Scalar(written)) = raw else { return Ok(()) };
        let fail = |message: String| {
            let path: Vec<PathStep> = self.below.iter().cloned().chain(yaml::steps(key)).collect();
            self.document.error_at(&path, message)
        };
        let value = self.environment.expand(written).map_err(&fail)?;
        *target = read(value.trim()).ok_or_else(|| fail(format!("\"{key}\" takes {takes}, not \"{written}\"")))?;
        Ok(())
    }
}

impl Layer<'_> {
    /// The same for a list, or one value in place of it.
    fn set_list<T>(
        &self,
        target: &mut T,
        raw: &Option<Scalars>,
        key: &str,
        takes: &str,
        read: impl Fn(&[String]) -> Option<T>,
    ) -> Result<()> {
        let Some(Scalars(written)) = raw else { return Ok(()) };
        let fail = |message: String| {
            let path: Vec<PathStep> = self.below.iter().cloned().chain(yaml::steps(key)).collect();
            self.document.error_at(&path, message)
        };
        let mut values = Vec::new();
        for item in written {
            values.push(self.environment.expand(item).map_err(&fail)?.trim().to_string());
        }
        let shown = written.join(", ");
        *target = read(&values).ok_or_else(|| fail(format!("\"{key}\" takes {takes}, not \"{shown}\"")))?;
        Ok(())
    }
}

const A_SIZE: &str = "a size such as 64 MB, from 64 kB";
const A_LIMIT: &str = "a size such as 64 MB, from 64 kB, or auto";
const A_DURATION: &str = "a duration such as 10 s";
const A_COUNT: &str = "a number";

/// `host:port`, as on the command line and in the file; the name is resolved only when the server starts.
pub fn address(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = !host.contains([':', ' ', '/', '[', ']']);
    (!host.is_empty() && (bracketed || plain) && port.parse::<u16>().is_ok()).then(|| text.to_string())
}

fn folder(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
}

fn folders(texts: &[String]) -> Option<Vec<PathBuf>> {
    texts.iter().map(|text| folder(text)).collect()
}

fn read_from(texts: &[String]) -> Option<ReadFrom> {
    match texts {
        [word] if word == "auto" => Some(ReadFrom::Auto),
        [word] if word == "anywhere" => Some(ReadFrom::Anywhere),
        _ => folders(texts).map(ReadFrom::Folders),
    }
}

fn variables(texts: &[String]) -> Option<Vec<String>> {
    let is_name = |text: &String| {
        let name = text.strip_suffix('*').unwrap_or(text);
        !text.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    texts.iter().all(is_name).then(|| texts.to_vec())
}

fn yes_or_no(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// At least 64 kB: less is a mistaken unit, and would make every buffer too small.
fn size(text: &str) -> Option<u64> {
    parse_bytes(text).filter(|bytes| *bytes >= 64 << 10)
}

/// A size, or `auto`.
fn limit(text: &str) -> Option<MemoryLimit> {
    match text {
        "auto" => Some(MemoryLimit::Auto),
        text => size(text).map(MemoryLimit::Bytes),
    }
}

fn count<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.replace('_', "").parse().ok()
}

fn from_one<T: std::str::FromStr + PartialOrd + Default>(text: &str) -> Option<T> {
    count(text).filter(|n| *n > T::default())
}

fn workers_or_cores(text: &str) -> Option<usize> {
    count(text).filter(|n| *n <= 1024)
}

fn workers(text: &str) -> Option<usize> {
    workers_or_cores(text).filter(|n| *n > 0)
}

/// A level, or a list such as `info,tidemark::wire=debug`; a bare word that is not a level is an error, not a target.
fn filter(text: &str) -> Option<String> {
    let slip = |part: &str| !part.contains('=') && part.trim().parse::<tracing::level_filters::LevelFilter>().is_err();
    let valid = text.parse::<tracing_subscriber::filter::Targets>().is_ok() && !text.split(',').any(slip);
    valid.then(|| text.to_string())
}

fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "compact" => Some(LogFormat::Compact),
        _ => None,
    }
}
