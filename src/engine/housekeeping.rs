//! Log compaction: closes a full log file, waits until checkpoints include its records, and removes it.
//!
//! ```text
//! server/<log file>.json    the catalog, the dead letters and the late rows, as of the beginning of that log file
//! ```

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Engine, objects::ObjectState, unrecovered_log::UnrecoveredLog};
use crate::{
    catalog::Catalog,
    checkpoint::{DeadLetter, FileEntries, LateRow},
    error::{Error, ErrorKind, Result},
    query::UNRECOVERED,
    storage::Storage,
    sync::locked,
};

pub(super) const FOLDER: &str = "server";

/// Interval of checks of the log's size and of table checkpoints.
const EVERY: Duration = Duration::from_secs(1);

/// The contents of the log files before `log_file` that no object stores itself: the catalog and dead letters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServerSnapshot {
    /// Catalog changes from this log file on are not included.
    pub log_file: u64,
    pub catalog: Catalog,
    pub dead_letters: Vec<DeadLetter>,
    pub late_rows: Vec<LateRow>,
    /// The file manifest; `None` in snapshots of earlier releases without one.
    #[serde(default)]
    pub files: Option<FileEntries>,
    /// The number of the newest transaction of the log.
    #[serde(default)]
    pub transactions: u64,
}

/// Loads the newest snapshot; an empty one if there is none.
pub fn load(storage: &dyn Storage) -> Result<ServerSnapshot> {
    let Some(newest) = storage.list(FOLDER)?.pop() else { return Ok(ServerSnapshot::default()) };
    let bytes = storage.read(&newest)?.unwrap_or_default();
    let (snapshot, _): (ServerSnapshot, _) = crate::checkpoint::file::decode(&newest, &bytes)?;
    if newest != path(snapshot.log_file) {
        let message = format!("file \"{newest}\" is a copy of \"{}\"", path(snapshot.log_file));
        return Err(Error::new(ErrorKind::DataCorrupted, message).hint("Restore the data directory from a copy."));
    }
    Ok(snapshot)
}

/// Fails unless the snapshots known to the log exist undamaged.
pub fn check(storage: &dyn Storage) -> Result<()> {
    storage.list(FOLDER)?.iter().try_for_each(|path| storage.read(path).map(drop))
}

fn path(log_file: u64) -> String {
    format!("{FOLDER}/{log_file:012}.json")
}

impl Engine {
    /// Spawns the compaction task on the query runtime. It ends with the engine.
    pub(super) fn spawn_log_compaction(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let Some(engine) = engine.upgrade() else { return };
                engine.note_what_is_held();
                if let Err(error) = engine.shorten_log().await {
                    tracing::warn!(%error, "the log could not be shortened");
                }
            }
        });
    }

    /// Updates the memory shares of tables after readers have released snapshots.
    fn note_what_is_held(&self) {
        for object in self.objects().in_order() {
            if let ObjectState::Table(table) = &object.what {
                table.hold();
            }
        }
    }

    /// One round: closes a full log file, and removes files that no recovery would read.
    pub async fn shorten_log(&self) -> Result<()> {
        if self.env.log.bytes() < self.options.log_file_bytes {
            return Ok(());
        }
        let storage = self.env.storage.clone();
        let file = {
            // Under the DDL lock, so that the snapshot is exactly of the files before this one.
            let _one = self.ddl.lock().await;
            let paused = self.env.commits.pause().await;
            let file = self.env.log.rotate();
            let snapshot = ServerSnapshot {
                log_file: file,
                catalog: locked(&self.live).catalog.clone(),
                dead_letters: self.env.dead_letters.all().into_iter().map(|(_, dead_letter)| dead_letter).collect(),
                late_rows: self.env.late_rows.all(),
                files: Some(self.manifest.entries()),
                transactions: self.env.log.newest_transaction(),
            };
            drop(paused);
            let path = path(file);
            storage.create(&path, &crate::checkpoint::file::encode(&path, &snapshot, &[])?)?;
            file
        };
        let (mut needed, mut stuck) = (file, Vec::new());
        for object in self.objects().in_order() {
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
        let old: Vec<String> = storage.list(FOLDER)?;
        let older: Vec<String> = old.into_iter().rev().skip(1).collect();
        storage.remove_all(&older)
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
