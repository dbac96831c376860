//! Which transactions are complete: those whose end is in the log. Their rows count in all their tables, or in none.

use std::collections::BTreeSet;

use super::{LogRecord, TableRows};

/// The transactions in some log records.
#[derive(Debug, Default)]
pub struct Transactions {
    ended: BTreeSet<u64>,
}

impl Transactions {
    pub fn add(&mut self, record: &LogRecord) {
        if let LogRecord::Rows(rows) = record
            && !rows.more
        {
            self.ended.insert(rows.transaction);
        }
    }

    /// Whether the transaction of some rows is complete, as far as known here: in older logs rows have no transaction,
    /// and their own last record ends it.
    pub fn has_ended(&self, rows: &TableRows) -> bool {
        rows.transaction == TableRows::NO_TRANSACTION || self.ended.contains(&rows.transaction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(transaction: u64, table: u64, part: u32, more: bool) -> TableRows {
        TableRows { transaction, table, part, more, ..TableRows::default() }
    }

    #[test]
    fn transaction_has_happened_in_all_its_tables_once_its_end_is_there() {
        let mut transactions = Transactions::default();
        let of_two = [rows(7, 1, 0, true), rows(7, 1, 1, true), rows(7, 2, 0, false)];
        for record in &of_two[..2] {
            transactions.add(&LogRecord::Rows(record.clone()));
        }
        assert!(of_two.iter().all(|rows| !transactions.has_ended(rows)), "its end is not there");
        transactions.add(&LogRecord::Rows(of_two[2].clone()));
        assert!(of_two.iter().all(|rows| transactions.has_ended(rows)));
        assert!(!transactions.has_ended(&rows(8, 1, 0, true)));
        assert!(transactions.has_ended(&rows(TableRows::NO_TRANSACTION, 1, 0, true)), "an older log has none");
    }
}
