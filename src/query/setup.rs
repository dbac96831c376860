//! What a query is made of: what all queries share, and what is its own.

use std::{sync::Arc, time::Duration};

use datafusion::execution::TaskContext;

use super::{epoch_memory::EpochMemory, sink_driver::SinkDriver, thresholds::Thresholds};
use crate::{
    checkpoint::Log,
    dead_letters::{CommitRecorder, DeadLetterQueue, LateRowLog},
    memory::Budget,
    metrics::Registry,
    options::SecretRedactor,
    relations::{ChangelogLimit, SharedRelation},
    sql::plan::ContinuousPlan,
    storage::Storage,
    time::Clock,
};

/// What all queries share.
#[derive(Debug, Clone)]
pub struct QueryEnv {
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub log: Arc<Log>,
    /// What appends commits to `log`.
    pub commits: Arc<CommitRecorder>,
    pub dead_letters: Arc<DeadLetterQueue>,
    pub late_rows: Arc<LateRowLog>,
    pub context: Arc<TaskContext>,
    pub budget: Arc<Budget>,
    pub hidden: Arc<SecretRedactor>,
    /// Where the numbers of queries are.
    pub metrics: Arc<Registry>,
    /// The limit of all changelogs together.
    pub changelog: ChangelogLimit,
    /// The memory that running epochs share.
    pub epochs: Arc<EpochMemory>,
    pub thresholds: Thresholds,
}

impl QueryEnv {
    /// Number of streams (partitions) that an input is read in.
    pub fn partitions(&self) -> usize {
        self.context.session_config().target_partitions()
    }
}

/// A query as it is planned at each start.
#[derive(Debug)]
pub struct QuerySetup {
    pub id: u64,
    pub name: String,
    pub standing: ContinuousPlan,
    /// The relation that clients read; for a sink the copy of its answer that is kept, see
    /// [`Retention`](super::Retention).
    pub relation: Arc<SharedRelation>,
    /// `Some` for a sink.
    pub sink_driver: Option<SinkDriver>,
    pub checkpoint_interval: Duration,
    /// Target duration of an epoch while there is a backlog.
    pub epoch_target: Option<Duration>,
}
