//! How many messages are so many bytes: a guess by those that were read.

use std::sync::{Mutex, PoisonError};

/// How large messages were of late.
#[derive(Debug, Default)]
pub(super) struct MessageSizes(Mutex<(u64, u64)>);

impl MessageSizes {
    /// What a message is taken for before one was seen.
    const UNSEEN: u64 = 1_000;
    /// So many messages are remembered, and half of them after that.
    const REMEMBERED: u64 = 1_000_000;

    pub fn record(&self, messages: u64, bytes: u64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = (seen.0 + messages, seen.1 + bytes);
        if seen.0 > MessageSizes::REMEMBERED {
            *seen = (seen.0 / 2, seen.1 / 2);
        }
    }

    /// How many messages are so many bytes.
    pub fn messages(&self, bytes: u64) -> u64 {
        let (messages, all) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes / all.checked_div(messages).unwrap_or(MessageSizes::UNSEEN).max(1)
    }
}
