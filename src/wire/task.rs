//! A task on another runtime that is aborted on drop; a panic in it becomes an error.

use tokio::task::{JoinError, JoinHandle};

use crate::error::Error;

/// A task that ends when it is dropped.
pub(super) struct Task<T>(pub JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn broken(e: JoinError) -> Error {
    match e.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(panic = %text, "a statement panicked");
            if let Some(error) = Error::of_panic(&text) {
                return error;
            }
            Error::internal(format!("the statement ended in a bug of the server: {text}"))
                .hint("The server goes on; please report this.")
        }
        Err(_) => Error::internal("the runtime of the engine has stopped"),
    }
}
