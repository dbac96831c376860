//! What the log acknowledges is durable, in order and once, whoever's write fails and whoever goes.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use shuttle::{
    future::block_on,
    rand::{Rng, thread_rng},
    thread,
};

use super::{SlowDisk, checkpoint::Log, in_drawn_orders};
use crate::{
    checkpoint::{LogRecord, TableRows},
    error::ErrorKind,
    storage::{Fault, FaultyStorage, Journal, MemoryStorage, Operation},
    time::Epoch,
};

/// A log on a slow disk, which fails now and then until it is whole.
struct Setup {
    disk: Arc<MemoryStorage>,
    whole: Arc<AtomicBool>,
    log: Arc<Log>,
}

fn setup() -> Setup {
    let (disk, whole) = (Arc::new(MemoryStorage::default()), Arc::new(AtomicBool::new(false)));
    let is_whole = whole.clone();
    let storage = FaultyStorage::new(Arc::new(SlowDisk(disk.clone())), move |operation, _| {
        if is_whole.load(Ordering::Relaxed) || thread_rng().gen_bool(0.7) {
            return None;
        }
        let of_append =
            [Fault::Refused(ErrorKind::DiskFull), Fault::Short(0), Fault::Short(40), Fault::Hole(20), Fault::Unsynced];
        match operation {
            Operation::Append => Some(of_append[thread_rng().gen_range(0..of_append.len())]),
            Operation::Overwrite | Operation::Remove => Some(Fault::Refused(ErrorKind::Io)),
            _ => None,
        }
    });
    let (log, _) = Log::open(Arc::new(storage), 0).unwrap();
    Setup { disk, whole, log: Arc::new(log) }
}

fn record(id: u64) -> Bytes {
    LogRecord::Rows(TableRows { table: id, epoch: Epoch(1), ..TableRows::default() }).encode(&[]).unwrap()
}

fn id_of(record: &LogRecord) -> u64 {
    match record {
        LogRecord::Rows(rows) => rows.table,
        other => panic!("{other:?}"),
    }
}

/// The ids of the records that a start would find now, each with the number of its file.
fn found(disk: &MemoryStorage) -> Vec<(u64, u64)> {
    let (_, payloads) = Journal::open(Arc::new(disk.survivor()), "log", 1).unwrap();
    payloads.iter().map(|(file, payload)| (id_of(&LogRecord::decode(payload).unwrap().0), *file)).collect()
}

/// Appends pairs of records, one pair after the other; gives what was acknowledged, of which `look` is told at once.
fn append(setup: &Setup, appender: u64, look: impl Fn(&[u64])) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    for n in 0..2 {
        let ids = [100 * appender + 2 * n, 100 * appender + 2 * n + 1];
        if block_on(setup.log.append(ids.map(record).to_vec())).is_ok() {
            acknowledged.extend(ids);
            look(&acknowledged);
        }
    }
    acknowledged
}

/// Waits for the disk to be whole again, and writes once more.
fn append_at_last(setup: &Setup, id: u64) {
    setup.whole.store(true, Ordering::Relaxed);
    while block_on(setup.log.append(vec![record(id)])).is_err() {
        thread::yield_now();
    }
}

#[test]
fn log_concurrent_appends_on_a_failing_disk_keep_acknowledged_records_once_in_order() {
    in_drawn_orders(|| {
        let setup = Arc::new(setup());
        let mut appenders = Vec::new();
        for appender in 1..=3 {
            let setup = setup.clone();
            appenders.push(thread::spawn(move || {
                append(&setup, appender, |acknowledged| {
                    let found: BTreeSet<u64> = found(&setup.disk).into_iter().map(|(id, _)| id).collect();
                    assert!(acknowledged.iter().all(|id| found.contains(id)), "{acknowledged:?}, but {found:?}");
                })
            }));
        }
        let (noting, leaving) = (setup.clone(), setup.clone());
        let others = [
            thread::spawn(move || [1, 2].into_iter().for_each(|id| noting.log.enqueue(record(id)))),
            // Who waited may be gone.
            thread::spawn(move || [11, 12].into_iter().for_each(|id| drop(leaving.log.append(vec![record(id)])))),
        ];
        let outcomes: Vec<_> = appenders.into_iter().map(|thread| thread.join().unwrap()).collect();
        others.into_iter().for_each(|thread| thread.join().unwrap());
        append_at_last(&setup, 20);
        let found: Vec<u64> = found(&setup.disk).into_iter().map(|(id, _)| id).collect();
        let of = |ids: std::ops::Range<u64>| found.iter().copied().filter(|id| ids.contains(id)).collect::<Vec<_>>();
        for (appender, acknowledged) in (1..).zip(&outcomes) {
            assert_eq!(of(100 * appender..100 * appender + 100), *acknowledged, "what failed is not there: {found:?}");
        }
        assert_eq!(of(1..10), [1, 2], "what is noted is never lost: {found:?}");
        assert!([&[][..], &[11], &[12], &[11, 12]].contains(&&of(11..20)[..]), "once: {found:?}");
        assert_eq!(found.last(), Some(&20));
    });
}

#[test]
fn log_shortened_during_appends_loses_only_records_of_the_files_before() {
    in_drawn_orders(|| {
        let setup = Arc::new(setup());
        let mut appenders = Vec::new();
        for appender in 1..=2 {
            let setup = setup.clone();
            appenders.push(thread::spawn(move || append(&setup, appender, |_| ())));
        }
        let shortening = setup.clone();
        let shortened = thread::spawn(move || {
            let log = &shortening.log;
            let first = log.rotate();
            let is_there = block_on(log.append(vec![record(1)])).is_ok();
            let before: Vec<u64> = log.records_before(first).map(|logged| id_of(&logged.unwrap().record)).collect();
            // Where it fails, more is there than need be.
            let _ = log.forget(first);
            (first, is_there, before)
        });
        let outcomes: Vec<_> = appenders.into_iter().map(|thread| thread.join().unwrap()).collect();
        let (first, is_there, before) = shortened.join().unwrap();
        append_at_last(&setup, 20);
        let found = found(&setup.disk);
        let kept: Vec<u64> = found.iter().map(|(id, _)| *id).collect();
        let at = |id: u64| found.iter().find(|(found, _)| *found == id).map(|(_, file)| *file);
        assert_eq!(at(1).is_some(), is_there, "{found:?}");
        assert!(at(1).is_none_or(|file| file >= first), "what comes after a rotation stands in the new file");
        let gone: Vec<u64> = before.iter().copied().filter(|id| !kept.contains(id)).collect();
        let all = [gone, kept].concat();
        for (appender, acknowledged) in (1..).zip(&outcomes) {
            let of: Vec<u64> = all.iter().copied().filter(|id| id / 100 == appender).collect();
            assert_eq!(of, *acknowledged, "{before:?} was before, {found:?} is there");
        }
    });
}
