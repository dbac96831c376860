//! The accept loop: one task a connection, none of which can harm another.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, runtime::Handle, sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{connection, door::Door, sessions::Sessions};
use crate::error::Result;

/// What the server may be told.
#[derive(Debug, Clone)]
pub struct WireOptions {
    /// Where statements run. Must not be the runtime that [`serve`] runs on, or a heavy query starves the network.
    pub workers: Handle,
    /// More are refused with 53300.
    pub sessions_max: usize,
    /// How long a client may take to say who it is.
    pub startup_timeout: Duration,
    /// The longest message that is taken: a statement, a parameter, a piece of COPY.
    pub message_bytes_max: usize,
}

impl WireOptions {
    pub fn new(workers: Handle) -> WireOptions {
        WireOptions {
            workers,
            sessions_max: 100,
            startup_timeout: Duration::from_secs(60),
            message_bytes_max: 64 << 20,
        }
    }
}

/// Sockets that have not said yet what they want; beyond it they wait in the kernel's queue.
const STRANGERS_MAX: usize = 256;
/// When the system has no more file handles, asking again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections of one server share.
pub(super) struct Shared<D> {
    pub door: Arc<D>,
    pub options: WireOptions,
    pub sessions: Arc<Sessions>,
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
    let strangers = Arc::new(Semaphore::new(options.sessions_max + STRANGERS_MAX));
    let sessions = Sessions::new(options.sessions_max);
    let shared = Arc::new(Shared { door, options, sessions, shutdown: shutdown.clone() });
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = strangers.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => note(ended),
            (accepted, permit) = accepted => match accepted {
                Ok((socket, peer)) => {
                    let shared = shared.clone();
                    connections.spawn(async move {
                        let _permit = permit;
                        tracing::debug!(%peer, "connected");
                        connection::run(shared, socket).await;
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
