//! Rows that are in no answer, of all queries: the newest dead letters, and the newest late rows.
//!
//! They are in memory. The commit of their epoch has them in the log, and a log file that is dropped leaves them in the
//! snapshot of the server: [`CommitRecorder`] keeps memory and log in step.

mod bounded_queue;
mod commit_recorder;
mod dead_letter_queue;
mod late_row_log;

pub use bounded_queue::QueueLimit;
pub use commit_recorder::CommitRecorder;
pub use dead_letter_queue::{DeadLetterQueue, dead_letter_key};
pub use late_row_log::LateRowLog;
