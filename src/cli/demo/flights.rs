//! The demo's airport: a seeded day of landings, some out of order, a few too late.
//!
//! Event time is simulated, and fast: each file covers [`MINUTES_A_FILE`] minutes, so that a window of ten closes
//! within seconds. The clock is not read, so every run has the same data.

use std::{
    fs,
    path::{Path, PathBuf},
};

use chrono::{Duration, NaiveDate, NaiveDateTime};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::error::{Error, Result};

const MINUTES_A_FILE: i64 = 2;
const FLIGHTS_A_FILE: usize = 24;
/// The share of rows that come after later ones, but within the watermark's five minutes.
const OUT_OF_ORDER: f64 = 0.15;
/// The share of rows that come long after their window has closed.
const LATE: f64 = 0.02;

pub const AIRPORTS: [&str; 6] = ["AMS", "CDG", "FRA", "JFK", "LHR", "SIN"];

/// Writes one file after the other into a folder.
pub struct Airport {
    folder: PathBuf,
    random: SmallRng,
    now: NaiveDateTime,
    pub files: u64,
    pub rows: u64,
}

impl Airport {
    pub fn new(folder: &Path) -> Self {
        let day = NaiveDate::from_ymd_opt(2026, 5, 1).and_then(|d| d.and_hms_opt(6, 0, 0)).expect("a day that exists");
        Airport { folder: folder.to_path_buf(), random: SmallRng::seed_from_u64(7), now: day, files: 0, rows: 0 }
    }

    /// Writes the next file. Its name begins with a dot, which sources ignore, until it is complete and renamed, so
    /// that no source reads part of it.
    pub fn land(&mut self) -> Result<()> {
        let text = self.file();
        let name = format!("landings-{:06}.csv", self.files);
        let (hidden, shown) = (self.folder.join(format!(".{name}")), self.folder.join(name));
        let written = fs::write(&hidden, text).and_then(|()| fs::rename(&hidden, &shown));
        written.map_err(|e| Error::from(e).context(format!("cannot write \"{}\"", shown.display())))?;
        self.files += 1;
        self.rows += FLIGHTS_A_FILE as u64;
        Ok(())
    }

    fn file(&mut self) -> String {
        let mut text = "flight,origin,dest,landed_at,passengers\n".to_string();
        for _ in 0..FLIGHTS_A_FILE {
            text.push_str(&self.landing());
        }
        self.now += Duration::minutes(MINUTES_A_FILE);
        text
    }

    fn landing(&mut self) -> String {
        let random = &mut self.random;
        let dest = AIRPORTS[random.random_range(0..AIRPORTS.len())];
        let from = AIRPORTS.iter().filter(|a| **a != dest).nth(random.random_range(0..AIRPORTS.len() - 1));
        let dice: f64 = random.random();
        let held_back = match dice {
            d if d < LATE => random.random_range(1800..3600),
            d if d < LATE + OUT_OF_ORDER => random.random_range(60..240),
            _ => 0,
        };
        let ago = random.random_range(0..MINUTES_A_FILE * 60) + held_back;
        let landed = self.now + Duration::minutes(MINUTES_A_FILE) - Duration::seconds(ago + 1);
        let (number, passengers) = (random.random_range(100..2000), random.random_range(60..380));
        let from = from.copied().unwrap_or_default();
        format!("TM{number},{from},{dest},{},{passengers}\n", landed.format("%Y-%m-%d %H:%M:%S"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The event time, the fourth column, of each row of a file.
    fn times(file: &str) -> Vec<NaiveDateTime> {
        let time = |line: &str| NaiveDateTime::parse_from_str(line.split(',').nth(3).unwrap(), "%Y-%m-%d %H:%M:%S");
        file.lines().skip(1).map(|line| time(line).unwrap()).collect()
    }

    #[test]
    fn demo_flights_are_deterministic_with_unordered_and_late_rows() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (Airport::new(folder.path()), Airport::new(folder.path()));
        let (mut newest, mut unordered, mut late) = (NaiveDateTime::MIN, 0, 0);
        for _ in 0..60 {
            let file = one.file();
            assert_eq!(file, two.file());
            for time in times(&file) {
                let watermark = newest.checked_sub_signed(Duration::minutes(5)).unwrap_or(NaiveDateTime::MIN);
                unordered += usize::from(time < newest && time >= watermark);
                // Longer ago than the watermark's delay and a whole window: its window has surely closed.
                late += usize::from(time + Duration::minutes(10) < watermark);
                newest = newest.max(time);
            }
        }
        assert!(unordered > 100 && late > 10, "{unordered} out of order, {late} late");
    }

    #[test]
    fn demo_flights_files_are_written_atomically() {
        let folder = tempfile::tempdir().unwrap();
        let mut airport = Airport::new(folder.path());
        airport.land().unwrap();
        airport.land().unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["landings-000000.csv", "landings-000001.csv"]);
        assert_eq!((airport.files, airport.rows), (2, 48));
    }
}
