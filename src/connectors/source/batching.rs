//! The minimum batch of a source.

use std::time::Duration;

use crate::{
    error::{Error, ErrorKind, Result},
    options::{Options, Taker},
};

/// Options `min_rows_per_trigger` and `max_trigger_delay` of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchingPolicy {
    pub rows: u64,
    /// How long fewer rows may wait.
    pub delay: Duration,
}

/// Spark's default.
const DELAY: Duration = Duration::from_secs(15 * 60);

impl BatchingPolicy {
    /// Parses the options of a source.
    pub fn of(options: &Options) -> Result<Option<BatchingPolicy>> {
        BatchingPolicy::from_options(&mut options.taker("the source"))
    }

    pub(in super::super) fn from_options(options: &mut Taker) -> Result<Option<BatchingPolicy>> {
        let rows = options.parse("min_rows_per_trigger", "a whole number")?;
        let delay = options.duration("max_trigger_delay")?;
        match (rows, delay) {
            (None, Some(_)) => Err(Error::new(
                ErrorKind::InvalidParameterValue,
                "option \"max_trigger_delay\" needs option \"min_rows_per_trigger\"",
            )),
            _ => Ok(rows.map(|rows| BatchingPolicy { rows, delay: delay.unwrap_or(DELAY) })),
        }
    }
}
