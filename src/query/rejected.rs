//! The rows of one epoch that did not make it into its answer, as its commit tells them.

use arrow::array::RecordBatch;

use super::worker::Worker;
use crate::{
    changes::Changes,
    checkpoint::{DeadLetter, Intent, LateCause, LateRow},
    connectors::{BadRecords, OnError},
    error::Result,
    formats::as_json,
    sql::table::TableInput,
};

/// What one epoch keeps of its late rows: they all go into one record of the log.
const LATE_BYTES_MAX: usize = 16 << 20;

impl Worker {
    /// The letters of an epoch: of each input the bad records, and the rows that an expression `failed` on. And how many
    /// of both there were, told or not.
    pub(super) fn dead_letters(
        &self,
        intent: &Intent,
        bad: &[BadRecords],
        failed: &[BadRecords],
    ) -> (Vec<DeadLetter>, u64) {
        let (mut letters, mut count) = (Vec::new(), 0);
        for (input, (bad, failed)) in self.inputs().iter().zip(bad.iter().zip(failed)) {
            for (records, epoch) in [(bad, None), (failed, Some(intent.epoch))] {
                let (records, all) = records.take();
                count += all;
                if matches!(input.table.input, TableInput::Source(_, OnError::Skip)) {
                    continue;
                }
                let dropped = all - records.len() as u64;
                letters.extend(records.into_iter().map(|record| DeadLetter {
                    source: input.table.name.clone(),
                    query: self.setup.name.clone(),
                    epoch,
                    origin: record.origin,
                    position: record.position,
                    raw: record.raw,
                    reason: record.reason,
                    at: intent.now,
                    replayed: None,
                    id: 0,
                }));
                if dropped > 0 {
                    letters.push(self.not_kept(intent, &input.table.name, dropped));
                }
            }
        }
        (letters, count)
    }

    /// What stands for the bad records of an epoch that are too many to be kept.
    fn not_kept(&self, intent: &Intent, source: &str, count: u64) -> DeadLetter {
        DeadLetter {
            source: source.to_string(),
            query: self.setup.name.clone(),
            epoch: Some(intent.epoch),
            origin: String::new(),
            position: None,
            raw: Vec::new(),
            reason: format!(
                "{count} more bad records of this epoch are counted and not kept: see dead_letters.epoch_max_rows and \
                 dead_letters.epoch_max_bytes"
            ),
            at: intent.now,
            replayed: None,
            id: 0,
        }
    }

    /// The late rows that an epoch kept.
    pub(super) fn late_rows(&self, intent: &Intent, kept: &[(LateCause, RecordBatch)]) -> Result<Vec<LateRow>> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for (cause, batch) in kept {
            let changes = Changes::from_batch(batch.clone())?;
            let text = as_json(changes.rows())?;
            for row in text.lines() {
                bytes += row.len();
                if bytes > LATE_BYTES_MAX {
                    return Ok(rows);
                }
                rows.push(LateRow {
                    query: self.setup.name.clone(),
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
}
