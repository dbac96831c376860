//! One standing query: what it reads, how far it got, and the loop that keeps its answer up to date.
//!
//! ```text
//! wait for rows or the trigger ─▶ admit ─▶ intent ─▶ run ─▶ apply ─▶ commit ─▶ publish ─┐
//!        ▲                                                        checkpoint, now and then │
//!        └──────────────────────────────────────────────────────────────────────────────┘
//! ```

mod admission;
mod batches;
mod checkpoints;
mod epoch;
mod handle;
mod letters;
mod memory;
mod outlet;
mod pieces;
mod prefetch;
mod progress;
mod reading;
mod recovery;
mod runner;
mod saving;
mod thresholds;
mod trigger;
mod watermarks;

pub use checkpoints::{Checkpoints, Header};
pub use epoch::{Env, Next, Setup, Worker};
pub use handle::{Command, Finished, Handle, Remake};
pub use letters::{Letters, LettersMax, letter_id};
pub use memory::EpochMemory;
pub use outlet::{Keeps, Outbox, Outlet};
pub use progress::{InputProgress, Progress, State, UNRECOVERED};
pub use runner::start;
pub use thresholds::Thresholds;
pub use trigger::Trigger;
pub use watermarks::Watermarks;
