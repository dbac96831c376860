//! A sink that is away while the checkpoint of its pending epoch cannot be written.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::storage::{Fault, FaultyStorage, Operation};

/// The pending epoch is taken out of memory for that checkpoint: if it is in neither, its rows never come out.
#[test]
fn sink_epoch_whose_checkpoint_fails_while_the_sink_is_away_is_delivered_once() {
    run(async {
        let mut stage = Stage::unopened();
        let (is_full, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let plan = {
            let (is_full, refused) = (is_full.clone(), refused.clone());
            move |operation: Operation, path: &str| {
                let fails =
                    operation == Operation::Create && path.starts_with("state/") && is_full.load(Ordering::SeqCst);
                fails.then(|| {
                    refused.fetch_add(1, Ordering::SeqCst);
                    Fault::Refused(ErrorKind::DiskFull)
                })
            }
        };
        let options = EngineOptions { checkpoint_interval: Duration::from_secs(3600), ..EngineOptions::default() };
        let storage = Arc::new(FaultyStorage::new(stage.storage.clone(), plan));
        stage.open_over(storage, options).await.unwrap();
        stage.sql("CREATE TABLE t (n INT) APPEND ONLY").await.unwrap();
        stage.sql(&stage.create("s", "FROM t", "")).await.unwrap();
        stage.sql("INSERT INTO t VALUES (1); FLUSH").await.unwrap();
        let place = stage.place("s");
        locked(&place).fail_at = Some((2, SinkFault::Before));
        is_full.store(true, Ordering::SeqCst);
        stage.sql("INSERT INTO t VALUES (2)").await.unwrap();
        eventually("a checkpoint is refused", async || (refused.load(Ordering::SeqCst) > 0).then_some(())).await;
        is_full.store(false, Ordering::SeqCst);
        stage.sql("INSERT INTO t VALUES (3)").await.unwrap();
        stage.wait_until_caught_up().await;
        assert_eq!(folded(&locked(&place).written, &[]), ["1", "2", "3"]);
        // What was saved then is as right.
        stage.crash().await;
        stage.sql("INSERT INTO t VALUES (4)").await.unwrap();
        stage.wait_until_caught_up().await;
        assert_eq!(folded(&locked(&place).written, &[]), ["1", "2", "3", "4"]);
    });
}
