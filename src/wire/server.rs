//! The accept loop: one task per connection, isolated from the others.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    backend::{self, Blame},
    door::Door,
    options::WireOptions,
    session_memory::Memory,
    sessions::SessionSlots,
    shared::ServerShared,
    starting::{Starting, StartingSlot},
    startup,
};
use crate::error::Result;

/// Pause after a failed accept: retrying at once without file handles would be a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves clients until `shutdown` is cancelled; then sends each of them 57P01 and returns when all are disconnected,
/// at most a second later.
pub async fn serve<D: Door>(
    door: Arc<D>,
    listener: TcpListener,
    options: WireOptions,
    shutdown: CancellationToken,
) -> Result<()> {
    let starting = Starting::new(options.starting_max, options.starting_per_address);
    let sessions = SessionSlots::new(options.sessions_max, options.sessions_reserved);
    if let Some(metrics) = door.metrics() {
        metrics.register(Vec::new(), &sessions);
    }
    let memory = Memory::new(options.sessions_bytes_max, options.sessions_max);
    let shared = Arc::new(ServerShared { door, options, sessions, memory, shutdown: shutdown.clone() });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let (shared, place) = (shared.clone(), starting.enter(peer.ip()));
                    connections.spawn(async move {
                        tracing::debug!(%peer, "connected");
                        run(shared, socket, peer.ip(), place).await;
                        tracing::debug!(%peer, "disconnected");
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        log_panic(ended);
    }
    Ok(())
}

/// Serves one client.
async fn run<D: Door>(shared: Arc<ServerShared<D>>, socket: TcpStream, address: IpAddr, place: StartingSlot) {
    let opened = startup::open(&shared, socket, address, &place).await;
    drop(place);
    let Some(mut connection) = opened else { return };
    if let Err(error) = connection.serve().await {
        backend::error(&mut connection.link.out, &error, Blame::Fatal);
    }
    connection.link.farewell().await;
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}
