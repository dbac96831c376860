//! Row-level error isolation: rows that an expression fails on become dead letters, so that a bad row stops no query.
//!
//! DataFusion evaluates an expression over a whole batch, and its error names no row. So each batch of a source runs
//! alone through the stateless nodes above it. A batch that fails is bisected until the failing rows are single ones:
//!
//! ```text
//! source ─ batch ─▶ [ filter · project · unnest · static join · arguments ] ─ succeeds ─▶ passed on
//!                     ▲                        └ fails ─▶ first half, second half … one row ─▶ dead letter
//!                     └─────────────────────────────────────────┘
//! ```
//!
//! No part of a batch is passed on before all of it has run, so that a row is dropped from all outputs or from none.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use futures::{Stream, TryStreamExt, stream::BoxStream};

use super::{Plan, leaf::BatchSlots};
use crate::{
    changes::PARTITION,
    connectors::{BadRecord, BadRecords, Origin},
    error::{Error, Result},
    formats::as_json,
};

/// Maximum of output rows per batch before it is bisected: the output is buffered.
const MADE_ROWS_MAX: usize = 1 << 20;

/// Runs one partition of a source through the stateless nodes above it.
pub(super) struct RowErrorFilter {
    pub steps: Steps,
    /// Batches of the source, each with its origin.
    pub rows: BoxStream<'static, Result<(Origin, RecordBatch)>>,
    /// Parts of the current batch that have not run yet, each with the number of its first row.
    pub todo: Vec<(Origin, usize, RecordBatch)>,
    /// The collector of failing rows.
    pub failed: BadRecords,
}

/// The stateless nodes, which run again for each batch.
pub(super) struct Steps {
    pub plan: Plan,
    pub partition: usize,
    pub context: Arc<TaskContext>,
    pub slots: Arc<BatchSlots>,
    /// The partition of the slots.
    pub at: usize,
    /// Counts their runs.
    pub runs: Arc<AtomicU64>,
}

impl RowErrorFilter {
    /// The output of the nodes, mapped by `with`, for the next rows that do not fail; `None` at the end.
    pub async fn next<T>(
        &mut self,
        with: &mut (impl FnMut(RecordBatch) -> Result<T> + Send),
    ) -> Result<Option<Vec<T>>> {
        loop {
            let next = match self.todo.pop() {
                Some(next) => Some(next),
                None => self.rows.try_next().await?.map(|(origin, rows)| (origin, 0, rows)),
            };
            let Some((origin, first, rows)) = next else { return Ok(None) };
            match self.steps.attempt(&rows, with).await {
                Ok(Some(made)) => return Ok(Some(made)),
                Ok(None) => {}
                Err(error) if !is_of_rows(&error) => return Err(error),
                Err(error) => {
                    // An error over no rows is one of the query, not of a row.
                    self.steps.attempt(&rows.slice(0, 0), with).await?;
                    if rows.num_rows() == 1 {
                        let (origin, position) = (origin.name.to_string(), origin.of(first));
                        let (raw, reason) = (raw(&rows)?, error.to_string());
                        self.failed.push(BadRecord { origin, position, raw, reason });
                        continue;
                    }
                }
            }
            let half = rows.num_rows() / 2;
            self.todo.push((origin.clone(), first + half, rows.slice(half, rows.num_rows() - half)));
            self.todo.push((origin, first, rows.slice(0, half)));
        }
    }

    /// The output of the nodes for the rows that do not fail.
    pub fn batches(self) -> impl Stream<Item = Result<RecordBatch>> {
        futures::stream::try_unfold(self, async |mut filter| {
            let made = filter.next(&mut Ok).await?;
            Ok::<_, Error>(made.map(|made| (futures::stream::iter(made.into_iter().map(Ok)), filter)))
        })
        .try_flatten()
    }
}

impl Steps {
    /// The output for some rows; `None` if it exceeds [`MADE_ROWS_MAX`].
    async fn attempt<T>(
        &self,
        rows: &RecordBatch,
        with: &mut (impl FnMut(RecordBatch) -> Result<T> + Send),
    ) -> Result<Option<Vec<T>>> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.slots.put(self.at, rows.clone());
        let mut stream = self.plan.execute(self.partition, self.context.clone())?;
        let (mut made, mut count) = (Vec::new(), 0);
        while let Some(batch) = stream.try_next().await? {
            count += batch.num_rows();
            if count > MADE_ROWS_MAX && rows.num_rows() > 1 {
                return Ok(None);
            }
            if batch.num_rows() > 0 {
                made.push(with(batch)?);
            }
        }
        Ok(Some(made))
    }
}

/// A row as the text of its dead letter: the columns that the query reads.
fn raw(row: &RecordBatch) -> Result<Vec<u8>> {
    let own: Vec<usize> = (0..row.num_columns()).filter(|n| row.schema().field(*n).name() != PARTITION).collect();
    Ok(as_json(&row.project(&own)?)?.trim_end().into())
}

/// Whether an error is caused by a value: SQLSTATE class 22 (data exception).
pub fn is_of_rows(error: &Error) -> bool {
    error.kind().sqlstate().starts_with("22")
}
