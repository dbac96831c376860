//! Work on the engine's runtime, awaited on the network's: a panic becomes an error, and dropped work is cancelled.

use std::future::Future;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    live::LiveQuery,
    session_memory::{Account, HeldBytes},
    task::{Task, broken},
};
use crate::{
    changes::bytes_of,
    error::{Error, Result},
};

/// Batches computed ahead of the client.
const BATCHES_AHEAD: usize = 2;
/// After a batch larger than this none is computed ahead until the client reads it: DataFusion limits rows, not bytes,
/// and a slow client would hold it in memory.
const AHEAD_BYTES: usize = 1 << 20;
/// Target size of a piece of rows: what a socket takes at once.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// Runs `work` on the engine's runtime. Dropping this future cancels it at its next await.
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

/// Runs short CPU work on a blocking thread of the network runtime, where no query delays it. It cannot be cancelled.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(broken(e)),
    }
}

/// The rows of a running query, computed at the client's pace. Dropping it ends the query.
pub(super) struct RowStream {
    pub schema: SchemaRef,
    pub tag: &'static str,
    from: From,
    /// The rest of the last batch.
    rest: Option<AccountedBatch>,
    /// The account charged for rows of a subscription.
    account: Option<Account>,
}

/// A batch computed ahead, with its reserved memory.
type AccountedBatch = (RecordBatch, Option<HeldBytes>);

/// Reserves memory for a batch computed ahead.
fn counted(batch: RecordBatch, account: &Account) -> Result<AccountedBatch> {
    let held = account.reserve("rows that were not read yet", bytes_of(&batch))?;
    Ok((batch, Some(held)))
}

enum From {
    Query {
        receiver: mpsc::Receiver<Result<AccountedBatch>>,
        task: Task<()>,
    },
    Subscription(LiveQuery),
    /// None: all rows are available.
    Nobody,
}

impl RowStream {
    pub fn start(
        workers: &Handle,
        tag: &'static str,
        mut stream: SendableRecordBatchStream,
        account: &Account,
    ) -> RowStream {
        let (schema, account) = (stream.schema(), account.clone());
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let task = Task(workers.spawn(async move {
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(Error::from).and_then(|batch| counted(batch, &account));
                let end = batch.is_err();
                let large = batch.as_ref().is_ok_and(|(batch, _)| bytes_of(batch) > AHEAD_BYTES);
                if sender.send(batch).await.is_err() || end {
                    return;
                }
                if large && sender.reserve_many(BATCHES_AHEAD).await.is_err() {
                    return;
                }
            }
        }));
        RowStream { schema, tag, from: From::Query { receiver, task }, rest: None, account: None }
    }

    /// Rows of a subscription.
    pub fn live(workers: &Handle, stream: SendableRecordBatchStream, account: &Account) -> RowStream {
        let (schema, account) = (stream.schema(), Some(account.clone()));
        RowStream {
            schema,
            tag: "SUBSCRIBE",
            from: From::Subscription(LiveQuery::start(workers, stream)),
            rest: None,
            account,
        }
    }

    /// Rows that are available already.
    pub fn ready(tag: &'static str, schema: SchemaRef, rows: Option<RecordBatch>) -> RowStream {
        RowStream { schema, tag, from: From::Nobody, rest: rows.map(|rows| (rows, None)), account: None }
    }

    /// Whether all rows are available.
    pub fn are_ready(&self) -> bool {
        matches!(self.from, From::Nobody)
    }

    /// Whether they are endless.
    pub fn are_live(&self) -> bool {
        matches!(self.from, From::Subscription(_))
    }

    /// The next rows, at most `max` and about [`PIECE_BYTES`]; `None` at the end and after it. Cancel safe.
    pub async fn next(&mut self, max: usize) -> Result<Option<RecordBatch>> {
        Ok(self.batch(true).await?.map(|batch| self.piece(batch, max)))
    }

    /// The same without waiting for live rows: `None` if none are available.
    pub async fn at_hand(&mut self, max: usize) -> Result<Option<RecordBatch>> {
        Ok(self.batch(false).await?.map(|batch| self.piece(batch, max)))
    }

    /// The rest of the last batch, or the next one that is not empty.
    async fn batch(&mut self, wait: bool) -> Result<Option<AccountedBatch>> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest));
        }
        loop {
            let next = match &mut self.from {
                From::Query { receiver, task } => match receiver.recv().await {
                    Some(batch) => Some(batch?),
                    None => {
                        // The channel is closed: by the end of the rows, or by a panic.
                        let ended = (&mut task.0).await;
                        self.from = From::Nobody;
                        return ended.map(|()| None).map_err(broken);
                    }
                },
                From::Subscription(live) => match (live.next(wait).await?, &self.account) {
                    (Some(batch), Some(account)) => Some(counted(batch, account)?),
                    _ => None,
                },
                From::Nobody => None,
            };
            match next {
                Some((batch, _)) if batch.num_rows() == 0 => {}
                next => return Ok(next),
            }
        }
    }

    /// The rows of a batch that are sent together; the rest is stored.
    fn piece(&mut self, (batch, held): AccountedBatch, max: usize) -> RecordBatch {
        let row_bytes = bytes_of(&batch) / batch.num_rows().max(1);
        let max = max.min(PIECE_BYTES / row_bytes.max(1)).max(1);
        if batch.num_rows() <= max {
            return batch;
        }
        self.rest = Some((batch.slice(max, batch.num_rows() - max), held));
        batch.slice(0, max)
    }
}
