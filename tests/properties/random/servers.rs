//! The two servers: Tidemark in this process behind a real socket, and PostgreSQL.

use std::time::Duration;

use tidemark::{
    engine::EngineOptions,
    wire::{WireOptions, serve},
};
use tokio::{net::TcpListener, time::timeout};
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::compare::{Answer, Refusal};
use crate::{harness::Rig, server::harness::connect};

/// What takes longer hangs: long beside what a build that is not optimised takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A client of one of them.
pub struct Peer {
    client: Client,
    /// Ends the socket and the engine behind it.
    _server: Option<(DropGuard, Rig)>,
}

impl Peer {
    /// A new engine.
    pub async fn tidemark(options: EngineOptions) -> Peer {
        let rig = Rig::new(options).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        tokio::spawn(serve(rig.engine().clone(), listener, WireOptions::new(rig.runtime()), stop.clone()));
        Peer { client: connect(port).await.unwrap(), _server: Some((stop.drop_guard(), rig)) }
    }

    /// PostgreSQL, with nothing of another case in it.
    pub async fn postgres(server: &'static crate::server::postgres::Postgres) -> Peer {
        let peer = Peer { client: server.connect().await, _server: None };
        peer.ask("SET TimeZone = 'UTC'; SET statement_timeout = '10s'; SET extra_float_digits = 1").await.unwrap();
        peer
    }

    pub async fn ask(&self, sql: &str) -> Result<Answer, Refusal> {
        let Ok(done) = timeout(PATIENCE, self.client.simple_query(sql)).await else {
            return Err(Refusal { state: "hangs".to_string(), text: format!("no answer for {PATIENCE:?}") });
        };
        let mut rows = Vec::new();
        for message in done.map_err(|error| Refusal::new(&error))? {
            match message {
                SimpleQueryMessage::RowDescription(_) => rows.clear(),
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|n| row.get(n).map(str::to_string)).collect());
                }
                _ => {}
            }
        }
        Ok(Answer(rows).sorted())
    }
}
