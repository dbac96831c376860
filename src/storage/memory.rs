//! Storage in memory with injected write failures: for crash tests.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::Storage;
use crate::error::{Error, ErrorKind, Result};

/// Files in memory. [`MemoryStorage::fail_at`] breaks the n-th write and all after it, as a dying disk does:
/// a broken `create` leaves nothing, a broken `append` leaves a torn half.
#[derive(Debug, Default)]
pub struct MemoryStorage(Mutex<MemoryFiles>);

#[derive(Debug, Default)]
struct MemoryFiles {
    files: BTreeMap<String, Vec<u8>>,
    writes: u64,
    fail_at: Option<u64>,
}

impl MemoryStorage {
    fn state(&self) -> MutexGuard<'_, MemoryFiles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of writes so far, of every kind.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// Write number `write` (from 1, counted since the beginning) and every later one fails.
    pub fn fail_at(&self, write: u64) {
        self.state().fail_at = Some(write);
    }

    /// Writes succeed again, as after a full disk has space again.
    pub fn heal(&self) {
        self.state().fail_at = None;
    }

    /// All files, by their paths.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.state().files.clone()
    }

    /// The contents of the disk after a power cut, as a storage without failures.
    pub fn survivor(&self) -> MemoryStorage {
        MemoryStorage::from(self.files())
    }
}

impl From<BTreeMap<String, Vec<u8>>> for MemoryStorage {
    fn from(files: BTreeMap<String, Vec<u8>>) -> Self {
        MemoryStorage(Mutex::new(MemoryFiles { files, ..MemoryFiles::default() }))
    }
}

impl MemoryFiles {
    fn write(&mut self) -> Result<(), ()> {
        self.writes += 1;
        if self.fail_at.is_some_and(|at| self.writes >= at) { Err(()) } else { Ok(()) }
    }
}

fn broken(path: &str) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write \"{path}\": the storage failed"))
}

impl Storage for MemoryStorage {
    fn read(&self, path: &str) -> Result<Option<Bytes>> {
        Ok(self.state().files.get(path).map(|b| Bytes::from(b.clone())))
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let mut state = self.state();
        if state.files.contains_key(path) {
            return Err(Error::new(ErrorKind::DuplicateObject, format!("file \"{path}\" already exists")));
        }
        state.write().map_err(|()| broken(path))?;
        state.files.insert(path.to_string(), bytes.to_vec());
        Ok(())
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let mut state = self.state();
        let kept = match state.write() {
            Ok(()) => bytes.len(),
            // Only the first failing write is torn; later ones have no effect.
            Err(()) if state.fail_at == Some(state.writes) => bytes.len() / 2,
            Err(()) => return Err(broken(path)),
        };
        state.files.entry(path.to_string()).or_default().extend_from_slice(&bytes[..kept]);
        if kept == bytes.len() { Ok(()) } else { Err(broken(path)) }
    }

    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let mut state = self.state();
        // Not counted as a write: a crash here leaves the same files as a crash just before.
        if state.fail_at.is_some_and(|at| state.writes >= at) {
            return Err(broken(path));
        }
        state.files.insert(path.to_string(), bytes.to_vec());
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let folder = format!("{}/", prefix.trim_end_matches('/'));
        let whole = prefix.is_empty();
        Ok(self.state().files.keys().filter(|p| whole || p.starts_with(&folder)).cloned().collect())
    }

    fn remove(&self, path: &str) -> Result<()> {
        let mut state = self.state();
        if state.files.contains_key(path) {
            state.write().map_err(|()| broken(path))?;
            state.files.remove(path);
        }
        Ok(())
    }
}
