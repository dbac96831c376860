//! An engine on a disk folder of its own, as the server has it, without the sockets.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use futures::TryStreamExt;
use tidemark::{
    engine::{Engine, EngineOptions, Env, Reply, authorize},
    session::Session,
    storage::DiskStorage,
    time::SystemClock,
};

use crate::Outcome;

/// A running engine; its folder goes with it.
pub struct Server {
    engine: Arc<Engine>,
    session: Session,
    _folder: tempfile::TempDir,
}

impl Server {
    pub async fn start(threads: usize) -> Outcome<Server> {
        let folder = tempfile::tempdir()?;
        let env = Env {
            storage: Arc::new(DiskStorage::open(folder.path())?),
            clock: Arc::new(SystemClock),
            runtime: tokio::runtime::Handle::current(),
            hidden: Arc::default(),
        };
        let engine = Engine::open(env, EngineOptions { partitions: threads, ..EngineOptions::default() }).await?;
        Ok(Server { engine, session: Session::new("bench", "tidemark", 0), _folder: folder })
    }

    /// Runs statements; gives the rows of the last one.
    pub async fn run(&self, sql: &str) -> Outcome<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        for statement in tidemark::sql::parse(sql)? {
            let statement = authorize(&self.session, statement)?;
            rows = match self.engine.execute(&self.session, &statement, &[]).await? {
                Reply::Rows { rows, .. } => rows.try_collect().await?,
                _ => Vec::new(),
            };
        }
        Ok(rows)
    }

    pub async fn stop(self) {
        self.engine.shutdown().await;
    }
}
