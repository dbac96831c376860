//! Storage that remembers what is on it at each write: what a server leaves that dies there.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tidemark::{
    error::Result,
    storage::{MemoryStorage, Storage},
};

/// The files of a storage, by their paths.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Is shown what each write leaves that breaks: one that makes or removes a file leaves things as they were, one that
/// appends leaves a torn half.
pub type Camera = Arc<Mutex<dyn FnMut(Files) + Send>>;

/// Another storage, filmed.
pub struct FilmedStorage {
    pub inner: Arc<MemoryStorage>,
    pub camera: Camera,
}

impl fmt::Debug for FilmedStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl FilmedStorage {
    /// One write after the other, each behind its picture.
    fn filmed<T>(&self, before: impl FnOnce(Files) -> Option<Files>, write: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut camera = self.camera.lock().unwrap();
        if let Some(files) = before(self.inner.files()) {
            camera(files);
        }
        write()
    }
}

impl Storage for FilmedStorage {
    fn read(&self, path: &str) -> Result<Option<Bytes>> {
        self.inner.read(path)
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let new = |files: Files| (!files.contains_key(path)).then_some(files);
        self.filmed(new, || self.inner.create(path, bytes))
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let torn = |mut files: Files| {
            files.entry(path.to_string()).or_default().extend_from_slice(&bytes[..bytes.len() / 2]);
            Some(files)
        };
        self.filmed(torn, || self.inner.append(path, bytes))
    }

    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.filmed(|_| None, || self.inner.overwrite(path, bytes))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.list(prefix)
    }

    fn remove(&self, path: &str) -> Result<()> {
        let there = |files: Files| files.contains_key(path).then_some(files);
        self.filmed(there, || self.inner.remove(path))
    }
}
