//! Pipelines as a whole: what `run` refuses, `check` and `--dry-run` refuse in the same words; and what fails leaves nothing
//! behind.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use super::harness::{Home, Server, eventually, finished, rows, run};

fn command(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.command();
    command.args(arguments);
    command
}

fn pipeline(home: &Home, file: &str) -> Command {
    command(home, &["run", file, "--data-dir", "tidemark-data", "--listen", "127.0.0.1:0"])
}

/// The first line that a command says of its failure.
async fn refusal(mut command: Command) -> String {
    let (status, stdout, stderr) = finished(&mut command).await;
    assert!(!status.success(), "{command:?} succeeds: {stdout}");
    let is_located = |line: &&str| line.contains(".yaml:");
    stderr.lines().find(is_located).unwrap_or_else(|| panic!("{command:?}: {stderr}")).to_string()
}

/// Everything below a folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => drop(found.insert(path.display().to_string(), fs::read(&path).unwrap())),
            }
        }
    }
    found
}

/// A server's folder with a table of rows, and two views of it, one over the other.
async fn create_table_and_views(home: &Home) {
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE t (a INT, at TIMESTAMP);
         CREATE MATERIALIZED VIEW v AS SELECT a, count(*) AS n FROM t GROUP BY a;
         CREATE MATERIALIZED VIEW w AS SELECT max(n) AS n FROM v;
         INSERT INTO t VALUES (1, '2026-01-01 00:00:00'), (1, '2026-01-01 00:00:00');
         FLUSH",
    )
    .await;
    assert!(server.terminate().await.success());
}

/// Pipelines over what is there that cannot be, and what is said of each.
const IMPOSSIBLE: [(&str, &str); 9] = [
    ("views: {x: {query: SELECT a FROM nowhere}}", "relation \"nowhere\" does not exist"),
    ("views: {x: {query: SELECT b FROM t}}", "column \"b\" does not exist"),
    ("views: {x: {query: SELECT a FROM y}, y: {query: SELECT a FROM x}}", "relation \"y\" does not exist"),
    (
        "sources: {s: {connector: directory, path: no/such, format: csv, columns: {a: INT}}}",
        "directory \"no/such\" does not exist",
    ),
    ("views: {x: {query: SELECT a FROM t, emit: window close}}", ".yaml:1:"),
    (
        "views: {v: {query: 'SELECT a, count(*) + 1 AS n FROM t GROUP BY a'}}",
        "cannot replace materialized view \"v\" because other objects depend on it",
    ),
    ("tables: {t: {columns: {a: BIGINT}}}", "table \"t\" is defined differently, and replacing it would lose its rows"),
    ("views: {t: {query: SELECT 1 AS a}}", "\"t\" is a materialized view in the file and a table in the server"),
    (
        "sinks: {s: {connector: directory, path: out, format: csv, query: SELECT b FROM t}}",
        "column \"b\" does not exist",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_that_cannot_run_is_refused_alike_by_check_dry_run_and_run() {
    let home = Home::new();
    create_table_and_views(&home).await;
    for (n, (text, expected)) in IMPOSSIBLE.iter().enumerate() {
        let file = format!("{n}.yaml");
        fs::write(home.path(&file), text).unwrap();
        let run = refusal(pipeline(&home, &file)).await;
        assert!(run.contains(expected), "{text}: {run}");
        let before = contents(&home.path("tidemark-data"));
        let mut dry = pipeline(&home, &file);
        dry.arg("--dry-run");
        assert_eq!(refusal(dry).await, run, "{text}");
        assert_eq!(refusal(command(&home, &["check", &file, "--data-dir", "tidemark-data"])).await, run, "{text}");
        assert!(contents(&home.path("tidemark-data")) == before, "{text}: a dry run wrote");
    }
    let server = home.start();
    let client = server.connect().await;
    assert_eq!(rows(&client, "SELECT name FROM tidemark.queries ORDER BY name").await, ["v", "w"]);
    assert_eq!(rows(&client, "SELECT a, n FROM v").await, ["1|2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_that_can_run_passes_check_and_dry_run_without_side_effects() {
    let home = Home::new();
    home.put("in/1.csv", "1\n");
    let text = "sources: {s: {connector: directory, path: in, format: csv, clean_source: delete, columns: {a: INT}}}\n\
                tables: {u: {columns: {a: INT}}}\n\
                views: {x: {query: SELECT s.a FROM s JOIN u ON s.a = u.a}, y: {query: SELECT count(*) AS n FROM x}}\n\
                sinks: {out: {connector: directory, path: out, format: csv, query: SELECT a FROM s}}\n";
    fs::write(home.path("p.yaml"), text).unwrap();
    for arguments in [
        &["check", "p.yaml", "--data-dir", "tidemark-data"][..],
        &["run", "p.yaml", "--data-dir", "tidemark-data", "--dry-run"],
    ] {
        let (status, stdout, stderr) = finished(&mut command(&home, arguments)).await;
        assert!(status.success(), "{arguments:?}: {stdout}{stderr}");
        assert!(!home.path("tidemark-data").exists() && !home.path("out").exists(), "{arguments:?}");
        assert!(home.path("in/1.csv").exists(), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_failing_half_way_changes_nothing() {
    let home = Home::new();
    create_table_and_views(&home).await;
    home.put("in/1.csv", "1\n2\n");
    // What it replaces, what it makes, what reads a file that goes once it is read; and then what cannot be: its folder is
    // a file, which nobody sees before it is opened.
    home.put("taken", "");
    let text = |last: &str| {
        format!(
            "sources: {{s: {{connector: directory, path: in, format: csv, clean_source: delete, columns: {{a: INT}}}}}}\n\
             tables: {{u: {{columns: {{a: INT}}}}}}\n\
             views:\n  \
               w: {{query: 'SELECT max(n) + 1 AS n FROM v'}}\n  \
               x: {{query: SELECT a FROM s, checkpoint_interval: 20 ms}}\n\
             sinks: {{out: {{connector: directory, path: {last}, format: csv, query: SELECT a FROM x}}}}\n"
        )
    };
    fs::write(home.path("p.yaml"), text("taken/out")).unwrap();
    for _ in 0..2 {
        let refused = refusal(pipeline(&home, "p.yaml")).await;
        assert!(refused.contains("p.yaml:6:"), "{refused}");
        assert!(home.path("in/1.csv").exists(), "nothing was read");
        let server = home.start();
        let client = server.connect().await;
        let there = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname";
        assert_eq!(rows(&client, there).await, ["t", "v", "w"]);
        run(&client, "INSERT INTO t VALUES (1, '2026-01-01 00:00:00'); FLUSH").await;
        server.kill();
    }
    fs::write(home.path("p.yaml"), text("out")).unwrap();
    let server = Server::ready(&home, pipeline(&home, "p.yaml"));
    let client = server.connect().await;
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT n FROM w").await, ["5"]);
    assert_eq!(rows(&client, "SELECT a FROM x ORDER BY a").await, ["1", "2"]);
    eventually("the file is cleaned away", async || (!home.path("in/1.csv").exists()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_replaces_a_view_together_with_its_readers() {
    let home = Home::new();
    create_table_and_views(&home).await;
    let text = "views:\n  v: {query: 'SELECT a, count(*) + 10 AS n FROM t GROUP BY a'}\n  w: {query: SELECT min(n) AS n FROM v}\n";
    fs::write(home.path("p.yaml"), text).unwrap();
    let server = Server::ready(&home, pipeline(&home, "p.yaml"));
    let client = server.connect().await;
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT n FROM w").await, ["12"]);
    server.kill();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "INSERT INTO t VALUES (1, '2026-01-01 00:00:00'); FLUSH").await;
    assert_eq!(rows(&client, "SELECT n FROM w").await, ["13"]);
}
