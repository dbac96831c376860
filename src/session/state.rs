//! The state of a session. Owned by its connection, and shared only with the statements that the connection runs.

use std::sync::Mutex;

use super::{
    info::{SessionInfo, Subject},
    notice::{Notice, Severity},
    transaction::{Transaction, TransactionState},
};
use crate::{
    error::{Error, ErrorKind, Result},
    sync::locked,
};

/// Notices stored per statement; more are dropped: a warning for each of a million rows must not fill the memory.
const NOTICES_MAX: usize = 100;
/// The GUC with the access mode of the transaction.
const READ_ONLY: &str = "transaction_read_only";
const DEFAULT_READ_ONLY: &str = "default_transaction_read_only";

/// The state of one client's session. Interior mutability, so that it can be read while a statement runs.
#[derive(Debug, Default)]
pub struct Session {
    pub info: SessionInfo,
    transaction: Mutex<Transaction>,
    notices: Mutex<Vec<Notice>>,
    /// The error of a timeout while the running statement waits for something, naming what it waits for.
    waited: Mutex<Option<Error>>,
}

impl Session {
    pub fn new(user: impl Into<String>, database: impl Into<String>, pid: i32) -> Session {
        let subject = Subject { user: user.into() };
        let info = SessionInfo { subject, database: database.into(), pid, ..SessionInfo::default() };
        // Cannot fail: the name is known and takes any value.
        let _ = info.settings.set_initial("session_authorization", &info.subject.user);
        Session { info, ..Session::default() }
    }

    /// The value in effect, including defaults; `None` if there is no such setting.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.info.settings.get(name)
    }

    /// `SET [LOCAL] name = value`; without a value, the default is restored.
    pub fn set(&self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        if local && self.transaction().state == TransactionState::Idle {
            self.warning("SET LOCAL can only be used in transaction blocks");
        }
        match value {
            Some(value) if name.eq_ignore_ascii_case(READ_ONLY) => self.set_read_only(value),
            Some(value) => self.info.settings.set(name, value, local),
            None => self.info.settings.reset(name),
        }
    }

    /// `SET TRANSACTION READ ONLY | READ WRITE`, in any spelling: applies to the open transaction.
    fn set_read_only(&self, value: &str) -> Result<()> {
        let (settings, transaction) = (&self.info.settings, self.transaction());
        let before = settings.is_on(READ_ONLY);
        settings.set(READ_ONLY, value, true)?;
        let read_only = settings.is_on(READ_ONLY);
        if transaction.state == TransactionState::Idle {
            return Ok(());
        }
        if transaction.read_only && !read_only && transaction.queried {
            settings.set(READ_ONLY, if before { "on" } else { "off" }, true)?;
            let message = "transaction read-write mode must be set before any query";
            return Err(Error::new(ErrorKind::ActiveTransaction, message));
        }
        self.set_transaction(Transaction { read_only, ..transaction });
        Ok(())
    }

    pub fn transaction(&self) -> Transaction {
        *locked(&self.transaction)
    }

    fn set_transaction(&self, transaction: Transaction) {
        *locked(&self.transaction) = transaction;
    }

    /// Whether statements may not write now: by the open transaction, else by the default for new ones.
    pub fn is_read_only(&self) -> bool {
        let transaction = self.transaction();
        match transaction.state {
            TransactionState::Idle => self.info.settings.is_on(DEFAULT_READ_ONLY),
            _ => transaction.read_only,
        }
    }

    /// `BEGIN`; if the statement has no access mode, the settings decide.
    pub fn begin(&self, read_only: Option<bool>) -> Result<()> {
        if self.transaction().state != TransactionState::Idle {
            self.warning("there is already a transaction in progress");
            return Ok(());
        }
        let settings = &self.info.settings;
        let read_only = read_only.unwrap_or_else(|| settings.is_on(DEFAULT_READ_ONLY));
        settings.begin();
        settings.set(READ_ONLY, if read_only { "on" } else { "off" }, true)?;
        self.set_transaction(Transaction { state: TransactionState::Open, read_only, ..Transaction::default() });
        Ok(())
    }

    /// `COMMIT` or `ROLLBACK`; returns whether it committed, which a failed transaction does not.
    pub fn end(&self, commit: bool) -> bool {
        let transaction = self.transaction();
        if transaction.state == TransactionState::Idle {
            self.warning("there is no transaction in progress");
        }
        let commits = commit && transaction.state != TransactionState::Failed;
        if commits {
            self.info.settings.commit();
        } else {
            self.info.settings.rollback();
            if transaction.wrote && transaction.state != TransactionState::Idle {
                self.warning("statements commit one by one: what this transaction wrote stays");
            }
        }
        self.set_transaction(Transaction::default());
        commits
    }

    /// A statement failed: an open transaction becomes failed.
    pub fn fail(&self) {
        let mut transaction = locked(&self.transaction);
        if transaction.state == TransactionState::Open {
            transaction.state = TransactionState::Failed;
        }
    }

    /// `ROLLBACK TO SAVEPOINT`: a failed transaction continues.
    pub fn recover(&self) {
        let mut transaction = locked(&self.transaction);
        if transaction.state == TransactionState::Failed {
            transaction.state = TransactionState::Open;
        }
    }

    /// Notes that a statement was run in the transaction.
    pub fn note_query(&self) {
        locked(&self.transaction).queried = true;
    }

    /// Notes that the transaction has written something.
    pub fn note_write(&self) {
        locked(&self.transaction).wrote = true;
    }

    /// Queues a notice, which the client gets before the end of the running statement.
    pub fn notice(&self, message: impl Into<String>) {
        self.tell(Notice { severity: Severity::Notice, message: message.into(), hint: None });
    }

    pub fn warning(&self, message: impl Into<String>) {
        self.tell(Notice { severity: Severity::Warning, message: message.into(), hint: None });
    }

    pub fn tell(&self, notice: Notice) {
        let mut notices = locked(&self.notices);
        if notices.len() < NOTICES_MAX {
            notices.push(notice);
        }
    }

    pub fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *locked(&self.notices))
    }

    /// Sets the error for a timeout of the running statement while it waits; `None` if it does not wait.
    pub fn waits_for(&self, what: Option<Error>) {
        *locked(&self.waited) = what;
    }

    /// The error of what the timed-out statement was waiting for.
    pub fn take_waited(&self) -> Option<Error> {
        locked(&self.waited).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice_messages(session: &Session) -> Vec<String> {
        session.take_notices().into_iter().map(|notice| notice.message).collect()
    }

    #[test]
    fn read_only_transaction_stays_one_after_a_query() {
        let session = Session::new("ada", "db", 0);
        assert_eq!(session.setting("session_authorization").as_deref(), Some("ada"));
        session.begin(Some(true)).expect("begun");
        session.set(READ_ONLY, Some("off"), false).expect("nothing was run yet");
        assert!(!session.is_read_only());
        session.set("Transaction_Read_Only", Some("on"), false).expect("narrower is always granted");
        session.note_query();
        let error = session.set(READ_ONLY, Some("off"), true).expect_err("a query was run");
        assert_eq!(error.kind(), ErrorKind::ActiveTransaction);
        assert!(session.is_read_only());
        assert_eq!(session.setting(READ_ONLY).as_deref(), Some("on"));
        assert!(session.end(true));
        assert!(!session.is_read_only());
        session.set(DEFAULT_READ_ONLY, Some("on"), false).expect("set");
        assert!(session.is_read_only(), "outside a transaction the default counts");
        session.begin(Some(false)).expect("begun");
        assert!(!session.is_read_only());
    }

    #[test]
    fn failed_transaction_commit_rolls_back() {
        let session = Session::default();
        session.begin(None).expect("begun");
        session.set("application_name", Some("a"), false).expect("set");
        session.note_write();
        session.fail();
        session.recover();
        assert_eq!(session.transaction().state, TransactionState::Open);
        session.fail();
        assert!(!session.end(true));
        assert_eq!(session.setting("application_name").as_deref(), Some(""));
        assert_eq!(notice_messages(&session), ["statements commit one by one: what this transaction wrote stays"]);
        session.fail();
        assert_eq!(session.transaction(), Transaction::default(), "none is open");
        assert!(session.end(true));
        session.set("application_name", Some("a"), true).expect("without effect");
        session.begin(None).expect("begun");
        session.begin(None).expect("warned of");
        let warnings = [
            "there is no transaction in progress",
            "SET LOCAL can only be used in transaction blocks",
            "there is already a transaction in progress",
        ];
        assert_eq!(notice_messages(&session), warnings);
    }
}
