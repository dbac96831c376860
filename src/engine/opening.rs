//! Opening a data directory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use tokio_util::sync::CancellationToken;

use super::{
    Engine, EngineOptions, Env, data_directory,
    ddl::{gone_sources, schema_from},
    housekeeping,
    names::Names,
    objects::{Object, ObjectState},
    recovered::RecoveredState,
    server::LiveObjects,
    sinks::IDENTITY,
    unrecovered_log::UnrecoveredLog,
};
use crate::{
    catalog::{self, Catalog, ObjectKind},
    checkpoint::{FileEntries, Log, LogRecord, Logged, Manifest, Transactions, apply_to_files},
    connectors::{Offsets, START},
    dead_letters::{CommitRecorder, DeadLetterQueue, LateRowLog, QueueLimit},
    error::{Error, ErrorKind, Result},
    exec::AsideLimit,
    memory::Budget,
    metrics::Registry,
    query::{Checkpoints, Command, EpochMemory, Outbox, QueryEnv},
    relations::ChangelogLimit,
    sql::{parse, plan::Planner},
    storage::Storage,
    sync::locked,
    time::Epoch,
};

impl Engine {
    /// Opens a data directory: objects are restored in creation order, each at its last committed epoch; then queries
    /// run. An object that cannot be restored exists, and gives its error when used.
    pub async fn open(env: Env, options: EngineOptions) -> Result<Arc<Engine>> {
        let (engine, catalog) = Self::load(env, options, false).await?;
        engine.release_sources().await;
        if let Err(error) = engine.remove_strays(&catalog) {
            // Left-over files only use disk space.
            tracing::warn!(%error, "files that nobody needs are left");
        }
        engine.spawn_log_compaction();
        Ok(engine)
    }

    /// Opens a data directory to try definitions: no query runs and no source is read. It writes to an overlay that is
    /// discarded.
    pub async fn rehearse(env: Env, options: EngineOptions) -> Result<Arc<Engine>> {
        Ok(Self::load(env, options, true).await?.0)
    }

    async fn load(env: Env, options: EngineOptions, rehearsal: bool) -> Result<(Arc<Engine>, Catalog)> {
        data_directory::check_version(env.storage.as_ref())?;
        let snapshot = housekeeping::load(env.storage.as_ref())?;
        let (log, records) = Log::open(env.storage.clone(), snapshot.log_file)?;
        if log.is_new() {
            check_empty(env.storage.as_ref(), &snapshot)?;
            log.append(vec![LogRecord::Begun.encode(&[])?]).await?;
        }
        log.skip_transactions(snapshot.transactions);
        let (dead_letters, late_rows) = dead_letters_and_late_rows(&options);
        let (catalog, files) = replayed(snapshot, &records, &dead_letters, &late_rows);
        let log = Arc::new(log);
        let manifest = Arc::new(Manifest::new(env.storage, log.clone(), files));
        housekeeping::check(manifest.as_ref())?;
        if let Err(error) = adopt_files(&manifest) {
            tracing::warn!(%error, "files that the log does not know are not noted yet");
        }
        let mut recovered_states = recovered_states(&catalog, manifest.as_ref(), records);
        let planner = planner(&options)?;
        let context = planner.epoch_context();
        let (rows, bytes, disk) = (options.changelog_rows_max, options.changelog_bytes_max, options.changelog_disk_max);
        let changelog = ChangelogLimit::new(rows, bytes, disk);
        let epochs = EpochMemory::new(options.epoch_memory_bytes_max);
        let clock = env.clock;
        let storage: Arc<dyn Storage> = manifest.clone();
        let budget = Arc::new(Budget::new(options.state_bytes_max));
        let hidden = env.hidden;
        let thresholds = options.thresholds;
        let commits = Arc::new(CommitRecorder::new(log.clone(), dead_letters.clone(), late_rows.clone()));
        let metrics = Arc::new(Registry::default());
        metrics.register(Vec::new(), &budget);
        metrics.register(Vec::new(), &epochs);
        metrics.register(Vec::new(), &dead_letters);
        metrics.register(Vec::new(), &late_rows);
        metrics.register(Vec::new(), &log);
        let query_env = QueryEnv {
            storage,
            clock,
            log,
            commits,
            dead_letters,
            late_rows,
            context,
            budget,
            hidden,
            metrics,
            changelog,
            epochs,
            thresholds,
        };
        let aside = AsideLimit::new(options.aside_max);
        let engine = Arc::new_cyclic(|this| Engine {
            this: this.clone(),
            options,
            env: query_env,
            manifest,
            runtime: env.runtime,
            planner,
            aside,
            barrier: Arc::default(),
            live: Mutex::new(LiveObjects { catalog: catalog.clone(), ..LiveObjects::default() }),
            rehearsal,
            ddl: tokio::sync::Mutex::new(()),
            names: Names::default(),
        });
        engine.revive_functions(&catalog);
        engine.note_readers(&catalog, &mut recovered_states);
        for object in catalog.objects.values() {
            let recovered = recovered_states.remove(&object.id).unwrap_or_default();
            recovered.readers.join(START);
            let live = engine.restore_object(object, recovered).await;
            engine.add_object(Arc::new(live));
        }
        Ok((engine, catalog))
    }

    /// Once all readers are registered, lets inputs release what all have consumed. Inputs of an object that could not
    /// be restored are retained until it can be, or until it is dropped.
    async fn release_sources(&self) {
        let objects = self.objects().in_order();
        let mut held: Vec<u64> = Vec::new();
        for object in objects.iter().rev() {
            if matches!(object.what, ObjectState::Broken(_)) || held.contains(&object.id) {
                held.extend(&object.depends);
            }
        }
        for object in objects.iter().filter(|object| !held.contains(&object.id)) {
            object.readers.leave(START);
        }
        for handle in objects.iter().filter_map(|object| object.handle()) {
            handle.tell(Command::Release).await;
        }
    }

    /// Registers, before anything is loaded, the input offsets of each query's checkpoint: an input restored earlier
    /// must not release what a query will read again. If a checkpoint cannot be read, its inputs retain everything
    /// until it can be.
    fn note_readers(&self, catalog: &Catalog, recovered_states: &mut HashMap<u64, RecoveredState>) {
        let mut followed: BTreeMap<u64, Epoch> = BTreeMap::new();
        let stands = |kind| matches!(kind, ObjectKind::Stream | ObjectKind::MaterializedView | ObjectKind::Sink);
        for object in catalog.objects.values().filter(|object| stands(object.kind)) {
            let header = match Checkpoints::new(self.env.storage.clone(), object.id).peek() {
                Ok(Some(header)) => header,
                Ok(None) => continue,
                Err(_) => {
                    followed.extend(object.depends.iter().map(|input| (*input, Epoch(0))));
                    continue;
                }
            };
            for (input, offsets) in header.inputs.iter().zip(&header.offsets) {
                let recovered = recovered_states.entry(*input).or_default();
                recovered.readers.advance(object.id, offsets);
                self.note_followed(catalog, *input, offsets, &mut followed);
            }
        }
        for (id, from) in followed {
            recovered_states.entry(id).or_default().followed = Some(from);
        }
    }

    fn note_followed(&self, catalog: &Catalog, input: u64, offsets: &Offsets, followed: &mut BTreeMap<u64, Epoch>) {
        let is_relation = catalog.objects.get(&input).is_some_and(|object| object.kind != ObjectKind::Source);
        // At offset 0 it has read nothing and will start with a snapshot.
        if is_relation && offsets.only() > 0 {
            let from = Epoch(offsets.only());
            followed.entry(input).and_modify(|least| *least = (*least).min(from)).or_insert(from);
        }
    }

    async fn restore_object(self: &Arc<Self>, object: &catalog::ObjectDef, mut recovered: RecoveredState) -> Object {
        let readers = recovered.readers.clone();
        let revived = async {
            recovered.lost.take().map_or(Ok(()), Err)?;
            recovered.schema = Some(schema_from(&object.schema)?);
            recovered.paused = object.paused || self.rehearsal;
            recovered.begins = self.rehearsal.then(CancellationToken::new);
            let mut statements = parse(&object.definition)?;
            let statement = statements.pop().ok_or_else(|| Error::internal("an empty definition"))?;
            self.build(object.id, statement, recovered, &Arc::new(self.statement_snapshot())).await
        };
        match revived.await {
            Ok(live) => live,
            Err(error) => {
                let error = self.env.hidden.mask(error);
                tracing::error!(object = object.name, %error, "could not be opened");
                broken(object, error, readers)
            }
        }
    }

    /// Removes the files of dropped objects: a crash may have come between drop and removal, or during a CREATE. If the
    /// log may be incomplete, files of unknown objects are left.
    fn remove_strays(&self, catalog: &Catalog) -> Result<()> {
        let mut strays: Vec<u64> = Vec::new();
        for folder in OF_OBJECTS {
            for path in self.env.storage.list(folder).or_else(|_| self.manifest.found(folder))? {
                let id = path.strip_prefix(folder).and_then(|rest| rest.split('/').nth(1)?.parse::<u64>().ok());
                strays.extend(id.filter(|id| !catalog.objects.contains_key(id)));
            }
        }
        strays.sort_unstable();
        strays.dedup();
        for id in strays {
            let is_told = id <= catalog.last_id || self.env.log.is_certain();
            let removed = if is_told { self.delete_files(id, ObjectKind::Source) } else { Ok(()) };
            if let Err(error) = &removed {
                tracing::warn!(id, %error, "files of an object that is no more are left");
            }
            if !is_told || removed.is_err() {
                // New objects get ids after theirs.
                let mut live = locked(&self.live);
                live.catalog.last_id = live.catalog.last_id.max(id);
            }
        }
        Ok(())
    }
}

/// The catalog and the file manifest after the log records that follow a snapshot. Records about dead letters and late
/// rows are applied to `dead_letters` and `late_rows`.
fn replayed(
    snapshot: housekeeping::ServerSnapshot,
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

/// The planner of client queries and standing queries.
fn planner(options: &EngineOptions) -> Result<Arc<Planner>> {
    let partitions = match options.partitions {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    let value_bytes_max = usize::try_from(options.value_bytes_max).unwrap_or(usize::MAX);
    let planner = Planner::new(partitions, runtime_env(options.memory_bytes_max)?, value_bytes_max);
    let planner = planner.with_batch_rows(options.thresholds.batch_rows);
    Ok(Arc::new(planner.with_epochs(runtime_env(options.epoch_memory_bytes_max)?)))
}

/// A DataFusion runtime environment with a memory pool of `bytes_max`.
fn runtime_env(bytes_max: u64) -> Result<Arc<RuntimeEnv>> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    Ok(RuntimeEnvBuilder::new().with_memory_limit(bytes_max, 1.0).build_arc()?)
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
    for folder in ["state", "relations", Outbox::FOLDER, UnrecoveredLog::FOLDER, housekeeping::FOLDER] {
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
const OF_OBJECTS: [&str; 9] = [
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
fn check_empty(storage: &dyn Storage, snapshot: &housekeeping::ServerSnapshot) -> Result<()> {
    // Earlier releases removed a whole log once checkpoints had its contents.
    let is_earlier = snapshot.log_file > 0 && snapshot.files.is_none();
    let mut folders = OF_OBJECTS.into_iter().chain([housekeeping::FOLDER]).filter(|_| !is_earlier);
    let left = folders.find_map(|folder| storage.list(folder).map(|files| files.into_iter().next()).transpose());
    match left.transpose()? {
        None => Ok(()),
        Some(path) => Err(Error::new(ErrorKind::DataCorrupted, "the log of the data directory is missing")
            .detail(format!("There is no record in \"log\", though there are other files, such as \"{path}\"."))
            .hint("Restore folder \"log\" from a copy, or name another data directory. Nothing was changed.")),
    }
}

/// The object of a definition that could not be restored.
fn broken(object: &catalog::ObjectDef, error: crate::error::Error, readers: Arc<crate::connectors::Readers>) -> Object {
    use crate::sql::statement::{Body, Statement, StatementStart};
    let parsed = parse(&object.definition).ok().and_then(|mut all| all.pop());
    let start = StatementStart { line: 1, column: 1, position: 1 };
    let nothing = || Statement { body: Body::Flush(None), text: object.definition.clone(), start };
    Object {
        id: object.id,
        name: object.name.clone(),
        kind: object.kind,
        statement: parsed.unwrap_or_else(nothing),
        schema: schema_from(&object.schema).unwrap_or_else(|_| Arc::new(arrow::datatypes::Schema::empty())),
        depends: object.depends.clone(),
        watermark: None,
        readers,
        what: ObjectState::Broken(error),
    }
}
