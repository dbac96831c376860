//! The memory of all running epochs: the rows they read and what is derived from them until it is state.
//!
//! An epoch waits until there is room and never fails for lack of it: one larger than the whole limit runs alone.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::{Family, MetricProducer, MetricsSnapshot};

/// Bytes held per byte read, until the epoch is over: input, keys, changes and rows of the answer.
const TIMES: usize = 4;
/// Bytes held per byte of a checkpoint while it is loaded: decoded batch, and state.
const LOADING_TIMES: usize = 2;
/// How long a recovery waits for room; longer than epochs usually take.
const RECOVERY_WAIT: Duration = Duration::from_secs(10);
/// Bytes per semaphore permit.
const UNIT_BYTES: usize = 1 << 10;

/// The semaphore over the memory of running epochs.
#[derive(Debug)]
pub struct EpochMemory {
    room: Arc<Semaphore>,
    units: usize,
    piece_bytes: usize,
    /// Queries (ids) whose first snapshot is read whole: an expression failed on a piece of it.
    whole: Mutex<BTreeSet<u64>>,
}

/// The permits of one epoch; given back on drop.
#[derive(Debug)]
pub struct EpochRoom(#[expect(dead_code, reason = "it is given back when it is dropped")] OwnedSemaphorePermit);

impl EpochMemory {
    pub fn new(bytes_max: u64) -> Arc<EpochMemory> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let units = (bytes_max / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        // So that two epochs fit at a time.
        let piece_bytes = (bytes_max / TIMES / 2).max(1);
        Arc::new(EpochMemory { room: Arc::new(Semaphore::new(units)), units, piece_bytes, whole: Mutex::default() })
    }

    /// Bytes of a relation's snapshot that are read at a time.
    pub fn piece_bytes(&self) -> usize {
        self.piece_bytes
    }

    /// Waits until there is room for an epoch that reads `bytes`.
    pub async fn enter(&self, bytes: usize) -> Option<EpochRoom> {
        let units = (bytes.saturating_mul(TIMES) / UNIT_BYTES + 1).min(self.units);
        // The semaphore is never closed.
        self.room.clone().acquire_many_owned(units as u32).await.ok().map(EpochRoom)
    }

    /// Waits until there is room to load `bytes` of a checkpoint; `None` after `RECOVERY_WAIT`, so that a hanging
    /// epoch does not block recoveries.
    pub async fn enter_recovery(&self, bytes: usize) -> Option<EpochRoom> {
        tokio::time::timeout(RECOVERY_WAIT, self.enter(bytes / TIMES * LOADING_TIMES)).await.ok().flatten()
    }

    pub fn reads_whole(&self, query: u64) -> bool {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).contains(&query)
    }

    pub fn read_whole(&self, query: u64) {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).insert(query);
    }
}

const HELD: Family = Family::new("tidemark_epoch_memory_bytes", "Memory that running epochs have asked for.");
const HELD_MAX: Family = Family::new("tidemark_epoch_memory_limit_bytes", "Memory that there is for running epochs.");

impl MetricProducer for EpochMemory {
    fn produce(&self, snapshot: &mut MetricsSnapshot) {
        let held = self.units - self.room.available_permits().min(self.units);
        snapshot.gauge(HELD, Some((held * UNIT_BYTES) as f64));
        snapshot.gauge(HELD_MAX, Some((self.units * UNIT_BYTES) as f64));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn epoch_memory_makes_epochs_wait_and_runs_an_oversized_one_alone() {
        let memory = EpochMemory::new(1 << 20);
        assert_eq!(memory.piece_bytes(), 128 << 10);
        let first = memory.enter(100 << 10).await;
        let second = memory.enter(100 << 10).await;
        assert!(memory.enter(1 << 30).now_or_never().is_none());
        assert!(memory.enter(100 << 10).now_or_never().is_none());
        drop((first, second));
        let large = memory.enter(1 << 30).now_or_never().expect("there is room");
        assert!(memory.enter(0).now_or_never().is_none());
        drop(large);
        assert!(memory.enter(0).now_or_never().is_some());
    }
}
