//! What the wire may be told.

use std::time::Duration;

use tokio::runtime::Handle;

/// What the server may be told.
#[derive(Debug, Clone)]
pub struct WireOptions {
    /// Where statements run. Must not be the runtime that [`serve`](super::serve) runs on, or a heavy query starves the
    /// network.
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
