//! An engine in this process, on storage that can be crashed and a clock that stands still.

mod eventually;
mod filmed;
mod gated;
mod rows;
mod words;

use std::{sync::Arc, time::Duration};

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use datafusion::physical_plan::common::collect;
use tidemark::{
    catalog,
    engine::{Engine, EngineOptions, Env, Reply, authorize},
    error::{Error, ErrorKind, Result},
    session::{Session, Severity},
    sql::{parse, statement::Body},
    storage::{Fault, FaultyStorage, MemoryStorage, Operation, Storage},
    time::{Clock, ManualClock},
};
use tokio::runtime::{Builder, Handle, Runtime};

pub use self::{
    eventually::{PATIENCE, eventually},
    filmed::{Camera, Files},
    gated::Gate,
    rows::{Cell, Rows},
    words::internal,
};
use self::{filmed::FilmedStorage, gated::GatedStorage};

/// 2024-01-01, for a clock that stands still.
const NEW_YEAR: i64 = 1_704_067_200_000_000;

/// Plans are deep, and futures without optimization are large.
const STACK_BYTES: usize = 16 << 20;

/// How long a call that blocks may go on once the machine it runs on is dead.
const LAST_BREATH: Duration = Duration::from_secs(60);

fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).thread_stack_size(STACK_BYTES).enable_all().build().unwrap()
}

/// Runs work on a runtime as the server's, which ends with it.
pub fn run<T: Send>(threads: usize, work: impl AsyncFnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || runtime(threads).block_on(work())).unwrap();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// An engine and all that runs for it: when this is gone nothing of it runs any more, as when a process was killed. What
/// went on for a moment could take hold of an outside system after its successor has.
struct Life {
    engine: Option<Arc<Engine>>,
    runtime: Option<Runtime>,
}

impl Life {
    /// Runs work as the engine's own.
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.runtime.as_ref().expect("the machine runs");
        runtime.spawn(work).await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.engine = None;
        if let Some(runtime) = self.runtime.take() {
            // A thread of its own: one that runs tasks may not wait.
            let ended = std::thread::spawn(move || runtime.shutdown_timeout(LAST_BREATH)).join();
            ended.expect("a runtime ends");
        }
    }
}

/// FLUSH only warns of what has failed: here that is to be an error.
async fn flush_each(engine: &Arc<Engine>, session: &Session) -> Result<()> {
    for relation in engine.relations() {
        let quoted = relation.name.replace('"', "\"\"");
        if relation.kind != catalog::ObjectKind::System {
            let flush = parse(&format!("FLUSH \"{quoted}\""))?.remove(0);
            engine.execute(session, &authorize(session, flush)?, &[]).await?;
        }
    }
    Ok(())
}

/// A running engine, and what is left of it after a crash.
pub struct Rig {
    pub storage: Arc<MemoryStorage>,
    pub clock: Arc<ManualClock>,
    pub options: EngineOptions,
    /// Which operations of the storage fail, from the next opening on.
    pub plan: Option<Plan>,
    /// Which files cannot be read for now, from the next opening on. Then nobody waits until all queries are back.
    pub gate: Option<Arc<Gate>>,
    /// Who is shown each write, from the next opening on.
    pub camera: Option<Camera>,
    life: Option<Life>,
    session: Arc<Session>,
}

/// Says whether an operation on a path is to fail.
pub type Plan = Arc<dyn Fn(Operation, &str) -> Option<Fault> + Send + Sync>;

impl Rig {
    pub async fn new(options: EngineOptions) -> Rig {
        let mut rig = Rig::on(MemoryStorage::default(), options);
        rig.open().await.unwrap();
        rig
    }

    /// One that is not open yet.
    pub fn on(storage: MemoryStorage, options: EngineOptions) -> Rig {
        let clock = Arc::new(ManualClock::new(NEW_YEAR));
        let (plan, gate, camera, life, session) = (None, None, None, None, Arc::default());
        Rig { storage: Arc::new(storage), clock, options, plan, gate, camera, life, session }
    }

    fn whole_storage(&self) -> Arc<dyn Storage> {
        let mut storage: Arc<dyn Storage> = self.storage.clone();
        if let Some(camera) = self.camera.clone() {
            storage = Arc::new(FilmedStorage { inner: self.storage.clone(), camera });
        }
        if let Some(gate) = self.gate.clone() {
            storage = Arc::new(GatedStorage { inner: storage, gate });
        }
        match self.plan.clone() {
            Some(plan) => Arc::new(FaultyStorage::new(storage, move |operation, path| plan(operation, path))),
            None => storage,
        }
    }

    /// Opens an engine on the storage as it is.
    pub async fn open(&mut self) -> Result<()> {
        let runtime = runtime(2);
        let env = Env {
            storage: self.whole_storage(),
            clock: self.clock.clone() as Arc<dyn Clock>,
            runtime: runtime.handle().clone(),
            hidden: Arc::default(),
        };
        let mut life = Life { engine: None, runtime: Some(runtime) };
        life.engine = Some(life.run(Engine::open(env, self.options.clone())).await?);
        self.life = Some(life);
        if self.gate.is_none() {
            self.recovered().await;
        }
        Ok(())
    }

    /// Waits until all queries are back from where the last life had left them, or cannot be.
    pub async fn recovered(&self) {
        let count = "SELECT count(*) FROM tidemark.queries WHERE state = 'recovering'";
        let none = async || (self.sql(count).await.unwrap().lines() == ["0"]).then_some(());
        eventually("all queries are back", none).await;
    }

    /// What `work` gives, or nothing once the storage has failed at a write: what waits for a query may then wait for ever.
    pub async fn unless_struck<T>(&self, write: u64, work: impl Future<Output = T>) -> Option<T> {
        let struck = async || (self.storage.writes() >= write).then_some(());
        tokio::select! {
            biased;
            done = work => Some(done),
            () = eventually("the work ends, or the storage is struck", struck) => None,
        }
    }

    fn life(&self) -> &Life {
        self.life.as_ref().expect("the engine is open")
    }

    pub fn engine(&self) -> &Arc<Engine> {
        self.life().engine.as_ref().expect("the engine is open")
    }

    /// Where the engine's work runs.
    pub fn runtime(&self) -> Handle {
        self.life().runtime.as_ref().expect("the machine runs").handle().clone()
    }

    /// The machine dies: nobody is told, and what the storage holds then is all that is left. Not open again yet.
    pub fn die(&mut self) {
        self.life = None;
        self.storage = Arc::new(self.storage.survivor());
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
        self.answer(text).await.and_then(|(_, batches)| Rows::new(&batches))
    }

    /// As [`Rig::sql`], the rows as they are computed, and their columns, which no batch tells where there is no row.
    pub async fn answer(&self, text: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let (engine, session, statements) = (self.engine().clone(), self.session.clone(), parse(text)?);
        let work = async move {
            let mut answer = (SchemaRef::new(Schema::empty()), Vec::new());
            for statement in statements {
                let statement = authorize(&session, statement)?;
                match engine.execute(&session, &statement, &[]).await? {
                    Reply::Done(_) if matches!(statement.body, Body::Flush(None)) => {
                        if session.take_notices().iter().any(|notice| notice.severity == Severity::Warning) {
                            flush_each(&engine, &session).await?;
                        }
                    }
                    Reply::Done(_) => {}
                    Reply::Rows { rows, .. } => answer = (rows.schema(), collect(rows).await?),
                    Reply::CopyIn(_) | Reply::CopyOut { .. } | Reply::Live { .. } => {
                        return Err(Error::new(ErrorKind::Unsupported, "COPY and SUBSCRIBE need a client"));
                    }
                }
            }
            Ok(answer)
        };
        self.life().run(work).await
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
