//! The environment and options of an engine.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle as Runtime;

use crate::{connectors::Fence, options::SecretRedactor, query::Thresholds, storage::Storage, time::Clock};

/// The environment: storage, clock, runtime.
#[derive(Debug, Clone)]
pub struct Env {
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    /// The runtime of queries.
    pub runtime: Runtime,
    /// Known secrets, to be redacted from every text that is shown.
    pub hidden: Arc<SecretRedactor>,
}

/// Limits and defaults; `config/tidemark.yaml` explains each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Default checkpoint interval of a query.
    pub checkpoint_interval: Duration,
    /// Size at which a log file is closed; it is removed once checkpoints include its records.
    pub log_file_bytes: u64,
    /// Bytes of rows per log record; a statement with more takes several records.
    pub record_bytes_max: usize,
    /// Default limits of what an epoch reads of a source.
    pub epoch_rows_max: u64,
    pub epoch_bytes_max: u64,
    /// Default target duration of an epoch, which admission follows.
    pub epoch_target: Duration,
    pub dead_letters_max: usize,
    pub dead_letters_bytes_max: u64,
    /// Dead letters kept per epoch and input.
    pub dead_letters_epoch_max: usize,
    pub dead_letters_epoch_bytes_max: u64,
    pub late_rows_max: usize,
    pub late_rows_bytes_max: u64,
    /// Changed rows in memory per changelog, for views and subscriptions.
    pub changelog_rows_max: usize,
    /// Bytes in memory of all changelogs together.
    pub changelog_bytes_max: u64,
    /// Bytes per changelog in files beyond those a recovery needs.
    pub changelog_disk_max: u64,
    /// Cores (partitions) per query; 0 is all.
    pub partitions: usize,
    /// Concurrent function calls that cannot be interrupted.
    pub aside_max: usize,
    /// Memory pool of client queries.
    pub memory_bytes_max: u64,
    /// Bytes of one value made by a function.
    pub value_bytes_max: u64,
    /// Memory of all running epochs together.
    pub epoch_memory_bytes_max: u64,
    /// Memory of all tables and views together.
    pub state_bytes_max: u64,
    /// Bytes of the rows of one `COPY … FROM STDIN`, held until its end.
    pub copy_bytes_max: u64,
    /// Which files and variables connectors may use.
    pub fence: Fence,
    /// Timeouts of opening a source or sink, and of writing an epoch to a sink.
    pub open_timeout: Duration,
    pub write_timeout: Duration,
    /// Not configurable: no answer depends on them.
    pub thresholds: Thresholds,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            checkpoint_interval: Duration::from_secs(10),
            log_file_bytes: 64 << 20,
            record_bytes_max: 16 << 20,
            epoch_rows_max: 1_000_000,
            epoch_bytes_max: 256 << 20,
            epoch_target: Duration::from_millis(250),
            dead_letters_max: 100_000,
            dead_letters_bytes_max: 64 << 20,
            dead_letters_epoch_max: 10_000,
            dead_letters_epoch_bytes_max: 16 << 20,
            late_rows_max: 100_000,
            late_rows_bytes_max: 64 << 20,
            changelog_rows_max: 10_000_000,
            changelog_bytes_max: 1 << 30,
            changelog_disk_max: 16 << 30,
            partitions: 0,
            aside_max: 64,
            memory_bytes_max: 1 << 30,
            value_bytes_max: 128 << 20,
            epoch_memory_bytes_max: 1 << 30,
            state_bytes_max: 4 << 30,
            copy_bytes_max: 1 << 30,
            fence: Fence::default(),
            open_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(600),
            thresholds: Thresholds::default(),
        }
    }
}
