//! The stream of events: of which kind each is, when it is, and whom it is about. Proportions and ratios are those of
//! the benchmark, as Apache Beam has them.

use super::dice::{For, below, ten_to_the, throw};
use crate::time::Micros;

/// Of so many events in a row, one is a person, the next ones are auctions, the others bids.
const ROUND: u64 = 50;

/// Identifiers of people and of auctions begin with this one.
pub(super) const FIRST_ID: i64 = 1000;
const FIRST_CATEGORY: i64 = 10;
const CATEGORIES: u64 = 5;

/// Who is hot is so for that many people, or auctions, to come.
const HOT_FOR: u64 = 100;

/// Of so many, all but one are about who is hot.
const HOT_SELLER_RATIO: u64 = 4;
const HOT_AUCTION_RATIO: u64 = 2;
const HOT_BIDDER_RATIO: u64 = 4;

/// Those who are not hot are among the last so many, or among the next few, who are not there yet.
const ACTIVE_PEOPLE: u64 = 1000;
const ACTIVE_AUCTIONS: u64 = 100;
const PERSON_LEAD: u64 = 10;
const AUCTION_LEAD: u64 = 10;

/// The three kinds of events, each a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NexmarkTable {
    Person,
    Auction,
    Bid,
}

impl NexmarkTable {
    pub const ALL: [NexmarkTable; 3] = [NexmarkTable::Person, NexmarkTable::Auction, NexmarkTable::Bid];

    pub fn name(self) -> &'static str {
        match self {
            NexmarkTable::Person => "person",
            NexmarkTable::Auction => "auction",
            NexmarkTable::Bid => "bid",
        }
    }

    /// Where its events begin in a round, and how many there are.
    fn place(self) -> (u64, u64) {
        match self {
            NexmarkTable::Person => (0, 1),
            NexmarkTable::Auction => (1, 3),
            NexmarkTable::Bid => (4, 46),
        }
    }

    /// How many of the events before this one are rows of this table.
    pub fn rows_before(self, event: u64) -> u64 {
        let (first, count) = self.place();
        event / ROUND * count + (event % ROUND).saturating_sub(first).min(count)
    }

    /// The event that is this row of the table.
    pub fn event_of(self, row: u64) -> u64 {
        let (first, count) = self.place();
        row / count * ROUND + first + row % count
    }

    /// The last row of this table when that event happens, itself included; the first one where there is none yet.
    fn last(self, event: u64) -> u64 {
        self.rows_before(event + 1).saturating_sub(1)
    }
}

/// All events, as a function of their numbers.
#[derive(Debug, Clone)]
pub(super) struct Events {
    pub seed: u64,
    /// The event time of the first.
    pub start: Micros,
    /// How many there are in a second of event time; never 0.
    pub per_second: u64,
}

impl Events {
    pub fn throw(&self, what: For, event: u64) -> u64 {
        throw(self.seed, what, event)
    }

    fn below(&self, what: For, event: u64, count: u64) -> u64 {
        below(self.throw(what, event), count)
    }

    /// The event time.
    pub fn moment(&self, event: u64) -> Micros {
        self.start.saturating_add(self.micros(event))
    }

    /// How long so many events take.
    fn micros(&self, events: u64) -> Micros {
        let micros = (events / self.per_second)
            .saturating_mul(1_000_000)
            .saturating_add(events % self.per_second * 1_000_000 / self.per_second);
        Micros::try_from(micros).unwrap_or(Micros::MAX)
    }

    /// When an auction ends: on average when the auctions have begun that can be open beside it.
    pub fn expires(&self, event: u64) -> Micros {
        let horizon = self.micros(ACTIVE_AUCTIONS * ROUND / 3).unsigned_abs();
        let length = 1_000 + self.below(For::Length, event, (2 * horizon).max(1));
        self.moment(event).saturating_add_unsigned(length)
    }

    /// Who sells in an auction.
    pub fn seller(&self, event: u64) -> i64 {
        let last = NexmarkTable::Person.last(event);
        FIRST_ID
            + match self.below(For::SellerHot, event, HOT_SELLER_RATIO) {
                0 => self.person(For::Seller, event, last),
                _ => (last / HOT_FOR * HOT_FOR) as i64,
            }
    }

    pub fn category(&self, event: u64) -> i64 {
        FIRST_CATEGORY + self.below(For::Category, event, CATEGORIES) as i64
    }

    /// Which auction a bid is for.
    pub fn auction(&self, event: u64) -> i64 {
        let last = NexmarkTable::Auction.last(event);
        FIRST_ID
            + match self.below(For::AuctionHot, event, HOT_AUCTION_RATIO) {
                0 => {
                    let first = last.saturating_sub(ACTIVE_AUCTIONS);
                    (first + self.below(For::Auction, event, last - first + 1 + AUCTION_LEAD)) as i64
                }
                _ => (last / HOT_FOR * HOT_FOR) as i64,
            }
    }

    /// Who bids. Hot bidders stand beside hot sellers, so that they are not the same.
    pub fn bidder(&self, event: u64) -> i64 {
        let last = NexmarkTable::Person.last(event);
        FIRST_ID
            + match self.below(For::BidderHot, event, HOT_BIDDER_RATIO) {
                0 => self.person(For::Bidder, event, last),
                _ => (last / HOT_FOR * HOT_FOR + 1) as i64,
            }
    }

    /// One of the last people, or of the next.
    fn person(&self, what: For, event: u64, last: u64) -> i64 {
        let people = last + 1;
        let active = people.min(ACTIVE_PEOPLE);
        (people - active + self.below(what, event, active + PERSON_LEAD)) as i64
    }

    /// Cents between one dollar and a million; as many between one and ten as between ten and a hundred.
    pub fn price(&self, what: For, event: u64) -> i64 {
        let root = ten_to_the(self.throw(what, event));
        let square = root * root;
        (square * square * square * 100.0).round() as i64
    }
}
