//! Files of formats that no script can write.

use tidemark::engine::EngineOptions;

use crate::harness::{Rig, run};

#[test]
fn view_over_avro_files_aggregates_and_reports_the_damaged_file() {
    run(1, async || {
        let mut rig = Rig::new(EngineOptions::default()).await;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
        let with = format!("connector = 'directory', path = '{folder}', glob = '*.avro', format = 'avro'");
        rig.sql(&format!("CREATE SOURCE flights WITH ({with})")).await.unwrap();
        rig.sql("CREATE MATERIALIZED VIEW kinds AS SELECT kind, count(*) AS n, max(plane -> 'seats') AS seats, sum(price) AS price FROM flights WHERE id < 200 GROUP BY kind").await.unwrap();
        rig.sql("FLUSH").await.unwrap();
        rig.restart().await;
        let kinds = rig.contents("kinds").await.unwrap();
        // Each row is in both files.
        let batch = "SELECT kind, 2 * count(DISTINCT id) AS n, max(plane -> 'seats') AS seats, 2 * sum(DISTINCT price) AS price FROM flights WHERE id < 200 GROUP BY kind";
        let batch = rig.contents(batch).await.unwrap();
        assert!(kinds.same(&batch), "{kinds}{batch}");
        let letters = rig.contents("SELECT file, reason FROM tidemark.dead_letters").await.unwrap().to_string();
        assert!(letters.contains("flights_bad.avro") && letters.contains("cannot be read"), "{letters}");
    });
}
