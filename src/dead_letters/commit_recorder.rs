//! A commit is in the log, and what it tells of dead letters and late rows is in memory: both, or neither.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{RwLock, RwLockWriteGuard};

use super::{dead_letter_queue::DeadLetterQueue, late_row_log::LateRowLog};
use crate::{
    checkpoint::{Commit, Log},
    error::Result,
};

/// Makes commits durable and takes over what they tell.
#[derive(Debug)]
pub struct CommitRecorder {
    log: Arc<Log>,
    dead_letters: Arc<DeadLetterQueue>,
    late_rows: Arc<LateRowLog>,
    /// Shared from before a commit is appended until memory has it; held alone while a log file is closed.
    lock: RwLock<()>,
}

impl CommitRecorder {
    pub fn new(log: Arc<Log>, dead_letters: Arc<DeadLetterQueue>, late_rows: Arc<LateRowLog>) -> Self {
        CommitRecorder { log, dead_letters, late_rows, lock: RwLock::default() }
    }

    /// Appends records, that of a commit among them, and takes over what the commit tells once they are durable.
    pub async fn append(&self, records: Vec<Bytes>, commit: &Commit) -> Result<()> {
        let _shared = self.lock.read().await;
        self.log.append(records).await?;
        self.dead_letters.add(&commit.dead_letters);
        self.late_rows.add(&commit.late_rows);
        Ok(())
    }

    /// Waits until no commit is between the log and memory, and keeps it so: whoever closes a log file meanwhile finds in
    /// memory what is in it.
    pub async fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.lock.write().await
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, executor::block_on};

    use super::*;
    use crate::{
        checkpoint::{DeadLetter, LateCause, LateRow, LogRecord},
        dead_letters::bounded_queue::QueueLimit,
        storage::MemoryStorage,
        time::Epoch,
    };

    fn commit(epoch: u64) -> Commit {
        let (query, text) = ("q".to_string(), String::new);
        let late = LateRow {
            query: query.clone(),
            epoch: Epoch(epoch),
            cause: LateCause::BehindWatermark,
            watermark: None,
            row: "{}".to_string(),
            at: 0,
        };
        let dead = DeadLetter {
            source: text(),
            query,
            epoch: Some(Epoch(epoch)),
            origin: text(),
            position: None,
            raw: Vec::new(),
            reason: text(),
            at: 0,
            replayed: None,
        };
        Commit {
            query: 1,
            epoch: Epoch(epoch),
            rows_in: 0,
            rows_out: 0,
            hash: None,
            late: 1,
            untimed: 0,
            bad: 1,
            observed: Vec::new(),
            late_rows: vec![late],
            dead_letters: vec![dead],
        }
    }

    fn recorder(storage: &Arc<MemoryStorage>) -> CommitRecorder {
        let (log, _) = Log::open(storage.clone(), 0).unwrap();
        let limit = QueueLimit { rows: 10, bytes: 1 << 20 };
        let (dead_letters, late_rows) = (DeadLetterQueue::new(limit, limit), LateRowLog::new(limit));
        CommitRecorder::new(Arc::new(log), Arc::new(dead_letters), Arc::new(late_rows))
    }

    fn record(recorder: &CommitRecorder, commit: &Commit) -> Result<()> {
        let bytes = LogRecord::Commit(commit.clone()).encode(&[])?;
        block_on(recorder.append(vec![bytes], commit))
    }

    /// How many dead letters and late rows memory has.
    fn counts(recorder: &CommitRecorder) -> (usize, usize) {
        (recorder.dead_letters.all().len(), recorder.late_rows.all().len())
    }

    #[test]
    fn commit_recorder_has_in_memory_what_is_in_the_log() {
        let storage = Arc::new(MemoryStorage::default());
        let recorder = recorder(&storage);
        record(&recorder, &commit(1)).unwrap();
        assert_eq!(counts(&recorder), (1, 1));
        let (_, logged) = Log::open(Arc::new(storage.survivor()), 0).unwrap();
        let found: Vec<_> = logged.into_iter().map(|logged| logged.record).collect();
        assert!(matches!(&found[..], [LogRecord::Commit(found)] if *found == commit(1)), "{found:?}");
    }

    #[test]
    fn commit_recorder_whose_log_fails_takes_over_nothing() {
        let storage = Arc::new(MemoryStorage::default());
        let recorder = recorder(&storage);
        storage.fail_at(1);
        assert!(record(&recorder, &commit(1)).is_err());
        assert_eq!(counts(&recorder), (0, 0));
    }

    #[test]
    fn commit_recorder_that_is_paused_appends_nothing_until_it_goes_on() {
        let storage = Arc::new(MemoryStorage::default());
        let recorder = recorder(&storage);
        let paused = block_on(recorder.pause());
        let commit = commit(1);
        let bytes = LogRecord::Commit(commit.clone()).encode(&[]).unwrap();
        let mut append = Box::pin(recorder.append(vec![bytes], &commit));
        assert!(append.as_mut().now_or_never().is_none());
        assert_eq!(recorder.log.bytes(), 0);
        drop(paused);
        block_on(append).unwrap();
        assert_eq!(counts(&recorder), (1, 1));
        assert!(recorder.log.bytes() > 0);
    }
}
