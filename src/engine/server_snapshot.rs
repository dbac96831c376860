//! What the log said before the files that are left of it, as far as no object stores it itself.
//!
//! ```text
//! server/<log file>.json    the catalog, the dead letters and the late rows, as of the beginning of that log file
//! ```

use serde::{Deserialize, Serialize};

use crate::{
    catalog::Catalog,
    checkpoint::{DeadLetter, FileEntries, LateRow, file},
    error::{Error, ErrorKind, Result},
    storage::Storage,
};

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

impl ServerSnapshot {
    pub const FOLDER: &str = "server";

    /// Loads the newest snapshot; an empty one if there is none.
    pub fn load(storage: &dyn Storage) -> Result<ServerSnapshot> {
        let Some(newest) = storage.list(Self::FOLDER)?.pop() else { return Ok(ServerSnapshot::default()) };
        let bytes = storage.read(&newest)?.unwrap_or_default();
        let (snapshot, _): (ServerSnapshot, _) = file::decode(&newest, &bytes)?;
        if newest != path(snapshot.log_file) {
            let message = format!("file \"{newest}\" is a copy of \"{}\"", path(snapshot.log_file));
            return Err(Error::new(ErrorKind::DataCorrupted, message).hint("Restore the data directory from a copy."));
        }
        Ok(snapshot)
    }

    /// Writes it beside the earlier ones.
    pub fn save(&self, storage: &dyn Storage) -> Result<()> {
        let path = path(self.log_file);
        storage.create(&path, &file::encode(&path, self, &[])?)
    }

    /// Removes all but the newest.
    pub fn remove_earlier(storage: &dyn Storage) -> Result<()> {
        let all: Vec<String> = storage.list(Self::FOLDER)?;
        let earlier: Vec<String> = all.into_iter().rev().skip(1).collect();
        storage.remove_all(&earlier)
    }

    /// Fails unless the snapshots known to the log exist undamaged.
    pub fn check(storage: &dyn Storage) -> Result<()> {
        storage.list(Self::FOLDER)?.iter().try_for_each(|path| storage.read(path).map(drop))
    }
}

fn path(log_file: u64) -> String {
    format!("{}/{log_file:012}.json", ServerSnapshot::FOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn saved(log_file: u64, storage: &MemoryStorage) {
        ServerSnapshot { log_file, transactions: log_file * 10, ..ServerSnapshot::default() }.save(storage).unwrap();
    }

    #[test]
    fn newest_snapshot_is_loaded_and_left_when_earlier_ones_are_removed() {
        let storage = MemoryStorage::default();
        assert_eq!(ServerSnapshot::load(&storage).unwrap().log_file, 0);
        for log_file in [9, 10, 2] {
            saved(log_file, &storage);
        }
        let newest = |storage: &MemoryStorage| {
            let snapshot = ServerSnapshot::load(storage).unwrap();
            (snapshot.log_file, snapshot.transactions)
        };
        assert_eq!(newest(&storage), (10, 100));
        ServerSnapshot::remove_earlier(&storage).unwrap();
        assert_eq!(storage.list(ServerSnapshot::FOLDER).unwrap(), [path(10)]);
        assert_eq!(newest(&storage), (10, 100));
    }

    #[test]
    fn snapshot_under_the_name_of_another_is_corruption() {
        let storage = MemoryStorage::default();
        saved(1, &storage);
        let bytes = storage.read(&path(1)).unwrap().unwrap();
        storage.create(&path(2), &bytes).unwrap();
        assert_eq!(ServerSnapshot::load(&storage).unwrap_err().kind(), ErrorKind::DataCorrupted);
    }
}
