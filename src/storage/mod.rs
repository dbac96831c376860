//! Durable bytes. All durable data goes through [`Storage`]: it is the seam where tests inject crashes.
//!
//! A path is relative, with `/` between its parts. A file made by [`Storage::create`] is complete and durable, or does
//! not exist; a file grown by [`Storage::append`] keeps what was acknowledged, and may end in a torn, unacknowledged
//! append. Durable data is never overwritten. `disk.rs` syncs; `journal` frames files that grow.

mod disk;
mod faulty;
pub mod framed;
mod journal;
mod memory;
mod overlay;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    io::{Cursor, Read, Seek, Write},
    path::PathBuf,
    sync,
};

use bytes::Bytes;

pub use disk::DiskStorage;
pub use faulty::{Fault, FaultyStorage, Operation};
pub use journal::Journal;
pub use memory::MemoryStorage;
pub use overlay::OverlayStorage;

use crate::error::Result;

/// An open file for reading.
pub trait Reading: Read + Seek + Send {}
impl<T: Read + Seek + Send> Reading for T {}

/// Write-once files and append-only logs. Blocking: to be called from a thread that may block.
pub trait Storage: Send + Sync + fmt::Debug {
    /// The contents of a file; `None` if it does not exist.
    fn read(&self, path: &str) -> Result<Option<Bytes>>;
    /// The length of a file; `None` if it does not exist.
    fn length(&self, path: &str) -> Result<Option<u64>> {
        Ok(self.read(path)?.map(|bytes| bytes.len() as u64))
    }
    /// Creates a complete file, durable on return. An existing one is an error of kind `DuplicateObject`, left
    /// untouched.
    fn create(&self, path: &str, bytes: &[u8]) -> Result<()>;
    /// Opens a file to be read piece by piece. On a disk storage it is never in memory as a whole.
    fn open(&self, path: &str) -> Result<Option<Box<dyn Reading>>> {
        Ok(self.read(path)?.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Reading>))
    }
    /// Creates a complete file like [`Storage::create`], of what `write` writes, piece by piece. If that fails there is
    /// no file.
    fn create_with(&self, path: &str, write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
        let mut file = Vec::new();
        write(&mut file)?;
        self.create(path, &file)
    }
    /// Appends to a file, created if missing; durable on return.
    fn append(&self, path: &str, bytes: &[u8]) -> Result<()>;
    /// Replaces the few bytes of a small file, created if missing, without a sync. After a power cut it may have those
    /// of any earlier call, or none.
    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<()>;
    /// The files below a folder, sorted, as full relative paths.
    fn list(&self, prefix: &str) -> Result<Vec<String>>;
    /// Removes a file; a missing one is not an error.
    fn remove(&self, path: &str) -> Result<()>;
    /// The path of a file on the local disk, if it has one: for files that are linked, not written.
    fn local(&self, _path: &str) -> Option<PathBuf> {
        None
    }

    /// Removes several files, in this order.
    fn remove_all(&self, paths: &[String]) -> Result<()> {
        paths.iter().try_for_each(|path| self.remove(path))
    }

    /// Removes everything below a folder.
    fn clear(&self, folder: &str) -> Result<()> {
        self.remove_all(&self.list(folder)?)
    }
}
