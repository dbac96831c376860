//! Records that did not decode, collected by a scan beside its rows.

use std::{
    collections::BinaryHeap,
    sync::{Arc, Mutex, PoisonError},
};

/// One record that did not decode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadRecord {
    /// The file, or topic and partition, that it stood in.
    pub origin: String,
    /// The line from 1, or the offset; `None` where the whole file is bad.
    pub position: Option<i64>,
    /// The bytes as they came, cut at [`BadRecord::RAW_BYTES_MAX`].
    pub raw: Vec<u8>,
    pub reason: String,
}

impl BadRecord {
    /// Enough to see and to replay a record; a whole bad file is not copied.
    pub const RAW_BYTES_MAX: usize = 64 << 10;
    /// A reason may quote a value that is as long as its record.
    pub const REASON_BYTES_MAX: usize = 1 << 10;

    /// Truncates bytes and reason to their limits.
    fn cut(mut self) -> BadRecord {
        self.raw.truncate(Self::RAW_BYTES_MAX);
        if self.reason.len() > Self::REASON_BYTES_MAX {
            let boundary = (0..=Self::REASON_BYTES_MAX).rev().find(|at| self.reason.is_char_boundary(*at));
            self.reason.truncate(boundary.unwrap_or(0));
            self.reason.push('…');
        }
        self
    }

    fn bytes(&self) -> usize {
        size_of::<BadRecord>() + self.origin.len() + self.raw.len() + self.reason.len()
    }
}

/// Collects the bad records of one scan, over all its streams. Clones share the collection.
///
/// Keeps the first ones by origin and position, up to a number and a size, and counts the rest, so that a file of
/// garbage fills neither memory nor log. Which are kept does not depend on the order of streams.
#[derive(Debug, Clone)]
pub struct BadRecords {
    collected: Arc<Mutex<CollectedBadRecords>>,
    rows_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct CollectedBadRecords {
    /// A max-heap: the last one on top.
    kept: BinaryHeap<BadRecord>,
    bytes: usize,
    /// All, kept or not.
    count: u64,
    /// The first one not kept: nothing after it is kept.
    end: Option<BadRecord>,
}

impl Default for BadRecords {
    fn default() -> Self {
        BadRecords::new(Self::ROWS_MAX, Self::BYTES_MAX)
    }
}

impl BadRecords {
    pub const ROWS_MAX: usize = 10_000;
    /// Limit of their bytes: all go into one log record, and into one answer to a client.
    pub const BYTES_MAX: usize = 16 << 20;

    /// Keeps at most `rows_max`, of `bytes_max` in all.
    pub fn new(rows_max: usize, bytes_max: usize) -> BadRecords {
        BadRecords { collected: Arc::default(), rows_max, bytes_max }
    }

    pub fn push(&self, record: BadRecord) {
        let record = record.cut();
        let mut inner = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        inner.count += 1;
        if inner.end.as_ref().is_some_and(|end| record >= *end) {
            return;
        }
        inner.bytes += record.bytes();
        inner.kept.push(record);
        while (inner.kept.len() > self.rows_max || inner.bytes > self.bytes_max)
            && let Some(last) = inner.kept.pop()
        {
            inner.bytes -= last.bytes();
            inner.end = Some(last);
        }
    }

    /// The first one that is kept.
    pub(super) fn first(&self) -> Option<BadRecord> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner).kept.iter().min().cloned()
    }

    /// Takes the kept ones, in order, and the number of all.
    pub fn take(&self) -> (Vec<BadRecord>, u64) {
        let mut inner = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        let CollectedBadRecords { kept, count, .. } = std::mem::take(&mut *inner);
        (kept.into_sorted_vec(), count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_records_beyond_the_byte_limit_are_only_counted() {
        let bad = BadRecords::default();
        for line in 0..2_000 {
            let record = |raw, reason| BadRecord { origin: "f".to_string(), position: Some(line), raw, reason };
            bad.push(record(vec![b'x'; 60_000], "é".repeat(60_000)));
        }
        let (kept, count) = bad.take();
        assert_eq!(count, 2_000);
        assert!((250..300).contains(&kept.len()), "{}", kept.len());
        assert!(kept[0].reason.len() < 1_100 && kept[0].reason.ends_with("é…"));
        assert_eq!(bad.take().1, 0);
    }

    #[test]
    fn bad_records_kept_are_the_first_by_position_in_any_push_order() {
        let record = |line: i64| {
            let raw = vec![b'x'; if line % 7 == 0 { 3_000 } else { 10 }];
            BadRecord { origin: "f".to_string(), position: Some(line), raw, reason: String::new() }
        };
        for (rows, bytes) in [(5, 1 << 20), (1_000, 10_000), (0, 1 << 20), (1_000, 0)] {
            let orders: [Vec<i64>; 3] =
                [(0..100).collect(), (0..100).rev().collect(), (0..100).map(|n| n * 37 % 100).collect()];
            let kept = orders.map(|order| {
                let bad = BadRecords::new(rows, bytes);
                order.into_iter().for_each(|line| bad.push(record(line)));
                let (kept, count) = bad.take();
                assert_eq!(count, 100);
                kept.into_iter().filter_map(|record| record.position).collect::<Vec<_>>()
            });
            assert_eq!((&kept[1], &kept[2]), (&kept[0], &kept[0]), "{rows} rows, {bytes} bytes");
            assert!(kept[0].iter().copied().eq(0..kept[0].len() as i64));
            assert_eq!(kept[0].is_empty(), rows == 0 || bytes == 0);
        }
    }
}
