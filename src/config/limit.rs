//! A memory limit as configured: a number of bytes, or `auto`.

/// A memory limit as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// A share of the total memory limit.
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
