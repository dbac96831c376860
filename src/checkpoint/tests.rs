use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;

use super::*;
use crate::{storage::MemoryStorage, time::Epoch};

fn record(table: u64) -> Bytes {
    LogRecord::Rows(TableRows { table, epoch: Epoch(1), ..TableRows::default() }).encode(&[]).unwrap()
}

fn tables(storage: MemoryStorage) -> Vec<u64> {
    let (_, records) = Log::open(Arc::new(storage), 0).unwrap();
    let table = |logged: Logged| match logged.record {
        LogRecord::Rows(rows) => rows.table,
        other => panic!("{other:?}"),
    };
    records.into_iter().map(table).collect()
}

/// Retries until the pause after a failed write is over.
fn append_at_last(log: &Log, table: u64) {
    while block_on(log.append(vec![record(table)])).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn log_failed_append_is_not_recovered_and_later_appends_are() {
    let storage = Arc::new(MemoryStorage::default());
    let (log, _) = Log::open(storage.clone(), 0).unwrap();
    block_on(log.append(vec![record(1)])).unwrap();
    storage.fail_at(2);
    assert!(block_on(log.append(vec![record(2)])).is_err());
    storage.heal();
    append_at_last(&log, 3);
    assert_eq!(log.failure().map(|error| error.to_string()), None);
    assert_eq!(tables(storage.survivor()), [1, 3]);
}

#[test]
fn log_note_after_a_failed_write_is_written_with_the_next_append() {
    let storage = Arc::new(MemoryStorage::default());
    let (log, _) = Log::open(storage.clone(), 0).unwrap();
    storage.fail_at(1);
    log.enqueue(record(1));
    assert!(block_on(log.append(vec![record(2)])).is_err());
    storage.heal();
    append_at_last(&log, 3);
    assert_eq!(tables(storage.survivor()), [1, 3]);
}
