//! What of a query is durable, and what its recovery would read and replay.

use std::sync::Arc;

use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::{
    checkpoints::{CheckpointDraft, CheckpointHeader, Checkpoints},
    progress::UNRECOVERED,
};
use crate::{
    checkpoint::{Commit, Intent},
    connectors::Offsets,
    error::{Error, Result},
    relations::Store,
    storage::Storage,
    time::Epoch,
};

/// The number of the first log file.
const ALL_LOG_FILES: u64 = 1;

/// The checkpoints of a query, and the epochs after the last one. Invariants:
///
/// - `checkpointed` and `saved` are of the newest complete checkpoint; `since` has the epochs after it that are
///   committed in the log, in order: checkpoint and `since` are the query as of its last commit.
/// - At most one epoch is between intent and commit: `begun` (of a sink) or `uncommitted` (of a view).
/// - At most one checkpoint is not durable yet: it is being written, or its write failed and is to be retried, since
///   its contents were drained from the state.
/// - While a recovery needs records of the log, `log_file` is not after the first of them.
#[derive(Debug)]
pub(super) struct Durability {
    store: Store,
    checkpoints: Checkpoints,
    checkpointed: Epoch,
    /// The offsets of the inputs at the last checkpoint.
    saved: Vec<Offsets>,
    /// The epochs after the last checkpoint, which a recovery replays.
    since: Vec<(Intent, Commit)>,
    /// The sink epoch whose intent is synced and whose commit is not: its rows may be in the outside system, so no
    /// other epoch may take its number.
    begun: Option<Intent>,
    /// The view epoch that was run but is not committed in the log.
    uncommitted: Option<Uncommitted>,
    /// The checkpoint that is being written.
    writing: Option<Writing>,
    /// The checkpoint whose write failed and is to be retried.
    unwritten: Option<Unwritten>,
    /// Whether what was drained from the state for checkpoints is complete, and the outbox is as of the query's epoch;
    /// otherwise the worker must be rebuilt.
    sound: bool,
    /// Whether recovery has replayed up to the last committed epoch.
    recovered: bool,
    /// Number of the first log file with records after the last checkpoint.
    log_file: u64,
}

/// A view epoch that was run and is not committed.
#[derive(Debug)]
pub(super) struct Uncommitted {
    pub(super) intent: Intent,
    pub(super) commit: Commit,
    /// Whether it read a snapshot of a relation, which cannot be read again after a crash.
    pub(super) first: bool,
    pub(super) started: Instant,
}

/// A checkpoint that a blocking task is writing.
#[derive(Debug)]
struct Writing {
    task: JoinHandle<CheckpointOutcome>,
    outcome: Option<std::result::Result<CheckpointOutcome, JoinError>>,
    point: Point,
}

type CheckpointOutcome = (Checkpoints, CheckpointDraft, Result<()>);

/// A checkpoint that is not written. Its draft was drained from the state, so a retry writes the same one.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) draft: CheckpointDraft,
    pub(super) point: Point,
}

/// The epoch and offsets of a checkpoint.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) epoch: Epoch,
    pub(super) offsets: Vec<Offsets>,
    pub(super) log_file: u64,
}

impl Durability {
    /// For query `id` with `inputs` inputs, of which nothing is durable yet.
    pub(super) fn new(storage: Arc<dyn Storage>, id: u64, checkpoints: Checkpoints, inputs: usize) -> Self {
        Durability {
            store: Store::new(storage, id),
            checkpoints,
            checkpointed: Epoch(0),
            saved: vec![Offsets::default(); inputs],
            since: Vec::new(),
            begun: None,
            uncommitted: None,
            writing: None,
            unwritten: None,
            sound: true,
            recovered: false,
            log_file: ALL_LOG_FILES,
        }
    }

    /// The files of the relation.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// The epoch of the last checkpoint.
    pub(super) fn checkpointed(&self) -> Epoch {
        self.checkpointed
    }

    /// The offsets of the inputs at the last checkpoint.
    pub(super) fn saved(&self) -> &[Offsets] {
        &self.saved
    }

    /// Whether a recovery would replay epochs, if the query is at `epoch`.
    pub(super) fn is_behind(&self, epoch: Epoch) -> bool {
        epoch > self.checkpointed
    }

    pub(super) fn is_sound(&self) -> bool {
        self.sound
    }

    /// Outbox and epoch are being changed in a way that cannot be undone, until [`Durability::mark_sound`].
    pub(super) fn mark_unsound(&mut self) {
        self.sound = false;
    }

    pub(super) fn mark_sound(&mut self) {
        self.sound = true;
    }
}

/// The epochs after the last checkpoint.
impl Durability {
    /// Whether the intent of a sink epoch is synced, and its commit is not.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// The intent of a sink epoch was synced.
    pub(super) fn begin(&mut self, intent: Intent) {
        self.begun = Some(intent);
    }

    /// The begun epoch is committed, in a checkpoint, or given up.
    pub(super) fn end_begun(&mut self) {
        self.begun = None;
    }

    /// A sink epoch was committed and is in no checkpoint yet.
    pub(super) fn note_delivered(&mut self, intent: Intent, commit: Commit) {
        self.since.push((intent, commit));
    }

    pub(super) fn uncommitted(&self) -> Option<&Uncommitted> {
        self.uncommitted.as_ref()
    }

    /// A view epoch was run and is to be committed.
    pub(super) fn note_run(&mut self, epoch: Uncommitted) {
        self.uncommitted = Some(epoch);
    }

    /// The commit of the view epoch is durable. Returns when the epoch started.
    pub(super) fn note_committed(&mut self) -> Option<Instant> {
        let Uncommitted { intent, commit, first, started } = self.uncommitted.take()?;
        // An epoch that read a snapshot is in a checkpoint already.
        if !first {
            self.since.push((intent, commit));
        }
        Some(started)
    }

    /// Notes that a recovery of the query, which is at `epoch`, reads the log from `current` (the file being written),
    /// or from an earlier file. Returns that file.
    pub(super) fn needs_log(&mut self, epoch: Epoch, current: u64) -> u64 {
        if !self.is_behind(epoch) && self.begun.is_none() {
            self.log_file = current;
        }
        if self.recovered { self.log_file } else { UNRECOVERED }
    }

    /// The first log file that a recovery of the query, which is at `epoch`, would read; `None` if it would read none.
    pub(super) fn log_file(&self, epoch: Epoch) -> Option<u64> {
        if !self.recovered {
            return Some(UNRECOVERED);
        }
        (self.is_behind(epoch) || self.begun.is_some()).then_some(self.log_file)
    }

    /// The intents and commits that a recovery would replay; for a sink also the intent of the epoch that was begun.
    pub(super) fn since(&self) -> (Vec<Intent>, Vec<Commit>) {
        let (mut intents, commits): (Vec<_>, Vec<_>) = self.since.iter().cloned().unzip();
        intents.extend(self.begun.clone());
        (intents, commits)
    }
}

/// The checkpoint that is being written.
impl Durability {
    pub(super) fn has_unwritten(&self) -> bool {
        self.unwritten.is_some()
    }

    /// The checkpoint whose write failed; it has to be written before any other.
    pub(super) fn take_unwritten(&mut self) -> Option<Unwritten> {
        self.unwritten.take()
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Starts to write a checkpoint, concurrently with the next epochs.
    pub(super) fn write(&mut self, Unwritten { mut draft, point }: Unwritten) {
        let mut checkpoints = self.checkpoints.clone();
        let task = tokio::task::spawn_blocking(move || {
            let saved = checkpoints.save(&mut draft);
            (checkpoints, draft, saved)
        });
        self.writing = Some(Writing { task, point, outcome: None });
    }

    /// Waits until the running checkpoint is written or has failed; never completes if none is running.
    pub(super) async fn written(&mut self) {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        if writing.outcome.is_none() {
            writing.outcome = Some((&mut writing.task).await);
        }
    }

    /// Waits for the running checkpoint, if any; recovery then needs nothing from before it. Returns what was
    /// written.
    pub(super) async fn end_write(&mut self) -> Result<Option<CheckpointDraft>> {
        if !self.is_writing() {
            return Ok(None);
        }
        self.written().await;
        let Some(Writing { point, outcome: Some(outcome), .. }) = self.writing.take() else { return Ok(None) };
        let (checkpoints, draft, saved) = outcome.map_err(|e| {
            self.sound = false;
            Error::internal(format!("a checkpoint died: {e}"))
        })?;
        self.checkpoints = checkpoints;
        if let Err(error) = saved {
            self.unwritten = Some(Unwritten { draft, point });
            return Err(error);
        }
        self.checkpointed = point.epoch;
        self.log_file = point.log_file;
        self.since.retain(|(intent, _)| intent.epoch > point.epoch);
        self.saved = point.offsets;
        Ok(Some(draft))
    }
}

/// Recovery.
impl Durability {
    /// Notes the query's epochs in the log, so that after a failed recovery the next one has them too.
    pub(super) fn note_log(&mut self, since: Vec<(Intent, Commit)>, begun: Option<Intent>) {
        (self.since, self.begun) = (since, begun);
    }

    /// See [`Checkpoints::open`].
    pub(super) fn open(&mut self) -> Result<Option<CheckpointHeader>> {
        self.checkpoints.open()
    }

    /// The checkpoint of `epoch` was loaded, with these offsets.
    pub(super) fn note_loaded(&mut self, epoch: Epoch, offsets: Vec<Offsets>) {
        (self.checkpointed, self.saved) = (epoch, offsets);
    }

    /// These epochs, after the loaded checkpoint, are replayed.
    pub(super) fn note_redo(&mut self, epochs: &[(Intent, Commit)]) {
        self.since = epochs.to_vec();
    }

    /// All committed epochs are restored.
    pub(super) fn note_recovered(&mut self) {
        self.recovered = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{memory::Budget, storage::MemoryStorage};

    fn durability() -> Durability {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        Durability::new(storage.clone(), 7, Checkpoints::new(storage, 7), 1)
    }

    fn intent(epoch: u64) -> Intent {
        Intent { query: 7, epoch: Epoch(epoch), spans: Vec::new(), watermark: None, now: 0, partitions: 1 }
    }

    fn commit(epoch: u64) -> Commit {
        Commit {
            query: 7,
            epoch: Epoch(epoch),
            rows_in: 0,
            rows_out: 0,
            hash: None,
            late: 0,
            untimed: 0,
            bad: 0,
            observed: Vec::new(),
            late_rows: Vec::new(),
            dead_letters: Vec::new(),
        }
    }

    #[test]
    fn durability_needs_the_log_from_the_first_record_after_a_checkpoint() {
        let mut durability = durability();
        assert_eq!(durability.log_file(Epoch(0)), Some(UNRECOVERED));
        durability.note_recovered();
        assert_eq!(durability.log_file(Epoch(0)), None);
        assert_eq!(durability.needs_log(Epoch(0), 3), 3);
        assert_eq!(durability.needs_log(Epoch(1), 4), 3, "epoch 1 is in file 3");
        assert_eq!(durability.log_file(Epoch(1)), Some(3));
        durability.note_loaded(Epoch(1), vec![Offsets::single(1)]);
        assert_eq!(durability.log_file(Epoch(1)), None);
        assert_eq!(durability.needs_log(Epoch(1), 5), 5);
        durability.begin(intent(2));
        assert_eq!(durability.needs_log(Epoch(1), 6), 5, "the intent is in file 5");
        assert_eq!(durability.log_file(Epoch(1)), Some(5));
    }

    #[test]
    fn durability_replays_what_was_committed_and_not_what_was_run() {
        let mut durability = durability();
        let run =
            |epoch, first| Uncommitted { intent: intent(epoch), commit: commit(epoch), first, started: Instant::now() };
        durability.note_run(run(1, true));
        assert!(durability.note_committed().is_some());
        assert_eq!(durability.since(), (Vec::new(), Vec::new()), "one that read a snapshot is in a checkpoint");
        durability.note_run(run(2, false));
        assert_eq!(durability.since(), (Vec::new(), Vec::new()));
        assert!(durability.note_committed().is_some());
        assert_eq!(durability.since(), (vec![intent(2)], vec![commit(2)]));
        durability.begin(intent(3));
        assert_eq!(durability.since(), (vec![intent(2), intent(3)], vec![commit(2)]));
    }

    #[tokio::test]
    async fn durability_needs_nothing_that_a_written_checkpoint_has() {
        let mut durability = durability();
        durability.note_recovered();
        (1..=2).for_each(|epoch| durability.note_delivered(intent(epoch), commit(epoch)));
        let header = CheckpointHeader { epoch: Epoch(1), ..CheckpointHeader::default() };
        let room = Budget::new(1 << 20).share("a checkpoint");
        let draft = CheckpointDraft { header, sections: Vec::new(), relation: None, fresh: None, is_whole: true, room };
        let point = Point { epoch: Epoch(1), offsets: vec![Offsets::single(5)], log_file: 9 };
        durability.write(Unwritten { draft, point });
        assert_eq!(durability.checkpointed(), Epoch(0), "it may not be written yet");
        assert!(durability.end_write().await.unwrap().is_some());
        assert_eq!(durability.checkpointed(), Epoch(1));
        assert_eq!(durability.saved(), [Offsets::single(5)]);
        assert_eq!(durability.since(), (vec![intent(2)], vec![commit(2)]));
        assert_eq!(durability.log_file(Epoch(2)), Some(9));
        assert!(durability.end_write().await.unwrap().is_none());
    }
}
