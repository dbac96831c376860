//! Thresholds at which internal reorganisation happens.

use crate::{relations::UNSAVED_ROWS_MIN, state::Compaction};

/// Batch and compaction sizes. No answer depends on them; only tests set them, small enough that few rows cross them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Rows per batch. A join handles eight times as many pairs at once.
    pub batch_rows: usize,
    /// Number of incremental checkpoints before a full one: recovery reads at most this many files.
    pub checkpoint_chain_max: usize,
    /// Runs after which a plan is rebuilt, at the cost of reading its static inputs again: its metrics grow with each
    /// run.
    pub plan_runs_max: u64,
    /// A relation's unsaved changes are kept as a delta while they are at most this many rows more than the relation
    /// has.
    pub unsaved_rows_min: usize,
    pub compaction: Compaction,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            batch_rows: 8192,
            checkpoint_chain_max: 16,
            plan_runs_max: 10_000,
            unsaved_rows_min: UNSAVED_ROWS_MIN,
            compaction: Compaction::default(),
        }
    }
}
