//! Prefetching: while one epoch is applied and committed, the source rows of the next one are decoded.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::Result as DfResult,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{EmptyRecordBatchStream, stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use futures::{FutureExt, StreamExt, stream};

use crate::connectors::{BadRecords, ReadLimit, SourceStream, Span};

/// The next epoch's span of one input, with open streams. Each buffers as many batches as its source decodes ahead.
#[derive(Debug)]
pub(super) struct Prefetched {
    pub(super) span: Span,
    /// The limit it was planned with.
    pub(super) limit: ReadLimit,
    pub(super) streams: Vec<SourceStream>,
    pub(super) bad: BadRecords,
}

impl Prefetched {
    /// Makes the streams of a span start to decode.
    pub(super) fn start(
        span: Span,
        limit: ReadLimit,
        mut streams: Vec<SourceStream>,
        bad: BadRecords,
        context: &Arc<TaskContext>,
    ) -> Self {
        for stream in &mut streams {
            stream.rows = Arc::new(Running::start(&stream.rows, context.clone()));
        }
        Prefetched { span, limit, streams, bad }
    }
}

/// A stream that was polled once, which makes its source start to decode.
struct Running {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl Running {
    fn start(rows: &Arc<dyn PartitionStream>, context: Arc<TaskContext>) -> Running {
        let schema = rows.schema().clone();
        let mut running = rows.execute(context);
        let first: Vec<DfResult<RecordBatch>> = running.next().now_or_never().flatten().into_iter().collect();
        let all = stream::iter(first).chain(running);
        let all = RecordBatchStreamAdapter::new(schema.clone(), all);
        Running { schema, rows: Mutex::new(Some(Box::pin(all))) }
    }
}

impl PartitionStream for Running {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows on the first call, none afterwards.
    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        rows.unwrap_or_else(|| Box::pin(EmptyRecordBatchStream::new(self.schema.clone())))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use futures::TryStreamExt;
    use tokio::sync::{Mutex, mpsc};

    use super::*;

    /// Rows as they are sent; whoever executes it takes them all.
    #[derive(Debug)]
    struct Sent(SchemaRef, Arc<Mutex<mpsc::Receiver<RecordBatch>>>);

    impl PartitionStream for Sent {
        fn schema(&self) -> &SchemaRef {
            &self.0
        }

        fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
            let rows = stream::unfold(self.1.clone(), async |sent| {
                let next = sent.lock().await.recv().await;
                next.map(|rows| (Ok(rows), sent))
            });
            Box::pin(RecordBatchStreamAdapter::new(self.0.clone(), rows))
        }
    }

    fn rows(value: i64) -> RecordBatch {
        RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![value])) as ArrayRef)]).unwrap()
    }

    #[tokio::test]
    async fn prefetched_stream_gives_every_row_once() {
        for before in 0..3 {
            let (send, sent) = mpsc::channel(4);
            let source: Arc<dyn PartitionStream> = Arc::new(Sent(rows(0).schema(), Arc::new(Mutex::new(sent))));
            for value in 0..before {
                send.send(rows(value)).await.unwrap();
            }
            let running = Running::start(&source, Arc::default());
            for value in before..3 {
                send.send(rows(value)).await.unwrap();
            }
            drop(send);
            let all: Vec<RecordBatch> = running.execute(Arc::default()).try_collect().await.unwrap();
            assert_eq!(all, [rows(0), rows(1), rows(2)]);
            let again: Vec<RecordBatch> = running.execute(Arc::default()).try_collect().await.unwrap();
            assert_eq!(again, []);
        }
    }
}
