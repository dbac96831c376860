//! Log compaction: closes a full log file, waits until checkpoints include its records, and removes it.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle as Runtime;

use super::{
    live_catalog::LiveCatalog, objects::ObjectState, server_snapshot::ServerSnapshot, unrecovered_log::UnrecoveredLog,
};
use crate::{
    checkpoint::Manifest,
    error::{Error, Result},
    query::{QueryEnv, UNRECOVERED},
};

/// Interval of checks of the log's size and of table checkpoints.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps the log short. Its task ends with the engine.
#[derive(Debug)]
pub struct LogCompaction {
    catalog: Arc<LiveCatalog>,
    env: QueryEnv,
    manifest: Arc<Manifest>,
    /// Size at which a log file is closed.
    file_bytes: u64,
}

impl LogCompaction {
    pub fn new(catalog: Arc<LiveCatalog>, env: QueryEnv, manifest: Arc<Manifest>, file_bytes: u64) -> Self {
        LogCompaction { catalog, env, manifest, file_bytes }
    }

    /// Spawns its task on the query runtime.
    pub fn spawn(self: &Arc<Self>, runtime: &Runtime) {
        let compaction = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let Some(compaction) = compaction.upgrade() else { return };
                compaction.note_what_is_held();
                if let Err(error) = compaction.shorten_log().await {
                    tracing::warn!(%error, "the log could not be shortened");
                }
            }
        });
    }

    /// Updates the memory shares of tables after readers have released snapshots.
    fn note_what_is_held(&self) {
        for object in self.catalog.objects().in_order() {
            if let ObjectState::Table(table) = &object.what {
                table.hold();
            }
        }
    }

    /// One round: closes a full log file, and removes files that no recovery would read.
    pub async fn shorten_log(&self) -> Result<()> {
        if self.env.log.bytes() < self.file_bytes {
            return Ok(());
        }
        let storage = self.env.storage.clone();
        let file = {
            // Under the DDL lock, so that the snapshot is exactly of the files before this one.
            let _lock = self.catalog.lock().await;
            let paused = self.env.commits.pause().await;
            let file = self.env.log.rotate();
            let snapshot = ServerSnapshot {
                log_file: file,
                catalog: self.catalog.definitions(),
                dead_letters: self.env.dead_letters.all().into_iter().map(|(_, dead_letter)| dead_letter).collect(),
                late_rows: self.env.late_rows.all(),
                files: Some(self.manifest.entries()),
                transactions: self.env.log.newest_transaction(),
            };
            drop(paused);
            snapshot.save(storage.as_ref())?;
            file
        };
        let (mut needed, mut stuck) = (file, Vec::new());
        for object in self.catalog.objects().in_order() {
            let from = match &object.what {
                ObjectState::Table(table) => {
                    table.checkpoint().await?;
                    None
                }
                ObjectState::ContinuousQuery { handle, .. } | ObjectState::Sink { handle, .. } => {
                    handle.progress().log_file
                }
                ObjectState::Broken(_) => Some(UNRECOVERED),
                _ => None,
            };
            match from {
                Some(UNRECOVERED) => stuck.push(object.id),
                Some(from) => needed = needed.min(from),
                None => UnrecoveredLog::remove(storage.as_ref(), object.id)?,
            }
        }
        self.keep_unrecovered(stuck, file).await?;
        self.env.log.forget(needed)?;
        ServerSnapshot::remove_earlier(storage.as_ref())
    }

    /// Copies the records of objects that have not recovered from the log files before `before`.
    async fn keep_unrecovered(&self, ids: Vec<u64>, before: u64) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let (storage, log) = (self.env.storage.clone(), self.env.log.clone());
        let kept =
            tokio::task::spawn_blocking(move || UnrecoveredLog::keep(storage.as_ref(), &log, &ids, before)).await;
        kept.map_err(|e| Error::internal(format!("keeping what the log says died: {e}")))?
    }
}
