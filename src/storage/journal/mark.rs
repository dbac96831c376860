//! How far a journal is known to reach, beside the journal itself.
//!
//! ```text
//! marks/<folder>    file: u64 │ length: u64 │ crc32 of so many bytes: u32 │ crc32 of the above: u32     (LE)
//! ```
//! What follows the last group in a journal cannot tell that the group was there; the mark does. It is written after the
//! sync of its group and not synced itself, so that it never says too much, and after a power cut it may say less.

use crate::{error::Result, storage::Storage};

pub(super) const SIZE: usize = 24;

/// The first bytes of one file of a journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Prefix {
    /// The number of the file; 0 where there is none.
    pub file: u64,
    pub length: u64,
    pub crc32: u32,
}

impl Prefix {
    /// The bytes of a file up to a length, which it has.
    pub fn of(file: u64, bytes: &[u8]) -> Prefix {
        Prefix { file, length: bytes.len() as u64, crc32: crc32fast::hash(bytes) }
    }

    /// The same with more bytes.
    pub fn grown(self, more: &[u8]) -> Prefix {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.crc32);
        hasher.update(more);
        Prefix { length: self.length + more.len() as u64, crc32: hasher.finalize(), ..self }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SIZE);
        bytes.extend_from_slice(&self.file.to_le_bytes());
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&self.crc32.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Prefix> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        (crc32fast::hash(&bytes[..SIZE - 4]) == word(SIZE - 4)).then(|| Prefix {
            file: long(0),
            length: long(8),
            crc32: word(16),
        })
    }
}

pub(super) fn path(folder: &str) -> String {
    format!("marks/{folder}")
}

/// The mark of a journal; `None` where it is not there or cannot be read, and then nothing is known.
pub(super) fn read(storage: &dyn Storage, folder: &str) -> Result<Option<Prefix>> {
    Ok(storage.read(&path(folder))?.and_then(|bytes| Prefix::decode(&bytes)))
}
