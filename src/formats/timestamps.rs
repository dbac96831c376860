//! `timestamp_format`: timestamps as a file spells them.

use arrow::{
    array::{Array, StringArray, TimestampMicrosecondArray},
    datatypes::TimestampMicrosecondType,
};
use chrono::{
    NaiveTime,
    format::{Item, Parsed, StrftimeItems, parse},
};

use crate::{
    error::{Error, Kind, Result},
    options::Taker,
    time::Micros,
};

/// How timestamps are spelled.
#[derive(Debug, Clone)]
pub(super) enum TimestampFormat {
    /// By strftime's letters, as chrono knows them.
    Letters(Vec<Item<'static>>),
    /// As a number since 1970 UTC; the microseconds of its unit.
    Epoch(i64),
}

impl TimestampFormat {
    /// Takes `timestamp_format`; `None` is Arrow's own reading: ISO 8601, with or without `T`, fraction and zone.
    pub fn take(options: &mut Taker) -> Result<Option<TimestampFormat>> {
        let Some(text) = options.text("timestamp_format") else { return Ok(None) };
        Ok(Some(match text.to_lowercase().as_str() {
            "epoch" | "epoch_s" => TimestampFormat::Epoch(1_000_000),
            "epoch_ms" => TimestampFormat::Epoch(1_000),
            "epoch_us" => TimestampFormat::Epoch(1),
            _ => match StrftimeItems::new(&text).parse_to_owned() {
                Ok(items) if !items.is_empty() => TimestampFormat::Letters(items),
                _ => {
                    return Err(Error::new(
                        Kind::InvalidParameterValue,
                        format!("option \"timestamp_format\" does not understand '{text}'"),
                    )
                    .hint("Use strftime's letters, such as '%d.%m.%Y %H:%M:%S', or 'epoch', 'epoch_ms', 'epoch_us'."));
                }
            },
        }))
    }

    /// All of a column; the error is the first text that does not parse.
    pub fn parse_all(&self, texts: &StringArray) -> Result<TimestampMicrosecondArray, String> {
        let mut micros = arrow::array::PrimitiveBuilder::<TimestampMicrosecondType>::with_capacity(texts.len());
        for text in texts {
            match text {
                None => micros.append_null(),
                Some(text) => micros.append_value(self.parse(text.trim()).ok_or_else(|| text.to_string())?),
            }
        }
        Ok(micros.finish())
    }

    fn parse(&self, text: &str) -> Option<Micros> {
        match self {
            TimestampFormat::Epoch(unit) => match text.parse::<i64>() {
                Ok(n) => n.checked_mul(*unit),
                Err(_) => {
                    let micros = (text.parse::<f64>().ok()? * *unit as f64).round();
                    (micros.abs() < i64::MAX as f64).then_some(micros as i64)
                }
            },
            TimestampFormat::Letters(items) => {
                let mut parsed = Parsed::new();
                parse(&mut parsed, text, items.iter()).ok()?;
                if let Ok(zoned) = parsed.to_datetime() {
                    return Some(zoned.timestamp_micros());
                }
                let naive = parsed.to_naive_datetime_with_offset(0).ok();
                // A format without a time of day means midnight.
                let naive = naive.or_else(|| Some(parsed.to_naive_date().ok()?.and_time(NaiveTime::MIN)));
                naive.map(|n| n.and_utc().timestamp_micros())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn parse_as(format: &str, text: &str) -> Option<Micros> {
        let mut options = Options::default();
        options.insert("timestamp_format", format);
        TimestampFormat::take(&mut options.taker("a test")).unwrap().unwrap().parse(text)
    }

    #[test]
    fn reads_letters_and_epochs() {
        assert_eq!(parse_as("%d.%m.%Y %H:%M:%S", "02.01.1970 00:00:01"), Some(86_401_000_000));
        assert_eq!(parse_as("%Y-%m-%d %H:%M:%S%.f %z", "1970-01-01 01:00:00.5 +0100"), Some(500_000));
        assert_eq!(parse_as("%d/%m/%y", "02/01/70"), Some(86_400_000_000));
        assert_eq!(parse_as("epoch", "1.5"), Some(1_500_000));
        assert_eq!(parse_as("epoch_ms", "-7"), Some(-7_000));
        assert_eq!(parse_as("epoch_ms", "1e300"), None);
        assert_eq!(parse_as("epoch", "9223372036854775807"), None);
        assert_eq!(parse_as("%d.%m.%Y", "31.02.2024"), None);
    }

    #[test]
    fn unknown_letters_are_refused() {
        let mut options = Options::default();
        options.insert("timestamp_format", "%Q!");
        let error = TimestampFormat::take(&mut options.taker("a test")).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidParameterValue);
    }
}
