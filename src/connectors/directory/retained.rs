//! Retains files that a replay may have to read again, in case they are renamed or deleted: from when an epoch opens
//! one until every query has a later checkpoint.
//!
//! A file is retained by a hard link in the data directory; on another file system, by a copy. They survive the
//! process, not the machine: nothing is synced.

use std::{
    collections::BTreeSet,
    fs, io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::files::FolderEntry;
use crate::{
    error::Result,
    formats::{ByteInput, FileInput},
    storage::Storage,
};

/// The retained files, by number.
#[derive(Debug)]
pub(super) struct Retained {
    storage: Arc<dyn Storage>,
    folder: String,
    held: Mutex<BTreeSet<u64>>,
}

/// The folder of a source, by its id.
pub(in crate::connectors) fn folder(id: u64) -> String {
    format!("retained/{id}")
}

impl Retained {
    /// Loads the existing ones. Blocks.
    pub fn open(storage: Arc<dyn Storage>, folder: String) -> Result<Retained> {
        let number = |path: &String| path.rsplit('/').next()?.parse::<u64>().ok();
        let held = storage.list(&folder)?.iter().filter_map(number).collect();
        Ok(Retained { storage, folder, held: Mutex::new(held) })
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, number: u64) -> String {
        format!("{}/{number:020}", self.folder)
    }

    /// Retains an opened file, of which the first `size` bytes count. Failure is ignored: only a replay would miss it.
    /// Blocks.
    pub fn hold(&self, number: u64, path: &Path, file: &fs::File, size: u64) {
        let mut held = self.held();
        if held.contains(&number) {
            return;
        }
        match self.link(number, path, file, size) {
            Ok(()) => drop(held.insert(number)),
            Err(e) => tracing::warn!(
                file = %path.display(), error = %e,
                "a file that is read cannot be held: if it goes before the next checkpoint, a restart will miss it"
            ),
        }
    }

    fn link(&self, number: u64, path: &Path, file: &fs::File, size: u64) -> Result<()> {
        let name = self.path(number);
        let Some(to) = self.storage.local(&name) else {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(anew(file)?, size), &mut bytes)?;
            return self.storage.create(&name, &bytes);
        };
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        // The name may be another file's by now.
        match fs::hard_link(path, &to) {
            Ok(()) if is_same(&to, file)? => return Ok(()),
            Ok(()) => fs::remove_file(&to)?,
            Err(_) => {}
        }
        let draft = to.with_extension("tmp");
        let copied = fs::File::create(&draft).and_then(|mut copy| {
            io::copy(&mut anew(file)?, &mut copy)?;
            copy.set_modified(file.metadata()?.modified()?)
        });
        if let Err(e) = copied.and_then(|()| fs::rename(&draft, &to)) {
            let _ = fs::remove_file(&draft);
            return Err(e.into());
        }
        Ok(())
    }

    /// A retained file, unless it was modified since its discovery. Blocks.
    pub fn get(&self, number: u64, entry: &FolderEntry) -> Result<Option<Arc<dyn ByteInput>>> {
        if !self.held().contains(&number) {
            return Ok(None);
        }
        let name = self.path(number);
        let Some(path) = self.storage.local(&name) else {
            return Ok(self.storage.read(&name)?.map(|bytes| Arc::new(bytes) as Arc<dyn ByteInput>));
        };
        let file = match fs::File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let size = entry.size;
        Ok(entry.holds(&file.metadata()?).then(|| Arc::new(FileInput { file, size }) as Arc<dyn ByteInput>))
    }

    /// Releases all files below `before`. Blocks.
    pub fn release(&self, before: u64) -> Result<()> {
        let mut held = self.held();
        while let Some(number) = held.first().copied().filter(|number| *number < before) {
            self.storage.remove(&self.path(number))?;
            held.remove(&number);
        }
        Ok(())
    }
}

/// The file opened again, at its beginning, whatever its name is now.
fn anew(file: &fs::File) -> io::Result<fs::File> {
    fs::File::open(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
}

fn is_same(path: &Path, file: &fs::File) -> io::Result<bool> {
    // Where a link was linked, it is another.
    let (named, opened) = (fs::symlink_metadata(path)?, file.metadata()?);
    Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{DiskStorage, MemoryStorage};

    fn text(input: Option<Arc<dyn ByteInput>>) -> Option<String> {
        let input = input?;
        let mut bytes = vec![0; input.size() as usize];
        let read = input.read_at(0, &mut bytes).unwrap();
        assert_eq!(read, bytes.len());
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn retained_file_is_readable_after_unlink_until_released() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Storage> = Arc::new(DiskStorage::open(dir.path().join("data")).unwrap());
        for storage in [disk, Arc::new(MemoryStorage::default())] {
            let retained = Retained::open(storage.clone(), folder(7)).unwrap();
            let (path, mut entries) = (dir.path().join("a"), Vec::new());
            for (number, named) in [(3, true), (4, false)] {
                fs::write(&path, "one").unwrap();
                let file = fs::File::open(&path).unwrap();
                entries.push(FolderEntry::of("a", &file.metadata().unwrap()));
                if named {
                    retained.hold(number, &path, &file, 3);
                    fs::remove_file(&path).unwrap();
                } else {
                    // Its name stands for another before it is held.
                    fs::remove_file(&path).unwrap();
                    fs::write(&path, "two").unwrap();
                    retained.hold(number, &path, &file, 3);
                }
            }
            let again = Retained::open(storage.clone(), folder(7)).unwrap();
            for retained in [&retained, &again] {
                assert_eq!(text(retained.get(3, &entries[0]).unwrap()).as_deref(), Some("one"));
                assert_eq!(text(retained.get(4, &entries[1]).unwrap()).as_deref(), Some("one"));
                assert_eq!(text(retained.get(5, &entries[1]).unwrap()), None);
            }
            again.release(4).unwrap();
            assert_eq!((text(again.get(3, &entries[0]).unwrap()), storage.list(&folder(7)).unwrap().len()), (None, 1));
            again.release(5).unwrap();
            assert!(storage.list(&folder(7)).unwrap().is_empty());
        }
    }
}
