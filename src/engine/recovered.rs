//! What the log still holds of one object, when the server starts.

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

/// What the log still holds of one object.
#[derive(Debug, Default)]
pub struct RecoveredState {
    pub intents: Vec<Intent>,
    pub commits: Vec<Commit>,
    pub rows: Vec<(TableRows, Bytes)>,
    /// The columns that were fixed when the object was made.
    pub schema: Option<SchemaRef>,
    pub paused: bool,
    /// What it does by itself begins once this is fired; at once where it is `None`.
    pub begins: Option<CancellationToken>,
    /// The changelog is needed from here, by somebody who was reading it.
    pub followed: Option<Epoch>,
    pub readers: Arc<Readers>,
    /// Why not all of it is here.
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
