//! The dead letters of one epoch, as its commit tells them.

use crate::{
    checkpoint::{DeadLetter, Intent},
    connectors::{BadRecord, BadRecords, OnError},
    sql::{incremental::PlannedInput, table::TableInput},
};

/// The dead letters of an epoch of `query`: of each input the bad records, and the rows that an expression `failed` on.
/// And how many of both there were, kept or not.
pub(super) fn dead_letters(
    query: &str,
    inputs: &[PlannedInput],
    intent: &Intent,
    bad: &[BadRecords],
    failed: &[BadRecords],
) -> (Vec<DeadLetter>, u64) {
    let (mut dead_letters, mut count) = (Vec::new(), 0);
    for (input, (bad, failed)) in inputs.iter().zip(bad.iter().zip(failed)) {
        let dead_letter = |epoch, record: BadRecord| DeadLetter {
            source: input.table.name.clone(),
            query: query.to_string(),
            epoch,
            origin: record.origin,
            position: record.position,
            raw: record.raw,
            reason: record.reason,
            at: intent.now,
            replayed: None,
        };
        for (records, epoch) in [(bad, None), (failed, Some(intent.epoch))] {
            let (records, all) = records.take();
            count += all;
            if matches!(input.table.input, TableInput::Source(_, OnError::Skip)) {
                continue;
            }
            let dropped = all - records.len() as u64;
            dead_letters.extend(records.into_iter().map(|record| dead_letter(epoch, record)));
            if dropped > 0 {
                dead_letters.push(dead_letter(Some(intent.epoch), not_kept(dropped)));
            }
        }
    }
    (dead_letters, count)
}

/// What stands for the bad records of an epoch that are too many to be kept.
fn not_kept(count: u64) -> BadRecord {
    BadRecord {
        origin: String::new(),
        position: None,
        raw: Vec::new(),
        reason: format!(
            "{count} more bad records of this epoch are counted and not kept: see dead_letters.epoch_max_rows and \
             dead_letters.epoch_max_bytes"
        ),
    }
}
