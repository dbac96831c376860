//! The worker of one query: its plan, offsets, state and checkpoints, and the progress it reports.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    checkpoints::{CheckpointHeader, Checkpoints},
    durability::Durability,
    input_cursors::InputCursors,
    progress::{Progress, QueryState, QueryStatus},
    setup::{QueryEnv, QuerySetup},
    sink_driver::PendingEpoch,
    watermarks::Watermarks,
};
use crate::{error::Error, memory::BudgetShare, sql::incremental::PlannedInput, time::Epoch};

/// Runs the epochs of one query. Owned by one task.
///
/// Between two calls `cursors`, `watermarks` and `totals` are as of `epoch`. So are operator state and relation, except
/// that they are ahead by an epoch that is `owed`. `durability` is what of it a crash would leave.
#[derive(Debug)]
pub struct Worker {
    pub(super) env: QueryEnv,
    pub setup: QuerySetup,
    pub(super) cursors: InputCursors,
    pub(super) durability: Durability,
    /// The last epoch that was applied.
    pub(super) epoch: Epoch,
    pub(super) watermarks: Watermarks,
    pub(super) totals: CheckpointHeader,
    /// Since when unread rows wait for the minimum batch of their input.
    pub(super) waits_since: Option<Instant>,
    /// Share of the memory budget for state and relation.
    pub(super) share: BudgetShare,
    /// The sink epoch that was run and is not delivered.
    pub(super) owed: Option<PendingEpoch>,
    pub progress: Arc<Progress>,
}

impl Worker {
    pub fn new(env: QueryEnv, setup: QuerySetup, progress: Arc<Progress>) -> Self {
        let checkpoints = Checkpoints::new(env.storage.clone(), setup.id);
        let checkpoints = checkpoints.with_chain_max(env.thresholds.checkpoint_chain_max);
        let ids = setup.standing.rewritten.inputs.iter().map(|input| input.table.id).collect();
        let checkpoints = checkpoints.with_plan(setup.standing.epoch_context.state_ids(), ids);
        setup.standing.epoch_context.set_compaction(env.thresholds.compaction);
        let rewritten = &setup.standing.rewritten;
        for input in &rewritten.inputs {
            // As a reader, so that the input releases nothing before this query has consumed it.
            input.table.readers.join(setup.id);
        }
        Worker {
            cursors: InputCursors::new(rewritten, setup.epoch_target),
            durability: Durability::new(env.storage.clone(), setup.id, checkpoints, rewritten.inputs.len()),
            epoch: Epoch(0),
            watermarks: Watermarks::new(rewritten.watermarks.len()),
            totals: CheckpointHeader::default(),
            waits_since: None,
            share: env.budget.share(format!(
                "{} \"{}\"",
                if setup.sink_driver.is_some() { "sink" } else { "view" },
                setup.name
            )),
            owed: None,
            progress,
            env,
            setup,
        }
    }

    pub(super) fn inputs(&self) -> &[PlannedInput] {
        &self.setup.standing.rewritten.inputs
    }

    /// Updates the progress that system tables show.
    pub fn show(&self, also: impl FnOnce(&mut QueryStatus)) {
        let state = self.setup.standing.epoch_context.each_operator(|_, o| Ok((o.state().len(), o.state().bytes())));
        let state = state.unwrap_or_default();
        let mut status = self.progress.lock();
        status.log_file = self.durability.log_file(self.epoch);
        let offsets = self.cursors.offsets();
        let inputs = self.inputs().iter().zip(&offsets);
        self.progress.set_inputs(&mut status, inputs.map(|(input, offsets)| (input.table.name.as_str(), offsets)));
        let metrics = &status.metrics;
        metrics.epoch.set_count(Some(self.epoch.0));
        metrics.watermark.set(self.watermarks.current());
        metrics.rows_in.set(self.totals.rows_in);
        metrics.rows_out.set(self.totals.rows_out);
        metrics.late.set(self.totals.late);
        metrics.untimed.set(self.totals.untimed);
        metrics.bad.set(self.totals.bad);
        metrics.checkpoint.set_count(Some(self.durability.checkpointed().0));
        metrics.state_rows.set_count(Some(state.iter().map(|(rows, _)| *rows as u64).sum()));
        metrics.state_bytes.set_count(Some(state.iter().map(|(_, bytes)| *bytes as u64).sum()));
        also(&mut status);
    }

    pub fn set_state(&self, state: QueryState, error: Option<Error>) {
        self.show(|status| {
            status.state = state;
            status.last_error = error.or_else(|| status.last_error.take());
        });
    }
}
