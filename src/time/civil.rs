//! The calendar, for any day: chrono's ends at the year 262143, and timestamps and dates do not.

/// A day of the proleptic Gregorian calendar, with the year 0 for 1 BC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CivilDate {
    pub year: i64,
    pub month: u32,
    pub day: u32,
}

/// Days of 400 years.
const ERA_DAYS: i64 = 146_097;

impl CivilDate {
    /// The day so many days after 1970-01-01. (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".)
    pub fn of_days(days: i64) -> CivilDate {
        // From 0000-03-01 on, so that the leap day is the last of its year.
        let days = i128::from(days) + 719_468;
        let (era, day) = (days.div_euclid(ERA_DAYS.into()) as i64, days.rem_euclid(ERA_DAYS.into()) as i64);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day_of_month = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        CivilDate { year, month: month as u32, day: day_of_month as u32 }
    }

    /// How many days after 1970-01-01 it is.
    pub fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let month = i64::from(if self.month > 2 { self.month - 3 } else { self.month + 9 });
        let (year, day) = (year.rem_euclid(400), (153 * month + 2) / 5 + i64::from(self.day) - 1);
        era * ERA_DAYS + 365 * year + year / 4 - year / 100 + day - 719_468
    }
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};

    use super::*;

    #[test]
    fn civil_date_equals_chrono_in_its_range() {
        let first = i64::from(NaiveDate::default().num_days_from_ce());
        let range =
            i64::from(NaiveDate::MIN.num_days_from_ce()) - first..=i64::from(NaiveDate::MAX.num_days_from_ce()) - first;
        for days in range.clone().step_by(997).chain(-800_000..800_000).chain([*range.end()]) {
            let date = NaiveDate::from_num_days_from_ce_opt((days + first) as i32).expect("a day");
            let civil = CivilDate { year: date.year().into(), month: date.month(), day: date.day() };
            assert_eq!(CivilDate::of_days(days), civil);
            assert_eq!(civil.days(), days);
        }
    }

    #[test]
    fn civil_date_beyond_chrono_equals_postgres() {
        let date = |days| {
            let CivilDate { year, month, day } = CivilDate::of_days(days);
            (year, month, day)
        };
        assert_eq!(date(2_145_042_905), (5_874_897, 12, 31));
        assert_eq!(date(-2_440_588), (-4_713, 11, 24));
        assert_eq!(date(i64::MAX).1, 7);
    }
}
