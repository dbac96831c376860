//! Storage in a folder of a local disk, held by one process at a time.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::Storage;
use crate::error::{Error, Kind, Result};

/// The mode of files: nobody else reads what the server keeps, which may be secrets.
const OWNERS: u32 = 0o600;

/// The ending of files that are not whole yet.
const DRAFT: &str = "tmp";

/// Files below `root`. Durable means synced: the bytes before the name, the name by a sync of its folder.
#[derive(Debug)]
pub struct DiskStorage {
    root: PathBuf,
    /// Append handles stay open: opening costs more than a small write.
    open: Mutex<HashMap<String, Arc<File>>>,
    /// Held for as long as this storage lives; the kernel lets go of it when the process dies.
    _lock: File,
}

impl DiskStorage {
    /// Opens or makes the folder and locks it. A second server on it is refused (`ObjectInUse`).
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)
            .map_err(|e| Error::from(e).context(format!("cannot make data directory \"{}\"", root.display())))?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join("LOCK"))?;
        if lock.try_lock().is_err() {
            return Err(Error::new(
                Kind::ObjectInUse,
                format!("data directory \"{}\" is in use by another server", root.display()),
            )
            .hint("Stop that server first, or give this one another --data-dir."));
        }
        let storage = DiskStorage { root, open: Mutex::default(), _lock: lock };
        // What a crash left half written.
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
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
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
        let parent = of.parent().unwrap_or(&self.root);
        Ok(File::open(parent)?.sync_all()?)
    }

    fn make_folder(&self, of: &Path) -> Result<()> {
        let Some(parent) = of.parent().filter(|parent| !parent.is_dir()) else { return Ok(()) };
        self.make_folder(parent)?;
        match fs::create_dir(parent) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e.into()),
            _ => self.sync_folder(parent),
        }
    }

    fn append_handle(&self, path: &str) -> Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(path) {
            return Ok(file.clone());
        }
        let full = self.root.join(path);
        self.make_folder(&full)?;
        let new = !full.exists();
        let file = Arc::new(OpenOptions::new().create(true).append(true).mode(OWNERS).open(&full)?);
        if new {
            self.sync_folder(&full)?;
        }
        open.insert(path.to_string(), file.clone());
        Ok(file)
    }
}

fn is_draft(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == DRAFT)
}

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(OWNERS).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

impl Storage for DiskStorage {
    fn read(&self, path: &str) -> Result<Option<Bytes>> {
        match fs::read(self.root.join(path)) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::from(e).context(format!("cannot read \"{path}\""))),
        }
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let full = self.root.join(path);
        if full.exists() {
            return Err(Error::new(Kind::DuplicateObject, format!("file \"{path}\" already exists")));
        }
        self.make_folder(&full)?;
        let draft = full.with_extension(DRAFT);
        let written = write_whole(&draft, bytes).and_then(|()| fs::rename(&draft, &full));
        if let Err(e) = written {
            // Where there is no room, half a file must not take what is left.
            let _ = fs::remove_file(&draft);
            return Err(Error::from(e).context(format!("cannot write \"{path}\"")));
        }
        self.sync_folder(&full)
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = self.append_handle(path)?;
        (&*file).write_all(bytes)?;
        Ok(file.sync_data()?)
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
        match fs::remove_file(self.root.join(path)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    fn local(&self, path: &str) -> Option<PathBuf> {
        Some(self.root.join(path))
    }
}
