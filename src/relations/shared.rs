//! A relation shared by its writer, readers and followers.

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

/// Locked exclusively while several snapshots are taken at one moment; shared by publishers.
pub type SnapshotBarrier = Arc<RwLock<()>>;

/// Consistent snapshots of relations, by id: none is published while they are taken.
pub fn at_one_moment<'a>(
    barrier: &SnapshotBarrier,
    relations: impl Iterator<Item = &'a Arc<SharedRelation>>,
) -> BTreeMap<u64, Arc<Snapshot>> {
    let _moment = barrier.write().unwrap_or_else(PoisonError::into_inner);
    relations.map(|shared| (shared.id, shared.snapshot())).collect()
}

/// A relation shared by its writer (a query or table), clients and followers.
#[derive(Debug)]
pub struct SharedRelation {
    pub id: u64,
    pub name: String,
    pub relation: Mutex<Relation>,
    published: RwLock<Arc<Snapshot>>,
    barrier: SnapshotBarrier,
    changed: watch::Sender<u64>,
    dropped: AtomicBool,
    /// Whether it is still recovering after a start.
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

    /// The published snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// If nothing was published yet, refuses readers with `error` until something is; ends the recovery. A published
    /// snapshot stays.
    pub fn refuse(&self, error: &Error) {
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        if published.epoch() == Epoch(0) {
            *published = Arc::new(published.refused(error.clone()));
        }
        self.recovering.send_replace(false);
    }

    /// Starts recovery of a relation that has not been read yet: until it ends, readers are refused with `error`.
    pub fn begin_recovery(&self, error: &Error) {
        self.refuse(error);
        self.recovering.send_replace(true);
    }

    pub fn is_recovering(&self) -> bool {
        *self.recovering.borrow()
    }

    /// Waits until recovery has ended, with rows or a refusal.
    pub async fn recovered(&self) {
        // The sender lives as long as `self`.
        let _ = self.recovering.subscribe().wait_for(|recovering| !recovering).await;
    }

    /// Replaces its contents by rebuilt ones of the same epoch. Followers stay.
    pub fn take_over(&self, rebuilt: &SharedRelation) {
        let (mut own, mut rebuilt) = (self.lock(), rebuilt.lock());
        rebuilt.serve_as(&own);
        if let Some(from) = own.follows_from() {
            rebuilt.log_from(from);
        }
        std::mem::swap(&mut *own, &mut *rebuilt);
    }

    /// Publishes the present rows to readers and notifies followers.
    pub fn publish(&self) {
        let snapshot = Arc::new(self.lock().snapshot());
        let epoch = snapshot.epoch().0;
        let _not_within_a_moment = self.barrier.read().unwrap_or_else(PoisonError::into_inner);
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        self.lock().note_published(Epoch(epoch));
        self.recovering.send_replace(false);
        self.changed.send_replace(epoch);
    }

    /// Marks it as dropped: waiting followers end.
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
