//! One client's session: who it is, what it has set, where its transaction stands, and what it is still to be told.
//!
//! Owned by its connection, shared with nobody but the statements that the connection runs. Prepared statements,
//! portals and cursors are the connection's own: they hold running queries.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use crate::pg_catalog::settings::Settings;
use crate::{error::Error, pg_catalog::Peers};

/// More than these are dropped: a statement that warns of each of a million rows must not fill the memory.
const NOTICES_MAX: usize = 100;

/// What one client has and has set. Interior mutability, so that a running statement can be read beside it.
#[derive(Debug, Default)]
pub struct Session {
    pub user: String,
    pub database: String,
    /// What `pg_backend_pid()` tells; 0 where nobody is connected (a pipeline, a test).
    pub pid: i32,
    pub settings: Arc<Settings>,
    /// Those beside it; `None` where nobody is connected.
    pub peers: Option<Arc<dyn Peers>>,
    transaction: Mutex<Transaction>,
    notices: Mutex<Vec<Notice>>,
    /// What the running statement waits for, as the error that it is where it waits too long.
    waited: Mutex<Option<Error>>,
}

/// Where a transaction stands. Statements commit one by one: a transaction groups settings and cursors, no writes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    pub state: TransactionState,
    pub read_only: bool,
    /// A statement was run in it: from here on a read-only transaction stays one.
    pub queried: bool,
    /// Something was written in it that a rollback will not undo.
    pub wrote: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    #[default]
    Idle,
    Open,
    /// A statement failed: everything is refused until it ends.
    Failed,
}

/// Something that a client is told beside the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub severity: Severity,
    pub message: String,
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Notice,
    Warning,
}

impl Session {
    pub fn new(user: impl Into<String>, database: impl Into<String>, pid: i32) -> Session {
        let session = Session { user: user.into(), database: database.into(), pid, ..Session::default() };
        // The name is known and takes any value.
        let _ = session.settings.set_initial("session_authorization", &session.user);
        session
    }

    /// What is in force, the defaults included; `None` where there is no such setting.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.settings.get(name)
    }

    /// Tells the client something before the end of the running statement.
    pub fn notice(&self, message: impl Into<String>) {
        self.tell(Notice { severity: Severity::Notice, message: message.into(), hint: None });
    }

    pub fn warning(&self, message: impl Into<String>) {
        self.tell(Notice { severity: Severity::Warning, message: message.into(), hint: None });
    }

    pub fn tell(&self, notice: Notice) {
        let mut notices = lock(&self.notices);
        if notices.len() < NOTICES_MAX {
            notices.push(notice);
        }
    }

    /// Says what the running statement waits for now: nothing but its own work, where `None`.
    pub fn waits_for(&self, what: Option<Error>) {
        *lock(&self.waited) = what;
    }

    /// What the statement that was given up has waited for.
    pub fn take_waited(&self) -> Option<Error> {
        lock(&self.waited).take()
    }

    pub fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *lock(&self.notices))
    }

    pub fn transaction(&self) -> Transaction {
        *lock(&self.transaction)
    }

    pub fn set_transaction(&self, transaction: Transaction) {
        *lock(&self.transaction) = transaction;
    }

    /// A statement failed: an open transaction fails with it.
    pub fn fail(&self) {
        let mut transaction = lock(&self.transaction);
        if transaction.state == TransactionState::Open {
            transaction.state = TransactionState::Failed;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
