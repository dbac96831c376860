//! A data directory as it is read at a start: its log, what that says of each object, and the files it knows.

use std::{collections::HashMap, sync::Arc};

use super::{
    data_directory,
    live_catalog::gone_sources,
    options::{EngineOptions, Env},
    recovered::RecoveredState,
    server_snapshot::ServerSnapshot,
    sinks::IDENTITY,
    unrecovered_log::UnrecoveredLog,
};
use crate::{
    catalog::Catalog,
    checkpoint::{FileEntries, Log, LogRecord, Logged, Manifest, Transactions, apply_to_files},
    dead_letters::{CommitRecorder, DeadLetterQueue, LateRowLog, QueueLimit},
    error::{Error, ErrorKind, Result},
    memory::Budget,
    metrics::Registry,
    query::{EpochMemory, Outbox, QueryEnv},
    relations::ChangelogLimit,
    sql::plan::Planner,
    storage::Storage,
};

/// An open data directory, of which no object is live yet.
pub struct OpenedDirectory {
    /// What all queries share: the log and the files among it.
    pub env: QueryEnv,
    /// The manifest over the data directory; also the storage in `env`.
    pub manifest: Arc<Manifest>,
    /// The definitions of all objects.
    pub catalog: Catalog,
    /// What the log says of each object.
    pub recovered: HashMap<u64, RecoveredState>,
}

impl OpenedDirectory {
    /// Opens the log and reads it to its end.
    pub async fn open(env: Env, options: &EngineOptions, planner: &Planner) -> Result<Self> {
        data_directory::check_version(env.storage.as_ref())?;
        let snapshot = ServerSnapshot::load(env.storage.as_ref())?;
        let (log, records) = Log::open(env.storage.clone(), snapshot.log_file)?;
        if log.is_new() {
            check_empty(env.storage.as_ref(), &snapshot)?;
            log.append(vec![LogRecord::Begun.encode(&[])?]).await?;
        }
        log.skip_transactions(snapshot.transactions);
        let (dead_letters, late_rows) = dead_letters_and_late_rows(options);
        let (catalog, files) = replayed(snapshot, &records, &dead_letters, &late_rows);
        let log = Arc::new(log);
        let manifest = Arc::new(Manifest::new(env.storage, log.clone(), files));
        ServerSnapshot::check(manifest.as_ref())?;
        if let Err(error) = adopt_files(&manifest) {
            tracing::warn!(%error, "files that the log does not know are not noted yet");
        }
        let recovered = recovered_states(&catalog, manifest.as_ref(), records);
        let (rows, bytes, disk) = (options.changelog_rows_max, options.changelog_bytes_max, options.changelog_disk_max);
        let env = QueryEnv {
            storage: manifest.clone(),
            clock: env.clock,
            commits: Arc::new(CommitRecorder::new(log.clone(), dead_letters.clone(), late_rows.clone())),
            log,
            dead_letters,
            late_rows,
            context: planner.epoch_context(),
            budget: Arc::new(Budget::new(options.state_bytes_max)),
            hidden: env.hidden,
            metrics: Arc::new(Registry::default()),
            changelog: ChangelogLimit::new(rows, bytes, disk),
            epochs: EpochMemory::new(options.epoch_memory_bytes_max),
            thresholds: options.thresholds,
        };
        env.metrics.register(Vec::new(), &env.budget);
        env.metrics.register(Vec::new(), &env.epochs);
        env.metrics.register(Vec::new(), &env.dead_letters);
        env.metrics.register(Vec::new(), &env.late_rows);
        env.metrics.register(Vec::new(), &env.log);
        Ok(OpenedDirectory { env, manifest, catalog, recovered })
    }
}

/// The catalog and the file manifest after the log records that follow a snapshot. Records about dead letters and late
/// rows are applied to `dead_letters` and `late_rows`.
fn replayed(
    snapshot: ServerSnapshot,
    records: &[Logged],
    dead_letters: &DeadLetterQueue,
    late_rows: &LateRowLog,
) -> (Catalog, FileEntries) {
    dead_letters.add(&snapshot.dead_letters);
    late_rows.add(&snapshot.late_rows);
    let (mut catalog, mut files) = (snapshot.catalog, snapshot.files.unwrap_or_default());
    for Logged { record, .. } in records.iter().filter(|logged| logged.file >= snapshot.log_file) {
        apply_to_files(&mut files, record);
        match record {
            LogRecord::Catalog(change) => {
                gone_sources(&catalog, change).for_each(|name| dead_letters.forget(name));
                catalog.apply(change);
            }
            LogRecord::Commit(commit) => {
                dead_letters.add(&commit.dead_letters);
                late_rows.add(&commit.late_rows);
            }
            _ => {}
        }
    }
    (catalog, files)
}

/// The dead letter queue and the late row log, as yet empty, with the limits that are set.
fn dead_letters_and_late_rows(options: &EngineOptions) -> (Arc<DeadLetterQueue>, Arc<LateRowLog>) {
    let dead_letters = QueueLimit { rows: options.dead_letters_max, bytes: options.dead_letters_bytes_max };
    let (rows, bytes) = (options.dead_letters_epoch_max, options.dead_letters_epoch_bytes_max);
    let late_rows = QueueLimit { rows: options.late_rows_max, bytes: options.late_rows_bytes_max };
    let dead_letters = DeadLetterQueue::new(dead_letters, QueueLimit { rows, bytes });
    (Arc::new(dead_letters), Arc::new(LateRowLog::new(late_rows)))
}

/// Adds files to the manifest that a crash kept from being logged. To be called before anything runs that removes
/// files.
fn adopt_files(manifest: &Manifest) -> Result<()> {
    let mut paths = vec![IDENTITY.to_string()];
    for folder in ["state", "relations", Outbox::FOLDER, UnrecoveredLog::FOLDER, ServerSnapshot::FOLDER] {
        paths.extend(manifest.found(folder)?);
    }
    manifest.adopt(&paths)
}

/// The log records of each object, after those in its backlog.
fn recovered_states(catalog: &Catalog, storage: &dyn Storage, records: Vec<Logged>) -> HashMap<u64, RecoveredState> {
    let mut recovered_states: HashMap<u64, RecoveredState> = HashMap::new();
    let (mut before, mut transactions): (HashMap<u64, u64>, _) = (HashMap::new(), Transactions::default());
    for id in catalog.objects.keys() {
        match UnrecoveredLog::load(storage, *id) {
            Ok(kept) => {
                before.insert(*id, kept.before);
                let recovered = recovered_states.entry(*id).or_default();
                for (record, bytes) in kept.records {
                    transactions.add(&record);
                    recovered.add(record, bytes);
                }
            }
            Err(error) => recovered_states.entry(*id).or_default().lost = Some(error),
        }
    }
    for Logged { file, record, bytes } in records {
        transactions.add(&record);
        let Some(id) = record.object() else { continue };
        if before.get(&id).is_none_or(|before| file >= *before) {
            recovered_states.entry(id).or_default().add(record, bytes);
        }
    }
    for recovered in recovered_states.values_mut() {
        recovered.rows.retain(|(rows, _)| transactions.has_ended(rows));
    }
    recovered_states
}

/// The folders with a subfolder per object.
pub const OF_OBJECTS: [&str; 9] = [
    "state",
    "relations",
    "sources",
    "retained",
    "replays",
    Outbox::FOLDER,
    UnrecoveredLog::FOLDER,
    "marks/sources",
    "marks/replays",
];

/// Fails if a data directory without a log has other files: it is not new, its log is lost.
fn check_empty(storage: &dyn Storage, snapshot: &ServerSnapshot) -> Result<()> {
    // Earlier releases removed a whole log once checkpoints had its contents.
    let is_earlier = snapshot.log_file > 0 && snapshot.files.is_none();
    let mut folders = OF_OBJECTS.into_iter().chain([ServerSnapshot::FOLDER]).filter(|_| !is_earlier);
    let left = folders.find_map(|folder| storage.list(folder).map(|files| files.into_iter().next()).transpose());
    match left.transpose()? {
        None => Ok(()),
        Some(path) => Err(Error::new(ErrorKind::DataCorrupted, "the log of the data directory is missing")
            .detail(format!("There is no record in \"log\", though there are other files, such as \"{path}\"."))
            .hint("Restore folder \"log\" from a copy, or name another data directory. Nothing was changed.")),
    }
}
