//! `tidemark demo`: flights land in a folder, one file a second, and a windowed view of them changes before your eyes.
//!
//! It is an ordinary server with an ordinary client: everything shown is read over a connection, and others may connect
//! too. Ends with Ctrl-C, and removes its files.

mod flights;
mod screen;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{task::JoinHandle, time};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::{
    output::ways_in,
    runtimes::Pools,
    server::{Server, Signals, open},
};
use crate::{
    config::Config,
    error::{Error, ErrorKind, Result},
};
use flights::Airport;
use screen::{Screen, ScreenAnswer};

/// The statements of `sql/examples`, without the folder's name.
const STATEMENTS: &str = include_str!("../../../sql/examples/flights.sql");
const STATEMENTS_PATH: &str = "data/flights";

/// Interval of files: slow enough for a person to follow.
const FILE_EVERY: Duration = Duration::from_secs(1);
/// Interval of reading the view; it is drawn only when it has changed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs until Ctrl-C, or for `seconds`.
pub async fn demo(mut config: Config, seconds: Option<u64>, pools: Pools) -> Result<()> {
    let mut signals = Signals::of_a_terminal()?;
    let folder = DemoFolder::make()?;
    let flights = folder.0.join("flights");
    std::fs::create_dir(&flights)?;
    config.data_dir = folder.0.join("data");

    let server = start(config, pools).await?;
    let (client, connection) = connect(server.address).await?;
    let screen = Screen::new(&flights, &ways_in(server.address));
    let ended = async {
        match seconds {
            Some(seconds) => time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let shown = tokio::select! {
        shown = show(&client, &flights, screen) => shown,
        () = ended => Ok(()),
        () = signals.next() => Ok(()),
    };
    drop(client);
    connection.abort();
    tokio::select! {
        drained = server.drain() => drained?,
        () = signals.next() => {}
    }
    shown
}

/// A temporary folder, removed with its contents on drop.
struct DemoFolder(PathBuf);

impl DemoFolder {
    fn make() -> Result<Self> {
        let all = std::env::temp_dir();
        for number in 0..1000 {
            let path = all.join(format!("tidemark-demo-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(DemoFolder(path)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(Error::from(e).context(format!("cannot make \"{}\"", path.display()))),
            }
        }
        Err(Error::new(ErrorKind::Io, format!("no free name for a folder in \"{}\"", all.display())))
    }
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Listens where a server does by default, or, if that is taken, on any free port.
async fn start(mut config: Config, pools: Pools) -> Result<Server> {
    if let Err(e) = std::net::TcpListener::bind(&config.listen)
        && e.kind() == io::ErrorKind::AddrInUse
    {
        config.listen = "127.0.0.1:0".to_string();
    }
    let engine = open(&config, pools.epochs).await?;
    Server::listen(&config, engine, pools.queries).await
}

async fn connect(address: SocketAddr) -> Result<(Client, JoinHandle<()>)> {
    let mut to = tokio_postgres::Config::new();
    to.host(address.ip().to_string()).port(address.port()).user("tidemark").dbname("tidemark");
    to.application_name("tidemark demo");
    let (client, connection) = to.connect(NoTls).await.map_err(refused)?;
    // An error of the connection is also returned by the next query.
    let connection = tokio::spawn(async move { drop(connection.await) });
    Ok((client, connection))
}

/// Writes files and shows the answer, without end.
async fn show(client: &Client, flights: &Path, mut screen: Screen) -> Result<()> {
    let mut airport = Airport::new(flights);
    airport.land()?;
    let folder = flights.display().to_string().replace('\'', "''");
    client.batch_execute(&STATEMENTS.replace(STATEMENTS_PATH, &folder)).await.map_err(refused)?;
    let (mut file, mut look) = (time::interval(FILE_EVERY), time::interval(LOOK_EVERY));
    file.tick().await;
    loop {
        tokio::select! {
            _ = file.tick() => airport.land()?,
            _ = look.tick() => screen.show(answer(client, &airport).await?),
        }
    }
}

/// The rows of the views now.
async fn answer(client: &Client, airport: &Airport) -> Result<ScreenAnswer> {
    let now = "SELECT window_start, dest, landed FROM landings_now ORDER BY window_start DESC, dest LIMIT 60";
    let open = rows(client, now).await?;
    let closed = rows(client, "SELECT window_start, dest, landed FROM landings ORDER BY window_start, dest").await?;
    let late = rows(client, "SELECT late FROM tidemark.queries WHERE name = 'landings'").await?;
    let late = late.first().and_then(|row| row.get(0)).and_then(|n| n.parse().ok()).unwrap_or(0);
    Ok(ScreenAnswer { open: cells(&open), closed: cells(&closed), late, files: airport.files, rows: airport.rows })
}

fn cells(rows: &[SimpleQueryRow]) -> Vec<(String, String, u64)> {
    let text = |row: &SimpleQueryRow, column| row.get(column).unwrap_or_default().to_string();
    rows.iter().map(|r| (text(r, 0), text(r, 1), r.get(2).and_then(|n| n.parse().ok()).unwrap_or(0))).collect()
}

async fn rows(client: &Client, sql: &str) -> Result<Vec<SimpleQueryRow>> {
    let messages = client.simple_query(sql).await.map_err(refused)?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

fn refused(e: tokio_postgres::Error) -> Error {
    let message = e.as_db_error().map_or_else(|| e.to_string(), |db| db.message().to_string());
    Error::new(ErrorKind::Io, message).context("the demo's own connection").caused_by(e)
}
