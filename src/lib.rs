//! Tidemark keeps the answer of a SQL query up to date while its input keeps growing, and serves that answer as a
//! Postgres table. This page is the map: `tests/tidy.rs` keeps it true. How it works is told in `docs/design`.
//!
//! # The idea
//!
//! A standing query is an ordinary DataFusion physical plan, run again each epoch over only the new rows. What must be
//! remembered between epochs lives in stateful nodes of that plan. So our own code is what no library has: keeping an
//! answer up to date, exactly once, at a cost that follows the change.
//!
//! # The rooms, in reading order
//!
//! A room may use only rooms above it.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`error`] | what went wrong: message, detail, hint, and the SQLSTATE of its kind |
//! | [`functions`] | PostgreSQL's functions of one row's values, a family a file; `sql/builtins` makes them known to queries |
//! | [`time`] | `Clock`, `Epoch`, `Tick`: all that an epoch knows of time; nobody else asks the clock |
//! | [`sync`] | `locked`: a mutex, poisoned or not |
//! | [`metrics`] | numbers about the running server, by name and labels; whatever is gone has none |
//! | [`memory`] | `Budget`: how much all tables and views may hold together, and the share of each; charged by `query` and `engine` |
//! | [`options`] | `WITH (key = 'value')`, taken one by one, so that what is left over is an error |
//! | [`changes`] | rows that came and rows that went: the one currency between rooms |
//! | [`catalog`] | what exists, as plain durable data |
//! | [`storage`] | write-once files and append-only journals: the seam where tests crash the server; `disk.rs` syncs |
//! | [`formats`] | bytes to rows and back (`Decoder`, whoever sent them): CSV, JSON, Avro, Parquet, …; a bad record is handed back |
//! | [`state`] | what operators remember: the keyed Arrow log, by key or by window |
//! | [`connectors`] | where rows come from, replayable: the same span gives the same rows; and where changes go, once |
//! | [`checkpoint`] | the one log (`Log`, group commit), the form of checkpoint files, and `resume`: what is to be run again, decided |
//! | [`dead_letters`] | the dead letter queue and the late row log: the rows that are in no answer, of all queries |
//! | [`exec`] | plans as DataFusion runs them: the nodes that run operators each epoch, and our rules for its optimizer |
//! | [`operators`] | the steps that remember; which rows are late (`grouping.rs`) |
//! | [`relations`] | tables and views: snapshot, changelog, index |
//! | [`sql`] | text to statement, statement to plan (`plan.rs`), plan to what runs each epoch (`incremental`) |
//! | [`query`] | one standing query: its loop, admission (backpressure), watermarks; writes its checkpoints, runs epochs again |
//! | [`session`] | one client: who it is, its settings, its transaction, and what it is still to be told; what it may run is decided in `engine/authorize.rs` |
//! | [`pg_catalog`] | what Postgres clients ask about the catalog; the Postgres type and OID of a column (`types.rs`) |
//! | [`engine`] | the one door: wire, pipelines and the command line; authorizes statements, and has each run by its part (`mod.rs` lists them) over a snapshot (`snapshot.rs`) |
//! | [`wire`] | the Postgres protocol |
//! | [`config`] | settings and pipelines; a pipeline lowers to the same statements as SQL |
//! | [`cli`] | `serve`, `run`, `check`, `sql`, `demo`; signals, runtimes, logs |
//! | [`fuzzing`] | what bytes from outside reach, each as a function of bytes |
//!
//! # Words
//!
//! - *source*: an outside, growing, replayable input. *table*: durable rows that clients write. *stream*: a named query
//!   with an event time. *materialized view*: a standing query whose answer is kept. *sink*: one whose changes go to an
//!   outside system.
//! - *epoch*: one micro-batch of one standing query, over a fixed *span* of its inputs. "Batch" only ever means a
//!   `RecordBatch`.
//! - *changes*: rows with a *diff* (differential dataflow's weight), +1 came and -1 went; one that goes is a *retraction*.
//!   *changelog*: a relation's changes, epoch by epoch.
//! - *watermark*: the event time up to which an input is declared complete; what comes for something closed is *late*:
//!   each operator decides that by its keys.
//! - *intent*, *commit*: the durable lines that say "epoch N will read exactly this" and "epoch N happened".
//! - *log*: the one append-only journal of the server, of intents, commits, rows of tables and changes of the catalog.
//! - *admission*: how much of an input one epoch may take (backpressure).
//! - *snapshot*: the immutable contents of relations at an epoch; what a reader sees.
//! - *operator*: a step of a standing query that remembers (*state*). *group plan*: an operator that runs an ordinary plan
//!   over the rows of each group that changed. *static input*: a side of a join that does not change.
//! - *dead letter*: a record of a source that cannot be decoded, or a row that an expression fails on (a *row error*); they
//!   are kept in the *dead letter queue*, `tidemark.dead_letters`. Late rows are kept in the *late row log*,
//!   `tidemark.late_rows`.
//! - *partition*: a part of a source that has an order of its own: a partition of a topic, a file.
//! - *sink driver*: what carries the epochs of a query to its sink. One that may be outside already is *pending* until its
//!   commit.
//! - *operator uid*: what a checkpoint knows an operator's state by: its kind, keys and place, as in `Aggregate[k]@0.1`.
//! - *transaction*: what is written to tables at once: its rows count, in all its tables, once its end is in the log.
//! - *continuous plan*: a standing query planned to run epoch by epoch. *query pipeline*: such a plan with the state of its
//!   operators and the relation that holds its answer.
//!
//! # What always holds
//!
//! 1. A view equals the batch answer of its SELECT over the input consumed so far, less the rows declared late.
//! 2. Every input row counts once, and every row of a sink is outside once, through `kill -9` and restart.
//! 3. An epoch costs in proportion to its changes, not to the state, the result or the history.
//! 4. All that is not deterministic about an epoch (spans, watermark, clock) is in its intent, so that running it again
//!    is the same epoch. Recovery is a pure function of intents, commits and checkpoints.
//! 5. What a client has read is never taken back: a snapshot is published after its commit.
//! 6. A bad row goes to the dead letter queue; a bad query stops alone and visibly; neither stops the server.
//! 7. Everything that can grow has a limit.
//!
//! # An epoch
//!
//! Intent (spans, watermark and clock, appended; synced with the commit) → run the plan over the spans → apply the changes
//! to state and relation → commit in the log → publish the snapshot; the inputs learn what they may forget. State goes to disk
//! every checkpoint interval; recovery loads the newest checkpoint and runs the epochs after it again. What the next epoch
//! will read is decoded meanwhile. A sink's intent is synced before anything is written outside, and an epoch of it stays
//! what it is until its commit.

#![deny(rustdoc::broken_intra_doc_links)]

pub mod catalog;
pub mod changes;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod connectors;
pub mod dead_letters;
pub mod engine;
pub mod error;
pub mod exec;
pub mod formats;
pub mod functions;
pub mod fuzzing;
pub mod memory;
pub mod metrics;
pub mod operators;
pub mod options;
pub mod pg_catalog;
pub mod query;
pub mod relations;
pub mod session;
pub mod sql;
pub mod state;
pub mod storage;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod time;
pub mod wire;
