//! An engine in this process, on storage that can be crashed and a clock that stands still.

mod rows;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::physical_plan::common::collect;
use tidemark::{
    engine::{Engine, EngineOptions, Env, Reply, Session},
    error::{Error, Kind, Result},
    sql::parse,
    storage::MemoryStorage,
    time::{Clock, ManualClock},
};
use tokio::runtime::{Builder, Handle};

pub use self::rows::{Cell, Rows};

/// 2024-01-01, for a clock that stands still.
const NEW_YEAR: i64 = 1_704_067_200_000_000;

/// Plans are deep, and futures without optimization are large.
const STACK_BYTES: usize = 16 << 20;

/// Runs work on a runtime as the server's, which ends with it.
pub fn run<T: Send>(threads: usize, work: impl AsyncFnOnce() -> T + Send) -> T {
    let runtime = || {
        Builder::new_multi_thread().worker_threads(threads).thread_stack_size(STACK_BYTES).enable_all().build().unwrap()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || runtime().block_on(work())).unwrap();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A running engine, and what is left of it after a crash.
pub struct Rig {
    pub storage: Arc<MemoryStorage>,
    pub clock: Arc<ManualClock>,
    pub options: EngineOptions,
    engine: Option<Arc<Engine>>,
    session: Session,
}

impl Rig {
    pub async fn new(options: EngineOptions) -> Rig {
        let clock = Arc::new(ManualClock::new(NEW_YEAR));
        let storage = Arc::new(MemoryStorage::default());
        let mut rig = Rig { storage, clock, options, engine: None, session: Session::default() };
        rig.open().await.unwrap();
        rig
    }

    /// Opens an engine on the storage as it is.
    pub async fn open(&mut self) -> Result<()> {
        let env = Env {
            storage: self.storage.clone(),
            clock: self.clock.clone() as Arc<dyn Clock>,
            runtime: Handle::current(),
        };
        self.engine = Some(Engine::open(env, self.options.clone()).await?);
        Ok(())
    }

    pub fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().expect("the engine is open")
    }

    /// The machine dies: nobody is told, and what the storage holds now is all that is left. Not open again yet.
    pub fn die(&mut self) {
        let survivor = Arc::new(self.storage.survivor());
        self.engine = None;
        self.storage = survivor;
    }

    /// Dies and comes back.
    pub async fn crash(&mut self) {
        self.die();
        self.open().await.unwrap();
    }

    /// Stops in peace and comes back.
    pub async fn restart(&mut self) {
        self.engine().shutdown().await;
        self.crash().await;
    }

    /// Runs the statements of a text; the rows of the last one that gives any.
    pub async fn sql(&self, text: &str) -> Result<Rows> {
        let mut rows = Rows::default();
        for statement in parse(text)? {
            match self.engine().execute(&self.session, &statement, &[]).await? {
                Reply::Done(_) => {}
                Reply::Rows { rows: stream, .. } => rows = Rows::new(&collect(stream).await?)?,
                Reply::CopyIn(_) | Reply::CopyOut { .. } | Reply::Live { .. } => {
                    return Err(Error::new(Kind::Unsupported, "COPY and SUBSCRIBE need a client"));
                }
            }
        }
        Ok(rows)
    }

    /// The rows of a query as they are computed.
    pub async fn batches(&self, query: &str) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for statement in parse(query)? {
            if let Reply::Rows { rows, .. } = self.engine().execute(&self.session, &statement, &[]).await? {
                batches = collect(rows).await?;
            }
        }
        Ok(batches)
    }

    /// The whole of a relation or a query.
    pub async fn contents(&self, what: &str) -> Result<Rows> {
        let query = what
            .split_whitespace()
            .next()
            .is_some_and(|word| ["select", "with", "show", "explain"].contains(&word.to_lowercase().as_str()));
        if query { self.sql(what).await } else { self.sql(&format!("SELECT * FROM {what}")).await }
    }
}
