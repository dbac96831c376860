//! Where a new source begins: `start_offset`, and the neighbours' spellings of it.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::{
    error::{Error, ErrorKind, Result},
    options::Taker,
};

/// What a new source begins with. Partitions that are found later always begin with the first of what they have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartOffset {
    Earliest,
    Latest,
    /// The first record of each partition that is not older, in milliseconds since 1970.
    Time(i64),
    /// By partition; those that are not named begin with the first of what they have.
    Partitions(BTreeMap<i32, u64>),
}

impl StartOffset {
    pub fn from_options(options: &mut Taker) -> Result<StartOffset> {
        let names = ["start_offset", "source.offset", "scan.startup.mode", "scan_startup_mode"];
        let start = options.first(&names)?;
        let time = options.first(&["scan.startup.timestamp.millis", "scan.startup.timestamp-millis"])?;
        let offsets = options.text("scan.startup.specific-offsets");
        match (start.as_deref().map(str::trim), time, offsets) {
            (None, None, None) => Ok(StartOffset::Earliest),
            (Some("timestamp") | None, Some(time), None) => StartOffset::parse(&time),
            (Some("specific-offsets") | None, None, Some(offsets)) => {
                // Flink's `partition:0,offset:42;partition:1,offset:7`.
                StartOffset::parse(&offsets.replace("partition:", "").replace(",offset", "").replace(';', ","))
            }
            (Some(start), None, None) => StartOffset::parse(start),
            _ => Err(Error::new(ErrorKind::InvalidParameterValue, "it is said twice where the source is to start")),
        }
    }

    fn parse(text: &str) -> Result<StartOffset> {
        let word = text.to_lowercase();
        match word.as_str() {
            "earliest" | "earliest-offset" | "earliest_offset" => return Ok(StartOffset::Earliest),
            "latest" | "latest-offset" | "latest_offset" => return Ok(StartOffset::Latest),
            _ => {}
        }
        partitions(&word).or_else(|| time(text)).ok_or_else(|| {
            let message = format!("option \"start_offset\" cannot be '{text}'");
            Error::new(ErrorKind::InvalidParameterValue, message).hint(
                "It is 'earliest', 'latest', a time such as '2024-05-01 12:00:00', milliseconds since 1970, or an \
                 offset for each partition: '0:42,1:7'.",
            )
        })
    }
}

/// `0:42,1:7`
fn partitions(text: &str) -> Option<StartOffset> {
    let mut offsets = BTreeMap::new();
    for part in text.split(',') {
        let (partition, offset) = part.split_once(':')?;
        let partition = partition.trim().parse().ok().filter(|n: &i32| *n >= 0)?;
        let offset = offset.trim().parse().ok().filter(|n: &u64| i64::try_from(*n).is_ok())?;
        offsets.insert(partition, offset).is_none().then_some(())?;
    }
    Some(StartOffset::Partitions(offsets))
}

/// Milliseconds, or a time in words; without an offset it is UTC.
fn time(text: &str) -> Option<StartOffset> {
    let text = text.trim();
    let millis = text
        .parse()
        .ok()
        .or_else(|| DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)).ok().map(|t| t.timestamp_millis()))
        .or_else(|| {
            let naive = NaiveDateTime::parse_from_str(&text.replacen('T', " ", 1), "%Y-%m-%d %H:%M:%S%.f");
            naive.ok().map(|t| t.and_utc().timestamp_millis())
        })
        .or_else(|| {
            let midnight = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?;
            Some(midnight.and_utc().timestamp_millis())
        });
    millis.filter(|millis| *millis >= 0).map(StartOffset::Time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn start(pairs: &[(&str, &str)]) -> Result<StartOffset> {
        let mut options = Options::default();
        pairs.iter().for_each(|(key, value)| drop(options.insert(*key, *value)));
        let mut taker = options.taker("source \"s\"");
        let start = StartOffset::from_options(&mut taker)?;
        taker.finish().map(|()| start)
    }

    #[test]
    fn start_offset_spellings_are_parsed() {
        assert_eq!(start(&[]).unwrap(), StartOffset::Earliest);
        assert_eq!(start(&[("start_offset", "latest")]).unwrap(), StartOffset::Latest);
        assert_eq!(start(&[("scan.startup.mode", "latest-offset")]).unwrap(), StartOffset::Latest);
        let offsets = StartOffset::Partitions([(0, 42), (1, 7)].into());
        assert_eq!(start(&[("start_offset", "0:42, 1:7")]).unwrap(), offsets);
        let flink = "partition:0,offset:42;partition:1,offset:7";
        let pairs = [("scan.startup.mode", "specific-offsets"), ("scan.startup.specific-offsets", flink)];
        assert_eq!(start(&pairs).unwrap(), offsets);
        for text in ["1714521600000", "2024-05-01", "2024-05-01 00:00:00", "2024-05-01T02:00:00+02:00"] {
            assert_eq!(start(&[("start_offset", text)]).unwrap(), StartOffset::Time(1_714_521_600_000), "{text}");
        }
        let pairs = [("scan.startup.mode", "timestamp"), ("scan.startup.timestamp.millis", "5")];
        assert_eq!(start(&pairs).unwrap(), StartOffset::Time(5));
    }

    #[test]
    fn start_offset_malformed_or_contradictory_is_refused() {
        for text in ["", "soon", "0:", "0:1,0:2", "-1:3", "0:-3", "-5", "timestamp", "group-offsets"] {
            let error = start(&[("start_offset", text)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidParameterValue, "{text}");
        }
        assert!(start(&[("start_offset", "latest"), ("scan.startup.mode", "latest")]).is_err());
        assert!(start(&[("start_offset", "latest"), ("scan.startup.timestamp.millis", "5")]).is_err());
    }
}
