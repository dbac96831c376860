//! A relation that many share.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::{
    Relation, Snapshot,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};
use crate::{error::Error, time::Epoch};

/// Held while several snapshots are taken, so that they are of one moment; shared by those who publish.
pub type SnapshotBarrier = Arc<RwLock<()>>;

/// The rows of relations, by their ids, as they are at one moment: nobody publishes while they are taken.
pub fn at_one_moment<'a>(
    barrier: &SnapshotBarrier,
    relations: impl Iterator<Item = &'a Arc<SharedRelation>>,
) -> BTreeMap<u64, Arc<Snapshot>> {
    let _moment = barrier.write().unwrap_or_else(PoisonError::into_inner);
    relations.map(|shared| (shared.id, shared.snapshot())).collect()
}

/// A relation that many share: its keeper writes, clients and followers read.
#[derive(Debug)]
pub struct SharedRelation {
    pub id: u64,
    pub name: String,
    pub relation: Mutex<Relation>,
    published: RwLock<Arc<Snapshot>>,
    barrier: SnapshotBarrier,
    changed: watch::Sender<u64>,
    dropped: AtomicBool,
    /// Whether its rows are still to be brought back after a start.
    recovering: watch::Sender<bool>,
}

impl SharedRelation {
    pub fn new(id: u64, name: impl Into<String>, relation: Relation, barrier: SnapshotBarrier) -> Arc<Self> {
        let snapshot = Arc::new(relation.snapshot());
        Arc::new(SharedRelation {
            id,
            name: name.into(),
            relation: Mutex::new(relation),
            published: RwLock::new(snapshot),
            barrier,
            changed: watch::Sender::new(0),
            dropped: AtomicBool::new(false),
            recovering: watch::Sender::new(false),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, Relation> {
        self.relation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What readers see.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells readers why they cannot be answered, until something is published: rows that they have read once could not
    /// be brought back yet. Who has an answer keeps it.
    pub fn refuse(&self, error: &Error) {
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        if published.epoch() == Epoch(0) {
            *published = Arc::new(published.refused(error.clone()));
        }
        self.recovering.send_replace(false);
    }

    /// Of one that nobody has read yet: its rows are brought back now. Until they are, or cannot be, readers are told so.
    pub fn begin_recovery(&self, error: &Error) {
        self.refuse(error);
        self.recovering.send_replace(true);
    }

    pub fn is_recovering(&self) -> bool {
        *self.recovering.borrow()
    }

    /// Waits until its rows are back, or it is known that they cannot be brought back for now.
    pub async fn recovered(&self) {
        // It lives as long as who waits.
        let _ = self.recovering.subscribe().wait_for(|recovering| !recovering).await;
    }

    /// Takes the place of its contents with others of the same epoch, made anew. Who follows goes on following.
    pub fn take_over(&self, rebuilt: &SharedRelation) {
        let (mut own, mut rebuilt) = (self.lock(), rebuilt.lock());
        rebuilt.serve_as(&own);
        if let Some(from) = own.follows_from() {
            rebuilt.log_from(from);
        }
        std::mem::swap(&mut *own, &mut *rebuilt);
    }

    /// Shows the relation as it is now to readers and followers.
    pub fn publish(&self) {
        let snapshot = Arc::new(self.lock().snapshot());
        let epoch = snapshot.epoch().0;
        let _not_within_a_moment = self.barrier.read().unwrap_or_else(PoisonError::into_inner);
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        self.lock().note_published(Epoch(epoch));
        self.recovering.send_replace(false);
        self.changed.send_replace(epoch);
    }

    /// It is gone: who still waits for its changes waits in vain.
    pub fn set_dropped(&self) {
        self.dropped.store(true, Ordering::SeqCst);
        self.recovering.send_replace(false);
        self.changed.send_modify(|_| {});
    }

    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
    }

    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
