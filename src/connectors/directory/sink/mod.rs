//! `connector = 'directory'` of a sink: the rows of each epoch as files, which a log names by one entry an epoch.
//!
//! Who reads by the log sees whole epochs only, each once, whatever happened to the server, and may go on reading what a
//! newer entry replaced for as long as `retain` says. For Parquet that is every reader of Delta tables; the folder of
//! CSV or JSON files has a log of the same form, which a directory source here goes by.
//!
//! Who lists the folder instead has no such promise: it may see some files of an epoch before the others, or rows of
//! files that were merged twice. It sees whole epochs where each is one file, that is, without `partition_by` and below
//! `target_file_size`, and nothing is merged (`merge_files = 0`, as it is for CSV and JSON) or replaced.
//!
//! Columns of `partition_by` stand in the names of folders and not in the files, as with Hive. An empty text in one of
//! them reads as NULL, as Delta says.
//!
//! ```text
//! open ─▶ read the log ─▶ entry "open": who held it can no longer add ─▶ files that no entry names are removed
//! write ─▶ new files, small ones merged ─▶ entry: txn (epoch), remove, add ─▶ now and then a checkpoint; old files go
//! ```

mod columns;
mod history;
mod merge;
mod options;
mod place;

use std::{
    any::Any,
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
};
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use options::DirectorySinkOptions;

use self::{columns::SinkColumns, history::History, place::SinkFolder};
use super::{
    log::{Action, Add, CommitInfo, DELTA, FileKind, MetaData, OWN, Protocol, Remove, Txn, unescape},
    options::is_hidden,
};
use crate::{
    changes::Changes,
    connectors::{
        Delivery, Fence, Outgoing, Sink, SinkDef,
        sink::{Mode, SinkConfig},
    },
    error::{Error, ErrorKind, Result},
    formats::{FileFormat, FileWriter},
    time::{Clock, Epoch, SystemClock},
};

/// Rows are encoded so many at a time: a file is not much larger than it should be.
const CHUNK_ROWS: usize = 8_192;
/// How often the log may be taken from under us while we take hold of it.
const TAKES_MAX: usize = 10;
/// Files of ours begin so: nothing else is ever removed.
const FILE_PREFIX: &str = "part-";
/// What the log calls the sink that it belongs to.
const OWNER: &str = "tidemark.sink";

impl SinkConfig for DirectorySinkOptions {
    fn modes(&self) -> &'static [Mode] {
        &[Mode::Append, Mode::Complete]
    }

    fn restrict(&mut self, fence: &Fence) -> Result<()> {
        fence.check_write(&self.root)?;
        self.fence = fence.clone();
        Ok(())
    }

    fn continues(&self, other: &dyn Any) -> bool {
        let Some(other) = other.downcast_ref::<DirectorySinkOptions>() else { return false };
        (&self.root, &self.partition_by) == (&other.root, &other.partition_by)
            && format!("{:?}", self.format) == format!("{:?}", other.format)
    }

    fn create(&self, def: SinkDef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(DirectorySink::new(def, self.clone(), Arc::new(SystemClock))?))
    }
}

/// A folder as a sink.
#[derive(Debug)]
pub struct DirectorySink {
    def: SinkDef,
    options: DirectorySinkOptions,
    columns: SinkColumns,
    clock: Arc<dyn Clock>,
    place: Option<Arc<SinkFolder>>,
    /// The log, while it is known what stands in it.
    held: Option<History>,
}

impl DirectorySink {
    /// Nothing outside is touched before it is opened.
    pub fn new(def: SinkDef, options: DirectorySinkOptions, clock: Arc<dyn Clock>) -> Result<DirectorySink> {
        let columns = SinkColumns::new(&def.schema, &options.partition_by, options.format.is_parquet())?;
        // Tells what the format cannot hold.
        options.format.writer(&columns.stored)?;
        Ok(DirectorySink { def, options, columns, clock, place: None, held: None })
    }

    fn now(&self) -> i64 {
        self.clock.now() / 1_000
    }

    /// From when on (in milliseconds) readers may still be reading what was there.
    fn since(&self) -> i64 {
        self.now().saturating_sub(i64::try_from(self.options.retain.as_millis()).unwrap_or(i64::MAX))
    }

    async fn place(&mut self) -> Result<Arc<SinkFolder>> {
        if let Some(place) = &self.place {
            return Ok(place.clone());
        }
        let (name, root, fence) = (self.options.path.clone(), self.options.root.clone(), self.options.fence.clone());
        let made = tokio::task::spawn_blocking(move || SinkFolder::local(&name, root, &fence)).await;
        let place = Arc::new(made.map_err(|e| Error::internal(format!("opening a folder: {e}")))??);
        self.place = Some(place.clone());
        Ok(place)
    }

    /// Reads the log and adds an entry to it, so that whoever holds it knows less than it says and can add no more.
    async fn take_hold(&self, place: &Arc<SinkFolder>) -> Result<History> {
        for _ in 0..TAKES_MAX {
            let mut history = History::read(place, self.options.format.is_parquet()).await?;
            let actions = if history.is_empty() {
                self.check_unused(place).await?;
                self.beginning()
            } else {
                self.check_own(&history)?;
                vec![self.said("OPEN")]
            };
            if history.append(actions).await? {
                return Ok(history);
            }
        }
        Err(self.taken())
    }

    fn taken(&self) -> Error {
        let message =
            format!("somebody else writes to directory \"{}\" of sink \"{}\"", self.options.path, self.def.name);
        Error::new(ErrorKind::ObjectInUse, message)
    }

    /// A log that begins among files would hide them from who goes by it.
    async fn check_unused(&self, place: &SinkFolder) -> Result<()> {
        let counts = |path: &str| !is_hidden(path) || path.starts_with(DELTA) || path.starts_with(OWN);
        match place.list("").await?.iter().find(|file| counts(&file.path)) {
            None => Ok(()),
            Some(file) => {
                let (path, file) = (&self.options.path, &file.path);
                let message =
                    format!("directory \"{path}\" is not empty: sink \"{}\" did not write \"{file}\"", self.def.name);
                Err(Error::new(ErrorKind::ObjectInUse, message).hint("Name one that is empty or does not exist yet."))
            }
        }
    }

    fn check_own(&self, history: &History) -> Result<()> {
        let (path, name) = (&self.options.path, &self.def.name);
        let Some(meta) = &history.contents.meta else {
            return Err(Error::new(
                ErrorKind::DataCorrupted,
                format!("the log of directory \"{path}\" names no columns"),
            ));
        };
        if meta.configuration.get(OWNER) != Some(&self.def.identity) {
            let message = format!("directory \"{path}\" of sink \"{name}\" belongs to another sink");
            return Err(
                Error::new(ErrorKind::ObjectInUse, message).hint("Name one that is empty or does not exist yet.")
            );
        }
        let own = self.meta_data();
        if (&meta.schema_string, &meta.partition_columns, &meta.format)
            != (&own.schema_string, &own.partition_columns, &own.format)
        {
            let message = format!("directory \"{path}\" of sink \"{name}\" has other columns, or another format");
            return Err(Error::new(ErrorKind::InvalidDefinition, message).hint("Name one that does not exist yet."));
        }
        Ok(())
    }

    fn beginning(&self) -> Vec<Action> {
        // A time without a zone is a feature that a reader must say it knows.
        let features = self.columns.has_zoneless.then(|| vec!["timestampNtz".to_string()]);
        let (min_reader_version, min_writer_version) = if self.columns.has_zoneless { (3, 7) } else { (1, 2) };
        let protocol = Protocol {
            min_reader_version,
            min_writer_version,
            reader_features: features.clone(),
            writer_features: features,
        };
        let meta = MetaData { created_time: Some(self.now()), ..self.meta_data() };
        vec![
            self.said("CREATE TABLE"),
            Action { protocol: Some(protocol), ..Action::default() },
            Action { meta_data: Some(meta), ..Action::default() },
        ]
    }

    fn meta_data(&self) -> MetaData {
        let half = |n: u8| {
            let mut hasher = DefaultHasher::new();
            (n, &self.def.identity).hash(&mut hasher);
            hasher.finish()
        };
        let (high, low) = (half(0), half(1));
        MetaData {
            id: format!(
                "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                high >> 32,
                (high >> 16) as u16,
                high as u16,
                low >> 48,
                low & 0xffff_ffff_ffff
            ),
            format: FileKind { provider: self.options.format.name().to_string(), options: BTreeMap::new() },
            schema_string: self.columns.schema_string.clone(),
            partition_columns: self.options.partition_by.clone(),
            configuration: BTreeMap::from([(OWNER.to_string(), self.def.identity.clone())]),
            created_time: None,
        }
    }

    fn said(&self, operation: &str) -> Action {
        let commit_info = Some(CommitInfo { timestamp: self.now(), operation: operation.to_string() });
        Action { commit_info, ..Action::default() }
    }

    /// Removes the files that no entry names: their epoch died, and will come again under other names.
    async fn clean(&self, place: &SinkFolder, history: &mut History) -> Result<()> {
        place.remove_drafts().await?;
        let mut gone = std::mem::take(&mut history.contents.removed);
        for file in place.list("").await? {
            let path = in_log(&file.path);
            let name = file.path.rsplit('/').next().unwrap_or_default();
            if let Some((path, at)) = gone.remove_entry(&path) {
                history.contents.removed.insert(path, at);
            } else if name.starts_with(FILE_PREFIX) && !history.contents.files.contains_key(&path) {
                place.remove(&file.path).await?;
            }
        }
        Ok(())
    }

    async fn put(&self, place: &SinkFolder, history: &mut History, epoch: Epoch, rows: &Outgoing) -> Result<()> {
        let (version, ending, now) = (history.next(), self.options.format.name(), self.now());
        let mut files = NewFiles { place, version, ending, now, paths: Vec::new(), actions: Vec::new() };
        let txn = Txn { app_id: self.def.identity.clone(), version: epoch.0 as i64, last_updated: Some(files.now) };
        files.actions.extend([self.said("WRITE"), Action { txn: Some(txn), ..Action::default() }]);
        if rows.whole {
            history.contents.files.keys().for_each(|path| files.remove(path, true));
        }
        let came = self.came(&rows.changes)?;
        let mut touched = Vec::new();
        for share in self.columns.split(&came, self.options.max_partitions)? {
            let (format, schema) = (self.options.format.clone(), self.columns.stored.clone());
            let (target, rows) = (self.options.target_file_size, share.rows);
            let encoded = blocking(move || encode(&format, &schema, &rows, target)).await?;
            for file in encoded {
                files.add(&share.folder, &share.values, file, true).await?;
            }
            touched.push((share.folder, share.values));
        }
        if !rows.whole {
            self.merge(history, &touched, &mut files).await?;
        }
        let NewFiles { paths, actions, .. } = files;
        place.sync_names(paths.iter().map(String::as_str)).await?;
        if history.append(actions).await? { Ok(()) } else { Err(self.taken()) }
    }

    /// The rows, as often as they came.
    fn came(&self, changes: &Changes) -> Result<RecordBatch> {
        let Some(diffs) = changes.diffs().filter(|diffs| diffs.values().iter().any(|diff| *diff != 1)) else {
            return Ok(changes.rows().clone());
        };
        if diffs.values().iter().any(|diff| *diff < 0) {
            let message = format!("rows of sink \"{}\" are withdrawn, and a file cannot say so", self.def.name);
            return Err(Error::new(ErrorKind::InvalidDefinition, message)
                .hint("Use EMIT ON WINDOW CLOSE, or type = 'complete', which writes the whole answer each time."));
        }
        let often = |(row, diff): (usize, &i64)| std::iter::repeat_n(row as u32, *diff as usize);
        let places: UInt32Array = diffs.values().iter().enumerate().flat_map(often).collect::<Vec<_>>().into();
        Ok(take_record_batch(changes.rows(), &places)?)
    }

    /// Makes one file of small ones, in partitions that have new ones.
    async fn merge(
        &self,
        history: &History,
        touched: &[(String, BTreeMap<String, Option<String>>)],
        files: &mut NewFiles<'_>,
    ) -> Result<()> {
        let (most, target) = (self.options.merge_files, self.options.target_file_size);
        let mut left = if most > 0 { target } else { 0 };
        for (folder, values) in touched {
            if left == 0 {
                break;
            }
            let prefix = in_log(folder) + FILE_PREFIX;
            let there = history.contents.files.range(prefix.clone()..);
            let there: Vec<&Add> = there.map(|(_, add)| add).take_while(|add| add.path.starts_with(&prefix)).collect();
            let sizes: Vec<u64> = there.iter().map(|add| add.size.unsigned_abs()).collect();
            let picked = merge::pick(&sizes, most, target);
            let mut parts = Vec::with_capacity(picked.len());
            for add in picked.into_iter().map(|i| there[i]) {
                left = left.saturating_sub(add.size.unsigned_abs());
                parts.push((files.place.read(&on_disk(&add.path)).await?, rows_of(add)));
                files.remove(&add.path, false);
            }
            if !parts.is_empty() {
                let (format, schema) = (self.options.format.clone(), self.columns.stored.clone());
                let merged = blocking(move || join(&format, &schema, parts)).await?;
                files.add(folder, values, merged, false).await?;
            }
        }
        Ok(())
    }

    /// Deletes what was replaced long ago, and keeps the log short.
    async fn tidy(&self, place: &SinkFolder, history: &mut History) -> Result<()> {
        let since = self.since();
        let old: Vec<String> =
            history.contents.removed.iter().filter(|(_, at)| **at <= since).map(|(path, _)| path.clone()).collect();
        for path in old {
            place.remove(&on_disk(&path)).await?;
            history.contents.removed.remove(&path);
        }
        history.tidy(since).await
    }
}

#[async_trait]
impl Sink for DirectorySink {
    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    async fn open(&mut self) -> Result<Epoch> {
        self.held = None;
        let place = self.place().await?;
        let mut history = self.take_hold(&place).await?;
        self.clean(&place, &mut history).await?;
        let epoch = history.contents.txns.get(&self.def.identity).copied().unwrap_or(0);
        self.held = Some(history);
        Ok(Epoch(epoch.unsigned_abs()))
    }

    async fn write(&mut self, epoch: Epoch, rows: &Outgoing) -> Result<()> {
        // Where this fails the log may say more than we know: it is read again before the next.
        let Some((place, mut history)) = self.place.clone().zip(self.held.take()) else {
            return Err(Error::internal("a sink is written to that is not open"));
        };
        self.put(&place, &mut history, epoch, rows).await?;
        if let Err(e) = self.tidy(&place, &mut history).await {
            tracing::warn!(sink = self.def.name, error = %e, "old files of a sink stay for now");
        }
        self.held = Some(history);
        Ok(())
    }
}

/// The files of one entry, and what it will say.
struct NewFiles<'a> {
    place: &'a SinkFolder,
    /// No other entry has it, so that no name is ever given twice.
    version: u64,
    ending: &'static str,
    now: i64,
    paths: Vec<String>,
    actions: Vec<Action>,
}

/// What is known of a file beside its bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    num_records: u64,
}

/// A file in memory.
struct Encoded {
    bytes: Vec<u8>,
    rows: u64,
}

impl NewFiles<'_> {
    async fn add(
        &mut self,
        folder: &str,
        values: &BTreeMap<String, Option<String>>,
        file: Encoded,
        data_change: bool,
    ) -> Result<()> {
        let (version, part, ending) = (self.version, self.paths.len(), self.ending);
        let path = format!("{folder}{FILE_PREFIX}{version:020}-{part:05}.{ending}");
        self.actions.push(Action {
            add: Some(Add {
                path: in_log(&path),
                partition_values: values.clone(),
                size: file.bytes.len() as i64,
                modification_time: self.now,
                data_change,
                stats: serde_json::to_string(&Stats { num_records: file.rows }).ok(),
            }),
            ..Action::default()
        });
        if !self.place.create(&path, file.bytes).await? {
            return Err(Error::new(ErrorKind::ObjectInUse, format!("file \"{path}\" exists already")));
        }
        self.paths.push(path);
        Ok(())
    }

    fn remove(&mut self, path: &str, data_change: bool) {
        let remove = Remove { path: path.to_string(), deletion_timestamp: Some(self.now), data_change };
        self.actions.push(Action { remove: Some(remove), ..Action::default() });
    }
}

/// A path as the log has it. What it is made of, but for the sign of escapes, is the same in a URL.
fn in_log(path: &str) -> String {
    path.replace('%', "%25")
}

fn on_disk(path: &str) -> String {
    unescape(path)
}

fn rows_of(add: &Add) -> u64 {
    let stats = add.stats.as_deref().and_then(|stats| serde_json::from_str::<Stats>(stats).ok());
    stats.map_or(0, |stats| stats.num_records)
}

/// Makes files of rows.
fn encode(format: &FileFormat, schema: &SchemaRef, rows: &RecordBatch, target: u64) -> Result<Vec<Encoded>> {
    let mut files = Vec::new();
    let mut open: Option<(FileWriter, u64)> = None;
    for from in (0..rows.num_rows()).step_by(CHUNK_ROWS) {
        let chunk = rows.slice(from, CHUNK_ROWS.min(rows.num_rows() - from));
        let (mut writer, before) = match open.take() {
            Some(open) => open,
            None => (format.writer(schema)?, 0),
        };
        writer.write(&chunk)?;
        let rows = before + chunk.num_rows() as u64;
        if writer.size() as u64 >= target {
            files.push(Encoded { bytes: writer.finish()?, rows });
        } else {
            open = Some((writer, rows));
        }
    }
    if let Some((writer, rows)) = open {
        files.push(Encoded { bytes: writer.finish()?, rows });
    }
    Ok(files)
}

/// Makes one file of several.
fn join(format: &FileFormat, schema: &SchemaRef, parts: Vec<(Bytes, u64)>) -> Result<Encoded> {
    let mut writer = format.writer(schema)?;
    let mut rows = 0;
    for (bytes, of_part) in parts {
        writer.append(bytes)?;
        rows += of_part;
    }
    Ok(Encoded { bytes: writer.finish()?, rows })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(format!("making a file: {e}")))?
}

#[cfg(test)]
mod tests;
