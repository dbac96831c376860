//! Data directories that earlier releases left (tests/data_directories/README.md): today's server goes on with each.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tokio_postgres::Client;

use super::server::harness::{Home, checkout, error_text, fails, rows, run, try_rows};

/// A query, and its rows in the order of their text.
type Contents = Vec<(String, Vec<String>)>;

/// What the names of views begin with that are created beside those that are refused.
const ANEW: &str = "anew_";

/// The folders of the releases.
fn releases() -> Vec<PathBuf> {
    let folders = fs::read_dir(checkout("tests/data_directories")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.join("directory.tar.gz").exists()).collect();
    folders.sort();
    folders
}

fn read(release: &Path, file: &str) -> String {
    let path = release.join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// `-- query`, then a line for each of its rows.
fn contents(text: &str) -> Contents {
    let mut contents = Contents::new();
    for line in text.lines() {
        match (line.strip_prefix("-- "), contents.last_mut()) {
            (Some(query), _) => contents.push((query.to_string(), Vec::new())),
            (None, Some((_, rows))) => rows.push(line.to_string()),
            (None, None) => panic!("a row without a query: {line}"),
        }
    }
    contents.iter_mut().for_each(|(_, rows)| rows.sort());
    contents
}

/// The views that today's server refuses, each with the row that it has besides once it is made anew.
fn refused(release: &Path) -> BTreeMap<String, Option<String>> {
    let text = fs::read_to_string(release.join("refused.txt")).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let entry = |line: &str| match line.split_once(" + ") {
        Some((name, row)) => (name.to_string(), Some(row.to_string())),
        None => (line.to_string(), None),
    };
    lines.map(entry).collect()
}

/// Each is refused with an error that says what to do, and that helps. No other query has failed.
async fn create_anew(client: &Client, refused: &BTreeMap<String, Option<String>>) {
    let failed = rows(client, "SELECT name FROM tidemark.queries WHERE state = 'failed' ORDER BY name").await;
    assert_eq!(failed, refused.keys().cloned().collect::<Vec<_>>());
    for name in refused.keys() {
        let error = fails(client, &format!("SELECT * FROM {name}")).await;
        assert_eq!(error.code().code(), "55000", "{error}");
        assert!(error.message().contains(&format!("\"{name}\" has not recovered")), "{error}");
        assert!(
            error.hint().is_some_and(|hint| hint.contains("create another view of the same query beside this one")),
            "{error}: {error:?}"
        );
        let shown = rows(client, &format!("SHOW CREATE MATERIALIZED VIEW {name}")).await;
        let (_, definition) = shown[0].split_once(&format!("CREATE MATERIALIZED VIEW {name} ")).unwrap();
        run(client, &format!("CREATE MATERIALIZED VIEW {ANEW}{name} {definition}")).await;
        run(client, &format!("DROP MATERIALIZED VIEW {name}")).await;
    }
}

/// Less what a view that was made anew does not know, or knows besides.
fn comparable(query: &str, rows: &[String], refused: &BTreeMap<String, Option<String>>) -> Vec<String> {
    let is_comparable = |row: &String| match query.strip_prefix("SELECT * FROM ").and_then(|name| refused.get(name)) {
        Some(besides) => besides.as_ref() != Some(row),
        None => {
            let name = row.split('|').next().unwrap_or_default();
            let name = name.strip_prefix(ANEW).unwrap_or(name);
            !query.contains(" FROM tidemark.") || !refused.contains_key(name)
        }
    };
    rows.iter().filter(|row| is_comparable(row)).cloned().collect()
}

/// Asks all queries before it tells what differs.
async fn expect(client: &Client, contents: &Contents, refused: &BTreeMap<String, Option<String>>, when: &str) {
    let mut wrong = String::new();
    for (query, expected) in contents {
        let name = query.strip_prefix("SELECT * FROM ").filter(|name| refused.contains_key(*name));
        let asked = name.map_or(query.clone(), |name| format!("SELECT * FROM {ANEW}{name}"));
        let mut found = try_rows(client, &asked).await.unwrap_or_else(|error| vec![error_text(&error)]);
        found.sort();
        let (found, expected) = (comparable(query, &found, refused), comparable(query, expected, refused));
        if found != expected {
            let (less, more) = (without(&expected, &found), without(&found, &expected));
            wrong.push_str(&format!("{query}\n  expected {less:#?}\n  but found {more:#?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{when}:\n{wrong}");
}

/// Rows that others do not have, as often as they do not.
fn without(rows: &[String], others: &[String]) -> Vec<String> {
    let mut others = others.to_vec();
    let mut left = rows.to_vec();
    left.retain(|row| others.iter().position(|other| other == row).map(|at| others.swap_remove(at)).is_none());
    left
}

/// Moves the files that sources have not seen to where they look for them.
fn land_more(home: &Home) {
    for source in fs::read_dir(home.path("more")).unwrap() {
        let source = source.unwrap().file_name();
        for file in fs::read_dir(home.path("more").join(&source)).unwrap() {
            let file = file.unwrap();
            let name = file.file_name();
            fs::rename(file.path(), home.path("in").join(&source).join(name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_directory_of_earlier_release_goes_on_or_is_refused_by_name() {
    let releases = releases();
    assert!(!releases.is_empty());
    for release in releases {
        let name = release.file_name().unwrap().to_string_lossy().into_owned();
        let home = Home::new();
        let archive = release.join("directory.tar.gz");
        let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(home.path("")).status().unwrap();
        assert!(unpacked.success());

        let server = home.start();
        let client = server.connect().await;
        let refused = refused(&release);
        run(&client, "FLUSH").await;
        create_anew(&client, &refused).await;
        run(&client, "FLUSH").await;
        let before = contents(&read(&release, "before.txt"));
        expect(&client, &before, &refused, &format!("{name} as it was left")).await;

        land_more(&home);
        run(&client, &read(&release, "more.sql")).await;
        let after = contents(&read(&release, "after.txt"));
        expect(&client, &after, &refused, &format!("{name} with more rows")).await;

        server.kill();
        let server = home.start();
        let client = server.connect().await;
        run(&client, "FLUSH").await;
        expect(&client, &after, &refused, &format!("{name} with more rows, killed and started again")).await;
    }
}
