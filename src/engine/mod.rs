//! The engine: every statement of a client, a pipeline or the command line goes through [`Engine::execute`].
//!
//! | file | what it holds |
//! | --- | --- |
//! | `server.rs` | [`Engine`]: its parts, and which of them runs a statement; `server/open.rs` makes them over a data directory |
//! | `authorize.rs` | what a session may run, a read-only transaction too |
//! | `live_catalog.rs` | `LiveCatalog`: what exists, under which locks it changes; `listing.rs`: the same for `pg_catalog` |
//! | `snapshot.rs` | `StatementSnapshot`: what a statement sees |
//! | `statement_planner.rs` | `StatementPlanner`: clients' statements over such a snapshot |
//! | `read.rs`, `subscribe.rs`, `flush.rs` | `Reader`: `SELECT`, `EXPLAIN`, `SHOW`; `SUBSCRIBE`; `FLUSH` |
//! | `dml.rs`, `dead_letter_replay.rs` | `TableWriter` and `DeadLetterReplay`: what writes rows, into a `WritableTable` (`tables.rs`) |
//! | `ddl/` | `DdlExecutor`: what makes, alters and drops objects; `cleanup.rs`: what is left of one that is no more |
//! | `secrets.rs`, `functions.rs` | `Secrets` and `UserFunctions` of the catalog |
//! | `build.rs`, `continuous/` | `ObjectBuilder` makes live objects of definitions, `ContinuousQueries` those that run |
//! | `opened_directory.rs`, `object_recovery.rs` | `OpenedDirectory`: what is read of a data directory at a start; `ObjectRecovery` makes its objects live again |
//! | `log_compaction.rs` | `LogCompaction`: removes log files that no recovery would read |
//!
//! Parts borrow or share those above them, and know none below.

mod authorize;
mod build;
mod catalog_view;
mod check;
mod cleanup;
mod collected;
mod collecting;
mod continuous;
mod copy_target;
mod data_directory;
mod ddl;
mod dead_letter_replay;
mod detached;
mod dml;
mod flush;
mod functions;
mod listing;
mod live_catalog;
mod log_compaction;
mod names;
mod object_recovery;
mod objects;
mod opened_directory;
mod options;
mod physical;
mod position;
mod read;
mod recipe;
mod recovered;
mod reply;
mod returning;
mod secrets;
mod server;
mod server_snapshot;
mod sink_plan;
mod sinks;
mod snapshot;
mod statement_planner;
mod subscribe;
mod system;
mod tables;
mod unrecovered_log;
mod view_options;
mod view_plan;

pub use authorize::{Authorized, Privilege, authorize};
pub use copy_target::CopyInTarget;
pub use options::{EngineOptions, Env};
pub use reply::{Description, Reply};
pub use server::Engine;
