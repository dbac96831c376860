//! The late rows of one epoch, as its commit tells them.

use arrow::array::RecordBatch;

use crate::{
    changes::Changes,
    checkpoint::{Intent, LateCause, LateRow},
    error::Result,
    formats::as_json,
};

/// What one epoch keeps of its late rows: they all go into one record of the log.
const EPOCH_BYTES_MAX: usize = 16 << 20;

/// The late rows that an epoch of `query` kept, as JSON, up to so many bytes.
pub(super) fn late_rows(query: &str, intent: &Intent, kept: &[(LateCause, RecordBatch)]) -> Result<Vec<LateRow>> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for (cause, batch) in kept {
        let changes = Changes::from_batch(batch.clone())?;
        let text = as_json(changes.rows())?;
        for row in text.lines() {
            bytes += row.len();
            if bytes > EPOCH_BYTES_MAX {
                return Ok(rows);
            }
            rows.push(LateRow {
                query: query.to_string(),
                epoch: intent.epoch,
                cause: *cause,
                watermark: intent.watermark,
                row: row.to_string(),
                at: intent.now,
            });
        }
    }
    Ok(rows)
}
