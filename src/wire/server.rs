//! The accept loop: one task a connection, none of which can harm another.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, runtime::Handle, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{connection, door::Door, memory::Memory, sessions::SessionSlots, starting::Starting};
use crate::error::Result;

/// What the server may be told.
#[derive(Debug, Clone)]
pub struct WireOptions {
    /// Where statements run. Must not be the runtime that [`serve`] runs on, or a heavy query starves the network.
    pub workers: Handle,
    /// More are refused with 53300.
    pub sessions_max: usize,
    /// Of these, so many are for addresses that have none yet; but not more than a tenth.
    pub sessions_reserved: usize,
    /// What all sessions hold in memory together.
    pub sessions_bytes_max: usize,
    /// How long a client may take to say who it is.
    pub startup_timeout: Duration,
    /// Connections that have not said who they are, of all addresses and of one. One more takes the oldest one's place.
    pub starting_max: usize,
    pub starting_per_address: usize,
    /// The longest message that is taken: a statement, a parameter, a piece of COPY.
    pub message_bytes_max: usize,
}

impl WireOptions {
    pub fn new(workers: Handle) -> WireOptions {
        WireOptions {
            workers,
            sessions_max: 100,
            sessions_reserved: 3,
            sessions_bytes_max: 1 << 30,
            startup_timeout: Duration::from_secs(10),
            starting_max: 256,
            starting_per_address: 64,
            message_bytes_max: 64 << 20,
        }
    }
}

/// When the system has no more file handles, asking again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections of one server share.
pub(super) struct ServerShared<D> {
    pub door: Arc<D>,
    pub options: WireOptions,
    pub sessions: Arc<SessionSlots>,
    pub memory: Arc<Memory>,
    pub shutdown: CancellationToken,
}

/// Serves clients until `shutdown` is cancelled; then tells each of them (57P01) and returns when all are gone, which
/// takes no longer than the slowest last message, a second.
pub async fn serve<D: Door>(
    door: Arc<D>,
    listener: TcpListener,
    options: WireOptions,
    shutdown: CancellationToken,
) -> Result<()> {
    let starting = Starting::new(options.starting_max, options.starting_per_address);
    let sessions = SessionSlots::new(options.sessions_max, options.sessions_reserved);
    let memory = Memory::new(options.sessions_bytes_max, options.sessions_max);
    let shared = Arc::new(ServerShared { door, options, sessions, memory, shutdown: shutdown.clone() });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => note(ended),
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let (shared, place) = (shared.clone(), starting.enter(peer.ip()));
                    connections.spawn(async move {
                        tracing::debug!(%peer, "connected");
                        connection::run(shared, socket, peer.ip(), place).await;
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
        note(ended);
    }
    Ok(())
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}
