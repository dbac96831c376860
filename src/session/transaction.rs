//! Transaction status. Statements commit one by one: a transaction groups settings and cursors, not writes.

use crate::{
    error::{Error, ErrorKind, Result},
    sql::statement::Body,
};

/// The transaction of a session.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    pub state: TransactionState,
    pub read_only: bool,
    /// A statement was run in it: from here on a read-only transaction cannot be made read-write.
    pub queried: bool,
    /// Something was written in it, which a rollback will not undo.
    pub wrote: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    #[default]
    Idle,
    Open,
    /// A statement failed: all others are refused until the transaction ends.
    Failed,
}

impl Transaction {
    /// Fails with 25P02 for statements that a failed transaction does not run: all but those that end it or its
    /// failure.
    pub fn admit(&self, body: &Body) -> Result<()> {
        // The parser returns `ROLLBACK TO SAVEPOINT` as a statement without effect.
        let ends = match body {
            Body::Commit | Body::Rollback => true,
            Body::NoOp(tag) => tag == "ROLLBACK",
            _ => false,
        };
        match self.state {
            TransactionState::Failed if !ends => Err(Error::new(
                ErrorKind::FailedTransaction,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse;

    #[test]
    fn failed_transaction_admits_only_what_ends_it() {
        let failed = Transaction { state: TransactionState::Failed, ..Transaction::default() };
        for (sql, is_admitted) in [
            ("ROLLBACK", true),
            ("COMMIT", true),
            ("ROLLBACK TO SAVEPOINT s", true),
            ("SAVEPOINT s", false),
            ("BEGIN", false),
            ("SELECT 1", false),
            ("SHOW ALL", false),
        ] {
            let body = parse(sql).expect(sql).remove(0).body;
            assert_eq!(failed.admit(&body).is_ok(), is_admitted, "{sql}");
            assert!(Transaction::default().admit(&body).is_ok(), "{sql}");
        }
    }
}
