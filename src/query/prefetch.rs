//! Prefetching: while one epoch is applied and committed, the source rows of the next one are decoded.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::Result as DfResult,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{EmptyRecordBatchStream, stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use futures::{FutureExt, StreamExt, stream};

use super::{prefetched::Prefetched, worker::Worker};
use crate::{
    checkpoint::Intent,
    connectors::{Ahead, Span},
    sql::table::TableInput,
};

impl Worker {
    /// Drops what was prefetched.
    pub fn end_prefetch(&mut self) {
        self.prefetched.iter_mut().for_each(|next| *next = None);
    }

    /// Starts scans after an intent's spans, for sources with more rows. Errors are ignored: the epoch that reads them
    /// meets them again.
    pub(super) async fn prefetch(&mut self, intent: &Intent) {
        for (n, span) in intent.spans.iter().enumerate() {
            let table = self.inputs()[n].table.clone();
            let TableInput::Source(source, _) = &table.input else { continue };
            if span.to.reaches(&self.ends[n]) {
                continue;
            }
            let limit = self.admissions[n].limit(&table.limit);
            let before =
                self.twin(n).and_then(|m| self.prefetched[m].as_ref()).filter(|next| next.span.from == span.to);
            let to = match before.map(|next| next.span.to.clone()) {
                Some(to) => to,
                None => match source.ahead(&span.to, &limit).await {
                    Ok(Ahead { to, .. }) => to,
                    Err(_) => continue,
                },
            };
            let next = Span { from: span.to.clone(), to };
            if let Ok((mut streams, bad)) = self.scan(n, &next, self.env.partitions())
                && !next.is_empty()
            {
                for stream in &mut streams {
                    stream.rows = Arc::new(Running::start(&stream.rows, self.env.context.clone()));
                }
                self.prefetched[n] = Some(Prefetched { span: next, limit, streams, bad });
            }
        }
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
