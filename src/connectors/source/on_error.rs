//! How a query handles bad records and row errors of a source.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::{
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use futures::{StreamExt, TryStreamExt};

use super::{BadRecords, SourceStream};
use crate::{
    error::{Error, ErrorKind, Result},
    options::{Options, Taker},
};

/// Option `on_error` of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Left out, counted, and kept in the dead letter queue.
    #[default]
    DeadLetter,
    /// It is left out and counted.
    Skip,
    /// It fails the query.
    Fail,
}

impl OnError {
    /// Parses the options of a source.
    pub fn of(options: &Options) -> Result<OnError> {
        OnError::from_options(&mut options.taker("the source"))
    }

    pub(in super::super) fn from_options(options: &mut Taker) -> Result<OnError> {
        let words = [("dead_letter", OnError::DeadLetter), ("skip", OnError::Skip), ("fail", OnError::Fail)];
        Ok(options.one_of("on_error", &words)?.unwrap_or_default())
    }

    /// Wraps the streams of a scan of `source` accordingly; `bad` is the scan's collector of bad records.
    pub fn applied(self, source: &str, streams: Vec<SourceStream>, bad: &BadRecords) -> Vec<SourceStream> {
        if self != OnError::Fail {
            return streams;
        }
        let strict = |SourceStream { partition, rows, origins }| {
            let rows = Arc::new(Strict { rows, source: source.to_string(), bad: bad.clone() });
            SourceStream { partition, rows, origins }
        };
        streams.into_iter().map(strict).collect()
    }
}

/// Rows up to the first bad record, which is an error.
#[derive(Debug)]
struct Strict {
    rows: Arc<dyn PartitionStream>,
    source: String,
    bad: BadRecords,
}

impl PartitionStream for Strict {
    fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (bad, source) = (self.bad.clone(), self.source.clone());
        let check = move || match bad.first() {
            None => Ok(()),
            Some(record) => {
                let line = record.position.map(|line| format!(":{line}")).unwrap_or_default();
                let message = format!("source \"{source}\", {}{line}: {}", record.origin, record.reason);
                Err(DataFusionError::from(Error::new(ErrorKind::BadCopyFormat, message).hint(HINT)))
            }
        };
        let each = check.clone();
        let rows = self.rows.execute(context).and_then(move |batch| std::future::ready(each().map(|()| batch)));
        let end = futures::stream::once(async move { check().err() }).filter_map(async |error| error.map(Err));
        Box::pin(RecordBatchStreamAdapter::new(self.schema().clone(), rows.chain(end)))
    }
}

const HINT: &str = "Bad records fail the readers of a source with on_error = 'fail'; 'dead_letter' and 'skip' go on.";
