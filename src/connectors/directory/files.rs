//! The files of a source, numbered in order of discovery. The list is durable before a number is used, so that a number
//! means the same file after a restart.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, ErrorKind, Result},
    storage::{Journal, Storage},
    time::Micros,
};

/// The version of the form of the journal's records: raised where an older release would misread them.
const RECORD_VERSION: u16 = 1;

/// One file as it was when it was found. Only its first `size` bytes are ever read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FolderEntry {
    /// Below the folder, with `/` between its parts.
    pub path: String,
    pub size: u64,
    pub modified: Micros,
    /// The file's identity, since its name may be reused; `None` if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<FileId>,
}

/// Identity of a file among those of its name. Some file systems renumber files when mounted, so that a different id
/// alone does not prove another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileId {
    inode: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born: Option<Micros>,
}

impl FileId {
    fn is_another(self, than: FileId) -> bool {
        let born = self.born.zip(than.born).is_some_and(|(one, other)| one != other);
        self.inode != than.inode || born
    }
}

impl FolderEntry {
    /// A file as it is now.
    pub fn of(path: &str, now: &Metadata) -> FolderEntry {
        let time = |time: io::Result<SystemTime>| time.ok().map(micros);
        let id = Some(FileId { inode: now.ino(), born: time(now.created()) });
        FolderEntry { path: path.to_string(), size: now.len(), modified: time(now.modified()).unwrap_or(0), id }
    }

    /// Whether `now` is certainly this file, modified or not.
    fn is_same(&self, now: &FolderEntry) -> bool {
        let untouched = (self.size, self.modified) == (now.size, now.modified);
        untouched || self.id.is_some_and(|id| id.born.is_some() && self.id == now.id)
    }

    /// Whether `now` is another file of the same name.
    pub fn is_replaced(&self, now: &FolderEntry) -> bool {
        !self.is_same(now) && self.id.zip(now.id).is_some_and(|(was, is)| is.is_another(was))
    }

    /// Whether a file still has the content that was discovered. Only a later modification time tells that it was
    /// overwritten: copying programs set an earlier one after writing.
    pub fn holds(&self, now: &Metadata) -> bool {
        let modified = now.modified().map_or(0, micros);
        now.len() > self.size || now.len() == self.size && modified <= self.modified
    }
}

fn micros(time: SystemTime) -> Micros {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX),
        Err(before) => -Micros::try_from(before.duration().as_micros()).unwrap_or(Micros::MAX),
    }
}

/// A record of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FileRecord {
    /// The next files, in order.
    Found(Vec<FolderEntry>),
    /// Files below `before` are forgotten; those in `kept` could not be deleted.
    Forgot { before: u64, kept: Vec<String> },
    /// The next files, in order: all that the folder's log names up to `version`.
    Followed { version: u64, files: Vec<FolderEntry> },
    /// A full snapshot; earlier records are obsolete.
    All {
        first: u64,
        kept: Vec<String>,
        files: Vec<FolderEntry>,
        #[serde(default)]
        version: Option<u64>,
    },
}

/// The numbered files, in memory and in the journal.
#[derive(Debug)]
pub(super) struct Files {
    journal: Journal,
    /// Held while journal and list are changed.
    change: Mutex<()>,
    list: Mutex<List>,
    /// Files forgotten since the journal was last compacted.
    forgotten: AtomicU64,
    /// A write failed: the journal must be rewritten before it is used.
    is_torn: AtomicBool,
    /// Whether the journal existed before.
    reopened: bool,
}

#[derive(Debug, Default)]
struct List {
    /// The number of the first entry.
    first: u64,
    entries: VecDeque<FolderEntry>,
    /// Prefix sums: bytes before each entry, and of all.
    before: VecDeque<u64>,
    bytes: u64,
    /// The paths of all entries, and of those that could not be deleted, each with its last number.
    known: HashMap<String, u64>,
    kept: HashSet<String>,
    /// Known paths that were seen missing: a file there is a new one.
    free: HashSet<String>,
    /// The version of the folder's log up to which its files are included.
    version: Option<u64>,
}

/// Number of forgotten files after which the journal is compacted.
const FORGOTTEN_MIN: u64 = 1_000;

impl Files {
    /// Opens or creates the list in a folder of the storage. Blocks.
    pub fn open(storage: Arc<dyn Storage>, folder: &str) -> Result<Files> {
        let (journal, records) = Journal::open(storage, folder, RECORD_VERSION)?;
        let reopened = !records.is_empty();
        let mut list = List::default();
        let mut forgotten = 0;
        for (_, bytes) in records {
            let record = serde_json::from_slice(&bytes)
                .map_err(|e| Error::new(ErrorKind::DataCorrupted, format!("journal \"{folder}\": {e}")))?;
            forgotten += list.apply(record);
        }
        let files = Files {
            journal,
            change: Mutex::default(),
            list: Mutex::new(list),
            forgotten: AtomicU64::new(forgotten),
            is_torn: AtomicBool::new(false),
            reopened,
        };
        if !reopened {
            files.write(FileRecord::Found(Vec::new()))?;
        }
        Ok(files)
    }

    /// Whether the list existed before.
    pub fn reopened(&self) -> bool {
        self.reopened
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, record: FileRecord) -> Result<()> {
        let bytes = serde_json::to_vec(&record).map_err(|e| Error::internal(e.to_string()))?;
        self.is_torn.store(true, Ordering::Release);
        self.journal.append(&[Bytes::from(bytes)])?;
        self.is_torn.store(false, Ordering::Release);
        self.forgotten.fetch_add(self.list().apply(record), Ordering::AcqRel);
        Ok(())
    }

    /// Numbers new files, in this order. Durable on return. Blocks.
    pub fn add(&self, found: Vec<FolderEntry>) -> Result<()> {
        let _one = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.compact_if_torn()?;
        let found: Vec<_> = found.into_iter().filter(|f| !self.has(f)).collect();
        if found.is_empty() { Ok(()) } else { self.write(FileRecord::Found(found)) }
    }

    /// Numbers the files that the folder's log names up to `version`. Durable on return. Blocks.
    pub fn follow(&self, version: u64, files: Vec<FolderEntry>) -> Result<()> {
        let _one = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.compact_if_torn()?;
        let files = files.into_iter().filter(|f| !self.has(f)).collect();
        self.write(FileRecord::Followed { version, files })
    }

    /// The version of the folder's log up to which files are numbered.
    pub fn version(&self) -> Option<u64> {
        self.list().version
    }

    /// Forgets the files below `before`. Those in `kept` still exist, and must not be discovered again. Blocks.
    pub fn forget(&self, before: u64, kept: Vec<String>) -> Result<()> {
        let _one = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.compact_if_torn()?;
        self.write(FileRecord::Forgot { before, kept })?;
        let live = self.list().entries.len() as u64;
        if self.forgotten.load(Ordering::Acquire) >= FORGOTTEN_MIN.max(live) {
            self.compact()?;
        }
        Ok(())
    }

    /// After a failed write, rewrites the journal: the record may be durable all the same and would take numbers.
    fn compact_if_torn(&self) -> Result<()> {
        if self.is_torn.load(Ordering::Acquire) { self.compact() } else { Ok(()) }
    }

    /// Compacts the journal. The new file is complete before the old ones are removed.
    fn compact(&self) -> Result<()> {
        let all = {
            let list = self.list();
            let kept = list.kept.iter().cloned().collect();
            let files = list.entries.iter().cloned().collect();
            FileRecord::All { first: list.first, kept, files, version: list.version }
        };
        let file = self.journal.rotate();
        self.write(all)?;
        self.forgotten.store(0, Ordering::Release);
        self.journal.forget(file)
    }

    /// Whether a path has a number (also a forgotten one) and was not seen missing since.
    pub fn knows(&self, path: &str) -> bool {
        let list = self.list();
        list.known.contains_key(path) && !list.free.contains(path)
    }

    /// Whether this very file has a number, modified or not.
    pub fn has(&self, file: &FolderEntry) -> bool {
        let list = self.list();
        let Some(number) = list.known.get(&file.path) else { return false };
        let free = list.free.contains(&file.path);
        let entry = number.checked_sub(list.first).and_then(|place| list.entries.get(usize::try_from(place).ok()?));
        entry.map_or(!free, |entry| entry.is_same(file) || !free && !entry.is_replaced(file))
    }

    /// Notes that a path does not exist any more.
    pub fn free(&self, path: &str) {
        let mut list = self.list();
        if list.known.contains_key(path) {
            list.free.insert(path.to_string());
        }
    }

    /// How many paths are known.
    pub fn count(&self) -> usize {
        self.list().known.len()
    }

    /// The known paths not seen missing.
    pub fn paths(&self) -> Vec<String> {
        let list = self.list();
        list.known.keys().filter(|path| !list.free.contains(*path)).cloned().collect()
    }

    /// The number of the first file kept, and the next number.
    pub fn bounds(&self) -> (u64, u64) {
        let list = self.list();
        (list.first, list.first + list.entries.len() as u64)
    }

    /// The files with these numbers, as far as they are not forgotten.
    pub fn range(&self, from: u64, to: u64) -> Vec<(u64, FolderEntry)> {
        let list = self.list();
        let (start, end) = (list.place(from), list.place(to));
        let numbers = list.first + start as u64..;
        numbers.zip(list.entries.range(start..end.max(start)).cloned()).collect()
    }

    /// The end of the longest run of files from `from` on that `fits` (number of files, bytes).
    pub fn reach(&self, from: u64, fits: impl Fn(u64, u64) -> bool) -> u64 {
        let list = self.list();
        let start = list.place(from);
        let mut bytes: u64 = 0;
        let fits = |(files, file): &(u64, &FolderEntry)| {
            bytes = bytes.saturating_add(file.size);
            fits(*files, bytes)
        };
        list.first + start as u64 + (1..).zip(list.entries.range(start..)).take_while(fits).count() as u64
    }

    /// How many files there are from a number on, and their bytes.
    pub fn backlog(&self, from: u64) -> (u64, u64) {
        let list = self.list();
        let start = list.place(from);
        let before = list.before.get(start).copied().unwrap_or(list.bytes);
        ((list.entries.len() - start) as u64, list.bytes - before)
    }
}

impl List {
    /// The position of a number in the entries.
    fn place(&self, number: u64) -> usize {
        number.saturating_sub(self.first).min(self.entries.len() as u64) as usize
    }

    fn push(&mut self, file: FolderEntry) {
        self.before.push_back(self.bytes);
        self.bytes += file.size;
        self.free.remove(&file.path);
        self.known.insert(file.path.clone(), self.first + self.entries.len() as u64);
        self.entries.push_back(file);
    }

    /// Applies a record; gives the number of files it forgot.
    fn apply(&mut self, record: FileRecord) -> u64 {
        match record {
            FileRecord::Found(files) => {
                files.into_iter().for_each(|file| self.push(file));
                0
            }
            FileRecord::Forgot { before, kept } => {
                let count = before.saturating_sub(self.first).min(self.entries.len() as u64);
                self.kept.extend(kept);
                self.before.drain(..count as usize);
                for (number, file) in (self.first..).zip(self.entries.drain(..count as usize)) {
                    // Another file may have the path, and a number of its own.
                    if !self.kept.contains(&file.path) && self.known.get(&file.path) == Some(&number) {
                        self.known.remove(&file.path);
                        self.free.remove(&file.path);
                    }
                }
                self.first += count;
                count
            }
            FileRecord::Followed { version, files } => {
                files.into_iter().for_each(|file| self.push(file));
                self.version = Some(version);
                0
            }
            FileRecord::All { first, kept, files, version } => {
                // Below all numbers: theirs are forgotten.
                let known = kept.iter().map(|path| (path.clone(), 0)).collect();
                let free = std::mem::take(&mut self.free);
                *self = List { first, known, kept: kept.into_iter().collect(), free, version, ..List::default() };
                files.into_iter().for_each(|file| self.push(file));
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn file(path: String) -> FolderEntry {
        FolderEntry { path, size: 1, modified: 0, id: None }
    }

    fn paths(files: &Files) -> Vec<(u64, String)> {
        files.range(0, u64::MAX).into_iter().map(|(n, f)| (n, f.path)).collect()
    }

    #[test]
    fn file_numbers_survive_a_crash_at_every_write() {
        for crash in 1.. {
            let storage = Arc::new(MemoryStorage::default());
            storage.fail_at(crash);
            let mut acknowledged = Vec::new();
            if let Ok(files) = Files::open(storage.clone(), "s") {
                for i in 0..1_200 {
                    if files.add(vec![file(format!("f{i}"))]).is_err() {
                        break;
                    }
                    acknowledged.push((i, format!("f{i}")));
                    if i % 400 == 399 && files.forget(i - 10, Vec::new()).is_ok() {
                        acknowledged.drain(..acknowledged.len() - 11);
                    }
                }
            }
            let done = storage.writes() < crash;
            let files = Files::open(Arc::new(storage.survivor()), "s").unwrap();
            let found = paths(&files);
            // More may have come through than was acknowledged, but never less, and never under another number.
            let first = acknowledged.first().map_or(0, |(n, _)| *n);
            for (number, path) in &found {
                assert_eq!(*path, format!("f{number}"));
            }
            let kept: Vec<_> = found.into_iter().filter(|(n, _)| *n >= first).take(acknowledged.len()).collect();
            assert!(
                kept == acknowledged || kept.len() < acknowledged.len() && files.bounds().0 > first,
                "write {crash}"
            );
            if done {
                break;
            }
        }
    }

    #[test]
    fn failed_write_of_files_assigns_no_numbers() {
        let storage = Arc::new(MemoryStorage::default());
        let files = Files::open(storage.clone(), "s").unwrap();
        storage.fail_at(2);
        assert!(files.add(vec![file("a".to_string())]).is_err());
        // As a sync that fails after the bytes have come through.
        storage.heal();
        let found = serde_json::to_vec(&FileRecord::Found(vec![file("a".to_string())])).unwrap();
        let (journal, _) = Journal::open(storage.clone(), "s", RECORD_VERSION).unwrap();
        journal.append(&[found.into()]).unwrap();
        files.add(vec![file("b".to_string()), file("a".to_string())]).unwrap();
        let expected = [(0, "b".to_string()), (1, "a".to_string())];
        assert_eq!(paths(&files), expected);
        assert_eq!(paths(&Files::open(storage, "s").unwrap()), expected);
    }

    #[test]
    fn forgotten_files_are_compacted_and_removed_names_are_unknown_again() {
        let storage = Arc::new(MemoryStorage::default());
        let files = Files::open(storage.clone(), "s").unwrap();
        assert!(!files.reopened());
        files.add((0..2_000).map(|i| file(format!("f{i}"))).collect()).unwrap();
        files.add(vec![file("f7".to_string())]).unwrap();
        assert_eq!(files.bounds(), (0, 2_000));
        files.forget(1_500, vec!["f3".to_string()]).unwrap();
        assert_eq!(storage.list("s").unwrap().len(), 1);
        for files in [&files, &Files::open(storage.clone(), "s").unwrap()] {
            assert_eq!(files.bounds(), (1_500, 2_000));
            assert_eq!((files.knows("f2"), files.knows("f3"), files.knows("f1500")), (false, true, true));
            assert_eq!(files.range(0, 1_501), [(1_500, file("f1500".to_string()))]);
        }
        assert!(Files::open(storage, "s").unwrap().reopened());
    }
}
