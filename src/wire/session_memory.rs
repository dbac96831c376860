//! The memory of sessions, reserved before it is allocated: incomplete messages, prepared statements, parameters, rows
//! not sent yet.
//!
//! Half of the limit is split evenly among all possible sessions, so that each can always run small statements. The
//! other half is shared, first come first served, and no session gets more than half of it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation};

use crate::error::{Error, ErrorKind, Result};

/// The memory of all sessions, and its limit.
pub(super) struct Memory {
    shared: Arc<dyn MemoryPool>,
    /// Bytes reserved for each session.
    own_bytes: usize,
    session_bytes_max: usize,
}

impl Memory {
    pub fn new(bytes_max: usize, sessions_max: usize) -> Arc<Memory> {
        let shared = bytes_max / 2;
        let own_bytes = (bytes_max - shared) / sessions_max.max(1);
        let pool = Arc::new(GreedyMemoryPool::new(shared));
        Arc::new(Memory { shared: pool, own_bytes, session_bytes_max: own_bytes + shared / 2 })
    }

    /// The account of one more session.
    pub fn open(&self) -> Account {
        let shared = MemoryConsumer::new("session").register(&self.shared);
        Account(Arc::new(SessionMemory {
            own_bytes: self.own_bytes,
            bytes_max: self.session_bytes_max,
            shared,
            bytes: Mutex::new(0),
        }))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("shared", &self.shared.reserved()).finish_non_exhaustive()
    }
}

/// The account of one session.
#[derive(Debug, Clone)]
pub(super) struct Account(Arc<SessionMemory>);

#[derive(Debug)]
struct SessionMemory {
    own_bytes: usize,
    bytes_max: usize,
    /// Its part of the shared half.
    shared: MemoryReservation,
    bytes: Mutex<usize>,
}

impl Account {
    /// Reserves `bytes` until the result is dropped. Fails with `OutOfMemory`, naming `what`.
    pub fn reserve(&self, what: &'static str, bytes: usize) -> Result<HeldBytes> {
        let mut held = HeldBytes { account: self.clone(), what, bytes: 0 };
        held.resize(bytes)?;
        Ok(held)
    }

    fn change(&self, what: &'static str, from: usize, to: usize) -> Result<()> {
        let session = &self.0;
        let mut bytes = session.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let all = (*bytes - from).saturating_add(to);
        if to > from && all > session.bytes_max {
            let max = session.bytes_max;
            return Err(no_room(what, to)
                .detail(format!("For {what} the session would hold {all} bytes; one session may hold {max}.")));
        }
        session.shared.try_resize(all.saturating_sub(session.own_bytes)).map_err(|_| {
            no_room(what, to)
                .detail(format!("For {what} the session would hold {all} bytes, and others hold too much."))
        })?;
        *bytes = all;
        Ok(())
    }
}

fn no_room(what: &'static str, bytes: usize) -> Error {
    Error::new(ErrorKind::OutOfMemory, format!("out of memory: there is no room for {what} of {bytes} bytes"))
        .hint("Send less at a time, close what is no longer needed, or raise sessions.memory_limit.")
}

/// Reserved bytes of an account; released on drop.
#[derive(Debug)]
pub(super) struct HeldBytes {
    account: Account,
    what: &'static str,
    bytes: usize,
}

impl HeldBytes {
    /// Changes the reservation; on failure it stays as it was. Shrinking always succeeds.
    pub fn resize(&mut self, bytes: usize) -> Result<()> {
        self.account.change(self.what, self.bytes, bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    pub fn shrink(&mut self, bytes: usize) {
        let _ = self.resize(bytes.min(self.bytes));
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_memory_is_its_own_plus_at_most_half_of_the_shared() {
        // 800 bytes are shared, and each of eight sessions has 100.
        let memory = Memory::new(1600, 8);
        let sessions: Vec<Account> = (0..3).map(|_| memory.open()).collect();
        let error = sessions[0].reserve("a message", 501).expect_err("more than its part");
        assert_eq!(error.kind().sqlstate(), "53200");
        let first = sessions[0].reserve("a message", 500).expect("its part");
        let mut second = sessions[1].reserve("a message", 300).expect("a part");
        second.resize(500).expect("its part");
        assert!(second.resize(501).is_err());
        assert_eq!(second.bytes(), 500);
        let third = sessions[2].reserve("a message", 100).expect("its own");
        assert!(sessions[2].reserve("a message", 1).is_err(), "nothing is left that is shared");
        drop((first, third));
        assert!(sessions[2].reserve("a message", 500).is_ok());
    }
}
