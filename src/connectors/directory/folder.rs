//! The folder outside: what is in it, and the bytes of its files.
//!
//! Files are opened, moved and deleted through `object_store`. Listing is the local file system's own, because
//! `object_store` would ask for the size of every file each time, where names are enough for all but the new ones.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path as ObjectPath};

use super::{
    files::FolderEntry,
    options::{Clean, DirectoryOptions, is_hidden},
};
use crate::{
    connectors::Fence,
    error::{Error, ErrorKind, Result},
    formats::FileInput,
};

/// One folder and the files in it that count.
#[derive(Debug)]
pub(super) struct Folder {
    pub options: DirectoryOptions,
    /// Absolute, without links where it exists.
    pub root: PathBuf,
    store: Arc<dyn ObjectStore>,
    fence: Fence,
}

/// The result of opening a file.
pub(super) enum OpenedFile {
    Whole(Arc<FileInput>),
    /// It has grown since its discovery, to this size.
    Grown(Arc<FileInput>, u64),
    /// It can never be read, for this reason.
    Lost(String),
}

impl Folder {
    /// Fails if the fence forbids reading it, or `clean_source` there.
    pub fn new(options: DirectoryOptions, fence: Fence) -> Result<Folder> {
        fence.check_read(&options.root)?;
        match &options.clean {
            Clean::Off => {}
            Clean::Delete => fence.check_write(&options.root)?,
            Clean::Archive(to) => {
                fence.check_write(&options.root)?;
                fence.check_write(to)?;
            }
        }
        let root = match fs::canonicalize(&options.root) {
            Ok(root) => root,
            Err(_) => std::path::absolute(&options.root)?,
        };
        Ok(Folder { options, root, store: Arc::new(LocalFileSystem::new()), fence })
    }

    /// Fails where the folder is missing, is none, or cannot be read. Blocks.
    pub fn check(&self) -> Result<()> {
        let path = &self.options.path;
        match fs::read_dir(&self.root) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::UndefinedFile, format!("directory \"{path}\" does not exist"))
                    .hint("Create it first; a relative path starts where the server was started."))
            }
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
                Err(Error::new(ErrorKind::UndefinedFile, format!("\"{path}\" is not a directory"))
                    .hint("Name the directory, and choose among its files with option glob."))
            }
            Err(e) => Err(Error::from(e).context(format!("cannot read directory \"{path}\""))),
        }
    }

    /// Whether the source reads a file of this path.
    pub fn wants(&self, path: &str) -> bool {
        let options = &self.options;
        !is_hidden(path)
            && (options.recursive || !path.contains('/'))
            && options.glob.as_ref().is_none_or(|g| g.is_match(path))
    }

    /// A file that the log of the folder names; `None` where the source does not want it. One that is gone by now will be
    /// missed when it is read. Blocks.
    pub fn listed(&self, path: &str, size: u64) -> Option<FolderEntry> {
        let options = &self.options;
        let wants =
            (options.recursive || !path.contains('/')) && options.glob.as_ref().is_none_or(|g| g.is_match(path));
        let gone = || FolderEntry { path: path.to_string(), size, modified: 0, id: None };
        wants.then(|| self.stat(path).unwrap_or_else(gone))
    }

    /// The path below the folder, as entries have it.
    pub fn relative(&self, path: &Path) -> Option<String> {
        let path = path.strip_prefix(&self.root).ok()?.to_str()?;
        (!path.is_empty()).then(|| path.to_string())
    }

    /// Whether a path does not exist; false if unknown. Blocks.
    pub fn is_gone(&self, path: &str) -> bool {
        matches!(fs::symlink_metadata(self.root.join(path)), Err(e) if e.kind() == io::ErrorKind::NotFound)
    }

    /// The file as it is now; `None` where it is none (any more). Blocks.
    pub fn stat(&self, path: &str) -> Option<FolderEntry> {
        let metadata = fs::metadata(self.root.join(path)).ok()?;
        metadata.is_file().then(|| FolderEntry::of(path, &metadata))
    }

    /// Lists each folder that changed since the times in `seen`, and updates those. Gives the paths of wanted files in
    /// them; `None` if no folder changed. Vanished subfolders are skipped; the root must exist. Blocks.
    pub fn list(&self, seen: &mut BTreeMap<PathBuf, SystemTime>, all: bool) -> Result<Option<Vec<String>>> {
        let (mut found, mut changed) = (Vec::new(), false);
        let mut folders: Vec<PathBuf> = seen.keys().cloned().collect();
        if !seen.contains_key(&self.root) {
            folders.push(self.root.clone());
        }
        while let Some(folder) = folders.pop() {
            let modified = fs::metadata(&folder).and_then(|m| m.modified());
            // The time is read before the names, so that later files are found by the next look.
            let Ok(modified) = modified else {
                if folder == self.root {
                    self.check()?;
                }
                seen.remove(&folder);
                changed = true;
                continue;
            };
            let unchanged = seen.insert(folder.clone(), modified) == Some(modified);
            if unchanged && !all {
                continue;
            }
            changed = true;
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(_) if folder == self.root => return self.check().map(|()| None),
                Err(e) => {
                    tracing::warn!(folder = %folder.display(), error = %e, "cannot read a folder of a source");
                    continue;
                }
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let Some(relative) = self.relative(&path) else { continue };
                // A link to a folder is not followed: it may lead in a circle.
                let is_folder = entry.file_type().is_ok_and(|k| k.is_dir());
                if !is_folder && self.wants(&relative) {
                    found.push(relative);
                } else if is_folder && self.options.recursive && !is_hidden(&relative) && !seen.contains_key(&path) {
                    folders.push(path);
                }
            }
        }
        Ok(changed.then_some(found))
    }

    fn object(&self, path: &str) -> Result<ObjectPath> {
        object(&self.root.join(path))
    }

    /// Opens a file as it was discovered. An error is transient.
    pub async fn open(&self, entry: &FolderEntry) -> Result<OpenedFile> {
        let path = match self.object(&entry.path) {
            Ok(path) => path,
            // Such a name never will be valid: it must not block other files.
            Err(e) => return Ok(OpenedFile::Lost(e.message().to_string())),
        };
        // It may be a link, or be below one that was put there since.
        if let Err(e) = self.fence.check_read(&self.root.join(&entry.path)) {
            return Ok(OpenedFile::Lost(e.message().to_string()));
        }
        let got = match self.store.get(&path).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => {
                // If the whole folder is missing, it may come back: an error, not a lost file.
                self.check()?;
                return Ok(OpenedFile::Lost("the file vanished before it was read".to_string()));
            }
            Err(e) if is_denied(&e) => return Ok(OpenedFile::Lost("the server may not read the file".to_string())),
            Err(e) => {
                let message = format!("cannot open \"{}\": {e}", self.origin(&entry.path));
                return Err(Error::new(ErrorKind::Io, message).caused_by(e));
            }
        };
        let GetResultPayload::File(file, _) = got.payload else {
            return Err(Error::internal("a local file came as a stream"));
        };
        let now = file.metadata()?;
        if entry.is_replaced(&FolderEntry::of(&entry.path, &now)) {
            return Ok(OpenedFile::Lost("another file took its name before it was read".to_string()));
        }
        let size = now.len();
        if size < entry.size {
            let reason = format!("the file shrank from {} to {size} bytes before it was read", entry.size);
            return Ok(OpenedFile::Lost(reason));
        }
        if !entry.holds(&now) {
            return Ok(OpenedFile::Lost("the file was changed after it was found".to_string()));
        }
        let input = Arc::new(FileInput { file, size: entry.size });
        Ok(if size > entry.size { OpenedFile::Grown(input, size) } else { OpenedFile::Whole(input) })
    }

    /// Archives or deletes a file that all queries have consumed. A missing or replaced one is fine; one that was
    /// modified since stays, for its new content was not read.
    pub async fn clean(&self, number: u64, entry: &FolderEntry) -> Result<()> {
        let path = entry.path.as_str();
        let from = self.object(path)?;
        if let Ok(now) = tokio::fs::metadata(self.root.join(path)).await {
            if entry.is_replaced(&FolderEntry::of(path, &now)) {
                return Ok(());
            }
            if now.len() != entry.size || !entry.holds(&now) {
                let message = format!("\"{}\" was changed after it was found", self.origin(path));
                return Err(Error::new(ErrorKind::ObjectNotInState, message));
            }
        }
        if self.options.clean != Clean::Off {
            // The name is what goes, not what it may be a link to.
            let file = self.root.join(path);
            self.fence.check_write(file.parent().unwrap_or(&self.root))?;
        }
        let done = match &self.options.clean {
            Clean::Off => return Ok(()),
            Clean::Delete => self.store.delete(&from).await,
            Clean::Archive(folder) => {
                let folder = std::path::absolute(folder)?;
                self.fence.check_write(&folder.join(path))?;
                let to = object(&folder.join(path))?;
                match self.move_to(&from, &to).await {
                    // A file of that name is in the archive already: both stay.
                    Err(object_store::Error::AlreadyExists { .. }) => {
                        self.move_to(&from, &object(&folder.join(format!("{path}.{number}")))?).await
                    }
                    done => done,
                }
            }
        };
        match done {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(e) => {
                Err(Error::new(ErrorKind::Io, format!("cannot clean up \"{}\": {e}", self.origin(path))).caused_by(e))
            }
        }
    }

    /// Renames; where that crosses file systems, copies and deletes.
    async fn move_to(&self, from: &ObjectPath, to: &ObjectPath) -> object_store::Result<()> {
        if self.store.head(to).await.is_ok() {
            let source = "it is in the archive already".into();
            return Err(object_store::Error::AlreadyExists { path: to.to_string(), source });
        }
        match self.store.rename(from, to).await {
            Err(object_store::Error::NotFound { path, source }) => Err(object_store::Error::NotFound { path, source }),
            Err(_) => {
                let copied = tokio::fs::copy(absolute(from), absolute(to)).await;
                copied.map_err(|e| object_store::Error::Generic { store: "local", source: Box::new(e) })?;
                self.store.delete(from).await
            }
            Ok(()) => Ok(()),
        }
    }

    /// The name of a file in messages and dead letters.
    pub fn origin(&self, path: &str) -> String {
        format!("{}/{path}", self.options.path.trim_end_matches('/'))
    }
}

fn object(path: &Path) -> Result<ObjectPath> {
    ObjectPath::from_absolute_path(path).map_err(|e| {
        Error::new(ErrorKind::UndefinedFile, format!("\"{}\" is no path to read from: {e}", path.display()))
    })
}

fn absolute(path: &ObjectPath) -> PathBuf {
    Path::new("/").join(path.as_ref())
}

fn is_denied(error: &object_store::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(e) = cause {
        if e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = e.source();
    }
    false
}
