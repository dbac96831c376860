//! A limit of memory as it is configured: so many bytes, or the server's own choice.

/// A limit as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// A part of what all may take together.
    Auto,
    Bytes(u64),
}

impl MemoryLimit {
    pub(super) fn or(self, auto: u64) -> u64 {
        match self {
            MemoryLimit::Auto => auto,
            MemoryLimit::Bytes(bytes) => bytes,
        }
    }
}
