//! Reading the first snapshot of a relation in pieces, so that a large table takes no more memory than its answer.
//!
//! Each piece runs as an epoch of its own number. Only the last one is committed and published; after a crash before
//! that the snapshot is read again.

use std::collections::btree_map::Entry;

use super::{Worker, input_cursor::OpenedInput, input_cursors::Pieces};
use crate::{
    checkpoint::{Commit, Intent},
    connectors::BadRecords,
    error::{Error, ErrorKind, Result},
    time::{Epoch, Micros},
};

impl Worker {
    /// Splits an epoch into pieces, if it reads a large snapshot; its intent then has the number of the last piece.
    pub(super) fn in_pieces(&self, intent: Intent) -> (Intent, Pieces) {
        if !self.cursors.reads_snapshots(&intent) || self.env.epochs.reads_whole(self.setup.id) {
            return (intent, Vec::new());
        }
        let pieces = self.cursors.pieces(&intent, self.env.epochs.piece_bytes());
        let most = pieces.iter().map(Vec::len).max().unwrap_or(0);
        if most < 2 {
            return (intent, Vec::new());
        }
        let epoch = Epoch(intent.epoch.0 + most as u64 - 1);
        (Intent { epoch, ..intent }, pieces)
    }

    /// Runs the pieces one after the other. Other inputs, and the new watermark, come with the last one.
    pub(super) async fn run_pieces(&mut self, intent: &Intent, pieces: Pieces) -> Result<Commit> {
        let count = pieces.iter().map(Vec::len).max().unwrap_or(0);
        let first = self.epoch.next().0;
        let before = self.watermarks.current();
        let mut all: Option<Commit> = None;
        for k in 0..count {
            let last = k + 1 == count;
            let watermark: Option<Micros> = if last { intent.watermark } else { before };
            let part = Intent { epoch: Epoch(first + k as u64), watermark, ..intent.clone() };
            let opened = self.open_piece(&part, &pieces, k, last)?;
            let bytes = pieces.iter().filter_map(|of| of.get(k)).map(|piece| piece.bytes).sum();
            // Estimate of state plus relation after this piece, in bytes.
            self.share.ask(self.bytes()?.saturating_add(2 * bytes))?;
            let _room = self.env.epochs.enter(bytes).await;
            let (commit, _) = self.run_plan(&part, opened).await.map_err(|error| self.after_piece(error, last))?;
            self.share.ask(self.bytes()?)?;
            all = Some(match all {
                Some(before) => joined(before, commit),
                None => commit,
            });
        }
        self.cursors.forget_snapshots();
        all.ok_or_else(|| Error::internal("an epoch without pieces was run in pieces"))
    }

    fn open_piece(&mut self, intent: &Intent, pieces: &Pieces, k: usize, last: bool) -> Result<Vec<OpenedInput>> {
        let mut opened = Vec::new();
        for (n, of) in pieces.iter().enumerate() {
            opened.push(match of.get(k) {
                Some(piece) => self.cursors.open_piece(n, piece)?,
                None if last && of.is_empty() => self.cursors.open_input(&self.env, n, intent)?,
                None => (Vec::new(), BadRecords::default()),
            });
        }
        Ok(opened)
    }

    /// An expression may fail on a piece though not over the whole snapshot: the error is then transient, and the retry
    /// reads the snapshot whole.
    fn after_piece(&self, error: Error, last: bool) -> Error {
        let is_room =
            matches!(error.kind(), ErrorKind::ConfigurationLimit | ErrorKind::OutOfMemory | ErrorKind::LimitExceeded);
        if last || is_room {
            return error;
        }
        self.env.epochs.read_whole(self.setup.id);
        error.with_kind(ErrorKind::CannotConnectNow)
    }
}

/// Merges two commits: the second one, with the counts and observed times of both.
fn joined(before: Commit, mut commit: Commit) -> Commit {
    commit.rows_in += before.rows_in;
    commit.rows_out += before.rows_out;
    commit.hash = before.hash.zip(commit.hash).map(|(one, other)| one.plus(other));
    commit.late += before.late;
    commit.bad += before.bad;
    for (times, earlier) in commit.observed.iter_mut().zip(before.observed) {
        for (partition, time) in earlier {
            match times.entry(partition) {
                Entry::Vacant(entry) => drop(entry.insert(time)),
                Entry::Occupied(mut entry) => *entry.get_mut() = time.max(*entry.get()),
            }
        }
    }
    commit.late_rows = [before.late_rows, commit.late_rows].concat();
    commit.dead_letters = [before.dead_letters, commit.dead_letters].concat();
    commit
}
