//! Views and sinks that are far behind what they read: they catch up from files, however little of it is in memory.

use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::time::Duration;

use tidemark::engine::EngineOptions;

use crate::harness::{Rig, run};

/// A changelog keeps so few rows in memory that each statement passes it.
fn options(disk_max: u64) -> EngineOptions {
    EngineOptions {
        checkpoint_interval: Duration::from_millis(1),
        changelog_rows_max: 2,
        changelog_disk_max: disk_max,
        ..EngineOptions::default()
    }
}

const VIEWS: &str = "
    CREATE TABLE t (id INT PRIMARY KEY, k INT, v INT);
    CREATE MATERIALIZED VIEW sums AS SELECT k, sum(v) AS total, count(*) AS n FROM t GROUP BY k;
    INSERT INTO t VALUES (0, 0, 0);
    CREATE MATERIALIZED VIEW of_table AS SELECT id % 7 AS r, sum(v) AS total FROM t GROUP BY id % 7;
    CREATE MATERIALIZED VIEW of_view AS SELECT total, count(*) AS n FROM sums GROUP BY total;
    FLUSH;
    INSERT INTO t VALUES (1, 1, 1);
    FLUSH;
    ALTER MATERIALIZED VIEW of_table PAUSE;
    ALTER MATERIALIZED VIEW of_view PAUSE";

const ANSWERS: [(&str, &str); 2] = [
    ("of_table", "SELECT id % 7 AS r, sum(v) AS total FROM t GROUP BY id % 7"),
    (
        "of_view",
        "SELECT total, count(*) AS n FROM (SELECT k, sum(v) AS total FROM t GROUP BY k) AS sums GROUP BY total",
    ),
];

/// Changes by many statements, between which the server stops, or dies.
async fn change(rig: &mut Rig, rng: &mut SmallRng) {
    for round in 0..6 {
        for _ in 0..8 {
            let (id, k, v) = (rng.random_range(0..60), rng.random_range(0..5), rng.random_range(0..100));
            let statement = match rng.random_range(0..4) {
                0 => format!("DELETE FROM t WHERE id = {id}"),
                1 => format!("UPDATE t SET v = {v} WHERE k = {k}"),
                _ => format!("INSERT INTO t VALUES ({id}, {k}, {v}) ON CONFLICT (id) DO UPDATE SET v = excluded.v"),
            };
            rig.sql(&statement).await.unwrap();
            // What reads the table makes epochs of its own of it.
            let _ = rig.sql("FLUSH").await;
        }
        match round % 3 {
            0 => rig.restart().await,
            1 => rig.crash().await,
            _ => {}
        }
    }
}

async fn catch_up(rig: &Rig) {
    for (view, _) in ANSWERS {
        rig.sql(&format!("ALTER MATERIALIZED VIEW {view} RESUME")).await.unwrap();
    }
}

#[test]
fn views_far_behind_catch_up_to_the_batch_answer() {
    for seed in 0..4 {
        run(2, async || {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut rig = Rig::new(options(u64::MAX)).await;
            rig.sql(VIEWS).await.unwrap();
            change(&mut rig, &mut rng).await;
            catch_up(&rig).await;
            rig.sql("FLUSH").await.unwrap();
            for (view, select) in ANSWERS {
                let (kept, batch) = (rig.contents(view).await.unwrap(), rig.contents(select).await.unwrap());
                assert_eq!(kept.lines(), batch.lines(), "{view}, seed {seed}");
            }
        });
    }
}

#[test]
fn views_too_far_behind_for_the_changelog_files_fail_with_an_error() {
    run(2, async || {
        let mut rig = Rig::new(options(0)).await;
        rig.sql(VIEWS).await.unwrap();
        change(&mut rig, &mut SmallRng::seed_from_u64(0)).await;
        catch_up(&rig).await;
        let _ = rig.sql("FLUSH").await;
        let failed = rig.sql("SELECT name, last_error FROM tidemark.queries WHERE state = 'failed'").await.unwrap();
        for (view, _) in ANSWERS {
            let line = failed.lines().into_iter().find(|line| line.starts_with(view)).unwrap_or_default();
            assert!(line.contains("the reader is too far behind"), "{view}: {line}");
        }
    });
}
