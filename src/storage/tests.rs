use std::{collections::BTreeMap, sync::Arc};

use super::{journal::WRITE_BYTES_MAX, *};
use crate::error::ErrorKind;

const FIRST: &str = "log/000000000001.log";

fn open(storage: &Arc<MemoryStorage>) -> (Journal, Vec<String>) {
    let (journal, records) = Journal::open(storage.clone(), "log", 1).unwrap();
    (journal, texts(records))
}

fn texts(records: Vec<(u64, Bytes)>) -> Vec<String> {
    records.into_iter().map(|(_, payload)| String::from_utf8(payload.to_vec()).unwrap()).collect()
}

fn payloads(texts: &[&str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from(text.to_string())).collect()
}

/// A journal of three files and a mark: the second file is closed, the third was begun after a restart.
fn three_files() -> (Arc<MemoryStorage>, Vec<String>) {
    let storage = Arc::new(MemoryStorage::default());
    let (journal, _) = open(&storage);
    journal.append(&payloads(&["one", "two"])).unwrap();
    journal.append(&payloads(&["three"])).unwrap();
    journal.rotate();
    journal.append(&payloads(&["four"])).unwrap();
    journal.append(&payloads(&["five", "six"])).unwrap();
    let (journal, _) = open(&storage);
    journal.append(&payloads(&["seven"])).unwrap();
    journal.append(&payloads(&["eight", "nine"])).unwrap();
    let all = open(&storage).1;
    assert_eq!(all, ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]);
    (storage, all)
}

#[test]
fn journal_torn_append_is_dropped_and_acknowledged_records_stay() {
    let storage = Arc::new(MemoryStorage::default());
    let (journal, _) = open(&storage);
    journal.append(&payloads(&["one", "two"])).unwrap();
    storage.fail_at(2);
    assert!(journal.append(&payloads(&["a torn record"])).is_err());
    let storage = Arc::new(storage.survivor());
    let (journal, records) = open(&storage);
    assert_eq!(records, ["one", "two"]);
    journal.append(&payloads(&["three"])).unwrap();
    assert_eq!(open(&storage).1, ["one", "two", "three"]);
}

/// Every file removed, emptied, cut at every byte, with every byte changed, and with the contents of every other: the
/// journal is whole, or the error names the damaged file.
#[test]
fn journal_open_with_any_damaged_file_names_it_or_gives_all_records() {
    let (storage, all) = three_files();
    let files = storage.files();
    let check = |what: String, damaged: BTreeMap<String, Vec<u8>>| match Journal::open(
        Arc::new(MemoryStorage::from(damaged)),
        "log",
        1,
    ) {
        Ok((_, records)) => assert_eq!(texts(records), all, "{what}"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::DataCorrupted, "{what}: {error}");
            assert!(error.message().contains("log/00000000000"), "{what}: {error}");
        }
    };
    for (path, bytes) in &files {
        let with = |bytes: Option<Vec<u8>>| {
            let mut files = files.clone();
            match bytes {
                Some(bytes) => files.insert(path.clone(), bytes),
                None => files.remove(path),
            };
            files
        };
        check(format!("{path} is gone"), with(None));
        for length in 0..bytes.len() {
            check(format!("{path} has {length} bytes"), with(Some(bytes[..length].to_vec())));
            let mut changed = bytes.clone();
            changed[length] ^= 0x20;
            check(format!("{path} is changed at {length}"), with(Some(changed)));
        }
        for (other, bytes) in &files {
            check(format!("{path} is {other}"), with(Some(bytes.clone())));
        }
    }
}

#[test]
fn journal_open_without_mark_fails_on_a_damaged_group_before_another() {
    // As after a power cut, when the mark may not have been persisted.
    let (storage, _) = three_files();
    let third = "log/000000000003.log";
    let mut files = storage.files();
    files.remove("marks/log");
    let bytes = files.get_mut(third).unwrap();
    let seven = bytes.windows(5).position(|window| window == b"seven").unwrap();
    bytes[seven] ^= 1;
    let error = Journal::open(Arc::new(MemoryStorage::from(files)), "log", 1).unwrap_err();
    assert!(error.message().contains(third), "{error}");
}

/// A group is one write and one sync. A disk may persist its blocks in any order, so that after a power cut any of them
/// may be missing: none of it was acknowledged.
#[test]
fn journal_open_after_a_power_cut_drops_a_group_from_its_first_lost_block() {
    const BLOCK: usize = 16;
    let storage = Arc::new(MemoryStorage::default());
    let (journal, _) = open(&storage);
    journal.append(&payloads(&["one"])).unwrap();
    let synced = storage.read(FIRST).unwrap().unwrap().len();
    let group: Vec<String> = (0..6).map(|n| format!("record {n} of a group")).collect();
    journal.append(&group.iter().map(|text| Bytes::from(text.clone())).collect::<Vec<_>>()).unwrap();
    let bytes = storage.read(FIRST).unwrap().unwrap().to_vec();
    let blocks = (bytes.len() - synced).div_ceil(BLOCK);
    // Each block lost alone, and together with all before it.
    for (lost, all_before) in (0..blocks).flat_map(|block| [(block, false), (block, true)]) {
        let mut torn = bytes.clone();
        let first = if all_before { 0 } else { lost };
        let end = bytes.len().min(synced + (lost + 1) * BLOCK);
        torn[synced + first * BLOCK..end].fill(0);
        let storage = MemoryStorage::from(BTreeMap::from([(FIRST.to_string(), torn)]));
        let (_, records) = Journal::open(Arc::new(storage), "log", 1)
            .unwrap_or_else(|error| panic!("blocks {first}..={lost}: {error}"));
        let records = texts(records);
        assert_eq!(records[0], "one");
        assert_eq!(records[1..], group[..records.len() - 1], "blocks {first}..={lost}");
    }
}

#[test]
fn journal_open_drops_trailing_zeros_or_garbage() {
    for end in [&[0; 5][..], &[0; 4096], &[7; 100], &9u32.to_le_bytes()] {
        let storage = Arc::new(MemoryStorage::default());
        let (journal, _) = open(&storage);
        journal.append(&payloads(&["one"])).unwrap();
        storage.append(FIRST, end).unwrap();
        let (journal, records) = open(&storage);
        assert_eq!(records, ["one"]);
        journal.append(&payloads(&["two"])).unwrap();
        assert_eq!(open(&storage).1, ["one", "two"]);
    }
}

#[test]
fn journal_append_after_failed_writes_ignores_their_remains() {
    let faults = [
        Fault::Refused(ErrorKind::DiskFull),
        Fault::Short(0),
        Fault::Short(30),
        Fault::Short(60),
        Fault::Hole(20),
        Fault::Unsynced,
    ];
    // Two writes fail, one after the other: the first in a file that has records, the second in a new one.
    for (first, second) in faults.into_iter().flat_map(|first| faults.map(|second| (first, second))) {
        let inner = Arc::new(MemoryStorage::default());
        let mut appends = 0;
        let storage = FaultyStorage::new(inner.clone(), move |operation, _| match operation {
            Operation::Append => {
                appends += 1;
                [None, Some(first), Some(second)].get(appends - 1).copied().flatten()
            }
            // A file that was begun cannot be removed either.
            Operation::Remove => Some(Fault::Refused(ErrorKind::Io)),
            _ => None,
        });
        let (journal, _) = Journal::open(Arc::new(storage), "log", 1).unwrap();
        journal.append(&payloads(&["one"])).unwrap();
        assert!(journal.append(&payloads(&["two", "three"])).is_err());
        assert!(journal.append(&payloads(&["four", "five"])).is_err());
        journal.append(&payloads(&["six"])).unwrap();
        assert_eq!(open(&inner).1, ["one", "six"], "{first:?} {second:?}");
        let read: Vec<Bytes> = (1..6).flat_map(|file| journal.read(file).unwrap()).collect();
        assert_eq!(read, payloads(&["one", "six"]), "{first:?} {second:?}");
    }
}

#[test]
fn journal_forget_is_durable_before_files_are_deleted() {
    for crash in 1.. {
        let storage = Arc::new(MemoryStorage::default());
        storage.fail_at(crash);
        let (journal, _) = open(&storage);
        let work = || -> Result<()> {
            for text in ["one", "two", "three", "four"] {
                journal.append(&payloads(&[text]))?;
                let file = journal.rotate();
                if text == "three" {
                    journal.forget(file - 1)?;
                }
            }
            Ok(())
        };
        let done = work().is_ok();
        let survivor = Arc::new(storage.survivor());
        let (journal, records) = open(&survivor);
        assert!(!done || records == ["three", "four"], "write {crash}: {records:?}");
        journal.append(&payloads(&["five"])).unwrap();
        assert_eq!(open(&survivor).1.last().unwrap(), "five", "write {crash}");
        if done {
            break;
        }
    }
}

#[test]
fn journal_open_without_a_file_that_is_still_needed_fails() {
    let (storage, _) = three_files();
    let (journal, _) = open(&storage);
    journal.forget(2).unwrap();
    assert_eq!(open(&storage).1, ["four", "five", "six", "seven", "eight", "nine"]);
    let mut files = storage.files();
    files.remove("log/000000000002.log").unwrap();
    let error = Journal::open(Arc::new(MemoryStorage::from(files)), "log", 1).unwrap_err();
    assert_eq!(error.message(), "journal \"log/000000000002.log\" is missing");
}

#[test]
fn journal_append_of_several_writes_is_atomic() {
    let large = vec![b'x'; WRITE_BYTES_MAX / 2];
    let records: Vec<Bytes> = (0..3).map(|_| Bytes::from(large.clone())).collect();
    for fail_at in [2, 3] {
        let storage = Arc::new(MemoryStorage::default());
        let (journal, _) = open(&storage);
        journal.append(&payloads(&["one"])).unwrap();
        storage.fail_at(fail_at);
        assert!(journal.append(&records).is_err());
        storage.heal();
        journal.append(&payloads(&["two"])).unwrap();
        assert_eq!(open(&storage).1, ["one", "two"], "write {fail_at}");
    }
}

#[test]
fn journal_files_of_earlier_releases_are_read() {
    let mut bytes = Vec::new();
    for payload in ["one", "two"] {
        let length = (payload.len() as u32).to_le_bytes();
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&crc32fast::hash(&length).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(payload.as_bytes()).to_le_bytes());
        bytes.extend_from_slice(payload.as_bytes());
    }
    let storage = Arc::new(MemoryStorage::default());
    storage.append(FIRST, &bytes).unwrap();
    storage.append(FIRST, &[1, 2, 3]).unwrap();
    let (journal, records) = open(&storage);
    assert_eq!(records, ["one", "two"]);
    journal.append(&payloads(&["three"])).unwrap();
    assert_eq!(open(&storage).1, ["one", "two", "three"]);
    let mut files = storage.files();
    files.get_mut(FIRST).unwrap()[13] ^= 1;
    let error = Journal::open(Arc::new(MemoryStorage::from(files)), "log", 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataCorrupted);
}

#[test]
fn journal_of_a_newer_version_is_refused_by_name() {
    let storage = Arc::new(MemoryStorage::default());
    let (journal, _) = Journal::open(storage.clone(), "log", 2).unwrap();
    journal.append(&[Bytes::from_static(b"record")]).unwrap();
    let error = Journal::open(storage.clone(), "log", 1).unwrap_err();
    assert_eq!(error.message(), "journal \"log/000000000001.log\" has records of version 2, of which 1 is known here");
    assert_eq!(error.hint_text(), Some("It was written by a newer release: start that one."));
    assert_eq!(Journal::open(storage.clone(), "log", 3).unwrap().1.len(), 1, "what is older is read");
    let mut files = storage.files();
    files.get_mut("log/000000000001.log").unwrap()[3] = b'3';
    let error = Journal::open(Arc::new(MemoryStorage::from(files)), "log", 2).unwrap_err();
    assert_eq!(error.message(), "journal \"log/000000000001.log\" has version 3");
}
