//! The log as its one writer holds it: read back, lengthened by an entry at a time, and kept short by checkpoints.

use std::sync::Arc;

use serde_json::json;

use super::place::{FolderState, SinkFolder};
use crate::{
    connectors::directory::log::{
        Action, Add, CHECKPOINT, Contents, DELTA, ENTRY, OWN, Remove, Txn, checkpoint_name, entry_name, from_parquet,
        parse, print, to_parquet, version_of,
    },
    error::{Error, ErrorKind, Result},
};

/// So many entries are read one by one after a checkpoint, at most. Delta's own writers have it at 10 to 100.
const CHECKPOINT_ENTRIES: u64 = 100;

/// The log of a place.
#[derive(Debug)]
pub(super) struct History {
    place: Arc<SinkFolder>,
    /// The folder that it is in.
    folder: &'static str,
    pub contents: Contents,
    /// Of the last entry; `None` where there is none yet.
    version: Option<u64>,
    /// Of the last checkpoint, or of the first entry.
    checkpoint: u64,
}

impl History {
    /// Reads the log of a place, of Delta's form or of ours.
    pub async fn read(place: &Arc<SinkFolder>, delta: bool) -> Result<History> {
        let folder = if delta { DELTA } else { OWN };
        let mut history =
            History { place: place.clone(), folder, contents: Contents::default(), version: None, checkpoint: 0 };
        let found = place.list(folder).await?;
        let versions = |ending| {
            let names = found.iter().filter_map(|f| f.path.rsplit('/').next());
            names.filter_map(move |name| version_of(name, ending))
        };
        let checkpoint = versions(CHECKPOINT).max();
        if let Some(version) = checkpoint {
            let name = history.path(&checkpoint_name(version));
            let bytes = place.read(&name).await?;
            for action in from_parquet(&name, bytes)? {
                history.contents.apply(action);
            }
            (history.version, history.checkpoint) = (Some(version), version);
        }
        let behind = |version: &u64| checkpoint.is_none_or(|checkpoint| *version > checkpoint);
        for version in versions(ENTRY).filter(behind).collect::<Vec<_>>() {
            if version != history.next() {
                let message = format!("the log of \"{}\" has no entry {}", place.name(), history.next());
                return Err(Error::new(ErrorKind::DataCorrupted, message));
            }
            let name = history.path(&entry_name(version));
            for action in parse(&name, &place.read(&name).await?)? {
                history.contents.apply(action);
            }
            history.version = Some(version);
        }
        Ok(history)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.version.is_none()
    }

    /// The version that the next entry will have.
    pub fn next(&self) -> u64 {
        self.version.map_or(0, |version| version + 1)
    }

    /// Makes the next entry, durable on return; false where somebody else was there before.
    pub async fn append(&mut self, actions: Vec<Action>) -> Result<bool> {
        let (version, bytes) = (self.next(), print(&actions)?);
        let path = self.path(&entry_name(version));
        if !self.place.create(&path, bytes).await? {
            return Ok(false);
        }
        self.place.sync_names(std::iter::once(path.as_str())).await?;
        actions.into_iter().for_each(|action| self.contents.apply(action));
        self.version = Some(version);
        Ok(true)
    }

    /// Writes a checkpoint where one is due, and removes the entries from before the last one that no reader of `since`
    /// (in milliseconds) or later needs. Nothing is lost where it fails.
    pub async fn tidy(&mut self, since: i64) -> Result<()> {
        let due = self.checkpoint + CHECKPOINT_ENTRIES;
        let Some(version) = self.version.filter(|version| *version >= due) else { return Ok(()) };
        let actions = self.all(since);
        let size = actions.len();
        let name = self.path(&checkpoint_name(version));
        self.place.replace(&name, to_parquet(&actions)?).await?;
        self.place.sync_names(std::iter::once(name.as_str())).await?;
        let last = json!({ "version": version, "size": size }).to_string().into_bytes();
        self.place.replace(&self.path("_last_checkpoint"), last).await?;
        self.checkpoint = version;
        for FolderState { path, modified } in self.place.list(self.folder).await? {
            let name = path.rsplit('/').next().unwrap_or_default();
            let of = version_of(name, ENTRY).or(version_of(name, CHECKPOINT));
            if modified < since && of.is_some_and(|of| of < version) {
                self.place.remove(&path).await?;
            }
        }
        Ok(())
    }

    /// All that counts, as the actions that say it.
    fn all(&self, since: i64) -> Vec<Action> {
        let Contents { files, removed, txns, protocol, meta } = &self.contents;
        let mut actions = vec![
            Action { protocol: protocol.clone(), ..Action::default() },
            Action { meta_data: meta.clone(), ..Action::default() },
        ];
        for (app_id, version) in txns {
            let txn = Some(Txn { app_id: app_id.clone(), version: *version, last_updated: None });
            actions.push(Action { txn, ..Action::default() });
        }
        for (path, at) in removed.iter().filter(|(_, at)| **at >= since) {
            let remove = Remove { path: path.clone(), deletion_timestamp: Some(*at), data_change: false };
            actions.push(Action { remove: Some(remove), ..Action::default() });
        }
        // A reader takes what a checkpoint says for old.
        let add = |add: &Add| Some(Add { data_change: false, ..add.clone() });
        actions.extend(files.values().map(|file| Action { add: add(file), ..Action::default() }));
        actions
    }
}
