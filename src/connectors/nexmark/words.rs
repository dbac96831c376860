//! The texts of events: names, addresses, channels, and what fills a row up to the size that the benchmark wants.

use std::fmt::Write;

use super::{
    dice::{For, below, mix},
    events::{Events, NexmarkTable},
};

const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];

/// The benchmark throws for a city and for a state, so that the one need not be in the other.
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];

/// Half of the bids come through one of these.
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const CHANNELS: u64 = 10_000;

pub(super) const ITEM_NAME_LENGTH: usize = 20;
pub(super) const DESCRIPTION_LENGTH: usize = 100;
const EMAIL_LENGTHS: (usize, usize) = (7, 5);
const CREDIT_CARD_LENGTH: usize = 19;

impl Events {
    fn pick(&self, what: For, event: u64, words: &[&'static str]) -> &'static str {
        words[below(self.throw(what, event), words.len() as u64) as usize]
    }

    fn names(&self, event: u64) -> (&'static str, &'static str) {
        let thrown = self.throw(For::Name, event);
        let first = FIRST_NAMES[below(thrown, FIRST_NAMES.len() as u64) as usize];
        (first, LAST_NAMES[below(mix(thrown), LAST_NAMES.len() as u64) as usize])
    }

    pub fn name(&self, event: u64, text: &mut String) {
        let (first, last) = self.names(event);
        text.extend([first, " ", last]);
    }

    pub fn email_address(&self, event: u64, text: &mut String) {
        let thrown = self.throw(For::Email, event);
        letters(thrown, EMAIL_LENGTHS.0, text);
        text.push('@');
        letters(mix(thrown), EMAIL_LENGTHS.1, text);
        text.push_str(".com");
    }

    pub fn credit_card(&self, event: u64, text: &mut String) {
        let mut thrown = self.throw(For::CreditCard, event);
        for group in 0..4 {
            if group > 0 {
                text.push(' ');
            }
            // Writing to a string cannot fail.
            let _ = write!(text, "{:04}", below(thrown, 10_000));
            thrown = mix(thrown);
        }
    }

    pub fn city(&self, event: u64) -> &'static str {
        self.pick(For::City, event, &CITIES)
    }

    pub fn state(&self, event: u64) -> &'static str {
        self.pick(For::State, event, &STATES)
    }

    /// Letters of a column that is all letters.
    pub fn letters(&self, what: For, event: u64, length: usize, text: &mut String) {
        letters(self.throw(what, event), length, text);
    }

    /// What fills a row: on average it has then the size that the benchmark gives the kind.
    pub fn extra(&self, table: NexmarkTable, event: u64, text: &mut String) {
        let (size, others) = match table {
            NexmarkTable::Person => {
                let (first, last) = self.names(event);
                let email = EMAIL_LENGTHS.0 + 1 + EMAIL_LENGTHS.1 + 4;
                let place = self.city(event).len() + self.state(event).len();
                (200, 8 + first.len() + 1 + last.len() + email + CREDIT_CARD_LENGTH + place)
            }
            NexmarkTable::Auction => (500, 8 + ITEM_NAME_LENGTH + DESCRIPTION_LENGTH + 5 * 8),
            NexmarkTable::Bid => (100, 4 * 8),
        };
        let missing = (size as u64).saturating_sub(others as u64);
        let spread = (missing + 2) / 5;
        let length = missing - spread + below(self.throw(For::ExtraLength, event), 2 * spread);
        self.letters(For::Extra, event, length as usize, text);
    }

    /// The channel of a bid: one of those that are hot, by its place, or one of the many, by its number.
    fn channel_of(&self, event: u64) -> Result<usize, u64> {
        let thrown = self.throw(For::Channel, event);
        match thrown & 1 {
            0 => Ok(below(thrown, HOT_CHANNELS.len() as u64) as usize),
            _ => Err(below(thrown, CHANNELS)),
        }
    }

    pub fn channel(&self, event: u64, text: &mut String) {
        match self.channel_of(event) {
            Ok(hot) => text.push_str(HOT_CHANNELS[hot]),
            Err(number) => {
                // Writing to a string cannot fail.
                let _ = write!(text, "channel-{number}");
            }
        }
    }

    /// Where a bid was made: the same for each channel, whatever the seed. Nine of ten say the number of their channel.
    pub fn url(&self, event: u64, text: &mut String) {
        let (channel, hot) = match self.channel_of(event) {
            Ok(hot) => (hot as u64, true),
            Err(number) => (number, false),
        };
        let mut thrown = mix(channel + 1);
        text.push_str("https://www.nexmark.com");
        for _ in 0..3 {
            text.push('/');
            folder(thrown, text);
            thrown = mix(thrown);
        }
        text.push_str("/item.htm?query=1");
        if !hot && below(thrown, 10) > 0 {
            // The bits the other way round, so that the numbers are long and far from each other.
            let id = i64::from((channel as i32).reverse_bits()).abs();
            // Writing to a string cannot fail.
            let _ = write!(text, "&channel_id={id}");
        }
    }
}

/// So many letters from `a` to `z`.
fn letters(mut thrown: u64, length: usize, text: &mut String) {
    let mut left = length;
    while left > 0 {
        let piece = thrown.to_le_bytes().map(|byte| b'a' + ((u16::from(byte) * 26) >> 8) as u8);
        let now = left.min(piece.len());
        text.push_str(str::from_utf8(&piece[..now]).expect("letters are UTF-8"));
        left -= now;
        thrown = mix(thrown);
    }
}

/// Three or four letters, of which one in thirteen is `_`.
fn folder(thrown: u64, text: &mut String) {
    let bytes = thrown.to_le_bytes();
    let length = 3 + usize::from(bytes[7] & 1);
    for byte in &bytes[..length] {
        let letter = u16::from(*byte) * 26;
        text.push(if letter < 512 { '_' } else { char::from(b'a' + (letter >> 8) as u8) });
    }
}
