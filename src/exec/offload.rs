//! Long or blocking work, which must not run on a worker of an async runtime: steps of operators, and the batch plans
//! they run. It gets a thread of its own: a worker that blocked on a task could deadlock, since that task may be queued
//! on the same worker.

use std::cell::RefCell;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};

thread_local! {
    /// Cancelled when the result of this thread's work is no longer wanted.
    static UNWANTED: RefCell<Option<CancellationToken>> = const { RefCell::new(None) };
}

/// Runs `work` on a blocking thread. Dropping this future cancels it: a future it waits for with [`wait_for`] is
/// dropped, and the thread is free once its current computation ends. A panic is propagated to the caller.
pub(super) async fn offload<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let token = CancellationToken::new();
    let _unwanted = token.clone().drop_guard();
    let thread = tokio::task::spawn_blocking(move || {
        let _scope = CancellationScope::new(token);
        work()
    });
    match thread.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(Error::new(ErrorKind::AdminShutdown, "the server is shutting down")),
    }
}

/// Waits for a future on a blocking thread. Its tasks run on the workers of the runtime. Fails with `QueryCanceled` if
/// the work was cancelled.
pub(super) fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let token = UNWANTED.with_borrow(Clone::clone).unwrap_or_default();
    Handle::current().block_on(async {
        tokio::select! {
            biased;
            () = token.cancelled() => Err(Error::new(ErrorKind::QueryCanceled, "the epoch was cancelled")),
            done = work => done,
        }
    })
}

/// Runs long or blocking work on the current thread. On a multi-threaded runtime another thread takes over this
/// worker's tasks meanwhile.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Sets the cancellation token of a thread for the duration of its work; threads are reused.
struct CancellationScope;

impl CancellationScope {
    fn new(token: CancellationToken) -> Self {
        UNWANTED.set(Some(token));
        CancellationScope
    }
}

impl Drop for CancellationScope {
    fn drop(&mut self) {
        UNWANTED.set(None);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    /// The last task that a worker spawns stays in its own queue: if the worker blocked, no other would run that task.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn offload_waiting_for_a_task_of_the_only_worker_completes() {
        let waited = tokio::spawn(offload(|| {
            wait_for(async {
                let task = tokio::spawn(async { 7 });
                task.await.map_err(|e| Error::internal(e.to_string()))
            })
        }));
        assert_eq!(waited.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn offload_dropped_cancels_its_wait() {
        let (begun, has_begun) = oneshot::channel::<()>();
        let (ended, has_ended) = oneshot::channel();
        let mut work = Box::pin(offload(move || {
            let waited = wait_for(async {
                let _ = begun.send(());
                std::future::pending::<Result<()>>().await
            });
            let _ = ended.send(waited.map_err(|error| error.kind()));
            Ok(())
        }));
        assert!(work.as_mut().now_or_never().is_none());
        has_begun.await.unwrap();
        drop(work);
        assert_eq!(has_ended.await.unwrap(), Err(ErrorKind::QueryCanceled));
    }

    #[tokio::test]
    async fn offload_panic_reaches_the_caller() {
        let caught = std::panic::AssertUnwindSafe(offload::<()>(|| panic!("no"))).catch_unwind().await;
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"no"));
    }
}
