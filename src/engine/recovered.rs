//! The records of one object in the log, at a start.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    checkpoint::{Commit, Intent, LogRecord, TableRows},
    connectors::Readers,
    error::Error,
    time::Epoch,
};

/// The records of one object in the log, and what else its recovery needs.
#[derive(Debug, Default)]
pub struct RecoveredState {
    pub intents: Vec<Intent>,
    pub commits: Vec<Commit>,
    pub rows: Vec<(TableRows, Bytes)>,
    /// The schema that was fixed at creation.
    pub schema: Option<SchemaRef>,
    pub paused: bool,
    /// Its own activity (reading, running) starts once this is cancelled; at once if `None`.
    pub begins: Option<CancellationToken>,
    /// The epoch after which its changelog is needed by a reader.
    pub followed: Option<Epoch>,
    pub readers: Arc<Readers>,
    /// Why some records are missing.
    pub lost: Option<Error>,
}

impl RecoveredState {
    pub fn add(&mut self, record: LogRecord, bytes: Bytes) {
        match record {
            LogRecord::Intent(intent) => self.intents.push(intent),
            LogRecord::Commit(commit) => self.commits.push(commit),
            LogRecord::Rows(rows) => self.rows.push((rows, bytes)),
            LogRecord::Catalog(_) | LogRecord::Begun | LogRecord::File { .. } | LogRecord::Removed { .. } => {}
        }
    }
}
