//! The outside may be slow, and may never answer: nobody waits for it without an end.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// The names of the limits, as the configuration has them.
pub const OPEN_TIMEOUT: &str = "connectors.open_timeout";
pub const WRITE_TIMEOUT: &str = "connectors.write_timeout";

/// How long the outside of a sink may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To be taken hold of.
    pub open: Duration,
    /// To take an epoch.
    pub write: Duration,
}

/// Waits for what is outside of something, up to a limit of this name. What takes longer is given up.
pub async fn within<T>(limit: Duration, name: &str, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let message = format!("{what}: what is outside did not answer within {limit:?}");
        Err(Error::new(ErrorKind::CannotConnectNow, message).hint(format!("{name} says how long it may take.")))
    })
}
