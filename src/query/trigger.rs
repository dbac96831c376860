//! When a query runs its next epoch.

use std::time::Duration;

use crate::options::parse_duration;

/// Spark's triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trigger {
    /// As soon as there are rows.
    #[default]
    Asap,
    /// At most one epoch per interval, if there are rows.
    Interval(Duration),
    /// One epoch, then the query is finished.
    Once,
    /// Everything available now, in as many epochs as the limits need; then the query is finished.
    AvailableNow,
}

impl Trigger {
    /// `'asap'`, `'once'`, `'available_now'`, or an interval such as `'500 ms'`.
    pub fn parse(text: &str) -> Option<Trigger> {
        match text.trim().to_lowercase().replace([' ', '-'], "_").as_str() {
            "asap" | "as_soon_as_possible" | "0" => Some(Trigger::Asap),
            "once" => Some(Trigger::Once),
            "available_now" | "availablenow" => Some(Trigger::AvailableNow),
            _ => parse_duration(text).map(|d| if d.is_zero() { Trigger::Asap } else { Trigger::Interval(d) }),
        }
    }

    /// How long to wait before the next epoch, `since` after the last one began.
    pub fn wait(self, since: Option<Duration>) -> Duration {
        match (self, since) {
            (Trigger::Interval(interval), Some(since)) => interval.saturating_sub(since),
            _ => Duration::ZERO,
        }
    }

    /// Whether the query finishes once it has read what was available when it began.
    pub fn ends(self) -> bool {
        matches!(self, Trigger::Once | Trigger::AvailableNow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigger_spellings_are_parsed() {
        assert_eq!(Trigger::parse("500 ms"), Some(Trigger::Interval(Duration::from_millis(500))));
        assert_eq!(Trigger::parse("available now"), Some(Trigger::AvailableNow));
        assert_eq!(Trigger::parse("Once"), Some(Trigger::Once));
        assert_eq!(Trigger::parse("whenever"), None);
    }

    #[test]
    fn trigger_interval_counts_from_the_start_of_the_last_epoch() {
        let trigger = Trigger::Interval(Duration::from_secs(10));
        assert_eq!(trigger.wait(None), Duration::ZERO);
        assert_eq!(trigger.wait(Some(Duration::from_secs(4))), Duration::from_secs(6));
        assert_eq!(trigger.wait(Some(Duration::from_secs(14))), Duration::ZERO);
    }
}
