//! What all metrics of one name have in common.

/// A metric family. Its name says the unit and, of a counter, that it is one: `tidemark_query_rows_in_total`,
/// `tidemark_query_epoch_duration_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    /// A sentence.
    pub help: &'static str,
}

impl Family {
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Family { name, help }
    }

    /// Whether it is named as a counter is.
    pub(super) fn is_total(&self) -> bool {
        self.name.ends_with("_total")
    }
}
