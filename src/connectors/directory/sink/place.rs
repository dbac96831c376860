//! The folder that a sink writes to. A file in it is whole and durable under its name, or is not there.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload, local::LocalFileSystem, path::Path,
};

use crate::{
    connectors::Fence,
    error::{Error, ErrorKind, Result},
};

/// Where files are until they are whole. Every reader passes over names that begin so.
const DRAFTS: &str = "_drafts";

/// A folder, on a local disk or in an object store.
#[derive(Debug)]
pub(super) struct SinkFolder {
    store: Arc<dyn ObjectStore>,
    /// What its owner calls it.
    name: String,
    /// Where it is on the local disk, whose files must be synced; an object store does that by itself.
    local: Option<PathBuf>,
    /// The names of its drafts: nobody else's begin so, and none is given twice.
    token: u64,
    drafts: AtomicU64,
}

/// A file of the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FolderState {
    pub path: String,
    /// In milliseconds since 1970 UTC.
    pub modified: i64,
}

impl SinkFolder {
    /// A local folder, made if it is missing. Blocks.
    pub fn local(name: &str, root: PathBuf, fence: &Fence) -> Result<SinkFolder> {
        fence.check_write(&root)?;
        let cannot = |e: Error| e.context(format!("cannot make directory \"{name}\""));
        fs::create_dir_all(&root).map_err(|e| cannot(e.into()))?;
        let root = fs::canonicalize(&root).map_err(|e| cannot(e.into()))?;
        fence.check_write(&root)?;
        let store = LocalFileSystem::new_with_prefix(&root).map_err(|e| failed(name, "", e))?;
        Ok(SinkFolder::new(name, Arc::new(store), Some(root)))
    }

    pub fn new(name: &str, store: Arc<dyn ObjectStore>, local: Option<PathBuf>) -> SinkFolder {
        let token = RandomState::new().hash_one(name);
        SinkFolder { store, name: name.to_string(), local, token, drafts: AtomicU64::new(0) }
    }

    /// What its owner calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self, path: &str) -> Result<Path> {
        Path::parse(path)
            .map_err(|e| Error::new(ErrorKind::InvalidParameterValue, format!("\"{path}\" is no path: {e}")))
    }

    /// Makes a file; false where there is one of that name already, which stays as it is. On a local disk its bytes are
    /// durable before its name is seen; the name is once [`SinkFolder::sync_names`] was told of it.
    pub async fn create(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        let to = self.path(path)?;
        let made = match &self.local {
            None => self.store.put_opts(&to, bytes.into(), PutMode::Create.into()).await.map(|_| ()),
            Some(_) => {
                let draft = self.draft(bytes).await?;
                let made = self.store.copy_if_not_exists(&draft, &to).await;
                // One that is left behind is removed when the sink is opened.
                let _ = self.store.delete(&draft).await;
                made
            }
        };
        match made {
            Ok(()) => Ok(true),
            Err(StoreError::AlreadyExists { .. }) => Ok(false),
            Err(e) => Err(failed(&self.name, path, e)),
        }
    }

    /// Makes a file, in the place of one of that name.
    pub async fn replace(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        let to = self.path(path)?;
        let made = match &self.local {
            None => self.store.put(&to, bytes.into()).await.map(|_| ()),
            Some(_) => {
                let draft = self.draft(bytes).await?;
                self.store.rename(&draft, &to).await
            }
        };
        made.map_err(|e| failed(&self.name, path, e))
    }

    async fn draft(&self, bytes: Vec<u8>) -> Result<Path> {
        let name = format!("{DRAFTS}/{:016x}-{}", self.token, self.drafts.fetch_add(1, Ordering::Relaxed));
        let path = self.path(&name)?;
        self.store.put(&path, PutPayload::from(bytes)).await.map_err(|e| failed(&self.name, &name, e))?;
        self.sync(vec![name]).await?;
        Ok(path)
    }

    /// Makes the names of files durable.
    pub async fn sync_names(&self, paths: impl Iterator<Item = &str>) -> Result<()> {
        let mut folders = BTreeSet::from([String::new()]);
        for path in paths {
            let ends = path.match_indices('/').map(|(at, _)| at);
            folders.extend(ends.map(|end| path[..end].to_string()));
        }
        self.sync(folders.into_iter().collect()).await
    }

    async fn sync(&self, paths: Vec<String>) -> Result<()> {
        let Some(root) = self.local.clone() else { return Ok(()) };
        let name = self.name.clone();
        let synced = tokio::task::spawn_blocking(move || {
            for path in paths {
                let synced = File::open(root.join(&path)).and_then(|file| file.sync_all());
                synced.map_err(|e| Error::from(e).context(format!("cannot write \"{name}/{path}\"")))?;
            }
            Ok(())
        });
        synced.await.map_err(|e| Error::internal(format!("syncing files: {e}")))?
    }

    /// The bytes of a file.
    pub async fn read(&self, path: &str) -> Result<Bytes> {
        let got = self.store.get(&self.path(path)?).await.map_err(|e| failed(&self.name, path, e))?;
        got.bytes().await.map_err(|e| failed(&self.name, path, e))
    }

    /// The files below a folder, in the order of their paths; those of the whole place for an empty one.
    pub async fn list(&self, folder: &str) -> Result<Vec<FolderState>> {
        let prefix = self.path(folder)?;
        let found = self.store.list(Some(&prefix)).map_ok(|meta| FolderState {
            path: meta.location.to_string(),
            modified: meta.last_modified.timestamp_millis(),
        });
        let mut found: Vec<_> = found.try_collect().await.map_err(|e| failed(&self.name, folder, e))?;
        found.sort();
        Ok(found)
    }

    /// Removes a file; a missing one is fine.
    pub async fn remove(&self, path: &str) -> Result<()> {
        match self.store.delete(&self.path(path)?).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(e) => Err(failed(&self.name, path, e)),
        }
    }

    /// Removes what a crash left unfinished, and what somebody else is about to finish.
    pub async fn remove_drafts(&self) -> Result<()> {
        let Some(drafts) = self.local.as_ref().map(|root| root.join(DRAFTS)) else { return Ok(()) };
        match tokio::fs::remove_dir_all(&drafts).await {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::from(e).context(format!("cannot remove \"{}\"", drafts.display())))
            }
            _ => Ok(()),
        }
    }
}

fn failed(place: &str, path: &str, error: StoreError) -> Error {
    let at = [place.trim_end_matches('/'), path].join("/");
    Error::new(ErrorKind::Io, format!("cannot access \"{}\": {error}", at.trim_end_matches('/'))).caused_by(error)
}
