//! Starts, kills and stops the real binary, and talks to it as clients do.
//!
//! A server dies with its [`Server`]; its folder goes with the last [`Home`]. What a server logged is shown when the
//! test that owns it fails.

use std::{
    fs,
    future::Future,
    hash::{BuildHasher, RandomState},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, error::DbError};

pub use crate::harness::{PATIENCE, eventually};

/// A folder for one server: its data in `data`, its working directory for everything else.
#[derive(Clone)]
pub struct Home(Arc<TempDir>);

impl Home {
    pub fn new() -> Home {
        Home(Arc::new(tempfile::tempdir().unwrap()))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a file under a hidden name and renames it: it appears whole.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        put(&self.path(name), content);
    }

    /// The command that serves this folder's data on a free port.
    pub fn command(&self) -> Command {
        let mut command = tidemark();
        let log = self.path("server.log");
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        command.current_dir(self.0.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        command
    }

    pub fn serve(&self) -> Command {
        let mut command = self.command();
        command.args(["serve", "--data-dir", "tidemark-data", "--listen", "127.0.0.1:0"]);
        let config = self.path("tidemark.yaml");
        if config.exists() {
            command.arg("--config").arg(config);
        }
        command
    }

    /// The command that serves with what a pipeline of the checkout declares.
    pub fn pipeline(&self, path: &str) -> Command {
        let mut command = self.command();
        command.arg("run").arg(checkout(path)).args(["--data-dir", "tidemark-data", "--listen", "127.0.0.1:0"]);
        command
    }

    /// Starts the server and waits until it is ready.
    pub fn start(&self) -> Server {
        Server::ready(self, self.serve())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }
}

/// A file of the checkout.
pub fn checkout(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The binary under test, with nothing of this process' settings.
pub fn tidemark() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
    for name in ["TIDEMARK_CONFIG", "TIDEMARK_DATA_DIR", "TIDEMARK_LISTEN", "TIDEMARK_INSECURE", "FLIGHTS"] {
        command.env_remove(name);
    }
    command
}

pub fn put(path: &Path, content: impl AsRef<[u8]>) {
    let folder = path.parent().unwrap();
    fs::create_dir_all(folder).unwrap();
    let hidden = folder.join(format!(".{}", path.file_name().unwrap().to_str().unwrap()));
    fs::write(&hidden, content).unwrap();
    fs::rename(hidden, path).unwrap();
}

/// A server process. Dropping it kills it.
pub struct Server {
    child: Child,
    pub port: u16,
    pub home: Home,
}

impl Server {
    /// Runs a command that becomes a server.
    pub fn ready(home: &Home, mut command: Command) -> Server {
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (said, says) = mpsc::channel();
        // Reads to the end, so that the server never waits for somebody to listen.
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        let mut server = Server { child, port: 0, home: home.clone() };
        loop {
            let line = says.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("the server did not say that it is ready:\n{}", home.log()));
            if let Some(rest) = line.strip_prefix("ready: psql -h 127.0.0.1 -p ") {
                server.port = rest.split(' ').next().unwrap().parse().unwrap();
                return server;
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub async fn connect(&self) -> Client {
        connect(self.port).await.unwrap_or_else(|e| panic!("cannot connect: {e}\n{}", self.home.log()))
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the end of the process.
    pub async fn terminate(mut self) -> ExitStatus {
        signal("-TERM", self.pid());
        let child = &mut self.child;
        eventually("the server ends", async || child.try_wait().unwrap()).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.home.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the server's last words:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

pub fn signal(which: &str, pid: u32) {
    assert!(Command::new("kill").args([which, &pid.to_string()]).status().unwrap().success());
}

/// Runs a command to its end, which must come.
pub async fn finished(command: &mut Command) -> (ExitStatus, String, String) {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let Ok(output) = tokio::time::timeout(PATIENCE, output).await else {
        signal("-KILL", pid);
        panic!("{command:?} does not end");
    };
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status, text(&output.stdout), text(&output.stderr))
}

pub async fn connect(port: u16) -> Result<Client, tokio_postgres::Error> {
    let parameters = format!("host=127.0.0.1 port={port} user=tidemark dbname=tidemark connect_timeout=30");
    let (client, connection) = tokio_postgres::connect(&parameters, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Runs statements that must succeed.
#[track_caller]
pub fn run(client: &Client, sql: &str) -> impl Future<Output = ()> {
    let at = std::panic::Location::caller();
    async move {
        if let Err(error) = client.batch_execute(sql).await {
            panic!("{} (at {at}):\n{sql}", error_text(&error));
        }
    }
}

/// The rows of the last query of some statements, each as `a|b|c`.
#[track_caller]
pub fn rows(client: &Client, sql: &str) -> impl Future<Output = Vec<String>> {
    let at = std::panic::Location::caller();
    async move { try_rows(client, sql).await.unwrap_or_else(|error| panic!("{} (at {at}):\n{sql}", error_text(&error))) }
}

pub async fn try_rows(client: &Client, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut rows = Vec::new();
    for message in client.simple_query(sql).await? {
        match message {
            SimpleQueryMessage::RowDescription(_) => rows.clear(),
            SimpleQueryMessage::Row(row) => {
                let columns: Vec<&str> = (0..row.len()).map(|n| row.get(n).unwrap_or("NULL")).collect();
                rows.push(columns.join("|"));
            }
            _ => {}
        }
    }
    Ok(rows)
}

/// The error of a statement that must fail.
#[track_caller]
pub fn fails(client: &Client, sql: &str) -> impl Future<Output = DbError> {
    let at = std::panic::Location::caller();
    async move {
        match client.simple_query(sql).await {
            Ok(_) => panic!("did not fail (at {at}):\n{sql}"),
            Err(error) => match error.as_db_error() {
                Some(error) => error.clone(),
                None => panic!("not an answer of the server: {error} (at {at}):\n{sql}"),
            },
        }
    }
}

/// An error with all that a client is told of it.
pub fn error_text(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else { return error.to_string() };
    let mut text = format!("{}: {}", db.code().code(), db.message());
    for (word, more) in [("DETAIL", db.detail()), ("HINT", db.hint())] {
        if let Some(more) = more {
            text.push_str(&format!("\n{word}: {more}"));
        }
    }
    text
}

/// The seed of a random test, printed: `TIDEMARK_SEED=… cargo test` runs it again.
pub fn seed() -> u64 {
    let given = std::env::var("TIDEMARK_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one("seed") % 1_000_000);
    eprintln!("TIDEMARK_SEED={seed}");
    seed
}
