//! Chance that is the same each time: a number is a pure function of a seed, of what it is thrown for, and of an event.

/// What is thrown for. Two throws for one event are independent where these differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum For {
    Name = 1,
    Email,
    CreditCard,
    City,
    State,
    Extra,
    ExtraLength,
    ItemName,
    Description,
    InitialBid,
    Reserve,
    Length,
    Seller,
    SellerHot,
    Category,
    Auction,
    AuctionHot,
    Bidder,
    BidderHot,
    Price,
    Channel,
}

/// SplitMix64's finishing step: every bit of the result hangs on every bit of the input.
pub(super) fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

/// One throw.
pub(super) fn throw(seed: u64, what: For, event: u64) -> u64 {
    mix(mix(seed ^ ((what as u64) << 56)).wrapping_add(event.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

/// A throw as a number from 0 up to, not including, `count`.
pub(super) fn below(thrown: u64, count: u64) -> u64 {
    ((u128::from(thrown) * u128::from(count)) >> 64) as u64
}

/// Ten to the power of a throw that is a number from 0 up to, not including, 1. Every machine multiplies alike, but not
/// every one has the same logarithms.
pub(super) fn ten_to_the(thrown: u64) -> f64 {
    let bit = |place: usize| thrown >> (63 - place) & 1 == 1;
    (0..ROOTS.len()).fold(1.0, |product, place| product * if bit(place) { ROOTS[place] } else { 1.0 })
}

/// The square root of ten, the root of that, and so on.
const ROOTS: [f64; 24] = {
    let (mut roots, mut of, mut place) = ([1.0; 24], 10.0, 0);
    while place < roots.len() {
        let (mut root, mut step) = (of, 0);
        // Newton's; more than enough steps from here.
        while step < 10 {
            root = (root + of / root) / 2.0;
            step += 1;
        }
        roots[place] = root;
        of = root;
        place += 1;
    }
    roots
};
