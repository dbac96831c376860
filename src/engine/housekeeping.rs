//! Keeps the log short: closes a full log file, waits until checkpoints hold what is in it, drops it.
//!
//! ```text
//! server/<log file>.json    the catalog and the letters, as of the beginning of that log file
//! ```

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Engine, locked, objects::What};
use crate::{
    catalog::Catalog,
    checkpoint::{DeadLetter, LateRow},
    error::Result,
    storage::Storage,
};

const FOLDER: &str = "server";

/// How often the log's size is looked at, and tables are saved.
const EVERY: Duration = Duration::from_secs(1);

/// What the log files before one say that no object keeps itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Changes of the catalog in this log file and later ones are not in here.
    pub log_file: u64,
    pub catalog: Catalog,
    pub dead_letters: Vec<DeadLetter>,
    pub late_rows: Vec<LateRow>,
}

/// The newest snapshot; an empty one where there is none.
pub fn load(storage: &dyn Storage) -> Result<Snapshot> {
    let Some(newest) = storage.list(FOLDER)?.pop() else { return Ok(Snapshot::default()) };
    let bytes = storage.read(&newest)?.unwrap_or_default();
    let (snapshot, _) = crate::checkpoint::file::decode(&newest, &bytes)?;
    Ok(snapshot)
}

impl Engine {
    /// Starts the chore on the query runtime. It ends with the engine.
    pub(super) fn keep_house(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let Some(engine) = engine.upgrade() else { return };
                if let Err(error) = engine.shorten_log().await {
                    tracing::warn!(%error, "the log could not be shortened");
                }
            }
        });
    }

    /// One round: a full log file is closed; files that nobody would read again are dropped.
    pub async fn shorten_log(&self) -> Result<()> {
        if self.env.log.bytes() < self.options.log_file_bytes {
            return Ok(());
        }
        let storage = self.env.storage.clone();
        let file = {
            // While what exists stands still: the snapshot is of exactly the files before this one.
            let _one = self.ddl.lock().await;
            let file = self.env.log.rotate();
            let snapshot = Snapshot {
                log_file: file,
                catalog: locked(&self.live).catalog.clone(),
                dead_letters: self.env.letters.dead(),
                late_rows: self.env.letters.late(),
            };
            let bytes = crate::checkpoint::file::encode(&snapshot, &[])?;
            storage.create(&format!("{FOLDER}/{file:012}.json"), &bytes)?;
            file
        };
        let mut needed = file;
        for object in self.objects().in_order() {
            let from = match &object.what {
                What::Table(table) => {
                    table.checkpoint().await?;
                    None
                }
                What::Standing { handle, .. } | What::Sink { handle, .. } => handle.progress().log_file,
                What::Broken(_) => Some(0),
                _ => None,
            };
            needed = needed.min(from.unwrap_or(file));
        }
        self.env.log.forget(needed)?;
        let old: Vec<String> = storage.list(FOLDER)?;
        for path in old.iter().rev().skip(1) {
            storage.remove(path)?;
        }
        Ok(())
    }
}
