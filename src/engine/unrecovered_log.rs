//! Log records of objects that cannot be opened for now, copied out of the log: they are needed once the objects
//! recover, and would otherwise retain every log file since.
//!
//! ```text
//! backlog/<id>/<log file>.records    the records of the object in the log files before that one
//! ```

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{Log, LogRecord, TableRows, file},
    error::{Error, ErrorKind, Result},
    storage::Storage,
};

/// The records of one object that has not recovered, in the order of the log.
#[derive(Debug, Default)]
pub struct UnrecoveredLog {
    /// Records in this log file and later ones are only in the log.
    pub before: u64,
    pub records: Vec<(LogRecord, Bytes)>,
}

/// The header of a file.
#[derive(Debug, Serialize, Deserialize)]
struct UnrecoveredHeader {
    before: u64,
}

impl UnrecoveredLog {
    pub const FOLDER: &str = "backlog";

    /// The records kept for an object; empty if there are none.
    pub fn load(storage: &dyn Storage, id: u64) -> Result<UnrecoveredLog> {
        let Some(newest) = storage.list(&folder(id))?.pop() else { return Ok(UnrecoveredLog::default()) };
        let bytes = storage.read(&newest)?.unwrap_or_default();
        let (UnrecoveredHeader { before }, sections): (UnrecoveredHeader, _) = file::decode(&newest, &bytes)?;
        let mut records = Vec::new();
        for batch in sections.iter().flatten() {
            let column = batch.columns().first().and_then(|column| column.as_binary_opt::<i32>());
            let column = column
                .ok_or_else(|| Error::new(ErrorKind::DataCorrupted, format!("file \"{newest}\" holds no records")))?;
            for n in 0..column.len() {
                records.push(LogRecord::decode(&Bytes::copy_from_slice(column.value(n)))?);
            }
        }
        Ok(UnrecoveredLog { before, records })
    }

    /// Appends the records of these objects in the log files before `before` to those kept already. Blocking.
    pub fn keep(storage: &dyn Storage, log: &Log, ids: &[u64], before: u64) -> Result<()> {
        let mut all: BTreeMap<u64, UnrecoveredLog> = BTreeMap::new();
        for id in ids {
            all.insert(*id, UnrecoveredLog::load(storage, *id)?);
        }
        for logged in log.records_before(before) {
            let logged = logged?;
            if let LogRecord::Rows(TableRows { transaction, more: false, .. }) = logged.record {
                all.values_mut().for_each(|kept| kept.end(transaction));
            }
            let kept = logged.record.object().and_then(|id| all.get_mut(&id));
            if let Some(kept) = kept.filter(|kept| logged.file >= kept.before) {
                kept.records.push((logged.record, logged.bytes));
            }
        }
        all.into_iter().try_for_each(|(id, kept)| kept.save(storage, id, before))
    }

    /// Marks the last record of a transaction as its end: the end may be a record of another object, which is not kept.
    fn end(&mut self, transaction: u64) {
        let of_it = self.records.iter_mut().rev().find_map(|(record, _)| match record {
            LogRecord::Rows(rows) if rows.transaction == transaction => Some(rows),
            _ => None,
        });
        if let Some(last) = of_it.filter(|_| transaction != TableRows::NO_TRANSACTION) {
            last.more = false;
        }
    }

    /// Writes a new file, then removes the earlier ones.
    fn save(self, storage: &dyn Storage, id: u64, before: u64) -> Result<()> {
        let earlier = storage.list(&folder(id))?;
        // One record per batch: together they may exceed the 2 GiB limit of a column.
        let batch = |(record, bytes): &(LogRecord, Bytes)| {
            let encoded = record.encode(bytes)?;
            let column: ArrayRef = Arc::new(BinaryArray::from_vec(vec![&encoded[..]]));
            Ok(RecordBatch::try_from_iter([("record", column)])?)
        };
        let batches = self.records.iter().map(batch).collect::<Result<Vec<_>>>()?;
        let path = format!("{}/{before:012}.records", folder(id));
        if !earlier.contains(&path) {
            storage.create(&path, &file::encode(&path, &UnrecoveredHeader { before }, &[batches])?)?;
        }
        storage.remove_all(&earlier.into_iter().filter(|earlier| *earlier != path).collect::<Vec<_>>())
    }

    /// Removes all files of an object.
    pub fn remove(storage: &dyn Storage, id: u64) -> Result<()> {
        storage.clear(&folder(id))
    }
}

fn folder(id: u64) -> String {
    format!("{}/{id}", UnrecoveredLog::FOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkpoint::Transactions, storage::MemoryStorage};

    fn rows(transaction: u64, table: u64, more: bool) -> Bytes {
        let rows = TableRows { transaction, table, more, ..TableRows::default() };
        LogRecord::Rows(rows).encode(&[]).unwrap()
    }

    /// Of tables 1 and 2: transaction 7 is of both and ends in 2, transaction 8 of both has no end yet.
    #[tokio::test]
    async fn kept_rows_of_an_ended_transaction_count_without_the_record_of_the_other_table() {
        let storage = Arc::new(MemoryStorage::default());
        let (log, _) = Log::open(storage.clone(), 0).unwrap();
        log.append(vec![rows(7, 1, true), rows(8, 1, true), rows(7, 2, false), rows(8, 2, true)]).await.unwrap();
        let file = log.rotate();
        UnrecoveredLog::keep(storage.as_ref(), &log, &[1], file).unwrap();
        log.append(vec![rows(8, 2, false)]).await.unwrap();
        log.forget(file).unwrap();
        let kept = UnrecoveredLog::load(storage.as_ref(), 1).unwrap().records;
        let mut transactions = Transactions::default();
        kept.iter().for_each(|(record, _)| transactions.add(record));
        let ended = |transactions: &Transactions| -> Vec<(u64, bool)> {
            let of = |(record, _): &(LogRecord, Bytes)| match record {
                LogRecord::Rows(rows) => Some((rows.transaction, transactions.has_ended(rows))),
                _ => None,
            };
            kept.iter().filter_map(of).collect()
        };
        assert_eq!(ended(&transactions), [(7, true), (8, false)]);
        log.records_before(u64::MAX).for_each(|logged| transactions.add(&logged.unwrap().record));
        assert_eq!(ended(&transactions), [(7, true), (8, true)], "the log has the end of the other one");
        let (log, _) = Log::open(storage, 0).unwrap();
        assert_eq!(log.begin_transaction(), 9, "no number is given twice while the log has it");
        log.skip_transactions(20);
        log.skip_transactions(3);
        assert_eq!((log.begin_transaction(), log.newest_transaction()), (21, 21));
    }
}
