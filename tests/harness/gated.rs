//! Storage that does not answer: as a disk or a network that hangs.

use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use tidemark::{error::Result, storage::Storage};

/// Another storage, of which the files below a folder cannot be read for now.
#[derive(Debug)]
pub struct GatedStorage {
    pub inner: Arc<dyn Storage>,
    pub gate: Arc<Gate>,
}

/// Who reads below a folder waits until there is none.
#[derive(Debug, Default)]
pub struct Gate {
    closed: Mutex<Option<String>>,
    opened: Condvar,
}

impl Gate {
    pub fn closed(folder: String) -> Arc<Gate> {
        Arc::new(Gate { closed: Mutex::new(Some(folder)), opened: Condvar::new() })
    }

    pub fn open(&self) {
        *self.closed.lock().unwrap() = None;
        self.opened.notify_all();
    }

    fn pass(&self, path: &str) {
        let waits = |closed: &mut Option<String>| closed.as_ref().is_some_and(|folder| path.starts_with(folder));
        drop(self.opened.wait_while(self.closed.lock().unwrap(), waits).unwrap());
    }
}

impl Storage for GatedStorage {
    fn read(&self, path: &str) -> Result<Option<Bytes>> {
        self.gate.pass(path);
        self.inner.read(path)
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.inner.create(path, bytes)
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.inner.append(path, bytes)
    }

    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.inner.overwrite(path, bytes)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.list(prefix)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.inner.remove(path)
    }
}
