//! The protocol against real clients: tokio-postgres, psql where there is one, and bytes by hand.

mod copying;
mod door;
mod drivers;
mod psql;
mod queries;
mod stopping;

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

use super::{WireOptions, serve};
use crate::error::Result;
use door::TestDoor;

/// A server on a free port, with its own runtime for the work, as in production.
struct Server {
    address: SocketAddr,
    door: Arc<TestDoor>,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<()>>,
    /// Dropped outside of async code only.
    workers: Option<Runtime>,
}

impl Server {
    async fn start() -> Server {
        Server::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut WireOptions)) -> Server {
        let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let workers = workers.expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut options = WireOptions::new(workers.handle().clone());
        change(&mut options);
        let (door, shutdown) = (Arc::new(TestDoor::new()), CancellationToken::new());
        let serving = tokio::spawn(serve(door.clone(), listener, options, shutdown.clone()));
        Server { address, door, shutdown, serving, workers: Some(workers) }
    }

    fn config(&self) -> String {
        format!("host=127.0.0.1 port={} user=ann dbname=flights application_name=test", self.address.port())
    }

    async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.config(), NoTls).await.expect("connected");
        tokio::spawn(connection);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(workers) = self.workers.take() {
            workers.shutdown_background();
        }
    }
}

/// Each row as `a|b`, each end of a statement as `(n)`.
async fn simple(client: &Client, sql: &str) -> Vec<String> {
    shown(client.simple_query(sql).await.expect(sql))
}

fn shown(messages: Vec<SimpleQueryMessage>) -> Vec<String> {
    let lines = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let values = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL"));
            Some(values.collect::<Vec<_>>().join("|"))
        }
        SimpleQueryMessage::CommandComplete(count) => Some(format!("({count})")),
        _ => None,
    });
    lines.collect()
}

/// The error of a statement as `SQLSTATE message`.
async fn failure(client: &Client, sql: &str) -> String {
    error_text(&client.simple_query(sql).await.expect_err(sql))
}

fn error_text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(e) => format!("{} {}", e.code().code(), e.message()),
        None => error.to_string(),
    }
}
