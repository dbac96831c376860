//! `kill -9` on a server that writes files: whoever reads them by their log sees each epoch whole, and once.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::sleep;
use tokio_postgres::Client;

use super::harness::{Home, eventually, fails, rows, run, seed};

const FILES: i64 = 60;
const ROWS: i64 = 40;
const KILLS: i64 = 8;

fn file(n: i64) -> String {
    let row = |i: i64| format!("{n},{},{}\n", n * ROWS + i, ["a", "b/ c", ""][i as usize % 3]);
    (0..ROWS).map(row).collect()
}

/// Files that are there in part, of which there are none; and how many there are.
async fn look(client: &Client) -> i64 {
    let torn = format!("SELECT file, count(*) FROM lake GROUP BY file HAVING count(*) <> {ROWS}");
    assert_eq!(rows(client, &torn).await, [""; 0]);
    rows(client, "SELECT count(DISTINCT file) FROM lake").await[0].parse().unwrap()
}

async fn exact_after_kills(format: &str, more: &str) {
    let mut rng = SmallRng::seed_from_u64(seed());
    let home = Home::new();
    home.folder("in");
    home.folder("out");
    let mut server = home.start();
    let client = server.connect().await;
    // A file is an epoch.
    let setup = format!(
        "CREATE SOURCE landed (file BIGINT, n BIGINT, kind TEXT)
           WITH (connector = 'directory', path = 'in', format = 'csv', max_files_per_trigger = 1);
         CREATE SOURCE lake (file BIGINT, n BIGINT, kind TEXT)
           WITH (connector = 'directory', path = 'out', format = '{format}' {more});
         CREATE SINK s AS SELECT file, n, kind FROM landed WITH (connector = 'directory', path = 'out',
           format = '{format}', partition_by = 'kind', merge_files = 3)"
    );
    run(&client, &setup).await;
    let plan =
        "EXPLAIN CREATE SINK e AS SELECT file FROM landed WITH (connector = 'directory', path = 'e', format = 'csv')";
    let plan = rows(&client, plan).await.join("\n");
    assert!(plan.contains("to directory: exactly once"), "{plan}");
    let mut least = 0;
    for kill in 0..KILLS {
        let per_kill = FILES / KILLS;
        (kill * per_kill..(kill + 1) * per_kill).for_each(|n| home.put(&format!("in/{n:04}.csv"), file(n)));
        sleep(Duration::from_millis(rng.random_range(0..400))).await;
        server.kill();
        server = home.start();
        let client = server.connect().await;
        let seen = look(&client).await;
        assert!(seen >= least, "{seen} files, of which there were {least}");
        least = seen;
    }
    (FILES / KILLS * KILLS..FILES).for_each(|n| home.put(&format!("in/{n:04}.csv"), file(n)));
    let client = server.connect().await;
    run(&client, "FLUSH").await;
    assert_eq!(look(&client).await, FILES);
    let total = FILES * ROWS;
    let all = "SELECT count(*), count(DISTINCT n), sum(n) FROM lake";
    let expected = [format!("{total}|{total}|{}", total * (total - 1) / 2)];
    assert_eq!(rows(&client, all).await, expected);
    // Who comes now reads what was merged.
    let fresh = format!("CREATE SOURCE fresh WITH (connector = 'directory', path = 'out', format = '{format}' {more})");
    run(&client, &fresh).await;
    assert_eq!(rows(&client, &all.replace("lake", "fresh")).await, expected);
    let kinds = "SELECT kind, count(*) FROM fresh GROUP BY kind ORDER BY kind";
    let expected = rows(&client, &kinds.replace("fresh", "landed")).await;
    assert_eq!(rows(&client, kinds).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_sink_folder_is_exact_after_kill_9() {
    exact_after_kills("parquet", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_sink_folder_is_exact_after_kill_9() {
    exact_after_kills("csv", ", header = true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directory_sink_in_complete_mode_replaces_the_previous_answer() {
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (a BIGINT, n BIGINT)").await;
    let sink = "CREATE SINK s AS SELECT a, sum(n) AS n FROM t GROUP BY a
                WITH (connector = 'directory', path = 'out', format = 'json'";
    let error = fails(&client, &format!("{sink})")).await;
    assert_eq!(error.message(), "rows of sink \"s\" can be withdrawn, and directory has no word for it");
    assert!(error.hint().unwrap().contains("type = 'complete'"), "{:?}", error.hint());
    let error = fails(&client, &format!("{sink}, type = 'complete', partition_by = 'b')")).await;
    assert_eq!(error.message(), "option \"partition_by\" names column \"b\", which there is not");
    run(&client, &format!("{sink}, type = 'complete', retain = '0 s')")).await;
    for n in 1..=3 {
        run(&client, &format!("INSERT INTO t VALUES (1, {n}), (2, 1)")).await;
        run(&client, "FLUSH").await;
    }
    let files = || {
        let all = std::fs::read_dir(home.path("out")).unwrap().map(|file| file.unwrap().path());
        all.filter(|path| path.extension().is_some_and(|e| e == "json")).collect::<Vec<_>>()
    };
    eventually("old files go", async || (files().len() == 1).then_some(())).await;
    let mut lines: Vec<_> = std::fs::read_to_string(&files()[0]).unwrap().lines().map(str::to_string).collect();
    lines.sort();
    assert_eq!(lines, [r#"{"a":1,"n":6}"#, r#"{"a":2,"n":3}"#]);
}
