//! Rows that came behind a watermark, or have no event time where one is needed: `tidemark.late_rows`.

use std::sync::Mutex;

use super::bounded_queue::{BoundedQueue, HeapBytes, QueueLimit};
use crate::{
    checkpoint::LateRow,
    metrics::{Family, MetricProducer, MetricsSnapshot},
    sync::locked,
};

/// The newest late rows of all queries, up to a limit.
#[derive(Debug)]
pub struct LateRowLog {
    rows: Mutex<BoundedQueue<LateRow>>,
}

impl HeapBytes for LateRow {
    fn heap_bytes(&self) -> usize {
        self.query.len() + self.row.len()
    }
}

impl LateRowLog {
    pub fn new(limit: QueueLimit) -> Self {
        LateRowLog { rows: Mutex::new(BoundedQueue::new(limit)) }
    }

    /// Takes in the late rows of one epoch. An epoch may be told of again in a recovery: its rows are taken once.
    pub fn add(&self, late_rows: &[LateRow]) {
        let Some(first) = late_rows.first() else { return };
        let mut rows = locked(&self.rows);
        let is_of_epoch =
            |row: &LateRow| (row.epoch, row.at, row.query.as_str()) == (first.epoch, first.at, first.query.as_str());
        if rows.iter().rev().any(is_of_epoch) {
            return;
        }
        late_rows.iter().for_each(|row| rows.push(row.clone()));
        while rows.pop_excess().is_some() {}
    }

    /// The oldest first.
    pub fn all(&self) -> Vec<LateRow> {
        locked(&self.rows).iter().cloned().collect()
    }
}

const ROWS: Family = Family::new("tidemark_late_rows_kept_rows", "Rows of tidemark.late_rows.");
const BYTES: Family = Family::new("tidemark_late_rows_kept_bytes", "Memory of tidemark.late_rows.");

impl MetricProducer for LateRowLog {
    fn produce(&self, snapshot: &mut MetricsSnapshot) {
        let QueueLimit { rows, bytes } = locked(&self.rows).size();
        snapshot.gauge(ROWS, Some(rows as f64));
        snapshot.gauge(BYTES, Some(bytes as f64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkpoint::LateCause, time::Epoch};

    fn late(epoch: u64) -> LateRow {
        let cause = LateCause::BehindWatermark;
        LateRow { query: "q".into(), epoch: Epoch(epoch), cause, watermark: None, row: "{}".into(), at: 0 }
    }

    fn epochs(log: &LateRowLog) -> Vec<u64> {
        log.all().iter().map(|row| row.epoch.0).collect()
    }

    #[test]
    fn late_row_log_takes_an_epoch_once_and_the_oldest_rows_go() {
        let log = LateRowLog::new(QueueLimit { rows: 3, bytes: 1 << 20 });
        log.add(&[late(1), late(1)]);
        log.add(&[late(1), late(1)]);
        assert_eq!(epochs(&log), [1, 1], "two equal rows of one epoch are two rows");
        log.add(&[]);
        log.add(&[late(2), late(2)]);
        assert_eq!(epochs(&log), [1, 2, 2]);
        let other = LateRow { query: "r".into(), ..late(2) };
        log.add(std::slice::from_ref(&other));
        assert_eq!(log.all(), [late(2), late(2), other]);
    }

    #[test]
    fn late_row_log_keeps_fewer_of_long_rows() {
        let log = LateRowLog::new(QueueLimit { rows: 1_000, bytes: 10_000 });
        for epoch in 0..100 {
            log.add(&[LateRow { row: "x".repeat(3_000), ..late(epoch) }]);
        }
        assert_eq!(epochs(&log), [97, 98, 99]);
    }
}
