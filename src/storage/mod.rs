//! Durable bytes. Everything that must survive goes through [`Storage`]: it is the seam where tests crash the server.
//!
//! A path is relative, with `/` between its parts. A file made by [`Storage::create`] is whole and durable or is not
//! there; a file grown by [`Storage::append`] keeps what was acknowledged, and may end in a torn piece of what was not.
//! Nothing that counts is ever overwritten. `disk.rs` syncs; `journal` frames what grows.

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

/// A file that is being read.
pub trait Reading: Read + Seek + Send {}
impl<T: Read + Seek + Send> Reading for T {}

/// Write-once files and append-only logs. Blocking: call it from a thread that may wait.
pub trait Storage: Send + Sync + fmt::Debug {
    /// The whole file, or `None` where there is none.
    fn read(&self, path: &str) -> Result<Option<Bytes>>;
    /// How long a file is, or `None` where there is none.
    fn length(&self, path: &str) -> Result<Option<u64>> {
        Ok(self.read(path)?.map(|bytes| bytes.len() as u64))
    }
    /// Makes a whole file, durable on return. An existing one is an error of kind `DuplicateObject`, left untouched.
    fn create(&self, path: &str, bytes: &[u8]) -> Result<()>;
    /// The same of a file that is read piece by piece. Where it lies on a disk, it is never in memory as a whole.
    fn open(&self, path: &str) -> Result<Option<Box<dyn Reading>>> {
        Ok(self.read(path)?.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Reading>))
    }
    /// Makes a whole file as [`Storage::create`] does, of what `write` writes, piece by piece. Where that fails there is
    /// no file.
    fn create_with(&self, path: &str, write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
        let mut file = Vec::new();
        write(&mut file)?;
        self.create(path, &file)
    }
    /// Adds to the end of a file, made if missing, durable on return.
    fn append(&self, path: &str, bytes: &[u8]) -> Result<()>;
    /// Puts a few bytes in place of a small file's, made if missing, without waiting for the disk. After a power cut any
    /// earlier bytes may be there, or none.
    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<()>;
    /// The files below a folder, sorted, as full relative paths.
    fn list(&self, prefix: &str) -> Result<Vec<String>>;
    /// Removes a file; a missing one is fine.
    fn remove(&self, path: &str) -> Result<()>;
    /// Where a file of this path lies on the local disk, if it does: for files that are linked, not written.
    fn local(&self, _path: &str) -> Option<PathBuf> {
        None
    }

    /// Removes several files, in this order.
    fn remove_all(&self, paths: &[String]) -> Result<()> {
        paths.iter().try_for_each(|path| self.remove(path))
    }

    /// Removes whatever is below a folder.
    fn clear(&self, folder: &str) -> Result<()> {
        self.remove_all(&self.list(folder)?)
    }
}
