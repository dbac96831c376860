//! A relation's changes, epoch by epoch, for as long as somebody may ask for them.
//!
//! Three may ask. Views are past an epoch once they have checkpointed what they made of it. Subscribers who are connected
//! are past what they took. And where anybody ever subscribed, one may come back: for those a *history* is kept, which is
//! no more than is cheaper than all rows anew. None of them holds more than the limit: who is behind it is told so.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    changes::Changes,
    state::{Budget, Share},
    time::Epoch,
};

/// What changelogs hold at the most: each so many rows, and all together so many bytes. Of these no one gets more than
/// half; and each keeps a little, however much others hold.
#[derive(Debug, Clone)]
pub struct ChangelogLimit {
    pub rows_max: usize,
    pub budget: Arc<Budget>,
}

impl ChangelogLimit {
    pub fn new(rows_max: usize, bytes_max: u64) -> Self {
        ChangelogLimit { rows_max, budget: Arc::new(Budget::new(bytes_max)) }
    }
}

/// A history has up to this many changed rows more than the relation has rows.
const HISTORY_ROWS_MIN: usize = 1 << 16;

/// A changelog keeps this part of what all may hold whatever others do.
const LEAST_PART: usize = 64;

/// As far as views are past where there are none.
const ALL: Epoch = Epoch(u64::MAX);

#[derive(Debug)]
pub(super) struct Changelog {
    /// Oldest first.
    entries: VecDeque<(Epoch, Changes)>,
    /// Changes up to here are not kept.
    forgotten: Epoch,
    /// Whether changes are kept at all.
    open: bool,
    /// Changed rows now, and at the most.
    rows: usize,
    rows_max: usize,
    /// What its entries take, and its part of what all may take, where that is limited.
    bytes: usize,
    share: Option<Share>,
    /// What all views that follow are past.
    released: Epoch,
    /// What each subscriber who is connected is past.
    subscribers: BTreeMap<u64, Epoch>,
    last_subscriber: u64,
    history: bool,
}

impl Default for Changelog {
    fn default() -> Self {
        Changelog {
            entries: VecDeque::new(),
            forgotten: Epoch(0),
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

    /// Changes up to here are not kept.
    pub fn forgotten(&self) -> Epoch {
        self.forgotten
    }

    /// The newest epoch that it tells of, or the one that it begins after.
    pub fn told(&self) -> Epoch {
        self.entries.back().map_or(self.forgotten, |(epoch, _)| *epoch)
    }

    pub fn limit(&mut self, limit: &ChangelogLimit) {
        self.rows_max = limit.rows_max;
        self.share = Some(limit.budget.share("a changelog"));
    }

    /// From now on the changes after an epoch are kept; or, once more, none.
    pub fn open(&mut self, from: Option<Epoch>) {
        self.open = from.is_some();
        self.forgotten = from.unwrap_or_default();
    }

    /// A view is there that will ask for what comes after `from`.
    pub fn follow(&mut self, from: Epoch) {
        self.released = self.released.min(from);
    }

    /// Subscribers may come back.
    pub fn keep_history(&mut self) {
        self.history = true;
    }

    /// Serves those whom another one served.
    pub fn serve_as(&mut self, other: &Changelog) {
        self.released = other.released;
        self.subscribers.clone_from(&other.subscribers);
        self.last_subscriber = other.last_subscriber;
        self.history = other.history;
    }

    /// Notes the changes of an epoch of a relation that has so many rows now. Past the limit the oldest go.
    pub fn push(&mut self, epoch: Epoch, changes: Changes, relation_rows: usize) {
        self.rows += changes.num_rows();
        self.bytes += changes.bytes();
        self.entries.push_back((epoch, changes));
        self.drop_needless(relation_rows);
        while self.entries.len() > 1 && (self.rows > self.rows_max || !self.fits()) {
            self.drop_oldest();
        }
        self.hold();
    }

    /// Whether its part of what all may hold is large enough.
    fn fits(&self) -> bool {
        let Some(share) = &self.share else { return true };
        let max = usize::try_from(share.bytes_max()).unwrap_or(usize::MAX);
        self.bytes <= max / LEAST_PART || (self.bytes <= max / 2 && share.ask(self.bytes).is_ok())
    }

    /// Notes what it holds.
    fn hold(&self) {
        if let Some(share) = &self.share {
            share.hold(self.bytes);
        }
    }

    /// All views are past this epoch.
    pub fn release(&mut self, up_to: Epoch, relation_rows: usize) {
        if self.released != ALL {
            self.released = self.released.max(up_to);
        }
        self.trim(relation_rows);
    }

    /// There is no view any more that follows a relation, which is at this epoch.
    pub fn unfollow(&mut self, now: Epoch, relation_rows: usize) {
        self.released = ALL;
        if self.history {
            return self.trim(relation_rows);
        }
        self.open = false;
        self.entries.clear();
        (self.rows, self.bytes) = (0, 0);
        self.hold();
        self.forgotten = now;
    }

    /// A place for a subscriber who is past an epoch.
    pub fn join(&mut self, at: Epoch) -> u64 {
        self.last_subscriber += 1;
        self.subscribers.insert(self.last_subscriber, at);
        self.last_subscriber
    }

    /// A subscriber has come to an epoch.
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

    /// Drops what nobody may ask for any more.
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
            self.forgotten = self.forgotten.max(needless);
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((epoch, changes)) = self.entries.pop_front() {
            self.rows -= changes.num_rows();
            self.bytes -= changes.bytes();
            self.forgotten = self.forgotten.max(epoch);
        }
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
    fn what_all_views_are_past_goes() {
        let mut log = opened();
        log.follow(Epoch(0));
        let mut log = filled(log, 1..=5);
        log.release(Epoch(3), 0);
        assert_eq!((log.forgotten(), log.entries(Epoch(3), Epoch(9)).count()), (Epoch(3), 2));
        log.unfollow(Epoch(5), 0);
        assert!(!log.is_open());
    }

    #[test]
    fn a_subscriber_holds_what_views_are_past_up_to_the_limit() {
        let mut log = opened();
        log.follow(Epoch(0));
        log.keep_history();
        log.limit(&ChangelogLimit::new(100, u64::MAX));
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
    fn all_changelogs_together_stay_within_their_bytes() {
        // An epoch of ten rows of eight bytes.
        let limit = ChangelogLimit::new(usize::MAX, 64 * 80);
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
    fn a_history_is_no_longer_than_it_is_worth() {
        let mut log = opened();
        log.keep_history();
        let log = filled(log, 1..=10_000);
        assert!((HISTORY_ROWS_MIN - 10..=HISTORY_ROWS_MIN).contains(&log.rows), "{}", log.rows);
        assert_eq!(log.forgotten(), Epoch(10_000 - log.entries.len() as u64));
    }
}
