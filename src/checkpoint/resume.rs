//! What a query does after a crash: a pure function of log and checkpoint.

use std::collections::BTreeMap;

use super::{Commit, Intent};
use crate::{
    error::{Error, ErrorKind, Result},
    time::Epoch,
};

/// The epochs to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Resume {
    /// Epochs committed after the checkpoint: to be replayed, in this order, for their state.
    pub redo: Vec<(Intent, Commit)>,
    /// The epoch with an intent but no commit: to be run as that intent says.
    pub pending: Option<Intent>,
}

/// Decides. `checkpoint` is the epoch of the newest checkpoint, 0 where there is none; intents and commits are those of
/// one query, in any order, and may reach back before the checkpoint. A commit without its intent, or a gap between
/// commits, is corruption: the log is written in order.
pub fn resume(checkpoint: Epoch, intents: &[Intent], commits: &[Commit]) -> Result<Resume> {
    let intents: BTreeMap<Epoch, &Intent> = intents.iter().map(|i| (i.epoch, i)).collect();
    let commits: BTreeMap<Epoch, &Commit> = commits.iter().map(|c| (c.epoch, c)).collect();
    let last = commits.last_key_value().map_or(checkpoint, |(epoch, _)| *epoch).max(checkpoint);
    let mut redo = Vec::new();
    let mut epoch = checkpoint;
    while epoch < last {
        epoch = epoch.next();
        match (intents.get(&epoch), commits.get(&epoch)) {
            (Some(intent), Some(commit)) => redo.push(((*intent).clone(), (*commit).clone())),
            (None, Some(_)) => return Err(corrupt(epoch, "a commit without an intent")),
            (_, None) => return Err(corrupt(epoch, "no commit, though a later epoch has one")),
        }
    }
    let pending = intents.get(&last.next()).map(|i| (*i).clone());
    Ok(Resume { redo, pending })
}

fn corrupt(epoch: Epoch, what: &str) -> Error {
    Error::new(ErrorKind::DataCorrupted, format!("the log has {what} for epoch {epoch}"))
        .hint("The data directory lost files. Restore it from a copy.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(epoch: u64) -> Intent {
        Intent { query: 1, epoch: Epoch(epoch), spans: vec![], watermark: None, now: 0, partitions: 1 }
    }
    fn commit(epoch: u64) -> Commit {
        Commit {
            query: 1,
            epoch: Epoch(epoch),
            rows_in: 0,
            rows_out: 0,
            hash: None,
            late: 0,
            untimed: 0,
            bad: 0,
            observed: vec![],
            late_rows: vec![],
            dead_letters: vec![],
        }
    }
    fn decide(checkpoint: u64, intents: &[u64], commits: &[u64]) -> Result<(Vec<u64>, Option<u64>)> {
        let intents: Vec<_> = intents.iter().map(|e| intent(*e)).collect();
        let commits: Vec<_> = commits.iter().map(|e| commit(*e)).collect();
        let Resume { redo, pending } = resume(Epoch(checkpoint), &intents, &commits)?;
        Ok((redo.iter().map(|(i, _)| i.epoch.0).collect(), pending.map(|i| i.epoch.0)))
    }

    #[test]
    fn decide_intents_and_commits_give_epochs_to_replay_and_pending_epoch() {
        assert_eq!(decide(0, &[], &[]).unwrap(), (vec![], None));
        assert_eq!(decide(0, &[1], &[]).unwrap(), (vec![], Some(1)));
        assert_eq!(decide(0, &[1, 2], &[1]).unwrap(), (vec![1], Some(2)));
        assert_eq!(decide(2, &[1, 2, 3, 4], &[1, 2, 3]).unwrap(), (vec![3], Some(4)));
        // The checkpoint is ahead of the log: nothing to redo.
        assert_eq!(decide(5, &[], &[]).unwrap(), (vec![], None));
        assert_eq!(decide(5, &[4, 5], &[4, 5]).unwrap(), (vec![], None));
        // The first epoch checkpoints before it commits.
        assert_eq!(decide(1, &[1], &[]).unwrap(), (vec![], None));
        assert_eq!(decide(0, &[2], &[1, 2]).unwrap_err().kind(), ErrorKind::DataCorrupted);
        assert_eq!(decide(0, &[1, 2, 3], &[1, 3]).unwrap_err().kind(), ErrorKind::DataCorrupted);
    }
}
