//! What sessions hold in memory, asked for before it is there: messages that are not whole yet, statements that are
//! kept, parameters, rows that nobody has taken yet.
//!
//! Half of the limit is set aside, for each session its part, so that whatever others hold, a session can do what is
//! small. The other half is for whoever asks first, and of it no session gets more than a half.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation};

use crate::error::{Error, ErrorKind, Result};

/// What all sessions hold together, and at the most.
pub(super) struct Memory {
    shared: Arc<dyn MemoryPool>,
    /// What a session has by itself.
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

/// What one session holds.
#[derive(Debug, Clone)]
pub(super) struct Account(Arc<SessionMemory>);

#[derive(Debug)]
struct SessionMemory {
    own_bytes: usize,
    bytes_max: usize,
    /// What it holds beyond its own.
    shared: MemoryReservation,
    bytes: Mutex<usize>,
}

impl Account {
    /// Room for so many bytes, for as long as the answer lives.
    pub fn take(&self, what: &'static str, bytes: usize) -> Result<HeldBytes> {
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

/// Bytes of an account. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct HeldBytes {
    account: Account,
    what: &'static str,
    bytes: usize,
}

impl HeldBytes {
    /// Fails, and holds what it held, where that is too much. To hold less is always granted.
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
        // 800 are shared, and each of eight has 100.
        let memory = Memory::new(1600, 8);
        let sessions: Vec<Account> = (0..3).map(|_| memory.open()).collect();
        let error = sessions[0].take("a message", 501).expect_err("more than its part");
        assert_eq!(error.kind().sqlstate(), "53200");
        let first = sessions[0].take("a message", 500).expect("its part");
        let mut second = sessions[1].take("a message", 300).expect("a part");
        second.resize(500).expect("its part");
        assert!(second.resize(501).is_err());
        assert_eq!(second.bytes(), 500);
        let third = sessions[2].take("a message", 100).expect("its own");
        assert!(sessions[2].take("a message", 1).is_err(), "nothing is left that is shared");
        drop((first, third));
        assert!(sessions[2].take("a message", 500).is_ok());
    }
}
