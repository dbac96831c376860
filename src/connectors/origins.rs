//! Where the rows of a stream stood in the outside system, told beside its batches: for whoever finds only later that a
//! row is bad.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::formats::Positions;

/// Where the rows of a batch stood.
#[derive(Debug, Clone)]
pub struct Origin {
    /// As in [`BadRecord`](super::BadRecord).
    pub name: Arc<str>,
    positions: Positions,
}

impl Origin {
    /// Somewhere there.
    pub fn within(name: &str) -> Origin {
        Origin { name: name.into(), positions: Positions::Each(Vec::new()) }
    }

    /// Where a row of the batch stood, as far as that is known.
    pub fn of(&self, row: usize) -> Option<i64> {
        self.positions.of(row)
    }
}

/// The origins of the batches of one stream, in its order: who takes a batch takes one out after.
#[derive(Debug, Default)]
pub struct OriginQueue(Mutex<VecDeque<Origin>>);

impl OriginQueue {
    pub fn take(&self) -> Option<Origin> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The other end, which ends with this one.
    pub fn sender(self: &Arc<Self>) -> OriginSender {
        OriginSender(Arc::downgrade(self))
    }
}

/// Tells the origins of a stream, as long as somebody wants to know.
#[derive(Debug, Clone)]
pub struct OriginSender(Weak<OriginQueue>);

impl OriginSender {
    /// To be called before each batch is sent.
    pub fn send(&self, name: &Arc<str>, positions: impl FnOnce() -> Positions) {
        if let Some(origins) = self.0.upgrade() {
            let origin = Origin { name: name.clone(), positions: positions() };
            origins.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(origin);
        }
    }
}
