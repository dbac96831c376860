//! The mark: up to where the newest file of a journal was synced, in a file beside the journal.
//!
//! ```text
//! marks/<folder>    file: u64 │ length: u64 │ crc32 of so many bytes: u32 │ crc32 of the above: u32     (LE)
//! ```
//! Nothing in a journal follows its last group that could prove that the group existed; the mark does. It is written
//! after the sync of its group and not synced itself: it never says too much, and after a power cut it may say less.

use crate::{error::Result, storage::Storage};

pub(super) const SIZE: usize = 24;

/// The length and checksum of the first bytes of one journal file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Prefix {
    /// The number of the file; 0 for none.
    pub file: u64,
    pub length: u64,
    pub crc32: u32,
}

impl Prefix {
    /// The prefix of a file that consists of `bytes`.
    pub fn of(file: u64, bytes: &[u8]) -> Prefix {
        Prefix { file, length: bytes.len() as u64, crc32: crc32fast::hash(bytes) }
    }

    /// The prefix extended by `more` bytes.
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

/// The mark of a journal; `None` if it is missing or unreadable: then loss of the last group cannot be detected.
pub(super) fn read(storage: &dyn Storage, folder: &str) -> Result<Option<Prefix>> {
    Ok(storage.read(&path(folder))?.and_then(|bytes| Prefix::decode(&bytes)))
}
