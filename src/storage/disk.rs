//! Storage in a folder of a local disk, held by one process at a time.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::Storage;
use crate::error::{Error, Kind, Result};

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
        Ok(DiskStorage { root, open: Mutex::default(), _lock: lock })
    }

    fn sync_folder(&self, of: &Path) -> Result<()> {
        let parent = of.parent().unwrap_or(&self.root);
        Ok(File::open(parent)?.sync_all()?)
    }

    fn make_folder(&self, of: &Path) -> Result<()> {
        let Some(parent) = of.parent() else { return Ok(()) };
        if !parent.is_dir() {
            fs::create_dir_all(parent)?;
            self.sync_folder(parent)?;
        }
        Ok(())
    }

    fn append_handle(&self, path: &str) -> Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(path) {
            return Ok(file.clone());
        }
        let full = self.root.join(path);
        self.make_folder(&full)?;
        let new = !full.exists();
        let file = Arc::new(OpenOptions::new().create(true).append(true).open(&full)?);
        if new {
            self.sync_folder(&full)?;
        }
        open.insert(path.to_string(), file.clone());
        Ok(file)
    }
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
        let draft = full.with_extension("tmp");
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &full)?;
        self.sync_folder(&full)
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = self.append_handle(path)?;
        (&*file).write_all(bytes)?;
        Ok(file.sync_data()?)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.join(prefix)];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e.into()),
            };
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_none_or(|e| e != "tmp")
                    && let Ok(relative) = path.strip_prefix(&self.root)
                {
                    found.push(relative.to_string_lossy().into_owned());
                }
            }
        }
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
}
