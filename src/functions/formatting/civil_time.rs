//! A point in time, or an interval, in the parts that a template writes.

use super::calendar::{DAY_MICROS, UNIX_EPOCH, date_of, day_of_week, julian_day, timestamp_out_of_range};
use crate::error::Result;

/// An interval has no zone and no day of the week, all its parts may be negative, and its months may be 0.
#[derive(Debug, Clone, Copy)]
pub struct CivilTime<'a> {
    pub is_interval: bool,
    /// 0 is 1 BC; an interval's years.
    pub year: i32,
    pub month: i32,
    pub day: i32,
    pub hour: i64,
    pub minute: i32,
    pub second: i32,
    pub microsecond: i32,
    /// 0 for Sunday.
    pub day_of_week: i32,
    /// From 1; an interval's days, with 30 to a month.
    pub day_of_year: i32,
    /// East of Greenwich.
    pub offset_seconds: i32,
    pub zone_name: Option<&'a str>,
}

impl<'a> CivilTime<'a> {
    /// The local time at an instant of UTC, in microseconds since 1970. Error 22008 before 4714 BC.
    pub fn of_instant(micros: i64, offset_seconds: i32, zone_name: Option<&'a str>) -> Result<Self> {
        let day = micros.div_euclid(DAY_MICROS).saturating_add(i64::from(UNIX_EPOCH));
        if day < 0 {
            return Err(timestamp_out_of_range());
        }
        let time = micros.rem_euclid(DAY_MICROS) + i64::from(offset_seconds) * 1_000_000;
        let julian = i32::try_from(day + time.div_euclid(DAY_MICROS)).map_err(|_| timestamp_out_of_range())?;
        let (year, month, day) = date_of(julian);
        let day_of_year = julian.wrapping_sub(julian_day(year, 1, 1)).wrapping_add(1);
        let date = CivilTime {
            is_interval: false,
            year,
            month,
            day,
            hour: 0,
            minute: 0,
            second: 0,
            microsecond: 0,
            day_of_week: day_of_week(julian),
            day_of_year,
            offset_seconds,
            zone_name,
        };
        Ok(date.with_time(time.rem_euclid(DAY_MICROS)))
    }

    /// An interval: months become years and months, microseconds become hours and so on; days stay.
    pub fn of_interval(months: i32, days: i32, micros: i64) -> Self {
        let interval = CivilTime {
            is_interval: true,
            year: months / 12,
            month: months % 12,
            day: days,
            hour: 0,
            minute: 0,
            second: 0,
            microsecond: 0,
            day_of_week: 0,
            day_of_year: months.wrapping_mul(30).wrapping_add(days),
            offset_seconds: 0,
            zone_name: None,
        };
        interval.with_time(micros)
    }

    fn with_time(self, micros: i64) -> Self {
        let part = |unit: i64, count: i64| (micros / unit % count) as i32;
        CivilTime {
            hour: micros / 3_600_000_000,
            minute: part(60_000_000, 60),
            second: part(1_000_000, 60),
            microsecond: part(1, 1_000_000),
            ..self
        }
    }
}
