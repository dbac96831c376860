//! Rows that an expression fails on: found, told, and left out, so that a bad row stops no query.
//!
//! DataFusion evaluates an expression over a whole batch, and says no more than that it failed. So each batch of a
//! source goes alone through the steps above it that remember nothing. One that fails is halved, and halved again, until
//! the rows that fail stand alone:
//!
//! ```text
//! source ─ batch ─▶ [ filter · project · unnest · static join · arguments ] ─ all of it came through ─▶ on its way
//!                     ▲                        └ it failed ─▶ first half, second half … one row ─▶ dead letter
//!                     └─────────────────────────────────────────┘
//! ```
//!
//! Nothing of a batch is handed on before all of it came through, so that a row is left out whole or not at all.

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

/// What the steps make of one batch is held until all of it is there; a batch that they make more rows of is halved, too.
const MADE_ROWS_MAX: usize = 1 << 20;

/// One partition of a source on its way through the steps above it.
pub(super) struct RowErrorFilter {
    pub steps: Steps,
    /// Batches of the source, each with where it stood there.
    pub rows: BoxStream<'static, Result<(Origin, RecordBatch)>>,
    /// Parts of a batch that are still to go through, each with the number of its first row there.
    pub todo: Vec<(Origin, usize, RecordBatch)>,
    /// Where the rows go that fail.
    pub failed: BadRecords,
}

/// The steps, as they are run again for each batch.
pub(super) struct Steps {
    pub plan: Plan,
    pub partition: usize,
    pub context: Arc<TaskContext>,
    pub slots: Arc<BatchSlots>,
    /// The partition of the slots.
    pub at: usize,
    /// Counts how often they are run.
    pub runs: Arc<AtomicU64>,
}

impl RowErrorFilter {
    /// What the steps, and then `with`, make of the next rows that do not fail; `None` at the end.
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
                    // What fails without any row is the query's own fault.
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

    /// The rows that do not fail, as they come out of the steps.
    pub fn batches(self) -> impl Stream<Item = Result<RecordBatch>> {
        futures::stream::try_unfold(self, async |mut filter| {
            let made = filter.next(&mut Ok).await?;
            Ok::<_, Error>(made.map(|made| (futures::stream::iter(made.into_iter().map(Ok)), filter)))
        })
        .try_flatten()
    }
}

impl Steps {
    /// What is made of some rows, or `None` where that is too much at once.
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

/// A row as it is told: the columns that the query reads.
fn raw(row: &RecordBatch) -> Result<Vec<u8>> {
    let own: Vec<usize> = (0..row.num_columns()).filter(|n| row.schema().field(*n).name() != PARTITION).collect();
    Ok(as_json(&row.project(&own)?)?.trim_end().into())
}

/// Whether an error is that of a value: SQL has a class for those.
pub fn is_of_rows(error: &Error) -> bool {
    error.kind().sqlstate().starts_with("22")
}
