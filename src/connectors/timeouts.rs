//! Timeouts of outside systems.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// The names of the limits, as the configuration has them.
pub const OPEN_TIMEOUT: &str = "connectors.open_timeout";
pub const WRITE_TIMEOUT: &str = "connectors.write_timeout";

/// Timeouts of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Of opening it.
    pub open: Duration,
    /// Of writing an epoch.
    pub write: Duration,
}

/// Runs `work` on an outside system with a timeout; after it fails with `CannotConnectNow`, naming the option `name`.
pub async fn within<T>(limit: Duration, name: &str, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let message = format!("{what}: what is outside did not answer within {limit:?}");
        Err(Error::new(ErrorKind::CannotConnectNow, message).hint(format!("{name} says how long it may take.")))
    })
}
