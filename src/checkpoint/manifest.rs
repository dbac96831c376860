//! The manifest: all files by name, length and checksum, as recorded in the log.
//!
//! A file that is written whole is recorded in the log after it is written; its removal is durable in the log before it
//! is removed. So a missing or altered file is detected, and named, whenever it is read. A file that the log does not
//! know yet, because the server died between the two, is accepted as it is.

use std::{
    collections::BTreeMap,
    hash::Hasher,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::task::unconstrained;
use twox_hash::XxHash64;

use super::{FileEntry, Log, LogRecord, file::Summed};
use crate::{
    error::{Error, ErrorKind, Result},
    storage::{Reading, Storage},
};

/// Of the hash of files.
const SEED: u64 = 0;

/// Passes on what is written, and hashes it.
struct Hashed<W> {
    summed: Summed<W>,
    xxh64: XxHash64,
}

impl<W> Hashed<W> {
    fn new(out: W) -> Self {
        Hashed { summed: Summed::new(out), xxh64: XxHash64::with_seed(SEED) }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.summed.write(bytes)?;
        self.xxh64.write(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.summed.flush()
    }
}

impl FileEntry {
    fn of(bytes: &[u8]) -> Self {
        let xxh64 = Some(XxHash64::oneshot(SEED, bytes));
        FileEntry { length: bytes.len() as u64, crc32: crc32fast::hash(bytes), xxh64 }
    }

    /// The entry of a file that was written through `summed`.
    fn of_hashed<W>(hashed: &Hashed<W>) -> Self {
        let xxh64 = Some(hashed.xxh64.finish());
        FileEntry { length: hashed.summed.length(), crc32: hashed.summed.checksum(), xxh64 }
    }
}

/// All known files by path.
pub type FileEntries = BTreeMap<String, FileEntry>;

/// Applies a log record to the manifest.
pub fn apply(files: &mut FileEntries, record: &LogRecord) {
    match record {
        LogRecord::File { path, entry } => {
            files.insert(path.clone(), *entry);
        }
        LogRecord::Removed { paths } => paths.iter().for_each(|path| {
            files.remove(path);
        }),
        _ => {}
    }
}

/// A storage whose files are in the manifest. Not journals: they grow, and have checksums of their own.
#[derive(Debug)]
pub struct Manifest {
    storage: Arc<dyn Storage>,
    log: Arc<Log>,
    /// Locked while a change is queued for the log, so that both have the same order.
    known: Mutex<FileEntries>,
}

impl Manifest {
    pub fn new(storage: Arc<dyn Storage>, log: Arc<Log>, known: FileEntries) -> Self {
        Manifest { storage, log, known: Mutex::new(known) }
    }

    fn known(&self) -> MutexGuard<'_, FileEntries> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All known files.
    pub fn entries(&self) -> FileEntries {
        self.known().clone()
    }

    /// The files that exist below a folder, without a check for missing ones.
    pub fn found(&self, folder: &str) -> Result<Vec<String>> {
        self.storage.list(folder)
    }

    /// Adds existing files that are not known to the manifest, as they are.
    pub fn adopt(&self, paths: &[String]) -> Result<()> {
        let known = self.entries();
        for path in paths.iter().filter(|path| !known.contains_key(*path)) {
            if let Some(bytes) = self.storage.read(path)? {
                self.record(path, FileEntry::of(&bytes))?;
            }
        }
        Ok(())
    }

    fn record(&self, path: &str, entry: FileEntry) -> Result<()> {
        let record = LogRecord::File { path: path.to_string(), entry }.encode(&[])?;
        let mut known = self.known();
        known.insert(path.to_string(), entry);
        self.log.enqueue(record);
        Ok(())
    }

    /// Makes the removal of files durable in the log.
    fn strike(&self, paths: &[String]) -> Result<()> {
        let (struck, done) = {
            let mut known = self.known();
            let struck: FileEntries = paths.iter().filter_map(|path| known.remove_entry(path)).collect();
            if struck.is_empty() {
                return Ok(());
            }
            let record = LogRecord::Removed { paths: struck.keys().cloned().collect() }.encode(&[])?;
            (struck, self.log.append(vec![record]))
        };
        // Without tokio's cooperative budget, which is not renewed while the task blocks.
        futures::executor::block_on(unconstrained(done)).inspect_err(|_| self.known().extend(struck))
    }

    /// The known files below a folder.
    fn known_below(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{}/", folder.trim_end_matches('/'));
        let known = self.known();
        known
            .range(prefix.clone()..)
            .map(|(path, _)| path.clone())
            .take_while(|path| path.starts_with(&prefix))
            .collect()
    }
}

impl Storage for Manifest {
    fn read(&self, path: &str) -> Result<Option<Bytes>> {
        let bytes = self.storage.read(path)?;
        let Some(known) = self.known().get(path).copied() else { return Ok(bytes) };
        let bytes = bytes.ok_or_else(|| missing(path))?;
        check(path, known, FileEntry::of(&bytes))?;
        Ok(Some(bytes))
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn Reading>>> {
        let file = self.storage.open(path)?;
        let Some(known) = self.known().get(path).copied() else { return Ok(file) };
        let mut file = file.ok_or_else(|| missing(path))?;
        let mut hashed = Hashed::new(io::sink());
        io::copy(&mut file, &mut hashed)?;
        check(path, known, FileEntry::of_hashed(&hashed))?;
        file.rewind()?;
        Ok(Some(file))
    }

    fn length(&self, path: &str) -> Result<Option<u64>> {
        let known = self.known().get(path).map(|known| known.length);
        known.map_or_else(|| self.storage.length(path), |length| Ok(Some(length)))
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.storage.create(path, bytes)?;
        self.record(path, FileEntry::of(bytes))
    }

    fn create_with(&self, path: &str, write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
        let mut entry = None;
        self.storage.create_with(path, &mut |file| {
            let mut hashed = Hashed::new(file);
            write(&mut hashed)?;
            entry = Some(FileEntry::of_hashed(&hashed));
            Ok(())
        })?;
        entry.map_or(Ok(()), |entry| self.record(path, entry))
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.storage.append(path, bytes)
    }

    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.storage.overwrite(path, bytes)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let known = self.known_below(prefix);
        let found = self.storage.list(prefix)?;
        let lost = |path: &&String| found.binary_search(path).is_err() && self.known().contains_key(*path);
        match known.iter().find(lost) {
            Some(path) => Err(missing(path)),
            None => Ok(found),
        }
    }

    fn local(&self, path: &str) -> Option<PathBuf> {
        self.storage.local(path)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.remove_all(&[path.to_string()])
    }

    fn remove_all(&self, paths: &[String]) -> Result<()> {
        self.strike(paths)?;
        self.storage.remove_all(paths)
    }

    /// Works even if files are missing.
    fn clear(&self, folder: &str) -> Result<()> {
        self.strike(&self.known_below(folder))?;
        self.storage.clear(folder)
    }
}

/// Fails unless a file has the length and checksum of its entry.
fn check(path: &str, known: FileEntry, found: FileEntry) -> Result<()> {
    let (found_length, length) = (found.length, known.length);
    let same = match known.xxh64 {
        Some(_) => found.xxh64 == known.xxh64,
        None => found.crc32 == known.crc32,
    };
    match found_length == length && same {
        true => Ok(()),
        false if found_length != length => {
            Err(damaged(format!("file \"{path}\" has {found_length} bytes, but {length} were written to it")))
        }
        false => Err(damaged(format!("file \"{path}\" fails its checksum"))),
    }
}

fn missing(path: &str) -> Error {
    damaged(format!("file \"{path}\" is missing"))
}

fn damaged(message: String) -> Error {
    Error::new(ErrorKind::DataCorrupted, message)
        .hint("The disk lost or changed data. Restore the data directory from a copy.")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::storage::MemoryStorage;

    /// A storage and its manifest, as a start finds them.
    fn opened(storage: MemoryStorage) -> (Arc<MemoryStorage>, Manifest) {
        let storage = Arc::new(storage);
        let (log, records) = Log::open(storage.clone(), 0).unwrap();
        let mut known = FileEntries::new();
        records.iter().for_each(|logged| apply(&mut known, &logged.record));
        (storage.clone(), Manifest::new(storage, Arc::new(log), known))
    }

    /// More polls than a task's cooperative budget allows.
    #[tokio::test(flavor = "multi_thread")]
    async fn manifest_1000_removals_in_one_task_poll_do_not_hang() {
        let (storage, manifest) = opened(MemoryStorage::default());
        let removed = tokio::spawn(async move {
            for n in 0..1000 {
                manifest.create(&format!("a/{n}"), b"some bytes").unwrap();
                manifest.remove(&format!("a/{n}")).unwrap();
            }
        });
        tokio::time::timeout(Duration::from_secs(60), removed).await.expect("it hangs").unwrap();
        assert_eq!(storage.list("a").unwrap(), [""; 0]);
    }

    /// Waits until all queued notes are durable.
    fn sync(manifest: &Manifest) {
        futures::executor::block_on(manifest.log.append(Vec::new())).unwrap();
    }

    #[test]
    fn manifest_missing_or_changed_file_is_named_in_the_error() {
        let (storage, manifest) = opened(MemoryStorage::default());
        for path in ["a/1", "a/2", "b/1"] {
            manifest.create(path, b"some bytes").unwrap();
        }
        manifest.remove("a/1").unwrap();
        sync(&manifest);
        type Files = BTreeMap<String, Vec<u8>>;
        let says = |change: &dyn Fn(&mut Files)| {
            let mut files = storage.files();
            change(&mut files);
            let (_, manifest) = opened(files.into());
            let read = |path: &str| manifest.read(path).map(drop);
            [manifest.list("a").map(drop), read("a/1"), read("a/2"), read("b/1")]
                .map(|r| r.err().map(|e| e.to_string()))
        };
        let gone = || Some("file \"a/2\" is missing".to_string());
        assert_eq!(says(&|_| {}), [None, None, None, None]);
        assert_eq!(says(&|files| drop(files.remove("a/2"))), [gone(), None, gone(), None]);
        let short = "file \"a/2\" has 4 bytes, but 10 were written to it";
        assert_eq!(says(&|files| files.get_mut("a/2").unwrap().truncate(4))[2].as_deref(), Some(short));
        let changed = says(&|files| files.get_mut("a/2").unwrap()[3] ^= 1);
        assert_eq!(changed[2].as_deref(), Some("file \"a/2\" fails its checksum"));
    }

    /// Two files whose own checksums are right, of one length.
    #[test]
    fn manifest_file_with_another_ones_bytes_is_named_in_the_error() {
        let file = |header: &str| super::super::file::encode("f", &header, &[]).unwrap();
        let (storage, manifest) = opened(MemoryStorage::default());
        manifest.create("a/1", &file("one")).unwrap();
        manifest.create_with("a/2", &mut |out| Ok(out.write_all(&file("two"))?)).unwrap();
        sync(&manifest);
        let mut files = storage.files();
        let (one, two) = (files["a/1"].clone(), files["a/2"].clone());
        assert_eq!(one.len(), two.len());
        assert_eq!(crc32fast::hash(&one), crc32fast::hash(&two), "a CRC tells them apart by now: it may serve alone");
        files.insert("a/1".to_string(), two);
        files.insert("a/2".to_string(), one);
        let (_, manifest) = opened(files.into());
        assert_eq!(manifest.read("a/1").unwrap_err().message(), "file \"a/1\" fails its checksum");
        assert_eq!(manifest.open("a/2").err().unwrap().message(), "file \"a/2\" fails its checksum");
    }

    #[test]
    fn manifest_crash_at_any_write_leaves_every_listed_file_readable() {
        for crash in 1.. {
            let (storage, manifest) = opened(MemoryStorage::default());
            storage.fail_at(crash);
            let work = || -> Result<()> {
                for n in 0..4 {
                    manifest.create(&format!("a/{n}"), b"bytes")?;
                    if n > 1 {
                        manifest.remove_all(&[format!("a/{}", n - 2), format!("a/{}", n - 1)])?;
                    }
                }
                manifest.clear("a")
            };
            let done = work().is_ok();
            let (_, manifest) = opened(storage.survivor());
            for path in manifest.list("a").unwrap() {
                assert!(manifest.read(&path).unwrap().is_some(), "write {crash}: {path}");
            }
            if done {
                break;
            }
        }
    }
}
