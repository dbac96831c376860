//! What is decoded of an input before the epoch that reads it.

use crate::connectors::{BadRecords, ReadLimit, SourceStream, Span};

/// What the next epoch will read of one input. A stream holds as many batches as its source decodes ahead.
#[derive(Debug)]
pub(super) struct Prefetched {
    pub span: Span,
    /// What it was let take.
    pub limit: ReadLimit,
    pub streams: Vec<SourceStream>,
    pub bad: BadRecords,
}
