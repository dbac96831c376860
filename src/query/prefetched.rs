//! The prefetched span of an input.

use crate::connectors::{BadRecords, ReadLimit, SourceStream, Span};

/// The next epoch's span of one input, with open streams. Each buffers as many batches as its source decodes ahead.
#[derive(Debug)]
pub(super) struct Prefetched {
    pub span: Span,
    /// The limit it was planned with.
    pub limit: ReadLimit,
    pub streams: Vec<SourceStream>,
    pub bad: BadRecords,
}
