//! The directory source: files by number, found by a lookout and read as spans.

use std::{path::Path, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use tokio::sync::watch as channel;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Clean, DirectoryOptions,
    discovery::Discovery,
    files::Files,
    folder::{Folder, OpenedFile},
    log::{follow, log_of, schema_of},
    retained::{self, Retained},
    scan::{DirectoryScan, FilePartition, share},
    watch::Lookout,
};
use crate::{
    connectors::{
        Ahead, Backlog, Irreplaceable, Offsets, ReadLimit, ScanHints, Source, SourceEnv, SourceStream, Span,
        source::{SourceConfig, folder as source_folder},
    },
    error::{Error, ErrorKind, Result},
    formats::{ByteInput, Request},
    storage::{Journal, Storage},
};

/// A folder as a source.
#[derive(Debug)]
struct Directory {
    schema: SchemaRef,
    folder: Arc<Folder>,
    files: Arc<Files>,
    lookout: Arc<Lookout>,
    retained: Arc<Retained>,
    /// Serializes clean-ups.
    cleaning: tokio::sync::Mutex<()>,
    /// Dropping the source stops its lookout.
    _stop: DropGuard,
}

/// How many files are looked into for their columns.
const INFER_FILES_MAX: usize = 16;

#[async_trait]
impl SourceConfig for DirectoryOptions {
    /// The rows of a file are not known before it is read.
    fn counts_rows_ahead(&self) -> bool {
        false
    }

    /// Opens a folder, new or again.
    async fn open(
        self: Box<Self>,
        id: u64,
        name: &str,
        schema: Option<SchemaRef>,
        env: &SourceEnv,
    ) -> Result<Arc<dyn Source>> {
        if let Some(schema) = &schema {
            self.format.check(schema)?;
        }
        let folder = Arc::new(Folder::new(*self, env.fence.clone())?);
        let (files, retained) = open_files(&folder, env.storage.clone(), id).await?;
        let (files, retained) = (Arc::new(files), Arc::new(retained));
        let discovery = Discovery::new(folder.clone(), files.clone(), env.clock.clone());
        let lookout = Arc::new(Lookout::new(discovery));
        let schema = match schema {
            Some(schema) => schema,
            None => match infer(&folder, &files, &lookout, name).await {
                Ok(schema) => schema,
                Err(e) => {
                    if !files.reopened() {
                        forget_all(env.storage.clone(), source_folder(id)).await?;
                    }
                    return Err(e);
                }
            },
        };
        let stop = CancellationToken::new();
        tokio::spawn(lookout.clone().run(folder.clone(), stop.clone()));
        let cleaning = tokio::sync::Mutex::default();
        Ok(Arc::new(Directory { schema, folder, files, lookout, retained, cleaning, _stop: stop.drop_guard() }))
    }
}

/// A new source needs its folder; one that was there before waits for it to come back.
async fn open_files(folder: &Arc<Folder>, storage: Arc<dyn Storage>, id: u64) -> Result<(Files, Retained)> {
    let (folder, at) = (folder.clone(), source_folder(id));
    let opened = tokio::task::spawn_blocking(move || {
        if storage.list(&at)?.is_empty() {
            folder.check()?;
        }
        Ok((Files::open(storage.clone(), &at)?, Retained::open(storage, retained::folder(id))?))
    });
    opened.await.map_err(|e| Error::internal(format!("opening the list of files: {e}")))?
}

async fn forget_all(storage: Arc<dyn Storage>, folder: String) -> Result<()> {
    let removed = tokio::task::spawn_blocking(move || Journal::remove(storage.as_ref(), &folder));
    removed.await.map_err(|e| Error::internal(format!("removing the list of files: {e}")))?
}

/// Infers the columns from the first files.
async fn infer(folder: &Arc<Folder>, files: &Files, lookout: &Arc<Lookout>, name: &str) -> Result<SchemaRef> {
    lookout.look_well().await?;
    let root = folder.root.clone();
    let named = tokio::task::spawn_blocking(move || named_columns(&root)).await;
    if let Some(schema) = named.map_err(|e| Error::internal(format!("reading a log: {e}")))?? {
        return Ok(schema);
    }
    let mut inputs = Vec::new();
    for (_, file) in files.range(0, u64::MAX).into_iter().take(INFER_FILES_MAX) {
        if let OpenedFile::Whole(input) | OpenedFile::Grown(input, _) = folder.open(&file).await? {
            inputs.push((file.path, input as Arc<dyn ByteInput>));
        }
    }
    let format = folder.options.format.clone();
    let inferred = tokio::task::spawn_blocking(move || format.infer(&inputs));
    let inferred = inferred.await.map_err(|e| Error::internal(format!("inferring columns: {e}")))?;
    inferred.ok_or_else(|| {
        let path = &folder.options.path;
        let format = folder.options.format.name();
        let message =
            format!("cannot infer the columns of source \"{name}\": no {format} file in \"{path}\" tells them");
        Error::new(ErrorKind::InvalidTableDefinition, message).hint("Declare the columns, or put a first file there.")
    })
}

/// The columns that the log of a folder names, if it has one. Blocks.
fn named_columns(root: &Path) -> Result<Option<SchemaRef>> {
    let Some(log) = log_of(root) else { return Ok(None) };
    let meta = follow(&log, None)?.and_then(|all| all.meta);
    Ok(meta.and_then(|meta| schema_of(&meta.schema_string)))
}

#[async_trait]
impl Source for Directory {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn ahead(&self, of: &Offsets, limit: &ReadLimit) -> Result<Ahead> {
        // The rows of a file are unknown before it is read: only files and bytes limit.
        let fits = |files: u64, bytes: u64| {
            files == 1 || (files <= limit.files.unwrap_or(u64::MAX) && bytes <= limit.bytes.unwrap_or(u64::MAX))
        };
        // New files are appended: no look is needed while known ones fill an epoch.
        if self.files.reach(of.only(), fits) == self.files.bounds().1 {
            self.lookout.look_well().await?;
        }
        let from = of.only().max(self.files.bounds().0);
        // A forgotten prefix alone is not an epoch.
        let to = Some(self.files.reach(from, fits)).filter(|to| *to > from).unwrap_or(of.only());
        let (files, bytes) = self.files.backlog(from);
        let end = if files > 0 { self.files.bounds().1.max(to) } else { to };
        let backlog = Backlog { rows: None, bytes: Some(bytes), files: Some(files) };
        Ok(Ahead { to: Offsets::single(to), end: Offsets::single(end), backlog })
    }

    fn scan(&self, span: &Span, hints: &ScanHints) -> Result<Vec<SourceStream>> {
        let projection = hints.columns(self.schema.fields().len())?;
        let request = Request { schema: self.schema.clone(), projection, batch_rows: hints.batch_rows.max(1) };
        let format = self.folder.options.format.clone();
        let files = self.files.range(span.from.only(), span.to.only());
        let partitions = if format.is_ordered() { 1 } else { hints.partitions.max(1) };
        let shares = share(files, partitions, |path| format.splits(path));
        let output = request.output();
        let (folder, bad) = (self.folder.clone(), hints.bad.clone());
        let retained = hints.retain.then(|| self.retained.clone());
        let scan = Arc::new(DirectoryScan { folder, format, request, output, bad, retained });
        let stream = |parts| {
            SourceStream::with_origins(Offsets::ONLY, |teller| FilePartition { scan: scan.clone(), parts, teller })
        };
        Ok(shares.into_iter().map(stream).collect())
    }

    /// Releases retained files, and deletes or archives those of the folder if `clean_source` says so.
    async fn forget(&self, before: &Offsets) -> Result<()> {
        let (retained, number) = (self.retained.clone(), before.only());
        let released = tokio::task::spawn_blocking(move || retained.release(number)).await;
        released.map_err(|e| Error::internal(format!("letting go of files: {e}")))??;
        // The files of a log are its owner's to delete.
        if self.folder.options.clean == Clean::Off || log_of(&self.folder.root).is_some() {
            return Ok(());
        }
        let _one = self.cleaning.lock().await;
        let (first, end) = self.files.bounds();
        let before = before.only().min(end);
        if before <= first {
            return Ok(());
        }
        // Files first, then the list: a deleted file in the list is harmless, an existing one not in it would be read
        // again.
        let mut kept = Vec::new();
        for (number, file) in self.files.range(first, before) {
            if let Err(e) = self.folder.clean(number, &file).await {
                tracing::warn!(error = %e, "a file that was read stays where it is");
                kept.push(file.path);
            }
        }
        let files = self.files.clone();
        let forgotten = tokio::task::spawn_blocking(move || files.forget(before, kept));
        forgotten.await.map_err(|e| Error::internal(format!("forgetting files: {e}")))?
    }

    /// Whether files that were read no longer exist.
    async fn irreplaceable(&self) -> Result<Irreplaceable> {
        let (files, folder) = (self.files.clone(), self.folder.clone());
        let forgotten = tokio::task::spawn_blocking(move || {
            let (first, end) = files.bounds();
            first > 0 || files.range(first, end).iter().any(|(_, file)| folder.stat(&file.path).is_none())
        });
        let forgotten = forgotten.await.map_err(|e| Error::internal(format!("looking for files: {e}")))?;
        Ok(Irreplaceable { records: 0, forgotten })
    }

    fn changed(&self) -> channel::Receiver<u64> {
        self.lookout.changed()
    }
}

#[cfg(test)]
mod tests;
