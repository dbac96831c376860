//! A relation's changes, epoch by epoch, while readers may ask for them.
//!
//! There are three kinds of readers. A view has consumed an epoch once its checkpoint includes it. A connected
//! subscriber has consumed what it took. And a subscriber may reconnect: for that a *history* is kept, no longer than
//! sending all rows again would be. In memory all are bounded by the limit. Epochs that views have not consumed are
//! then read from files, up to a limit of their own; a view behind those gets an error.
//!
//! ```text
//! forgotten        in_memory           recorded
//!     │ files ──────────┼──▶ …             │
//!     │                 │ entries ────────▶│
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    changes::Changes,
    memory::{Budget, BudgetShare},
    time::Epoch,
};

/// Limits of changelogs: rows in memory and bytes in files of each, and bytes in memory of all together. No changelog
/// gets more than half of those, and each keeps a small part whatever others hold.
#[derive(Debug, Clone)]
pub struct ChangelogLimit {
    pub rows_max: usize,
    pub disk_max: u64,
    pub budget: Arc<Budget>,
}

impl ChangelogLimit {
    pub fn new(rows_max: usize, bytes_max: u64, disk_max: u64) -> Self {
        ChangelogLimit { rows_max, disk_max, budget: Arc::new(Budget::new(bytes_max)) }
    }
}

/// A file of changes: the epochs after `after`, up to `to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filed {
    pub after: Epoch,
    pub to: Epoch,
    pub rows: usize,
    pub bytes: u64,
}

/// Changed rows that a history may have beyond the number of rows of the relation.
const HISTORY_ROWS_MIN: usize = 1 << 16;

/// The fraction of the limit (1/64) that each changelog keeps whatever others hold.
const LEAST_PART: usize = 64;

/// The released epoch if no view follows.
const ALL: Epoch = Epoch(u64::MAX);

#[derive(Debug)]
pub(super) struct Changelog {
    /// Oldest first.
    entries: VecDeque<(Epoch, Changes)>,
    /// Changes up to this epoch are not in `entries`, but may be in files.
    in_memory: Epoch,
    /// Changes up to this epoch are dropped.
    forgotten: Epoch,
    /// Files with epochs that views have not consumed, oldest first and contiguous.
    files: VecDeque<Filed>,
    /// Whether all changes are soon saved to files.
    is_filed: bool,
    disk_max: u64,
    /// Whether changes are recorded at all.
    open: bool,
    /// Changed rows in memory, and their limit.
    rows: usize,
    rows_max: usize,
    /// Bytes of `entries`, and the share of the common limit, if there is one.
    bytes: usize,
    share: Option<BudgetShare>,
    /// The epoch that all following views have consumed.
    released: Epoch,
    /// Per connected subscriber: the epoch it has consumed.
    subscribers: BTreeMap<u64, Epoch>,
    last_subscriber: u64,
    history: bool,
}

impl Default for Changelog {
    fn default() -> Self {
        Changelog {
            entries: VecDeque::new(),
            in_memory: Epoch(0),
            forgotten: Epoch(0),
            files: VecDeque::new(),
            is_filed: false,
            disk_max: u64::MAX,
            open: false,
            rows: 0,
            rows_max: usize::MAX,
            bytes: 0,
            share: None,
            released: ALL,
            subscribers: BTreeMap::new(),
            last_subscriber: 0,
            history: false,
        }
    }
}

impl Changelog {
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Changes up to this epoch are dropped.
    pub fn forgotten(&self) -> Epoch {
        self.forgotten
    }

    /// Changes up to this epoch are not in memory.
    pub fn in_memory(&self) -> Epoch {
        self.in_memory
    }

    /// The newest epoch recorded, or the one before the first.
    pub fn recorded(&self) -> Epoch {
        self.entries.back().map_or(self.in_memory, |(epoch, _)| *epoch)
    }

    pub fn limit(&mut self, limit: &ChangelogLimit) {
        (self.rows_max, self.disk_max) = (limit.rows_max, limit.disk_max);
        self.share = Some(limit.budget.share("a changelog"));
    }

    /// Starts recording the changes after `from`; `None` stops it.
    pub fn open(&mut self, from: Option<Epoch>) {
        self.open = from.is_some();
        self.forgotten = from.unwrap_or_default();
        self.in_memory = self.forgotten;
        self.files.clear();
    }

    /// Declares that all changes are saved to files, each reported by [`Changelog::note_file`].
    pub fn set_filed(&mut self) {
        self.is_filed = true;
    }

    /// Notes a written file.
    pub fn note_file(&mut self, file: Filed) {
        if !self.open || file.to <= self.forgotten {
            return;
        }
        if self.files.back().is_some_and(|last| last.to != file.after) {
            self.files.clear();
        }
        self.files.push_back(file);
        self.shrink();
        // Changes that are in memory as well do not count: their files are needed for recovery anyway.
        let spilled =
            |log: &Self| log.files.iter().filter(|file| file.to <= log.in_memory).map(|file| file.bytes).sum::<u64>();
        while spilled(self) > self.disk_max
            && let Some(oldest) = self.files.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest.to);
        }
        self.hold();
    }

    /// The files with changes after `from` that are not in memory, oldest first.
    pub fn files(&self, from: Epoch) -> impl Iterator<Item = &Filed> {
        self.files.iter().filter(move |file| file.to > from && from < self.in_memory && file.after < self.in_memory)
    }

    /// Registers a view that will read the changes after `from`.
    pub fn follow(&mut self, from: Epoch) {
        self.released = self.released.min(from);
    }

    /// Keeps a history for subscribers that reconnect.
    pub fn keep_history(&mut self) {
        self.history = true;
    }

    /// Takes over the readers of `other`.
    pub fn serve_as(&mut self, other: &Changelog) {
        self.released = other.released;
        self.subscribers.clone_from(&other.subscribers);
        self.last_subscriber = other.last_subscriber;
        self.history = other.history;
    }

    /// Records the changes of an epoch; the relation now has `relation_rows` rows. Over the limit, the oldest are
    /// dropped.
    pub fn push(&mut self, epoch: Epoch, changes: Changes, relation_rows: usize) {
        self.rows += changes.num_rows();
        self.bytes += changes.bytes();
        self.entries.push_back((epoch, changes));
        self.drop_needless(relation_rows);
        self.shrink();
        self.hold();
    }

    /// Drops the oldest entries over the limit. Epochs that views have not consumed stay in memory until they are in a
    /// file, whose writer holds them too until then.
    fn shrink(&mut self) {
        while self.entries.len() > 1 && (self.rows > self.rows_max || !self.fits()) {
            let Some(oldest) = self.entries.front().map(|(epoch, _)| *epoch) else { return };
            let in_file = self.files.front().is_some_and(|first| first.after <= self.in_memory)
                && self.files.back().is_some_and(|last| oldest <= last.to);
            if in_file {
                self.leave_memory();
            } else if self.is_filed && oldest > self.released {
                return;
            } else {
                self.drop_oldest();
            }
        }
    }

    /// Whether its bytes fit into its share of the common limit.
    fn fits(&self) -> bool {
        let Some(share) = &self.share else { return true };
        let max = usize::try_from(share.bytes_max()).unwrap_or(usize::MAX);
        self.bytes <= max / LEAST_PART || (self.bytes <= max / 2 && share.ask(self.bytes).is_ok())
    }

    /// Updates its share of the common limit.
    fn hold(&self) {
        if let Some(share) = &self.share {
            share.hold(self.bytes);
        }
    }

    /// Notes that all views have consumed up to `up_to`.
    pub fn release(&mut self, up_to: Epoch, relation_rows: usize) {
        if self.released != ALL {
            self.released = self.released.max(up_to);
        }
        self.trim(relation_rows);
    }

    /// Notes that no view follows any more; the relation is at epoch `now`.
    pub fn unfollow(&mut self, now: Epoch, relation_rows: usize) {
        self.released = ALL;
        if self.history {
            return self.trim(relation_rows);
        }
        self.open = false;
        self.entries.clear();
        self.files.clear();
        (self.rows, self.bytes) = (0, 0);
        self.hold();
        (self.forgotten, self.in_memory) = (now, now);
    }

    /// Registers a subscriber that has consumed up to `at`; gives its number.
    pub fn join(&mut self, at: Epoch) -> u64 {
        self.last_subscriber += 1;
        self.subscribers.insert(self.last_subscriber, at);
        self.last_subscriber
    }

    /// Notes that a subscriber has consumed up to `at`.
    pub fn advance(&mut self, subscriber: u64, at: Epoch, relation_rows: usize) {
        if self.subscribers.insert(subscriber, at) != Some(at) {
            self.trim(relation_rows);
        }
    }

    pub fn leave(&mut self, subscriber: u64, relation_rows: usize) {
        self.subscribers.remove(&subscriber);
        self.trim(relation_rows);
    }

    /// The entries after `from` up to `to`.
    pub fn entries(&self, from: Epoch, to: Epoch) -> impl Iterator<Item = &(Epoch, Changes)> {
        let end = self.entries.partition_point(|(epoch, _)| *epoch <= to);
        let start = self.entries.partition_point(|(epoch, _)| *epoch <= from).min(end);
        self.entries.range(start..end)
    }

    /// Drops what no reader may ask for.
    fn trim(&mut self, relation_rows: usize) {
        self.drop_needless(relation_rows);
        self.hold();
    }

    fn drop_needless(&mut self, relation_rows: usize) {
        let needless = self.subscribers.values().copied().fold(self.released, Epoch::min);
        let history = if self.history { relation_rows.saturating_add(HISTORY_ROWS_MIN) } else { 0 };
        while self.rows > history && self.entries.front().is_some_and(|(epoch, _)| *epoch <= needless) {
            self.drop_oldest();
        }
        if !self.history && needless != ALL {
            self.forget(needless);
        }
        // Only views read files.
        self.forget(self.released.min(self.in_memory));
        while self.files.front().is_some_and(|oldest| oldest.to <= self.released) {
            self.files.pop_front();
        }
    }

    fn forget(&mut self, up_to: Epoch) {
        self.forgotten = self.forgotten.max(up_to);
        self.in_memory = self.in_memory.max(self.forgotten);
    }

    fn drop_oldest(&mut self) {
        if let Some(epoch) = self.leave_memory() {
            self.forget(epoch);
        }
    }

    fn leave_memory(&mut self) -> Option<Epoch> {
        let (epoch, changes) = self.entries.pop_front()?;
        self.rows -= changes.num_rows();
        self.bytes -= changes.bytes();
        self.in_memory = self.in_memory.max(epoch);
        Some(epoch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Int64Array, RecordBatch},
        datatypes::{DataType, Field, Schema},
    };

    use super::*;

    /// Epochs of ten changed rows each.
    fn filled(mut log: Changelog, epochs: std::ops::RangeInclusive<u64>) -> Changelog {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let column = Arc::new(Int64Array::from_iter_values(0..10)) as ArrayRef;
        let rows = RecordBatch::try_new(schema, vec![column]).unwrap();
        epochs.for_each(|epoch| log.push(Epoch(epoch), Changes::insert(rows.clone()), 0));
        log
    }

    fn opened() -> Changelog {
        let mut log = Changelog::default();
        log.open(Some(Epoch(0)));
        log
    }

    #[test]
    fn changelog_entries_released_by_all_views_are_dropped() {
        let mut log = opened();
        log.follow(Epoch(0));
        let mut log = filled(log, 1..=5);
        log.release(Epoch(3), 0);
        assert_eq!((log.forgotten(), log.entries(Epoch(3), Epoch(9)).count()), (Epoch(3), 2));
        log.unfollow(Epoch(5), 0);
        assert!(!log.is_open());
    }

    #[test]
    fn changelog_subscriber_holds_entries_up_to_the_limit() {
        let mut log = opened();
        log.follow(Epoch(0));
        log.keep_history();
        log.limit(&ChangelogLimit::new(100, u64::MAX, u64::MAX));
        let slow = log.join(Epoch(0));
        let mut log = filled(log, 1..=10);
        log.release(Epoch(10), 0);
        assert_eq!(log.forgotten(), Epoch(0));
        let mut log = filled(log, 11..=12);
        assert_eq!(log.forgotten(), Epoch(2), "the oldest go, whoever wants them");
        log.advance(slow, Epoch(12), 0);
        log.leave(slow, 0);
        assert_eq!(log.forgotten(), Epoch(2), "who comes back finds the rest");
    }

    #[test]
    fn changelogs_share_one_byte_limit() {
        // An epoch of ten rows of eight bytes.
        let limit = ChangelogLimit::new(usize::MAX, 64 * 80, u64::MAX);
        let following = || {
            let mut log = opened();
            log.follow(Epoch(0));
            log.limit(&limit);
            log
        };
        let (large, quiet) = (filled(following(), 1..=100), filled(following(), 1..=20));
        assert_eq!((large.bytes, large.forgotten()), (32 * 80, Epoch(68)), "no one has more than half");
        assert_eq!((quiet.bytes, quiet.forgotten()), (20 * 80, Epoch(0)), "who holds little is not touched");
        let third = filled(following(), 1..=100);
        assert_eq!(third.bytes, 12 * 80, "what is left");
        let last = filled(following(), 1..=100);
        assert_eq!((last.bytes, last.forgotten()), (80, Epoch(99)), "the newest is there whatever others hold");
        drop((large, third));
        assert_eq!(filled(last, 101..=110).bytes, 11 * 80);
    }

    #[test]
    fn changelog_beyond_its_limit_keeps_unread_epochs_in_files() {
        let mut log = opened();
        log.follow(Epoch(0));
        log.set_filed();
        log.limit(&ChangelogLimit::new(30, u64::MAX, 1_000));
        let file = |after, to| Filed { after: Epoch(after), to: Epoch(to), rows: 50, bytes: 400 };
        let mut log = filled(log, 1..=5);
        assert_eq!((log.rows, log.in_memory()), (50, Epoch(0)), "no file has it yet");
        log.note_file(file(0, 5));
        assert_eq!((log.rows, log.in_memory(), log.forgotten()), (30, Epoch(2), Epoch(0)));
        let mut log = filled(log, 6..=10);
        log.note_file(file(5, 10));
        assert_eq!((log.rows, log.in_memory(), log.forgotten()), (30, Epoch(7), Epoch(0)));
        assert_eq!(log.files(Epoch(0)).map(|file| file.to.0).collect::<Vec<_>>(), [5, 10]);
        assert_eq!(log.files(Epoch(6)).map(|file| file.to.0).collect::<Vec<_>>(), [10]);
        assert_eq!(log.files(Epoch(7)).count(), 0, "it is in memory");
        let mut log = filled(log, 11..=20);
        log.note_file(file(10, 15));
        log.note_file(file(15, 20));
        assert_eq!((log.in_memory(), log.forgotten()), (Epoch(17), Epoch(5)), "files have a limit too");
        log.release(Epoch(12), 0);
        assert_eq!((log.forgotten(), log.files(Epoch(12)).count()), (Epoch(12), 2));
        log.release(Epoch(18), 0);
        assert_eq!((log.rows, log.forgotten(), log.files.len()), (20, Epoch(18), 1));
    }

    #[test]
    fn changelog_history_of_a_small_relation_is_bounded() {
        let mut log = opened();
        log.keep_history();
        let log = filled(log, 1..=10_000);
        assert!((HISTORY_ROWS_MIN - 10..=HISTORY_ROWS_MIN).contains(&log.rows), "{}", log.rows);
        assert_eq!(log.forgotten(), Epoch(10_000 - log.entries.len() as u64));
    }
}
