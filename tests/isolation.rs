//! What one query does, or does not come to an end with, keeps no other from going on.

use std::time::Duration;

use tidemark::engine::EngineOptions;

use crate::harness::{Rig, run};

/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// The plan of two window functions sorts twice, the second time in a task that is spawned: were the step that runs it on
/// a worker, that worker would keep the task and wait for it for ever.
#[test]
fn group_plan_that_spawns_tasks_completes() {
    run(2, async || {
        let rig = Rig::new(EngineOptions { partitions: 2, ..EngineOptions::default() }).await;
        rig.sql("CREATE TABLE t (id BIGINT, k BIGINT, a BIGINT, b BIGINT, c TEXT) APPEND ONLY").await.unwrap();
        rig.sql(
            "INSERT INTO t SELECT i, i % 10, i * 7919 % 100003, i * 104729 % 100003, repeat('x', 40)
             FROM generate_series(1, 60000) AS s(i)",
        )
        .await
        .unwrap();
        let ranks = "SELECT id, c, rank() OVER (PARTITION BY k ORDER BY a) AS ra,
                     rank() OVER (PARTITION BY k ORDER BY b) AS rb FROM t";
        rig.sql(&format!("CREATE MATERIALIZED VIEW v AS {ranks}")).await.unwrap();
        let flushed = tokio::time::timeout(PATIENCE, rig.sql("FLUSH")).await;
        flushed.expect("the first epoch of two window functions hangs").unwrap();
        let sums = |from: &str| format!("SELECT count(*), sum(ra), sum(rb), sum(ra * rb) FROM {from}");
        let kept = rig.sql(&sums("v")).await.unwrap().lines();
        assert_eq!(kept, rig.sql(&sums(&format!("({ranks}) AS b"))).await.unwrap().lines());
    });
}
