//! Where one way of doing a thing gives place to another.

use crate::{relations::UNSAVED_ROWS_MIN, state::Compaction};

/// When what a server keeps is put in order anew, and how much it looks at at once. No answer depends on any of these, so
/// that nobody sets them but a test, which makes them so small that few rows cross them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Rows that one step of a plan gives the next at once. A join looks at eight times as many pairs at once.
    pub batch_rows: usize,
    /// A whole checkpoint comes after so many that hold changes only: recovery reads at most this many files.
    pub checkpoint_chain_max: usize,
    /// After so many runs a plan begins anew, at the cost of its fixed sides: what it counts of itself grows till then.
    pub plan_runs_max: u64,
    /// Changes of a table or view are kept for its next save up to this many rows more than it has.
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
