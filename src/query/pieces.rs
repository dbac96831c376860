//! The first snapshots of a query's inputs in pieces, so that a large table takes no more memory than the answer.
//!
//! Each piece runs as an epoch of its own number. Only the last one is committed and published; after a crash before
//! that the snapshots are read again.

use std::collections::btree_map::Entry;

use crate::{
    checkpoint::{Commit, Intent},
    relations::SnapshotChunk,
    time::{Epoch, Micros},
};

/// Snapshots that one epoch reads, in at least two pieces. Invariant: the pieces have the numbers up to that of the
/// epoch they are part of, without a gap.
#[derive(Debug)]
pub(super) struct Pieces {
    /// Per input; empty if it is not read from epoch 0.
    inputs: Vec<Vec<SnapshotChunk>>,
    count: usize,
}

impl Pieces {
    /// Of each input's pieces; `None` if no input has several.
    pub(super) fn new(inputs: Vec<Vec<SnapshotChunk>>) -> Option<Self> {
        let count = inputs.iter().map(Vec::len).max().unwrap_or(0);
        (count > 1).then_some(Pieces { inputs, count })
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether `piece` is the last one.
    pub(super) fn is_last(&self, piece: usize) -> bool {
        piece + 1 == self.count
    }

    /// Per input its pieces.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &[SnapshotChunk]> {
        self.inputs.iter().map(Vec::as_slice)
    }

    /// Bytes of a piece, of all inputs.
    pub(super) fn bytes(&self, piece: usize) -> usize {
        self.inputs.iter().filter_map(|of| of.get(piece)).map(|piece| piece.bytes).sum()
    }

    /// The intent of the whole epoch: planned as `next`, it has the number of its last piece.
    pub(super) fn whole(&self, next: Intent) -> Intent {
        Intent { epoch: Epoch(next.epoch.0 + self.count as u64 - 1), ..next }
    }

    /// The intent of one piece. The new watermark comes with the last one; until then it is `before`.
    pub(super) fn part(&self, whole: &Intent, piece: usize, before: Option<Micros>) -> Intent {
        let epoch = Epoch(whole.epoch.0 + 1 + piece as u64 - self.count as u64);
        let watermark = if self.is_last(piece) { whole.watermark } else { before };
        Intent { epoch, watermark, ..whole.clone() }
    }
}

/// Merges two commits: the second one, with the counts and observed times of both.
pub(super) fn joined(before: Commit, commit: Commit) -> Commit {
    // By all its fields: a count that is added later must be added up here.
    let Commit { query, epoch, rows_in, rows_out, hash, late, untimed, bad, mut observed, late_rows, dead_letters } =
        commit;
    for (times, earlier) in observed.iter_mut().zip(before.observed) {
        for (partition, time) in earlier {
            match times.entry(partition) {
                Entry::Vacant(entry) => drop(entry.insert(time)),
                Entry::Occupied(mut entry) => *entry.get_mut() = time.max(*entry.get()),
            }
        }
    }
    Commit {
        query,
        epoch,
        rows_in: before.rows_in + rows_in,
        rows_out: before.rows_out + rows_out,
        hash: before.hash.zip(hash).map(|(one, other)| one.plus(other)),
        late: before.late + late,
        untimed: before.untimed + untimed,
        bad: before.bad + bad,
        observed,
        late_rows: [before.late_rows, late_rows].concat(),
        dead_letters: [before.dead_letters, dead_letters].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(bytes: usize) -> SnapshotChunk {
        let mut chunk = SnapshotChunk::default();
        chunk.bytes = bytes;
        chunk
    }

    #[test]
    fn pieces_have_the_numbers_up_to_that_of_their_epoch_and_the_last_one_its_watermark() {
        let pieces = Pieces::new(vec![vec![chunk(5), chunk(6), chunk(7)], Vec::new(), vec![chunk(1)]]).unwrap();
        let next = Intent { query: 7, epoch: Epoch(1), spans: Vec::new(), watermark: Some(9), now: 0, partitions: 1 };
        let whole = pieces.whole(next);
        assert_eq!(whole.epoch, Epoch(3));
        let parts = (0..pieces.count()).map(|piece| pieces.part(&whole, piece, Some(2)));
        let parts: Vec<_> = parts.map(|part| (part.epoch.0, part.watermark)).collect();
        assert_eq!(parts, [(1, Some(2)), (2, Some(2)), (3, Some(9))]);
        assert_eq!([pieces.bytes(0), pieces.bytes(1), pieces.bytes(2)], [6, 6, 7]);
    }

    #[test]
    fn pieces_are_at_least_two() {
        assert!(Pieces::new(vec![vec![chunk(5)], vec![chunk(1)]]).is_none());
        assert!(Pieces::new(vec![Vec::new()]).is_none());
    }
    #[test]
    fn commits_of_pieces_add_up_each_count_and_keep_the_latest_times() {
        let commit = |epoch, n: u64, times: &[(&str, i64)]| Commit {
            query: 7,
            epoch: Epoch(epoch),
            rows_in: n,
            rows_out: 2 * n,
            hash: None,
            late: 3 * n,
            untimed: 4 * n,
            bad: 5 * n,
            observed: vec![times.iter().map(|(partition, time)| (partition.to_string(), *time)).collect()],
            late_rows: Vec::new(),
            dead_letters: Vec::new(),
        };
        let both = joined(commit(1, 1, &[("a", 5), ("b", 1)]), commit(2, 10, &[("a", 4), ("c", 2)]));
        assert_eq!(both, commit(2, 11, &[("a", 5), ("b", 1), ("c", 2)]));
    }
}
