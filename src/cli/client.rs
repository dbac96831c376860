//! `tidemark sql`: the small client, for machines without psql.
//!
//! Prints tables as psql does; notices and errors go to stderr, with position and hint. The exit code is 0 if every
//! statement succeeded, otherwise 1 after the first error. At a terminal, a failed statement does not end the session,
//! and Ctrl-C cancels the statement.

mod script;
mod table;

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
};

use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt, stream};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, SimpleQueryMessage, error::DbError};

use crate::error::{Error, ErrorKind, Result};
use script::Script;
use table::TextTable;

/// Lines read ahead of the statement that runs.
const LINES_AHEAD: usize = 64;
/// Maximum of rows shown under one heading.
const ROWS_TOGETHER: usize = 10_000;

#[derive(Debug, clap::Args)]
pub struct ClientOptions {
    /// A statement, or several; may be given more than once.
    #[arg(short, long, value_name = "STMT", conflicts_with = "file")]
    command: Vec<String>,
    /// A file of statements; `-` is stdin.
    #[arg(short, long)]
    file: Option<PathBuf>,
    #[arg(long, env = "PGHOST", default_value = "127.0.0.1")]
    host: String,
    #[arg(short, long, env = "PGPORT", default_value_t = 6543)]
    port: u16,
    #[arg(short = 'U', long, env = "PGUSER", default_value = "tidemark")]
    user: String,
    #[arg(short, long, env = "PGDATABASE", default_value = "tidemark")]
    dbname: String,
}

/// The source of statements, and of the rows of `COPY … FROM STDIN`: the lines after the statement in a file, or stdin
/// if the statement was an argument.
struct ScriptInput {
    statements: Lines,
    rows: OutputFormat,
}

enum OutputFormat {
    Behind,
    /// Read only when needed: it may be meant for another process.
    Stdin(Option<Lines>),
}

impl ScriptInput {
    fn rows(&mut self) -> &mut Lines {
        match &mut self.rows {
            OutputFormat::Behind => &mut self.statements,
            OutputFormat::Stdin(lines) => lines.get_or_insert_with(|| Lines::of(io::BufReader::new(io::stdin()))),
        }
    }
}

/// Text, line by line.
struct Lines {
    receiver: mpsc::Receiver<io::Result<String>>,
}

impl Lines {
    /// Reads in a thread of its own, since a terminal can only be read blocking.
    fn of(reader: impl BufRead + Send + 'static) -> Lines {
        let (sender, receiver) = mpsc::channel(LINES_AHEAD);
        std::thread::spawn(move || {
            for line in reader.lines() {
                let end = line.is_err();
                if sender.blocking_send(line).is_err() || end {
                    return;
                }
            }
        });
        Lines { receiver }
    }

    async fn next(&mut self) -> Result<Option<String>> {
        Ok(self.receiver.recv().await.transpose()?)
    }
}

pub async fn run(options: ClientOptions) -> Result<()> {
    let client = connect(&options).await?;
    if !options.command.is_empty() {
        let text = options.command.join(";\n") + ";\n";
        let input = ScriptInput { statements: Lines::of(io::Cursor::new(text)), rows: OutputFormat::Stdin(None) };
        return statements(&client, input, false).await;
    }
    let lines = match &options.file {
        Some(path) if path.as_os_str() != "-" => {
            let file = std::fs::File::open(path)
                .map_err(|e| Error::from(e).context(format!("cannot read {}", path.display())))?;
            Lines::of(io::BufReader::new(file))
        }
        _ => Lines::of(io::BufReader::new(io::stdin())),
    };
    let terminal = options.file.is_none() && io::stdin().is_terminal();
    statements(&client, ScriptInput { statements: lines, rows: OutputFormat::Behind }, terminal).await
}

async fn connect(options: &ClientOptions) -> Result<Client> {
    let mut config = tokio_postgres::Config::new();
    config.host(&options.host).port(options.port).user(&options.user).dbname(&options.dbname);
    config.application_name("tidemark sql");
    let (client, connection) = config.connect(NoTls).await.map_err(|e| {
        let error = error(e, "");
        error
            .context(format!("cannot connect to {}:{}", options.host, options.port))
            .hint("`tidemark serve` starts a server; --host and --port say where it is.")
    })?;
    tokio::spawn(listen(connection));
    Ok(client)
}

/// Drives the connection, and prints notices.
async fn listen<S, T>(mut connection: Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    while let Some(Ok(message)) = messages.next().await {
        if let AsyncMessage::Notice(notice) = message {
            let mut text = format!("{}:  {}\n", notice.severity(), notice.message());
            if let Some(hint) = notice.hint() {
                text.push_str(&format!("HINT:  {hint}\n"));
            }
            warn(&text);
        }
    }
}

fn warn(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn say(text: &str) -> Result<()> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Runs each statement once it is complete.
async fn statements(client: &Client, mut input: ScriptInput, terminal: bool) -> Result<()> {
    let mut script = Script::default();
    loop {
        if terminal {
            say(if script.is_empty() { "tidemark=> " } else { "tidemark-> " })?;
            io::stdout().flush()?;
        }
        let line = tokio::select! {
            line = input.statements.next() => line?,
            _ = tokio::signal::ctrl_c(), if terminal => {
                script = Script::default();
                say("\n")?;
                continue;
            }
        };
        let Some(line) = line else { break };
        if script.is_empty() && line.trim_start().starts_with('\\') {
            match command(line.trim()) {
                Some(Some(statement)) => script.line(&statement),
                Some(None) => break,
                None => warn("only \\d, \\d NAME and \\q are known here; psql has the others\n"),
            }
        } else {
            script.line(&line);
        }
        while let Some(statement) = script.next() {
            report_error(statement_of(client, &statement, &mut input).await, terminal)?;
        }
    }
    match script.rest() {
        Some(statement) => report_error(statement_of(client, &statement, &mut input).await, terminal),
        None => Ok(()),
    }
}

/// At a terminal an error is printed, elsewhere it ends the client.
fn report_error(done: Result<()>, terminal: bool) -> Result<()> {
    let Err(error) = done else { return Ok(()) };
    if !terminal || error.kind() == ErrorKind::AdminShutdown {
        return Err(error);
    }
    let more = [("DETAIL", error.detail_text()), ("HINT", error.hint_text())];
    let more: String = more.iter().filter_map(|(word, text)| text.map(|t| format!("{word}:  {t}\n"))).collect();
    warn(&format!("{error}\n{more}"));
    Ok(())
}

/// Backslash commands: `\q` is the end (`None`); the others are abbreviated statements.
fn command(line: &str) -> Option<Option<String>> {
    match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["\\q"] => Some(None),
        ["\\d"] => Some(Some(
            "SELECT table_schema AS schema, table_name AS name, lower(table_type) AS type \
             FROM information_schema.tables ORDER BY 1, 2;"
                .to_string(),
        )),
        ["\\d", name] => Some(Some(format!("SHOW COLUMNS FROM {};", name.trim_end_matches(';')))),
        _ => None,
    }
}

async fn statement_of(client: &Client, text: &str, input: &mut ScriptInput) -> Result<()> {
    match script::copy(text) {
        Some(script::Copy::In) => copy_in(client, text, input.rows()).await,
        Some(script::Copy::Out) => cancelled(client, copy_out(client, text)).await,
        None => cancelled(client, query(client, text)).await,
    }
}

/// Ctrl-C cancels the statement, not the client.
async fn cancelled(client: &Client, work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = tokio::signal::ctrl_c() => {
                let _ = client.cancel_token().cancel_query(NoTls).await;
            }
        }
    }
}

async fn query(client: &Client, text: &str) -> Result<()> {
    let messages = client.simple_query_raw(text).await.map_err(|e| error(e, text))?;
    let mut messages = std::pin::pin!(messages);
    let mut table: Option<TextTable> = None;
    let live = text.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("SUBSCRIBE"));
    loop {
        let message = match messages.next().now_or_never() {
            Some(message) => message,
            None => {
                // The next rows of a subscription may take any time: show those at hand.
                if let Some(table) = table.as_mut().filter(|table| live && table.len() > 0) {
                    say(&table.take())?;
                }
                messages.next().await
            }
        };
        let Some(message) = message else { break };
        match message.map_err(|e| error(e, text))? {
            SimpleQueryMessage::RowDescription(columns) => {
                table = Some(TextTable::new(columns.iter().map(|c| c.name().to_string()).collect()));
            }
            SimpleQueryMessage::Row(row) => {
                let Some(table) = &mut table else { continue };
                table.row((0..row.len()).map(|i| row.get(i).map(str::to_string)).collect());
                if table.len() >= ROWS_TOGETHER {
                    say(&table.take())?;
                }
            }
            SimpleQueryMessage::CommandComplete(_) => {
                if let Some(table) = table.take() {
                    say(&table.end())?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

async fn copy_out(client: &Client, text: &str) -> Result<()> {
    let bytes = client.copy_out(text).await.map_err(|e| error(e, text))?;
    let mut bytes = std::pin::pin!(bytes);
    while let Some(piece) = bytes.next().await {
        io::stdout().write_all(&piece.map_err(|e| error(e, text))?)?;
    }
    Ok(())
}

/// Sends the next lines as rows, up to `\.` or the end.
async fn copy_in(client: &Client, text: &str, lines: &mut Lines) -> Result<()> {
    let sink = client.copy_in::<_, Bytes>(text).await.map_err(|e| error(e, text))?;
    let mut sink = std::pin::pin!(sink);
    while let Some(line) = lines.next().await?.filter(|line| line != "\\.") {
        sink.send(Bytes::from(line + "\n")).await.map_err(|e| error(e, text))?;
    }
    sink.finish().await.map(|_| ()).map_err(|e| error(e, text))
}

/// The server's error, with the line of the statement that its position points to.
fn error(e: tokio_postgres::Error, statement: &str) -> Error {
    let Some(db) = e.as_db_error() else {
        let why = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        return Error::new(ErrorKind::Io, why);
    };
    let kind =
        if db.code().code() == ErrorKind::AdminShutdown.sqlstate() { ErrorKind::AdminShutdown } else { ErrorKind::Io };
    let mut error = Error::new(kind, format!("{}:  {}{}", db.severity(), db.message(), place(db, statement)));
    if let Some(detail) = db.detail() {
        error = error.detail(detail);
    }
    if let Some(hint) = db.hint() {
        error = error.hint(hint);
    }
    error
}

/// `LINE 1: SELEC 1` and a caret below the position.
fn place(db: &DbError, statement: &str) -> String {
    let Some(tokio_postgres::error::ErrorPosition::Original(at)) = db.position() else { return String::new() };
    let mut left = (*at as usize).saturating_sub(1);
    for (number, line) in statement.split('\n').enumerate() {
        let length = line.chars().count();
        if left <= length {
            let heading = format!("LINE {}: ", number + 1);
            let below: String = line.chars().take(left).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            return format!("\n{heading}{line}\n{}{below}^", " ".repeat(heading.len()));
        }
        left -= length + 1;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslash_commands_become_statements() {
        assert_eq!(command("\\q"), Some(None));
        assert_eq!(command("\\d flights;"), Some(Some("SHOW COLUMNS FROM flights;".into())));
        assert_eq!(command("\\timing"), None);
    }
}
