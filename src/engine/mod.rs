//! The one door: everything that a client, a pipeline or the command line wants comes through [`Engine::execute`].

mod apply;
mod aside;
mod backlog;
mod build;
mod collected;
mod continuous;
mod create;
mod ddl;
mod discard;
mod dml;
mod drop;
mod flush;
mod functions;
mod housekeeping;
mod literals;
mod names;
mod objects;
mod parameters;
mod read;
mod recovery;
mod refit;
mod replay;
mod returning;
mod secrets;
mod session;
mod sinks;
mod subscribe;
mod system;
mod tables;
mod window_memory;
mod yielding;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, SchemaRef},
};
use datafusion::{
    common::ScalarValue,
    execution::runtime_env::RuntimeEnvBuilder,
    physical_plan::{SendableRecordBatchStream, stream::RecordBatchStreamAdapter},
    prelude::SessionContext,
    sql::sqlparser::tokenizer::Location,
};
use futures::{FutureExt, TryStreamExt};
use tokio::runtime::Handle as Runtime;

use aside::AsideLimit;
use collected::Collected;
use names::Names;
use objects::{Object, Objects};
pub use parameters::parameters;
pub use session::{Notice, Session, Settings, Severity, Transaction, TransactionState};
use tables::{OnConflict, WritableTable};

use crate::{
    catalog::{Catalog, CatalogChange, ObjectKind, RelationDef, Routine},
    checkpoint::Manifest,
    connectors::Fence,
    error::{Error, ErrorKind, Result},
    options::SecretRedactor,
    query::{Finished, QueryEnv, QueryState, Thresholds},
    relations::SnapshotBarrier,
    sql::{
        functions::Functions,
        plan::Planner,
        statement::{Body, CopyFormat, CopyOut, Reads, Statement},
    },
    storage::Storage,
    time::Clock,
};

/// What an engine lives on.
#[derive(Debug, Clone)]
pub struct Env {
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    /// Where queries run.
    pub runtime: Runtime,
    /// The secrets that it is told, for whoever shows texts of it.
    pub hidden: Arc<SecretRedactor>,
}

/// Limits and habits; each with its reason in `config/tidemark.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// How often a query's state goes to disk, unless the query says otherwise.
    pub checkpoint_interval: Duration,
    /// A log file of this size is closed, and dropped once checkpoints hold what is in it.
    pub log_file_bytes: u64,
    /// Rows of one statement that are more than this take several records of the log.
    pub record_bytes_max: usize,
    /// The most that one epoch takes of a source that sets no limit of its own.
    pub epoch_rows_max: u64,
    pub epoch_bytes_max: u64,
    /// How long an epoch is to take, unless the query says otherwise: what it takes of a backlog follows it.
    pub epoch_target: Duration,
    pub dead_letters_max: usize,
    pub dead_letters_bytes_max: u64,
    /// Of those that one epoch finds in one input.
    pub dead_letters_epoch_max: usize,
    pub dead_letters_epoch_bytes_max: u64,
    pub late_rows_max: usize,
    pub late_rows_bytes_max: u64,
    /// Changed rows that a table or view keeps for the views that read it, and for subscriptions.
    pub changelog_rows_max: usize,
    /// What the changelogs of all of them hold together.
    pub changelog_bytes_max: u64,
    /// What one holds in files besides what a recovery needs.
    pub changelog_disk_max: u64,
    /// Cores that one query may use; 0 is all.
    pub partitions: usize,
    /// Calls that cannot be interrupted, at a time.
    pub aside_max: usize,
    /// Memory for the working state of queries that clients run.
    pub memory_bytes_max: u64,
    /// One value that a function makes.
    pub value_bytes_max: u64,
    /// Memory of what running epochs read and make, all of them together.
    pub epoch_memory_bytes_max: u64,
    /// Memory of all that tables and views hold.
    pub state_bytes_max: u64,
    /// Rows of one `COPY … FROM STDIN`, held until its end.
    pub copy_bytes_max: u64,
    /// What connectors may reach of the machine.
    pub fence: Fence,
    /// How long the outside may take to answer whoever opens a source or a sink, and to take an epoch of a sink.
    pub open_timeout: Duration,
    pub write_timeout: Duration,
    /// Not of the configuration: no answer depends on them.
    pub thresholds: Thresholds,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            checkpoint_interval: Duration::from_secs(10),
            log_file_bytes: 64 << 20,
            record_bytes_max: 16 << 20,
            epoch_rows_max: 1_000_000,
            epoch_bytes_max: 256 << 20,
            epoch_target: Duration::from_millis(250),
            dead_letters_max: 100_000,
            dead_letters_bytes_max: 64 << 20,
            dead_letters_epoch_max: 10_000,
            dead_letters_epoch_bytes_max: 16 << 20,
            late_rows_max: 100_000,
            late_rows_bytes_max: 64 << 20,
            changelog_rows_max: 10_000_000,
            changelog_bytes_max: 1 << 30,
            changelog_disk_max: 16 << 30,
            partitions: 0,
            aside_max: 64,
            memory_bytes_max: 1 << 30,
            value_bytes_max: 128 << 20,
            epoch_memory_bytes_max: 1 << 30,
            state_bytes_max: 4 << 30,
            copy_bytes_max: 1 << 30,
            fence: Fence::default(),
            open_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(600),
            thresholds: Thresholds::default(),
        }
    }
}

/// A running server without its sockets.
pub struct Engine {
    this: Weak<Engine>,
    options: EngineOptions,
    env: QueryEnv,
    /// The files of the data directory. What `env` calls its storage.
    manifest: Arc<Manifest>,
    runtime: Runtime,
    planner: Arc<Planner>,
    aside: Arc<AsideLimit>,
    moment: SnapshotBarrier,
    live: Mutex<LiveObjects>,
    /// It looks at what could be made, over a copy of what exists: nothing runs, and nothing outside is taken hold of.
    rehearsal: bool,
    /// Whoever changes what exists. Nobody waits for the outside, or for an epoch, who holds it.
    ddl: tokio::sync::Mutex<()>,
    /// The names that statements are at work on.
    names: Names,
}

#[derive(Debug, Default)]
struct LiveObjects {
    catalog: Catalog,
    objects: Objects,
    functions: Functions,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What a statement will take and give, before it is run: the answer to Describe.
#[derive(Debug, Clone)]
pub struct Description {
    /// The types of `$1`, `$2`, …
    pub parameters: Vec<DataType>,
    /// The columns of its rows; `None` where it gives none.
    pub columns: Option<SchemaRef>,
}

/// What a statement gave.
pub enum Reply {
    /// The command tag: `CREATE SOURCE`, `INSERT 0 3`.
    Done(String),
    /// Rows as they are computed, and the word of the tag that ends them (`SELECT`, `SHOW`, `EXPLAIN`, `FETCH`).
    Rows { tag: &'static str, rows: SendableRecordBatchStream },
    /// The client may now send rows.
    CopyIn(CopyInTarget),
    /// Rows that go out in COPY's form.
    CopyOut { format: CopyFormat, rows: SendableRecordBatchStream },
    /// The changes of a relation as they come, without an end; in COPY's form, if so wished.
    Live { rows: SendableRecordBatchStream, copy: Option<CopyFormat> },
}

/// An open `COPY … FROM STDIN`: all of its rows become durable at [`CopyIn::finish`], or none of them.
pub struct CopyInTarget {
    pub format: CopyFormat,
    /// The columns that each row of the client has, in its order.
    pub columns: SchemaRef,
    table: Arc<WritableTable>,
    /// Where each column of the client goes in the table, and what stands in the table's other columns.
    at: Vec<usize>,
    fills: Vec<ScalarValue>,
    rows: Collected,
    bytes: u64,
    bytes_max: u64,
}

impl CopyInTarget {
    fn new(
        format: CopyFormat,
        columns: SchemaRef,
        table: Arc<WritableTable>,
        (at, fills): (Vec<usize>, Vec<ScalarValue>),
        (rows, bytes_max): (Collected, u64),
    ) -> Self {
        CopyInTarget { format, columns, table, at, fills, rows, bytes: 0, bytes_max }
    }

    /// Rows in `columns`' schema.
    pub async fn push(&mut self, rows: RecordBatch) -> Result<()> {
        self.bytes += rows.get_array_memory_size() as u64;
        if self.bytes > self.bytes_max {
            let message = format!("COPY holds more than {} bytes of rows", self.bytes_max);
            return Err(Error::new(ErrorKind::LimitExceeded, message)
                .hint("Send the rows in several COPY statements, or raise query.copy_limit."));
        }
        self.rows.push(dml::widened(&rows, &self.at, &self.fills, &self.table.columns)?)
    }

    /// Gives the number of rows that are now durable.
    pub async fn finish(self) -> Result<u64> {
        self.table.insert(&self.rows.rows, &OnConflict::Fail).await
    }
}

/// Runs work that must not be left half done, even where whoever asked for it goes away. A panic in it is theirs.
async fn to_its_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    match tokio::spawn(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(Error::new(ErrorKind::AdminShutdown, "the server is shutting down")),
    }
}

/// The planner tells lines and columns, a client is told characters.
fn placed(error: Error, statement: &Statement) -> Error {
    error.placed(|line, column| statement.position(Location { line, column }))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Runs one statement. Dropping the future, or the stream of its rows, cancels it. Settings, transactions, prepared
    /// statements and cursors are the session's and do not come here.
    pub async fn execute(&self, session: &Session, statement: &Statement, parameters: &[ScalarValue]) -> Result<Reply> {
        let this = self.this.upgrade().ok_or_else(|| Error::new(ErrorKind::AdminShutdown, "the server is stopping"))?;
        let outcome = this.dispatch_recovered(session, statement, parameters).await.map(|reply| self.masked(reply));
        let outcome = outcome.map_err(|error| placed(self.env.hidden.mask(error), statement));
        outcome.map_err(|error| match self.env.log.failure() {
            Some(failure) if matches!(error.kind(), ErrorKind::Io | ErrorKind::DiskFull) => failure
                .hint("Nothing can be made durable until the disk can be written: then the server goes on by itself."),
            _ => error,
        })
    }

    /// A reply in whose rows no error tells a secret.
    fn masked(&self, reply: Reply) -> Reply {
        let Reply::Rows { tag, rows } = reply else { return reply };
        let hidden = self.env.hidden.clone();
        let schema = rows.schema();
        let rows = rows.map_err(move |error| hidden.mask(Error::from(error)).into());
        Reply::Rows { tag, rows: Box::pin(RecordBatchStreamAdapter::new(schema, rows)) }
    }

    async fn dispatch(
        self: &Arc<Self>,
        session: &Session,
        statement: &Statement,
        parameters: &[ScalarValue],
    ) -> Result<Reply> {
        match &statement.body {
            Body::CreateSource(_) | Body::CreateTable(_) | Body::CreateView(_) => self.create(session, statement).await,
            Body::CreateSecret(create) => self.create_secret(create).await,
            Body::DropSecrets(drop) => self.drop_secrets(drop).await,
            Body::CreateFunction(_) | Body::CreateAggregate(_) => self.create_function(statement).await,
            Body::DropFunctions(drop) => self.drop_functions(drop).await,
            Body::Drop(drop) => self.drop(drop).await,
            Body::Alter(alter) => self.alter(alter).await,
            Body::Query(query) => {
                let rows = self.query(session, query, parameters).await?;
                Ok(Reply::Rows { tag: "SELECT", rows })
            }
            Body::Insert(insert) => self.insert(session, insert, parameters).await,
            Body::Update(update) => self.update(session, update, parameters).await,
            Body::Delete(delete) => self.delete(session, delete, parameters).await,
            Body::CopyIn(copy) => self.copy_in(copy).await,
            Body::Subscribe(subscribe) => Ok(Reply::Live { rows: self.subscribe(subscribe).await?, copy: None }),
            Body::CopyOut(CopyOut { reads: Reads::Query(query), format }) => {
                let rows = self.query(session, query, parameters).await?;
                Ok(Reply::CopyOut { format: format.clone(), rows })
            }
            Body::CopyOut(CopyOut { reads: Reads::Subscription(subscribe), format }) => {
                Ok(Reply::Live { rows: self.subscribe(subscribe).await?, copy: Some(format.clone()) })
            }
            Body::Explain { analyze, verbose, statement } => {
                self.explain(session, statement, parameters, (*analyze, *verbose)).await
            }
            Body::ExplainRelation(name) => self.explain_relation(name).await,
            Body::Show(show) => self.show(show),
            Body::Flush(name) => self.flush(session, name.as_ref()).await,
            _ => Err(Error::internal("a statement of the session came to the engine")),
        }
    }

    /// Everything with a name, at this moment.
    pub fn relations(&self) -> Vec<RelationDef> {
        let mut relations = Vec::new();
        for object in self.objects().in_order() {
            let primary_key = match &object.what {
                objects::ObjectState::Table(table) => table.key.clone(),
                objects::ObjectState::Source { key, .. } => {
                    key.iter().filter_map(|name| object.schema.index_of(name).ok()).collect()
                }
                _ => Vec::new(),
            };
            relations.push(RelationDef {
                id: object.id,
                schema: "public".to_string(),
                name: object.name.clone(),
                kind: object.kind,
                columns: object.schema.clone(),
                primary_key,
                definition: object.statement.text.clone(),
            });
        }
        relations.extend(self.system_relations());
        relations
    }

    fn system_relations(&self) -> Vec<RelationDef> {
        let scene = self.statement_snapshot();
        let relation = |(n, name): (usize, &&str)| {
            let columns = system::schema(&scene, name).ok()??;
            Some(RelationDef {
                // Below every user's object in `pg_class`, and above Postgres' own.
                id: (1 << 40) + n as u64,
                schema: "tidemark".to_string(),
                name: (*name).to_string(),
                kind: ObjectKind::System,
                columns,
                primary_key: Vec::new(),
                definition: String::new(),
            })
        };
        system::NAMES.iter().enumerate().filter_map(relation).collect()
    }

    /// No new epoch; waits until the last one of every query is committed and everything is in checkpoints.
    pub async fn shutdown(&self) {
        let mut objects = self.objects().in_order();
        objects.reverse();
        for object in &objects {
            if let Some(handle) = object.handle() {
                match handle.progress().state {
                    // There is nothing of it to save, and it may take its time.
                    QueryState::Recovering => handle.end().await,
                    _ => handle.stop().await,
                }
            }
        }
        for object in &objects {
            if let objects::ObjectState::Table(table) = &object.what
                && let Err(error) = table.checkpoint().await
            {
                tracing::warn!(table = object.name, %error, "not saved at shutdown; its log is");
            }
        }
        // What nobody waits for.
        if let Err(error) = self.env.log.append(Vec::new()).await {
            tracing::warn!(%error, "the log is not written to its end");
        }
    }

    fn objects(&self) -> Objects {
        locked(&self.live).objects.clone()
    }

    fn object(&self, id: u64) -> Option<Arc<Object>> {
        self.objects().0.values().find(|object| object.id == id).cloned()
    }

    fn add_object(&self, object: Arc<Object>) {
        let mut live = locked(&self.live);
        let mut all: BTreeMap<_, _> = live.objects.0.as_ref().clone();
        all.insert(object.name.clone(), object);
        live.objects = Objects(Arc::new(all));
    }

    /// Another object that has its name keeps it.
    fn remove_object(&self, object: &Object) {
        let mut live = locked(&self.live);
        let mut all: BTreeMap<_, _> = live.objects.0.as_ref().clone();
        if all.get(&object.name).is_some_and(|other| other.id == object.id) {
            all.remove(&object.name);
        }
        live.objects = Objects(Arc::new(all));
    }

    fn next_id(&self) -> u64 {
        let mut live = locked(&self.live);
        live.catalog.last_id += 1;
        live.catalog.last_id
    }

    fn apply_change(&self, change: &CatalogChange) {
        locked(&self.live).catalog.apply(change);
    }

    /// What a query waits for when its trigger has nothing more to do: it stays so across a restart.
    fn finished(self: &Arc<Self>, id: u64) -> Finished {
        let engine = Arc::downgrade(self);
        Box::new(move || {
            let engine = engine.clone();
            async move {
                let Some(engine) = engine.upgrade() else { return Ok(()) };
                // Not before it is durable that it is there.
                let _one = engine.ddl.lock().await;
                engine.log_change(CatalogChange::Paused { id, paused: true }).await
            }
            .boxed()
        })
    }

    fn register_pg_catalog(&self, context: &SessionContext, session: &Session) -> Result<()> {
        let listing = self.this.upgrade().ok_or_else(|| Error::internal("the engine is gone"))?;
        let facts = crate::pg_catalog::SessionInfo {
            user: session.user.clone(),
            database: session.database.clone(),
            pid: session.pid,
            settings: session.settings.clone(),
            peers: session.peers.clone(),
        };
        crate::pg_catalog::register(context, listing, &facts)
    }
}

/// The memory that queries of clients share, or that epochs do, and what they share besides.
fn runtime_env(bytes_max: u64) -> Result<Arc<datafusion::execution::runtime_env::RuntimeEnv>> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    Ok(RuntimeEnvBuilder::new().with_memory_limit(bytes_max, 1.0).build_arc()?)
}

/// So that rooms below the engine can list what exists.
impl crate::pg_catalog::Listing for Engine {
    fn relations(&self) -> Vec<RelationDef> {
        Engine::relations(self)
    }

    fn routines(&self) -> Vec<Routine> {
        Engine::routines(self)
    }
}
