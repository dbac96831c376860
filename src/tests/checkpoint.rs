//! `checkpoint::Log`, and the journal below it, over threads whose order is drawn.

#![allow(dead_code, clippy::duplicate_mod, reason = "files of another room, of which tests call a part")]

use shuttle::{sync, thread};

#[path = "../storage/journal/mod.rs"]
mod journal;
#[path = "../checkpoint/log.rs"]
mod log;

pub use log::Log;

use crate::{checkpoint::LogRecord, storage::Storage};
use journal::Journal;

/// How long ago a write failed is drawn, each time that it is asked: a pause may be over or not.
mod time {
    use std::ops::Add;
    pub use std::time::Duration;

    use shuttle::rand::{Rng, thread_rng};

    #[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
    pub struct Instant(Duration);

    impl Instant {
        pub fn now() -> Instant {
            Instant(Duration::from_millis(thread_rng().gen_range(0..2000)))
        }
    }

    impl Add<Duration> for Instant {
        type Output = Instant;

        fn add(self, pause: Duration) -> Instant {
            Instant(pause)
        }
    }
}
