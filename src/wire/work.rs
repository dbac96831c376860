//! Work on the engine's runtime, seen from the network's: a panic there is an error here, and nobody waits for what
//! nobody wants any more.

use std::future::Future;

use arrow::{
    array::{Array, RecordBatch},
    datatypes::SchemaRef,
};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::{JoinError, JoinHandle},
};

use crate::error::{Error, Result};

/// How many batches are computed ahead of the client.
const BATCHES_AHEAD: usize = 2;
/// A batch larger than this is not followed by another before the client begins to read it: DataFusion counts the rows
/// of a batch, not their bytes, and a client that does not read at all holds what is ahead of it for ever.
const AHEAD_BYTES: usize = 1 << 20;
/// A piece of rows is about this large: what a socket takes at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A task that ends when it is dropped.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `work` over there. Dropping this future ends it at its next await.
pub(super) async fn run<T: Send + 'static>(
    workers: &Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let mut task = Task(workers.spawn(work));
    match (&mut task.0).await {
        Ok(done) => done,
        Err(e) => Err(broken(e)),
    }
}

/// Runs what only computes on a thread of the network's, where no query keeps it waiting. To be used for what is short:
/// it cannot be stopped, only forgotten.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(broken(e)),
    }
}

fn broken(e: JoinError) -> Error {
    match e.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(panic = %text, "a statement panicked");
            Error::internal(format!("the statement ended in a bug of the server: {text}"))
                .hint("The server goes on; please report this.")
        }
        Err(_) => Error::internal("the runtime of the engine has stopped"),
    }
}

/// The rows of a running query, computed at the client's pace. Dropping it ends the query.
pub(super) struct Rows {
    pub schema: SchemaRef,
    pub tag: &'static str,
    receiver: mpsc::Receiver<Result<RecordBatch>>,
    /// What the last batch had more than was asked for.
    rest: Option<RecordBatch>,
    task: Option<Task<()>>,
}

impl Rows {
    pub fn start(workers: &Handle, tag: &'static str, mut stream: SendableRecordBatchStream) -> Rows {
        let schema = stream.schema();
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let task = Task(workers.spawn(async move {
            while let Some(batch) = stream.next().await {
                let end = batch.is_err();
                let large = batch.as_ref().is_ok_and(|batch| bytes(batch) > AHEAD_BYTES);
                if sender.send(batch.map_err(Error::from)).await.is_err() || end {
                    return;
                }
                if large && sender.reserve_many(BATCHES_AHEAD).await.is_err() {
                    return;
                }
            }
        }));
        Rows { schema, tag, receiver, rest: None, task: Some(task) }
    }

    /// Rows that are there already.
    pub fn ready(tag: &'static str, schema: SchemaRef, rows: Option<RecordBatch>) -> Rows {
        let (_, receiver) = mpsc::channel(1);
        Rows { schema, tag, receiver, rest: rows, task: None }
    }

    /// True where nobody computes them any more.
    pub fn are_ready(&self) -> bool {
        self.task.is_none()
    }

    /// The next rows, at most `max` and about [`PIECE_BYTES`] of them; `None` at the end, and ever after. Cancel safe.
    pub async fn next(&mut self, max: usize) -> Result<Option<RecordBatch>> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => loop {
                match self.receiver.recv().await {
                    Some(Ok(batch)) if batch.num_rows() == 0 => {}
                    Some(batch) => break batch?,
                    None => return self.end().await,
                }
            },
        };
        let row_bytes = bytes(&batch) / batch.num_rows().max(1);
        let max = max.min(PIECE_BYTES / row_bytes.max(1)).max(1);
        if batch.num_rows() <= max {
            return Ok(Some(batch));
        }
        self.rest = Some(batch.slice(max, batch.num_rows() - max));
        Ok(Some(batch.slice(0, max)))
    }

    /// The channel is closed: by the end of the rows, or by a panic?
    async fn end(&mut self) -> Result<Option<RecordBatch>> {
        let Some(task) = &mut self.task else { return Ok(None) };
        let ended = (&mut task.0).await;
        self.task = None;
        ended.map(|()| None).map_err(broken)
    }
}

/// What the rows of a batch take, of whatever it is a part.
fn bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}
