//! Endless rows (subscriptions), pulled batch by batch on request: so it is known whether one is available now, and
//! none is computed before it is requested.

use arrow::array::RecordBatch;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::{FutureExt, StreamExt};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::task::{Task, broken};
use crate::error::{Error, Result};

/// The receiving end of a stream on the engine's runtime. Dropping it ends the stream.
pub(super) struct LiveQuery {
    asks: mpsc::Sender<Ask>,
    task: Option<Task<()>>,
}

/// A request for rows; a cancelled one has a dropped receiver.
struct Ask {
    wait: bool,
    answer: oneshot::Sender<NextRows>,
}

/// `None` if no rows are available, or at the end.
type NextRows = Option<Result<RecordBatch>>;

impl LiveQuery {
    pub fn start(workers: &Handle, mut stream: SendableRecordBatchStream) -> LiveQuery {
        let (asks, mut asked) = mpsc::channel::<Ask>(1);
        let task = workers.spawn(async move {
            // A batch whose request was cancelled goes to the next request.
            let mut left: NextRows = None;
            while let Some(Ask { wait, mut answer }) = asked.recv().await {
                let next = match left.take() {
                    Some(left) => Some(left),
                    None if wait => tokio::select! {
                        biased;
                        next = stream.next() => next.map(|rows| rows.map_err(Error::from)),
                        () = answer.closed() => continue,
                    },
                    None => stream.next().now_or_never().flatten().map(|rows| rows.map_err(Error::from)),
                };
                left = answer.send(next).err().flatten();
            }
        });
        LiveQuery { asks, task: Some(Task(task)) }
    }

    /// The next rows. Without `wait`, `None` if there are none now. Cancel safe.
    pub async fn next(&mut self, wait: bool) -> Result<Option<RecordBatch>> {
        let (answer, answered) = oneshot::channel();
        if self.asks.send(Ask { wait, answer }).await.is_ok()
            && let Ok(next) = answered.await
        {
            return next.transpose();
        }
        // The task has ended: by a panic, or with the runtime.
        let Some(mut task) = self.task.take() else { return Ok(None) };
        (&mut task.0).await.map(|()| None).map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use arrow::{
        array::{ArrayRef, AsArray, Int64Array},
        datatypes::{DataType, Field, Int64Type, Schema},
    };
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn live_rows_cancelled_wait_loses_no_row() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let (send, sent) = mpsc::unbounded_channel::<i64>();
        let row = |schema: &Arc<Schema>, n| {
            let column = Arc::new(Int64Array::from(vec![n])) as ArrayRef;
            RecordBatch::try_new(schema.clone(), vec![column]).map_err(Into::into)
        };
        let of = schema.clone();
        let rows = futures::stream::unfold(sent, move |mut sent| {
            let schema = of.clone();
            async move { sent.recv().await.map(|n| (row(&schema, n), sent)) }
        });
        let mut live = LiveQuery::start(&Handle::current(), Box::pin(RecordBatchStreamAdapter::new(schema, rows)));
        assert!(live.next(false).await.unwrap().is_none(), "nothing is there");
        for n in 0..100 {
            let waited = timeout(Duration::from_micros(n % 7 * 50), live.next(true)).await;
            send.send(n as i64).unwrap();
            let next = match waited {
                Ok(next) => next.unwrap(),
                Err(_) => live.next(true).await.unwrap(),
            };
            let next = next.unwrap();
            assert_eq!(next.column(0).as_primitive::<Int64Type>().value(0), n as i64);
        }
    }
}
