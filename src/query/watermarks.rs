//! How far event time has come: pure bookkeeping, fed by commits.

use serde::{Deserialize, Serialize};

use crate::{sql::watermark::WatermarkSpec, time::Micros};

/// The event times that each watermark of a query has seen, and the watermark that follows. It never goes back.
///
/// A query's watermark is the least of those of its inputs. Every input of today has one partition; where it had
/// several, the least over those with unread rows would count, and their greatest when all have caught up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watermarks {
    /// Per watermark of the plan the greatest event time so far.
    seen: Vec<Option<Micros>>,
    current: Option<Micros>,
    /// When the last row came, by the clock.
    row_at: Option<Micros>,
}

impl Watermarks {
    pub fn new(count: usize) -> Self {
        Watermarks { seen: vec![None; count], ..Watermarks::default() }
    }

    /// Takes in an epoch that was planned at `now` and used `watermark`.
    pub fn observe(&mut self, observed: &[Option<Micros>], rows: u64, watermark: Option<Micros>, now: Micros) {
        for (seen, observed) in self.seen.iter_mut().zip(observed) {
            *seen = (*seen).max(*observed);
        }
        if rows > 0 {
            self.row_at = Some(now);
        }
        self.current = self.current.max(watermark);
    }

    /// The watermark of an epoch planned at `now`. `idle` says that no input has unread rows.
    pub fn next(&self, specs: &[WatermarkSpec], now: Micros, idle: bool) -> Option<Micros> {
        let mut least: Option<Micros> = None;
        for (seen, spec) in self.seen.iter().zip(specs) {
            let Some(seen) = seen else { return self.current };
            let passed = spec.idle_timeout.map_or(0, |timeout| self.silence(now, idle, timeout));
            let own = seen.saturating_sub(spec.delay_us).saturating_add(passed);
            least = Some(least.map_or(own, |least| least.min(own)));
        }
        self.current.max(least)
    }

    /// How far wall-clock time moves a watermark because no row came for longer than `timeout`.
    fn silence(&self, now: Micros, idle: bool, timeout: std::time::Duration) -> Micros {
        let Some(row_at) = self.row_at.filter(|_| idle) else { return 0 };
        let silent = now.saturating_sub(row_at);
        if silent >= timeout.as_micros() as Micros { silent } else { 0 }
    }

    pub fn current(&self) -> Option<Micros> {
        self.current
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spec(delay_us: i64, idle: Option<u64>) -> WatermarkSpec {
        let idle_timeout = idle.map(Duration::from_micros);
        WatermarkSpec { column: "ts".into(), delay_us, ahead_us_max: None, idle_timeout }
    }

    #[test]
    fn the_least_of_the_inputs_counts_and_never_goes_back() {
        let specs = [spec(10, None), spec(5, None)];
        let mut marks = Watermarks::new(2);
        assert_eq!(marks.next(&specs, 0, true), None);
        marks.observe(&[Some(100), None], 1, None, 0);
        assert_eq!(marks.next(&specs, 0, true), None, "one input has said nothing yet");
        marks.observe(&[None, Some(50)], 1, None, 0);
        assert_eq!(marks.next(&specs, 0, true), Some(45));
        marks.observe(&[Some(40), Some(200)], 1, Some(45), 0);
        assert_eq!(marks.next(&specs, 0, true), Some(90));
    }

    #[test]
    fn silence_moves_it_once_it_lasts() {
        let specs = [spec(10, Some(1000))];
        let mut marks = Watermarks::new(1);
        marks.observe(&[Some(100)], 1, None, 5000);
        assert_eq!(marks.next(&specs, 5999, true), Some(90));
        assert_eq!(marks.next(&specs, 6000, true), Some(1090));
        assert_eq!(marks.next(&specs, 6000, false), Some(90), "rows wait to be read");
    }
}
