//! Durability: the log of what happened, the files that shorten it, and the pure decision how to recover.
//!
//! One log serves the whole server ([`Log`], group-committed). Checkpoint files ([`file`]) hold state as Arrow. After a
//! crash [`resume`] reads both and returns which epochs are to be replayed.
//!
//! Checkpoints are written and epochs replayed by `crate::query`.

pub mod file;
mod log;
mod manifest;
mod record;
mod resume;
#[cfg(test)]
mod tests;
mod transactions;

// Dependencies of the log: `crate::tests` compiles it once more with substitutes.
use std::{sync, thread, time};

pub use log::{Log, Logged};
pub use manifest::{FileEntries, Manifest, apply as apply_to_files};
pub use record::{Commit, DeadLetter, FileEntry, Intent, LateCause, LateRow, LogRecord, TableRows};
pub use resume::{Resume, resume};
pub use transactions::Transactions;

use crate::storage::Journal;
