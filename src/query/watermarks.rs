//! The watermarks of a query, computed from what commits observed. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    exec::{EventTimes, partition_name},
    sql::incremental::PlannedWatermark,
    time::Micros,
};

/// The greatest event times seen, and the query's watermark. It never goes back.
///
/// A query's watermark is the minimum over its inputs. An input's is the minimum over its partitions *that have unread
/// rows*, so that a drained partition holds nothing up and a lagging one loses no rows. When all are drained it is
/// their maximum.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watermarks {
    /// Per watermark of the plan: the greatest event time of each partition.
    seen: Vec<EventTimes>,
    current: Option<Micros>,
    /// Clock time of the last epoch that had rows.
    row_at: Option<Micros>,
}

impl Watermarks {
    pub fn new(count: usize) -> Self {
        Watermarks { seen: vec![EventTimes::new(); count], ..Watermarks::default() }
    }

    /// Notes the event times of an epoch that was planned at `now` with `watermark`.
    pub fn observe(&mut self, observed: &[EventTimes], rows: u64, watermark: Option<Micros>, now: Micros) {
        for (seen, observed) in self.seen.iter_mut().zip(observed) {
            for (partition, time) in observed {
                seen.entry(partition.clone()).and_modify(|seen| *seen = (*seen).max(*time)).or_insert(*time);
            }
        }
        if rows > 0 {
            self.row_at = Some(now);
        }
        self.current = self.current.max(watermark);
    }

    /// The watermark of an epoch planned at `now`. `unread` are the partitions that have unread rows; `idle` says that
    /// the epoch has none to read. `followed` are the watermarks of the views among the inputs.
    pub fn next(
        &self,
        planned: &[PlannedWatermark],
        followed: &[Option<Micros>],
        now: Micros,
        unread: &BTreeSet<String>,
        idle: bool,
    ) -> Option<Micros> {
        let mut least: Option<Micros> = None;
        for own in followed {
            let Some(own) = *own else { return self.current };
            least = Some(least.map_or(own, |least| least.min(own)));
        }
        for (seen, PlannedWatermark { spec, partitioned }) in self.seen.iter().zip(planned) {
            let Some(seen) = reached(seen, partitioned, unread) else { return self.current };
            let passed = spec.idle_timeout.map_or(0, |timeout| self.silence(now, idle, timeout));
            let own = seen.saturating_sub(spec.delay_us).saturating_add(passed);
            least = Some(least.map_or(own, |least| least.min(own)));
        }
        self.current.max(least)
    }

    /// How far an idle input's watermark is advanced by wall-clock time: since the last row, if that is at least
    /// `timeout`.
    fn silence(&self, now: Micros, idle: bool, timeout: std::time::Duration) -> Micros {
        let Some(row_at) = self.row_at.filter(|_| idle) else { return 0 };
        let silent = now.saturating_sub(row_at);
        if silent >= timeout.as_micros() as Micros { silent } else { 0 }
    }

    pub fn current(&self) -> Option<Micros> {
        self.current
    }
}

/// The event time an input has reached, before its delay; `None` if a partition with unread rows has had none.
fn reached(seen: &EventTimes, partitioned: &[usize], unread: &BTreeSet<String>) -> Option<Micros> {
    let own = |partition: &&String| partitioned.iter().any(|input| partition.starts_with(&partition_name(*input, "")));
    let behind: Option<Vec<Micros>> = unread.iter().filter(own).map(|partition| seen.get(partition).copied()).collect();
    match behind?.into_iter().min() {
        Some(least) => Some(least),
        None => seen.values().copied().max(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sql::watermark::WatermarkSpec;

    fn spec(delay_us: i64, idle: Option<u64>) -> PlannedWatermark {
        let idle_timeout = idle.map(Duration::from_micros);
        let spec = WatermarkSpec { column: "ts".into(), delay_us, ahead_us_max: None, idle_timeout };
        PlannedWatermark { spec, partitioned: Vec::new() }
    }

    fn times<const N: usize>(all: [(&str, Micros); N]) -> EventTimes {
        all.into_iter().map(|(partition, time)| (partition.to_string(), time)).collect()
    }

    fn unpartitioned(time: Option<Micros>) -> EventTimes {
        time.into_iter().map(|time| (String::new(), time)).collect()
    }

    fn unread(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|partition| (*partition).to_string()).collect()
    }

    #[test]
    fn watermark_is_held_by_a_lagging_partition_but_not_by_a_drained_one() {
        let planned = [PlannedWatermark { partitioned: vec![1], ..spec(10, None) }];
        let mut marks = Watermarks::new(1);
        let next = |marks: &Watermarks, behind: &[&str]| marks.next(&planned, &[], 0, &unread(behind), false);
        marks.observe(&[times([("1/a", 1_000), ("1/b", 400)])], 2, None, 0);
        assert_eq!(next(&marks, &["1/a", "1/b"]), Some(390));
        assert_eq!(next(&marks, &["1/a"]), Some(990), "b has nothing more to say");
        assert_eq!(next(&marks, &[]), Some(990), "all have caught up");
        assert_eq!(next(&marks, &["0/b"]), Some(990), "another input's");
        assert_eq!(next(&marks, &["1/a", "1/c"]), None, "a new one has said nothing yet");
        marks.observe(&[times([("1/b", 2_000)])], 1, Some(990), 0);
        assert_eq!(next(&marks, &["1/a", "1/b"]), Some(990));
        assert_eq!(next(&marks, &["1/a", "1/c"]), Some(990), "it never goes back");
        assert_eq!(next(&marks, &[]), Some(1_990));
    }

    #[test]
    fn watermark_is_the_minimum_of_the_inputs_and_never_goes_back() {
        let specs = [spec(10, None), spec(5, None)];
        let mut marks = Watermarks::new(2);
        assert_eq!(marks.next(&specs, &[], 0, &unread(&[]), true), None);
        marks.observe(&[unpartitioned(Some(100)), unpartitioned(None)], 1, None, 0);
        assert_eq!(marks.next(&specs, &[], 0, &unread(&[]), true), None, "one input has said nothing yet");
        marks.observe(&[unpartitioned(None), unpartitioned(Some(50))], 1, None, 0);
        assert_eq!(marks.next(&specs, &[], 0, &unread(&[]), true), Some(45));
        marks.observe(&[unpartitioned(Some(40)), unpartitioned(Some(200))], 1, Some(45), 0);
        assert_eq!(marks.next(&specs, &[], 0, &unread(&[]), true), Some(90));
    }

    #[test]
    fn watermark_of_an_idle_input_advances_after_idle_timeout() {
        let specs = [spec(10, Some(1000))];
        let mut marks = Watermarks::new(1);
        marks.observe(&[unpartitioned(Some(100))], 1, None, 5000);
        assert_eq!(marks.next(&specs, &[], 5999, &unread(&[]), true), Some(90));
        assert_eq!(marks.next(&specs, &[], 6000, &unread(&[]), true), Some(1090));
        assert_eq!(marks.next(&specs, &[], 6000, &unread(&[]), false), Some(90), "rows wait to be read");
    }
}
