//! Time zones, as whoever calls these functions knows them.

use super::calendar::DAY_MICROS;

/// The offset in seconds, east of Greenwich, and the abbreviation that a zone has at an instant, which is given in
/// microseconds of UTC since 1970.
pub type ZoneLookup<'a> = &'a dyn Fn(i64) -> (i32, String);

/// The offset in seconds that a local time has. One that exists twice is the later of both, in standard time; one that
/// is left out is taken as if the clock had not been moved yet. That is PostgreSQL's choice.
pub fn offset_of_local(zone: ZoneLookup<'_>, local: i64) -> i32 {
    let at = |instant: i64| zone(instant).0;
    let instant = |offset: i32| local.saturating_sub(i64::from(offset).saturating_mul(1_000_000));
    let before = at(local.saturating_sub(DAY_MICROS));
    let after = at(local.saturating_add(DAY_MICROS));
    let is_before = at(instant(before)) == before;
    let is_after = at(instant(after)) == after;
    if is_after {
        after
    } else if is_before || after > before {
        before
    } else {
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour is left out at 1,000,000 s of UTC and comes twice at 2,000,000 s.
    fn zone(instant: i64) -> (i32, String) {
        let is_summer = (1_000_000_000_000..2_000_000_000_000).contains(&instant);
        if is_summer { (7200, "S".to_string()) } else { (3600, "W".to_string()) }
    }

    #[test]
    fn times_left_out_and_times_that_come_twice_have_the_winter_offset() {
        let offset = |local_seconds: i64| offset_of_local(&zone, local_seconds * 1_000_000);
        assert_eq!([1_003_599, 1_003_600, 1_007_199, 1_007_200].map(offset), [3600, 3600, 3600, 7200]);
        assert_eq!([2_003_599, 2_003_600, 2_007_199, 2_007_200].map(offset), [7200, 3600, 3600, 3600]);
        assert_eq!([i64::MIN, i64::MAX].map(|local| offset_of_local(&zone, local)), [3600, 3600]);
    }
}
