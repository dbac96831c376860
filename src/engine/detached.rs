//! Work that completes even if its requester goes away.

use crate::error::{Error, ErrorKind, Result};

/// Runs work that must complete, even if this future is dropped. A panic is returned as an error.
pub(super) async fn to_its_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    match tokio::spawn(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(Error::new(ErrorKind::AdminShutdown, "the server is shutting down")),
    }
}
