//! A PostgreSQL server of its own: the machine's package, on a free port and in a temporary folder.
//!
//! It ends with the process that started it, however that ends: a shell waits for the end of a pipe.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

pub const USER: &str = "tidemark";
pub const PASSWORD: &str = "geheim-4711";

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the server until a line comes, or the end of the pipe; takes its folder away unless told to keep it.
const KEEPER: &str = r#"
"$BIN/postgres" -D "$DATA" -p "$PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$DATA" >>"$DATA/log" 2>&1 &
read word
kill -QUIT $!
wait
[ "$word" = keep ] || rm -rf "$DATA"
"#;

/// A running server.
pub struct Postgres {
    bin: PathBuf,
    data: PathBuf,
    pub port: u16,
    keeper: Option<Child>,
}

impl Postgres {
    /// The one that all tests of this process share; `None`, and said so, where the machine has none.
    pub fn shared() -> Option<&'static Postgres> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        SHARED.get_or_init(Postgres::start).as_ref()
    }

    /// A new one.
    pub fn start() -> Option<Postgres> {
        let Some(bin) = binaries() else {
            let why = "PostgreSQL's initdb and postgres are not on this machine";
            assert!(std::env::var("TIDEMARK_POSTGRES").as_deref() != Ok("required"), "{why}");
            eprintln!("left out: {why}");
            return None;
        };
        let data = tempfile::tempdir().unwrap().keep();
        if is_root() {
            // It refuses to run as root.
            assert!(Command::new("chown").arg("postgres").arg(&data).status().unwrap().success());
        }
        let password = data.with_extension("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let mut initdb = as_nobody_special(&bin.join("initdb"));
        initdb.args(["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--pwfile"]).arg(&password);
        let output = initdb.arg("-D").arg(&data).output().unwrap();
        std::fs::remove_file(&password).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut postgres = Postgres { bin, data, port, keeper: None };
        postgres.go_on();
        Some(postgres)
    }

    /// Starts again after [`Postgres::crash`], on the same port and the same data.
    pub fn go_on(&mut self) {
        let mut command = as_nobody_special(Path::new("sh"));
        command.args(["-c", KEEPER]).env("BIN", &self.bin).env("DATA", &self.data).env("PORT", self.port.to_string());
        self.keeper = Some(command.stdin(Stdio::piped()).spawn().unwrap());
        let until = Instant::now() + PATIENCE;
        loop {
            let mut ready = Command::new(self.bin.join("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if ready.status().unwrap().success() {
                return;
            }
            let log = std::fs::read_to_string(self.data.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "PostgreSQL does not start:\n{log}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Ends it at once, as a crash does; what it holds stays.
    pub fn crash(&mut self) {
        self.end(b"keep\n");
    }

    fn end(&mut self, word: &[u8]) {
        if let Some(mut keeper) = self.keeper.take() {
            let _ = keeper.stdin.take().unwrap().write_all(word);
            keeper.wait().unwrap();
        }
    }

    pub async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let parameters = format!("host=127.0.0.1 port={} user={USER} password={PASSWORD} dbname=postgres", self.port);
        let (client, connection) = tokio_postgres::connect(&parameters, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub async fn connect(&self) -> Client {
        self.try_connect().await.unwrap()
    }

    /// The rows of a query, each as `a|b|c`.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        let answers = self.connect().await.simple_query(sql).await.unwrap_or_else(|e| panic!("{e:?}:\n{sql}"));
        let row = |answer| match answer {
            SimpleQueryMessage::Row(row) => {
                let columns: Vec<&str> = (0..row.len()).map(|n| row.get(n).unwrap_or("NULL")).collect();
                Some(columns.join("|"))
            }
            _ => None,
        };
        answers.into_iter().filter_map(row).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end(b"end\n");
    }
}

/// Debian keeps them out of the way, each release in a folder of its own.
fn binaries() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(debian.map(|release| release.path().join("bin")));
    folders
        .into_iter()
        .rev()
        .find(|folder| ["initdb", "postgres", "pg_isready"].iter().all(|f| folder.join(f).exists()))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

fn as_nobody_special(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program).current_dir("/");
    command
}
