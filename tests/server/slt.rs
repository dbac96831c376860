//! `tests/sql/*.slt` over the wire: each file on a server of its own, which has an empty folder to work in.
//!
//! An error is matched as a client sees it: `SQLSTATE: message`, then `DETAIL: …` and `HINT: …` on lines of their own.
//! `$HOME_DIR` is the server's working directory; `parquet/` in it holds a small file.
//!
//! `TIDEMARK_SLT=name` runs those files alone whose name contains it. `UPDATE=1` writes down what the server says: read
//! the difference before it is believed.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use datafusion::parquet::arrow::ArrowWriter;
use futures::{
    future::Either,
    stream::{self, StreamExt},
};
use sqllogictest::{
    AsyncDB, DBOutput, DefaultColumnType, Runner, default_column_validator, default_normalizer, default_validator,
};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::harness::{Home, Server, connect, error_text};

struct Db(Client);

#[derive(Debug)]
struct Failure(String, Option<String>);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

#[async_trait]
impl AsyncDB for Db {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let messages = self.0.simple_query(sql).await.map_err(|error| {
            let state = error.code().map(|code| code.code().to_string());
            Failure(error_text(&error), state)
        })?;
        let (mut columns, mut rows, mut count) = (None, Vec::new(), 0);
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(described) => columns = Some(described.len()),
                SimpleQueryMessage::Row(row) => {
                    let value = |n| match row.get(n) {
                        None => "NULL".to_string(),
                        Some("") => "(empty)".to_string(),
                        Some(text) => text.to_string(),
                    };
                    rows.push((0..row.len()).map(value).collect());
                }
                SimpleQueryMessage::CommandComplete(n) => count = n,
                _ => {}
            }
        }
        Ok(match columns {
            Some(columns) => DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows },
            None => DBOutput::StatementComplete(count),
        })
    }

    async fn shutdown(&mut self) {}

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        error.1.clone()
    }
}

/// Scripts about what plans mean: also with one thread for queries, which makes other plans.
const ALSO_ON_ONE_THREAD: [&str; 4] = ["keys", "meaning", "subqueries", "windows"];

async fn script(path: &Path, one_thread: bool) -> Result<(), String> {
    let home = Home::new();
    parquet(&home.folder("parquet").join("a.parquet"));
    let mut command = home.serve();
    if one_thread {
        home.put("one.yaml", "threads:\n  query: 1\n");
        command.arg("--config").arg(home.path("one.yaml"));
    }
    let server = Server::ready(&home, command);
    let port = server.port;
    let mut runner =
        Runner::new(
            move || async move { connect(port).await.map(Db).map_err(|error| Failure(error.to_string(), None)) },
        );
    runner.set_var("HOME_DIR".to_string(), home.path("").display().to_string().trim_end_matches('/').to_string());
    let outcome = if std::env::var_os("UPDATE").is_some() {
        let updated =
            runner.update_test_file(path, "\t", default_validator, default_normalizer, default_column_validator);
        updated.await.map_err(|error| error.to_string())
    } else {
        runner.run_file_async(path).await.map_err(|error| error.display(false).to_string())
    };
    runner.shutdown_async().await;
    outcome
}

/// Two rows as a Parquet file.
pub fn parquet(path: &Path) {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("one"), None]));
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_logic_test_scripts_give_their_expected_output() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let only = std::env::var("TIDEMARK_SLT").unwrap_or_default();
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "slt") && path.display().to_string().contains(&only));
    paths.sort();
    assert!(!paths.is_empty(), "no scripts");
    let also = |path: &&PathBuf| path.file_stem().is_some_and(|name| ALSO_ON_ONE_THREAD.iter().any(|of| name == *of));
    let alone = paths.iter().filter(also).map(|path| script(path, true));
    let scripts = paths.iter().map(|path| script(path, false)).map(Either::Left).chain(alone.map(Either::Right));
    let outcomes: Vec<_> = stream::iter(scripts).buffer_unordered(2).collect().await;
    let failed: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
