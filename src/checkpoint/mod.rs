//! What survives: the log of what happened, the files that shorten it, and the pure decision of how to go on.
//!
//! One log serves the whole server ([`Log`], group-committed). Checkpoint files ([`file`]) hold state as Arrow. After a
//! crash [`resume`] reads both and says which epochs are to be run again.
//!
//! Who writes checkpoints and runs epochs again is `crate::query`.

pub mod file;
mod log;
mod manifest;
mod record;
mod resume;
#[cfg(test)]
mod tests;
mod transactions;

// What the log is made of: `crate::tests` makes it once more of others.
use std::{sync, thread, time};

pub use log::{Log, Logged};
pub use manifest::{FileEntries, Manifest, apply as apply_to_files};
pub use record::{Commit, DeadLetter, FileEntry, Intent, LateCause, LateRow, LogRecord, TableRows};
pub use resume::{Resume, resume};
pub use transactions::Transactions;

use crate::storage::Journal;
