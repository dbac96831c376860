//! Storage in a folder of a local disk, locked by one process at a time.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{Reading, Storage};
use crate::error::{Error, ErrorKind, Result};

/// The mode of files: readable by the owner only, since they may contain secrets.
const OWNERS: u32 = 0o600;

/// The extension of incomplete files, and the one that earlier releases used for files with a number.
const DRAFT: &str = "tidemark-draft";
const EARLIER_DRAFT: &str = "tmp";

/// Files below `root`. Durable means synced: the bytes before the name, the name by a sync of its folder.
#[derive(Debug)]
pub struct DiskStorage {
    root: PathBuf,
    /// Append handles stay open: opening costs more than a small write.
    open: Mutex<HashMap<String, Arc<File>>>,
    /// Open handles of files that are overwritten in place.
    overwritten: Mutex<HashMap<String, Arc<File>>>,
    /// Makes the names in a folder durable.
    sync: fn(&Path) -> std::io::Result<()>,
    /// Locked for as long as this storage exists; the kernel releases the lock when the process dies.
    _lock: File,
}

impl DiskStorage {
    /// Opens or makes the folder and locks it. A second server on it is refused (`ObjectInUse`).
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)
            .map_err(|e| Error::from(e).context(format!("cannot make data directory \"{}\"", root.display())))?;
        let unusable = |e: std::io::Error| {
            let error = Error::from(e).context(format!("cannot write to data directory \"{}\"", root.display()));
            error.hint("Let the user that the server runs as write there, or name another one with --data-dir.")
        };
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(OWNERS).open(root.join("LOCK"));
        let lock = lock.map_err(unusable)?;
        if lock.try_lock().is_err() {
            return Err(Error::new(
                ErrorKind::ObjectInUse,
                format!("data directory \"{}\" is in use by another server", root.display()),
            )
            .hint("Stop that server first, or give this one another --data-dir."));
        }
        check_writable(&root).map_err(unusable)?;
        let (open, overwritten) = (Mutex::default(), Mutex::default());
        let storage = DiskStorage { root, open, overwritten, sync: sync_names, _lock: lock };
        // Drafts that a crash left half written are removed.
        for draft in storage.files("")?.into_iter().filter(|path| is_draft(path)) {
            fs::remove_file(draft)?;
        }
        Ok(storage)
    }

    /// All files below a folder.
    fn files(&self, folder: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.join(folder)];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e.into()),
            };
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        Ok(found)
    }

    fn sync_folder(&self, of: &Path) -> Result<()> {
        Ok((self.sync)(of.parent().unwrap_or(&self.root))?)
    }

    fn make_folder(&self, of: &Path) -> Result<()> {
        let Some(parent) = of.parent().filter(|parent| !parent.is_dir()) else { return Ok(()) };
        self.make_folder(parent)?;
        match fs::create_dir(parent) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e.into()),
            _ => self.sync_folder(parent).inspect_err(|_| {
                // Removed so that the next try makes and syncs the folder again. If it is no longer empty, the writer
                // of its contents has synced it.
                let _ = fs::remove_dir(parent);
            }),
        }
    }

    fn append_handle(&self, path: &str) -> Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(path) {
            return Ok(file.clone());
        }
        let full = self.root.join(path);
        self.make_folder(&full)?;
        let file = Arc::new(OpenOptions::new().create(true).append(true).mode(OWNERS).open(&full)?);
        // Once per handle, also where the file exists: an earlier try may have failed between creating it and this
        // sync.
        self.sync_folder(&full)?;
        open.insert(path.to_string(), file.clone());
        Ok(file)
    }
}

fn sync_names(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Fails if no file can be created at all. A full disk does not fail: its files can still be read.
fn check_writable(root: &Path) -> std::io::Result<()> {
    let probe = root.join("PROBE").with_extension(DRAFT);
    match File::create(&probe).and_then(|_| fs::remove_file(&probe)) {
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => Err(e),
        _ => Ok(()),
    }
}

fn is_draft(path: &Path) -> bool {
    let numbered = || path.file_stem().and_then(|s| s.to_str()).is_some_and(|s| s.bytes().all(|b| b.is_ascii_digit()));
    path.extension().is_some_and(|e| e == DRAFT || (e == EARLIER_DRAFT && numbered()))
}

/// Bytes per read or write call.
const BUFFER_BYTES: usize = 256 << 10;

fn write_whole(path: &Path, write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(OWNERS).open(path)?;
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
    write(&mut file)?;
    let file = file.into_inner().map_err(|e| e.into_error())?;
    Ok(file.sync_all()?)
}

impl Storage for DiskStorage {
    fn read(&self, path: &str) -> Result<Option<Bytes>> {
        match fs::read(self.root.join(path)) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::from(e).context(format!("cannot read \"{path}\""))),
        }
    }

    fn length(&self, path: &str) -> Result<Option<u64>> {
        match fs::metadata(self.root.join(path)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::from(e).context(format!("cannot read \"{path}\""))),
        }
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn Reading>>> {
        match File::open(self.root.join(path)) {
            Ok(file) => Ok(Some(Box::new(BufReader::with_capacity(BUFFER_BYTES, file)))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::from(e).context(format!("cannot read \"{path}\""))),
        }
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.create_with(path, &mut |file| Ok(file.write_all(bytes)?))
    }

    fn create_with(&self, path: &str, write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
        let full = self.root.join(path);
        if full.exists() {
            return Err(Error::new(ErrorKind::DuplicateObject, format!("file \"{path}\" already exists")));
        }
        self.make_folder(&full)?;
        let draft = full.with_extension(DRAFT);
        let written = write_whole(&draft, write).and_then(|()| Ok(fs::rename(&draft, &full)?));
        if let Err(e) = written {
            // On a full disk, a half-written draft must not use up the remaining space.
            let _ = fs::remove_file(&draft);
            return Err(e.context(format!("cannot write \"{path}\"")));
        }
        if let Err(e) = self.sync_folder(&full) {
            // A file whose name is not durable must not be visible.
            let _ = fs::remove_file(&full);
            return Err(e.context(format!("cannot write \"{path}\"")));
        }
        Ok(())
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = self.append_handle(path)?;
        (&*file).write_all(bytes)?;
        Ok(file.sync_data()?)
    }

    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let mut overwritten = self.overwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match overwritten.get(path) {
            Some(file) => file.clone(),
            None => {
                let full = self.root.join(path);
                self.make_folder(&full)?;
                let file = OpenOptions::new().create(true).truncate(false).write(true).mode(OWNERS).open(&full)?;
                file.set_len(bytes.len() as u64)?;
                overwritten.entry(path.to_string()).or_insert(Arc::new(file)).clone()
            }
        };
        Ok(file.write_all_at(bytes, 0)?)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let relative = |path: PathBuf| Some(path.strip_prefix(&self.root).ok()?.to_string_lossy().into_owned());
        let whole = self.files(prefix)?.into_iter().filter(|path| !is_draft(path));
        let mut found: Vec<String> = whole.filter_map(relative).collect();
        found.sort();
        Ok(found)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        self.overwritten.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        match fs::remove_file(self.root.join(path)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    fn local(&self, path: &str) -> Option<PathBuf> {
        Some(self.root.join(path))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// The folders that were synced, and how many syncs are to fail.
        static SYNCED: RefCell<(Vec<PathBuf>, usize)> = RefCell::default();
    }

    fn failing_sync(folder: &Path) -> std::io::Result<()> {
        SYNCED.with_borrow_mut(|(synced, failing)| match *failing {
            0 => {
                synced.push(folder.to_path_buf());
                Ok(())
            }
            _ => {
                *failing -= 1;
                Err(std::io::Error::other("the disk failed"))
            }
        })
    }

    #[test]
    fn append_after_failed_directory_sync_syncs_the_directory() {
        for failing in 1..4 {
            let folder = tempfile::tempdir().unwrap();
            let mut storage = DiskStorage::open(folder.path()).unwrap();
            storage.sync = failing_sync;
            SYNCED.set((Vec::new(), failing));
            while storage.append("a/b/file.log", b"x").is_err() {}
            // The name of each folder on the way and that of the file are durable before the bytes are acknowledged.
            let synced = SYNCED.take().0;
            for needed in ["", "a", "a/b"] {
                assert!(synced.contains(&folder.path().join(needed)), "{failing} failed: \"{needed}\" of {synced:?}");
            }
        }
    }

    #[test]
    fn create_with_failed_directory_sync_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = DiskStorage::open(folder.path()).unwrap();
        storage.sync = failing_sync;
        SYNCED.set((Vec::new(), 1));
        assert!(storage.create("file", b"x").is_err());
        assert_eq!(storage.read("file").unwrap(), None);
        storage.create("file", b"y").unwrap();
        assert_eq!(storage.read("file").unwrap().as_deref(), Some(&b"y"[..]));
    }

    #[test]
    fn open_of_an_unwritable_data_directory_names_it() {
        // No user can create a file in `/proc/self`, not even root.
        let error = DiskStorage::open("/proc/self").unwrap_err();
        assert!(error.message().starts_with("cannot write to data directory \"/proc/self\""), "{error}");
    }
}
