//! The options of the Postgres server.

use std::time::Duration;

use tokio::runtime::Handle;

/// The options of the Postgres server.
#[derive(Debug, Clone)]
pub struct WireOptions {
    /// The runtime of statements. Must not be the runtime of [`serve`](super::serve), or a heavy query would starve the
    /// network.
    pub workers: Handle,
    /// Maximum number of sessions; more are refused with 53300.
    pub sessions_max: usize,
    /// Sessions reserved for addresses without one; at most a tenth of all.
    pub sessions_reserved: usize,
    /// Memory limit of all sessions together.
    pub sessions_bytes_max: usize,
    /// Time limit of a connection's startup.
    pub startup_timeout: Duration,
    /// Connections in startup, of all addresses and of one. Another one evicts the oldest.
    pub starting_max: usize,
    pub starting_per_address: usize,
    /// The longest message accepted: a statement, a parameter, a piece of COPY.
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
