//! What an engine lives on, and its limits and habits.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle as Runtime;

use crate::{connectors::Fence, options::SecretRedactor, query::Thresholds, storage::Storage, time::Clock};

/// What an engine lives on.
#[derive(Debug, Clone)]
pub struct Env {
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    /// Where queries run.
    pub runtime: Runtime,
    /// The secrets that it is told, for whoever shows texts of it.
    pub hidden: Arc<SecretRedactor>,
}

/// Limits and habits; each with its reason in `config/tidemark.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// How often a query's state goes to disk, unless the query says otherwise.
    pub checkpoint_interval: Duration,
    /// A log file of this size is closed, and dropped once checkpoints hold what is in it.
    pub log_file_bytes: u64,
    /// Rows of one statement that are more than this take several records of the log.
    pub record_bytes_max: usize,
    /// The most that one epoch takes of a source that sets no limit of its own.
    pub epoch_rows_max: u64,
    pub epoch_bytes_max: u64,
    /// How long an epoch is to take, unless the query says otherwise: what it takes of a backlog follows it.
    pub epoch_target: Duration,
    pub dead_letters_max: usize,
    pub dead_letters_bytes_max: u64,
    /// Of those that one epoch finds in one input.
    pub dead_letters_epoch_max: usize,
    pub dead_letters_epoch_bytes_max: u64,
    pub late_rows_max: usize,
    pub late_rows_bytes_max: u64,
    /// Changed rows that a table or view keeps for the views that read it, and for subscriptions.
    pub changelog_rows_max: usize,
    /// What the changelogs of all of them hold together.
    pub changelog_bytes_max: u64,
    /// What one holds in files besides what a recovery needs.
    pub changelog_disk_max: u64,
    /// Cores that one query may use; 0 is all.
    pub partitions: usize,
    /// Calls that cannot be interrupted, at a time.
    pub aside_max: usize,
    /// Memory for the working state of queries that clients run.
    pub memory_bytes_max: u64,
    /// One value that a function makes.
    pub value_bytes_max: u64,
    /// Memory of what running epochs read and make, all of them together.
    pub epoch_memory_bytes_max: u64,
    /// Memory of all that tables and views hold.
    pub state_bytes_max: u64,
    /// Rows of one `COPY … FROM STDIN`, held until its end.
    pub copy_bytes_max: u64,
    /// What connectors may reach of the machine.
    pub fence: Fence,
    /// How long the outside may take to answer whoever opens a source or a sink, and to take an epoch of a sink.
    pub open_timeout: Duration,
    pub write_timeout: Duration,
    /// Not of the configuration: no answer depends on them.
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
