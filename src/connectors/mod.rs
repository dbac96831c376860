//! Outside systems: where rows come from, and where changes go. One file or folder a kind; the list of kinds of sources
//! is in `kinds.rs`, that of sinks in `sink/options.rs`.
//!
//! A source is replayable: the same span gives the same rows, in this process and in the next. A sink takes an epoch
//! whole or not at all, and knows which was the last. No connector to bytes decodes them itself: each feeds a decoder of
//! [`crate::formats`] (Kafka's in `kafka/scan.rs`).

mod datagen;
mod directory;
mod fence;
mod generator;
mod kafka;
mod kinds;
mod nexmark;
mod postgres;
mod replay;
pub mod sink;
mod socket;
mod source;
mod timeouts;

pub use directory::decode_log;
pub use fence::{Allowed, Fence};
pub use kinds::{check, open, read_limit, remove};
pub use replay::{DeadLetterKey, ReplayMarks, Replayed};
pub use sink::{Delivery, Outgoing, Sink, SinkDef, SinkOptions, open_sink};
pub use source::{
    Ahead, Backlog, BadRecord, BadRecords, BatchingPolicy, Irreplaceable, Offsets, OnError, Origin, OriginQueue,
    OriginSender, ReadLimit, Readers, START, ScanHints, Source, SourceEnv, SourceStream, Span,
};
pub use timeouts::{OPEN_TIMEOUT, Timeouts, WRITE_TIMEOUT, within};
