//! A journal: an append-only file of framed records, each with its checksum.
//!
//! ```text
//! frame  = length: u32 LE │ crc32 of length: u32 LE │ crc32 of payload: u32 LE │ payload
//! ```
//! A torn last frame was never acknowledged and is dropped when the file is read; a bad frame with a good one anywhere
//! behind it is corruption. A file with a torn end is not written again: the next record opens the next file.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use super::Storage;
use crate::error::{Error, Kind, Result};

const HEADER: usize = 12;

/// Numbered files of frames in one folder. Appends are durable on return.
#[derive(Debug)]
pub struct Journal {
    storage: Arc<dyn Storage>,
    folder: String,
    file: AtomicU64,
    append: Mutex<()>,
}

impl Journal {
    /// Opens the journal of a folder and hands back what is in it, each payload with the number of its file.
    pub fn open(storage: Arc<dyn Storage>, folder: impl Into<String>) -> Result<(Journal, Vec<(u64, Bytes)>)> {
        let mut records = Vec::new();
        let journal = Journal::replay(storage, folder, |number, payload| {
            records.push((number, payload));
            Ok(())
        })?;
        Ok((journal, records))
    }

    /// The same, record by record: one file at a time is in memory.
    pub fn replay(
        storage: Arc<dyn Storage>,
        folder: impl Into<String>,
        mut record: impl FnMut(u64, Bytes) -> Result<()>,
    ) -> Result<Journal> {
        let mut journal = Journal { storage, folder: folder.into(), file: AtomicU64::new(0), append: Mutex::new(()) };
        let mut newest = 0;
        for path in journal.storage.list(&journal.folder)? {
            let Some(number) = file_number(&path) else { continue };
            newest = newest.max(number);
            journal.read(number)?.into_iter().try_for_each(|payload| record(number, payload))?;
        }
        // Always a new file after a start: the old one may end in a torn frame.
        *journal.file.get_mut() = newest + 1;
        Ok(journal)
    }

    /// The records of one file; none where it was forgotten.
    pub fn read(&self, file: u64) -> Result<Vec<Bytes>> {
        let path = self.path(file);
        let bytes = self.storage.read(&path)?.unwrap_or_default();
        unframe(&bytes).map_err(|e| e.context(format!("journal \"{path}\"")))
    }

    /// The number of the file that the next record goes to.
    pub fn file(&self) -> u64 {
        self.file.load(Ordering::Acquire)
    }

    /// Adds records as one write, so that after a crash a prefix of them is there. A failed write leaves it open
    /// whether they are there; what comes next goes to another file, so that half a frame only ever ends one.
    pub fn append(&self, payloads: &[Bytes]) -> Result<()> {
        let mut frames = Vec::with_capacity(payloads.iter().map(|p| p.len() + HEADER).sum());
        for payload in payloads {
            let length = u32::try_from(payload.len())
                .map_err(|_| Error::new(Kind::LimitExceeded, "a journal record is larger than 4 GiB"))?;
            frames.extend_from_slice(&length.to_le_bytes());
            frames.extend_from_slice(&crc32fast::hash(&length.to_le_bytes()).to_le_bytes());
            frames.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
            frames.extend_from_slice(payload);
        }
        let _one = self.append.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let written = self.storage.append(&self.path(self.file()), &frames);
        if written.is_err() {
            self.rotate();
        }
        written
    }

    /// Goes on in this file at the earliest: files that were forgotten are not written again.
    pub fn begin_at(&self, file: u64) {
        self.file.fetch_max(file, Ordering::AcqRel);
    }

    /// Goes on in a new file; gives its number.
    pub fn rotate(&self) -> u64 {
        self.file.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Drops the files below a number.
    pub fn forget(&self, before: u64) -> Result<()> {
        for path in self.storage.list(&self.folder)? {
            if file_number(&path).is_some_and(|n| n < before) {
                self.storage.remove(&path)?;
            }
        }
        Ok(())
    }

    fn path(&self, file: u64) -> String {
        format!("{}/{file:012}.log", self.folder)
    }
}

fn file_number(path: &str) -> Option<u64> {
    path.rsplit('/').next()?.strip_suffix(".log")?.parse().ok()
}

fn unframe(bytes: &[u8]) -> Result<Vec<Bytes>> {
    let mut payloads = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match frame_at(bytes, at) {
            Some(payload) => {
                at += HEADER + payload.len();
                payloads.push(Bytes::copy_from_slice(payload));
            }
            None if (at + 1..bytes.len()).all(|later| frame_at(bytes, later).is_none()) => break,
            None => {
                return Err(Error::new(Kind::DataCorrupted, format!("record at byte {at} fails its checksum"))
                    .hint("The disk lost or changed data. Restore the data directory from a copy."));
            }
        }
    }
    Ok(payloads)
}

fn frame_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = number(at)?;
    if number(at + 4)? != crc32fast::hash(&length.to_le_bytes()) {
        return None;
    }
    let payload = bytes.get(at + HEADER..at + HEADER + length as usize)?;
    (crc32fast::hash(payload) == number(at + 8)?).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn payloads(records: &[(u64, Bytes)]) -> Vec<&[u8]> {
        records.iter().map(|(_, p)| p.as_ref()).collect()
    }

    #[test]
    fn keeps_what_was_acknowledged_and_drops_a_torn_end() {
        let storage = Arc::new(MemoryStorage::default());
        let (journal, _) = Journal::open(storage.clone(), "log").unwrap();
        journal.append(&[Bytes::from("one"), Bytes::from("two")]).unwrap();
        storage.fail_at(2);
        assert!(journal.append(&[Bytes::from("a torn record")]).is_err());
        let storage = Arc::new(storage.survivor());
        let (journal, records) = Journal::open(storage.clone(), "log").unwrap();
        assert_eq!(payloads(&records), [b"one", b"two"]);
        journal.append(&[Bytes::from("three")]).unwrap();
        let (_, records) = Journal::open(storage, "log").unwrap();
        assert_eq!(payloads(&records), [b"one".as_slice(), b"two", b"three"]);
    }

    #[test]
    fn a_changed_byte_is_corruption() {
        let storage = Arc::new(MemoryStorage::default());
        let (journal, _) = Journal::open(storage.clone(), "log").unwrap();
        journal.append(&[Bytes::from("one"), Bytes::from("two")]).unwrap();
        let bytes = storage.read("log/000000000001.log").unwrap().unwrap().to_vec();
        // Of a length, of a checksum, of a payload.
        for changed in [0, 3, 5, 9, 13] {
            let mut bytes = bytes.clone();
            bytes[changed] ^= 0x40;
            let storage = Arc::new(MemoryStorage::default());
            storage.create("log/000000000001.log", &bytes).unwrap();
            assert_eq!(Journal::open(storage, "log").unwrap_err().kind(), Kind::DataCorrupted, "byte {changed}");
        }
    }

    #[test]
    fn an_end_of_zeros_or_of_garbage_was_never_acknowledged() {
        for end in [&[0; 5][..], &[0; 4096], &[7; 100], &9u32.to_le_bytes()] {
            let storage = Arc::new(MemoryStorage::default());
            let (journal, _) = Journal::open(storage.clone(), "log").unwrap();
            journal.append(&[Bytes::from("one")]).unwrap();
            storage.append("log/000000000001.log", end).unwrap();
            let (_, records) = Journal::open(storage, "log").unwrap();
            assert_eq!(payloads(&records), [b"one"]);
        }
    }

    #[test]
    fn what_comes_after_a_failed_write_is_kept() {
        let storage = Arc::new(MemoryStorage::default());
        let (journal, _) = Journal::open(storage.clone(), "log").unwrap();
        journal.append(&[Bytes::from("one")]).unwrap();
        storage.fail_at(2);
        assert!(journal.append(&[Bytes::from("two")]).is_err());
        storage.heal();
        journal.append(&[Bytes::from("three")]).unwrap();
        let (_, records) = Journal::open(storage, "log").unwrap();
        assert_eq!(payloads(&records), [b"one".as_slice(), b"three"]);
    }
}
