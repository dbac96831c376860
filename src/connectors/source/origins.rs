//! Origins (file and line, partition and offset) of a stream's rows, passed beside its batches for row errors that are
//! found later.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::formats::Positions;

/// The origin of a batch.
#[derive(Debug, Clone)]
pub struct Origin {
    /// As in [`BadRecord`](super::BadRecord).
    pub name: Arc<str>,
    positions: Positions,
}

impl Origin {
    /// An origin without positions.
    pub fn within(name: &str) -> Origin {
        Origin { name: name.into(), positions: Positions::Each(Vec::new()) }
    }

    /// The position of a row of the batch, if known.
    pub fn of(&self, row: usize) -> Option<i64> {
        self.positions.of(row)
    }
}

/// The origins of a stream's batches, in order: the reader of a batch takes one out.
#[derive(Debug, Default)]
pub struct OriginQueue(Mutex<VecDeque<Origin>>);

impl OriginQueue {
    pub fn pop(&self) -> Option<Origin> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The sender, which ends with this queue.
    pub fn sender(self: &Arc<Self>) -> OriginSender {
        OriginSender(Arc::downgrade(self))
    }
}

/// Sends the origins of a stream while the queue exists.
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
