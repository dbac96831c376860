//! One standing query: what it reads, how far it got, and the loop that keeps its answer up to date.
//!
//! ```text
//! wait for rows or the trigger ─▶ admit ─▶ intent ─▶ run ─▶ apply ─▶ commit ─▶ publish ─┐
//!        ▲                                                        checkpoint, now and then │
//!        └──────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! `Worker` runs an epoch with four types, of which each keeps its own invariants: `InputCursors` (how far the inputs
//! are read), `QueryPipeline` (plan, state and relation), `Durability` (what a crash would leave) and, for a sink,
//! `SinkDriver`.
//!
//! `worker.rs` plans, runs and commits or delivers an epoch; `recovery.rs` takes checkpoints and runs committed epochs
//! again; `checkpoints.rs` has the files. `late_rows.rs` and `dead_letters.rs` make what a commit tells of them.

mod admission;
mod batches;
mod checkpoints;
mod dead_letters;
mod durability;
mod epoch_memory;
mod handle;
mod input_cursor;
mod input_cursors;
mod late_rows;
mod metrics;
mod pieces;
mod pipeline;
mod prefetch;
mod progress;
mod recovery;
mod runner;
mod setup;
mod sink_driver;
mod thresholds;
mod trigger;
mod watermarks;
mod worker;

pub use checkpoints::{CheckpointHeader, Checkpoints};
pub use epoch_memory::EpochMemory;
pub use handle::{Command, Finished, Handle, Rebuild};
pub use progress::{InputProgress, Progress, QueryProgress, QueryState, UNRECOVERED};
pub use runner::start;
pub use setup::{QueryEnv, QuerySetup};
pub use sink_driver::{Outbox, Retention, SinkDriver};
pub use thresholds::Thresholds;
pub use trigger::Trigger;
pub use watermarks::Watermarks;
pub use worker::{NextEpoch, Worker};
