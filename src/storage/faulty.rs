//! Storage that fails as a test wants it to: like a disk that is full, dying, or reorders its writes.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::Storage;
use crate::error::{Error, ErrorKind, Result};

/// The operations of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Read,
    Create,
    Append,
    Overwrite,
    List,
    Remove,
}

/// How an operation fails. Its error is an I/O error, or one of no space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It has no effect.
    Refused(ErrorKind),
    /// An append writes only its first bytes, of this number; another operation has no effect.
    Short(usize),
    /// An append writes zeros for its first bytes, and the rest; another operation has no effect.
    Hole(usize),
    /// It has its full effect, but returns an error, as if only the sync failed.
    Unsynced,
}

type FaultPlan = Box<dyn FnMut(Operation, &str) -> Option<Fault> + Send>;

/// Another storage, some operations of which fail.
pub struct FaultyStorage {
    inner: Arc<dyn Storage>,
    plan: Mutex<FaultPlan>,
}

impl fmt::Debug for FaultyStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStorage").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl FaultyStorage {
    /// `plan` decides before each operation, by its path, whether and how it fails.
    pub fn new(
        inner: Arc<dyn Storage>,
        plan: impl FnMut(Operation, &str) -> Option<Fault> + Send + 'static,
    ) -> FaultyStorage {
        FaultyStorage { inner, plan: Mutex::new(Box::new(plan)) }
    }

    fn run<T>(&self, operation: Operation, path: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let fault = self.plan.lock().unwrap_or_else(PoisonError::into_inner)(operation, path);
        match fault {
            None => work(),
            Some(fault) => {
                if fault == Fault::Unsynced {
                    work()?;
                }
                Err(failed(fault, path))
            }
        }
    }
}

fn failed(fault: Fault, path: &str) -> Error {
    match fault {
        Fault::Refused(kind) => Error::new(kind, format!("file \"{path}\": the storage failed")),
        _ => Error::new(ErrorKind::Io, format!("file \"{path}\": the storage failed half way")),
    }
}

impl Storage for FaultyStorage {
    fn read(&self, path: &str) -> Result<Option<Bytes>> {
        self.run(Operation::Read, path, || self.inner.read(path))
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.run(Operation::Create, path, || self.inner.create(path, bytes))
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let fault = self.plan.lock().unwrap_or_else(PoisonError::into_inner)(Operation::Append, path);
        let Some(fault) = fault else { return self.inner.append(path, bytes) };
        match fault {
            Fault::Refused(_) => {}
            Fault::Short(length) => self.inner.append(path, &bytes[..length.min(bytes.len())])?,
            Fault::Hole(length) => {
                let mut bytes = bytes.to_vec();
                let length = length.min(bytes.len());
                bytes[..length].fill(0);
                self.inner.append(path, &bytes)?;
            }
            Fault::Unsynced => self.inner.append(path, bytes)?,
        }
        Err(failed(fault, path))
    }

    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.run(Operation::Overwrite, path, || self.inner.overwrite(path, bytes))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.run(Operation::List, prefix, || self.inner.list(prefix))
    }

    fn local(&self, path: &str) -> Option<PathBuf> {
        self.inner.local(path)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.run(Operation::Remove, path, || self.inner.remove(path))
    }
}
