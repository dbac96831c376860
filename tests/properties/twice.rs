//! A query that reads something twice: in every answer that anybody sees both have read the same, though there is more
//! each time that one looks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use datafusion::physical_plan::common::collect;
use tidemark::{
    engine::{Engine, EngineOptions, Env, Reply, authorize},
    session::Session,
    sql::parse,
    storage::MemoryStorage,
    time::Clock,
};
use tokio::{runtime::Handle, time::timeout};

use crate::harness::Rows;

/// Before an answer that does not change is called stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that goes on by the time of a row with each look at it.
#[derive(Debug, Default)]
struct Looked(AtomicI64);

impl Clock for Looked {
    fn now(&self) -> i64 {
        self.0.fetch_add(100_000, Ordering::Relaxed)
    }
}

async fn sql(engine: &Arc<Engine>, text: &str) -> Rows {
    let mut rows = Rows::default();
    for statement in parse(text).unwrap() {
        let session = Session::default();
        let statement = authorize(&session, statement).unwrap();
        if let Reply::Rows { rows: stream, .. } = engine.execute(&session, &statement, &[]).await.unwrap() {
            rows = Rows::new(&collect(stream).await.unwrap()).unwrap();
        }
    }
    rows
}

/// Looks at answers until so many different ones were seen.
pub async fn round(answers: usize) {
    let env = Env {
        storage: Arc::new(MemoryStorage::default()),
        clock: Arc::new(Looked::default()),
        runtime: Handle::current(),
        hidden: Arc::default(),
    };
    let engine = Engine::open(env, EngineOptions::default()).await.unwrap();
    let source = "CREATE SOURCE s (n BIGINT) WITH (connector = 'datagen', rows_per_second = 10)";
    let counts = "SELECT (SELECT count(*) FROM s) AS a, (SELECT count(*) FROM s WHERE n IS NOT NULL) AS b";
    sql(&engine, &format!("{source}; CREATE MATERIALIZED VIEW v AS {counts}; FLUSH")).await;
    let looks = async {
        let (mut seen, mut last) = (0, None);
        while seen < answers {
            let rows = sql(&engine, "SELECT a, b FROM v").await;
            let [row] = rows.0.as_slice() else { panic!("one answer, not {rows}") };
            let [a, b] = [row[0].to_string(), row[1].to_string()];
            assert_eq!(a, b, "what was read is apart");
            seen += usize::from(last.replace(a.clone()).is_some_and(|last| last != a));
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("the answer does not go on"));
    engine.shutdown().await;
}
