//! What all metrics of one name have in common.

use prometheus_client::registry::Unit;

/// A metric family. Its name says the unit and, of a counter, that it is one: `tidemark_query_rows_in_total`,
/// `tidemark_query_epoch_duration_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    /// A sentence.
    pub help: &'static str,
}

/// What a counter's name ends with.
const TOTAL: &str = "_total";

impl Family {
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Family { name, help }
    }

    /// As OpenMetrics declares it: the name less what the kind and the unit add to it, and the unit.
    pub(super) fn declared(&self) -> (&'static str, Option<Unit>) {
        let name = self.name.strip_suffix(TOTAL).unwrap_or(self.name);
        let of = |unit: Unit| {
            let stem = name.strip_suffix(unit.as_str())?.strip_suffix('_')?;
            Some((stem, Some(unit)))
        };
        of(Unit::Seconds).or_else(|| of(Unit::Bytes)).unwrap_or((name, None))
    }

    /// Whether it is named as a counter is.
    pub(super) fn is_total(&self) -> bool {
        self.name.ends_with(TOTAL)
    }
}
