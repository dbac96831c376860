//! Memory pools: held by clients, available to epochs.

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

use super::*;

/// Reserves all bytes of a pool.
fn all_of(pool: &Arc<dyn MemoryPool>, bytes: u64) -> MemoryReservation {
    let held = MemoryConsumer::new("a test").register(pool);
    held.try_grow(usize::try_from(bytes).unwrap()).unwrap();
    held
}

const SORTED: &str = "SELECT n, row_number() OVER (ORDER BY n) AS r FROM t";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.sql("CREATE TABLE t (n INT); INSERT INTO t VALUES (3), (1), (2)").await.unwrap();
    stage
}

#[test]
fn epoch_beside_unread_answers_has_its_own_memory_pool() {
    run(async {
        let stage = stage().await;
        let engine = stage.engine.clone().unwrap();
        let _held = all_of(engine.statements.memory_pool(), engine.options.memory_bytes_max);
        assert_eq!(stage.sql(SORTED).await.unwrap_err().kind(), ErrorKind::OutOfMemory);
        stage.sql(&format!("CREATE MATERIALIZED VIEW v AS {SORTED}")).await.unwrap();
        stage.flush().await.unwrap();
        assert_eq!(stage.sql("SELECT * FROM v").await.unwrap(), ["1|1", "2|2", "3|3"]);
    });
}

#[test]
fn epoch_without_memory_is_retrying_until_memory_is_free() {
    run(async {
        let stage = stage().await;
        let engine = stage.engine.clone().unwrap();
        let held = all_of(engine.env.context.memory_pool(), engine.options.epoch_memory_bytes_max);
        stage.sql(&format!("CREATE MATERIALIZED VIEW v AS {SORTED}")).await.unwrap();
        let state = async || stage.sql("SELECT state FROM tidemark.queries").await.unwrap().concat();
        let retrying = async { while state().await != "retrying" {} };
        tokio::time::timeout(PATIENCE, retrying).await.expect("it is told");
        // Whoever asks for it has it tried once more.
        for _ in 0..5 {
            assert_eq!(stage.flush().await.unwrap_err().kind(), ErrorKind::OutOfMemory);
            assert!(["retrying", "recovering"].contains(&state().await.as_str()), "it has not passed");
        }
        drop(held);
        stage.wait_until_caught_up().await;
        assert_eq!(state().await, "running");
        assert_eq!(stage.sql("SELECT * FROM v").await.unwrap(), ["1|1", "2|2", "3|3"]);
    });
}
