//! How a sink writes rows, and the words for it.

/// How rows are written: the option `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Rows that only ever come.
    Append,
    /// For each key its newest row; a key that has none any more is deleted.
    Upsert,
    /// Each change of a row in Debezium's envelope.
    Debezium,
    /// Each row that comes and each that goes, with its sign.
    Changes,
    /// The whole answer each time, in place of what was there.
    Complete,
}

impl Mode {
    pub(super) const WORDS: [(&str, Mode); 5] = [
        ("append", Mode::Append),
        ("upsert", Mode::Upsert),
        ("debezium", Mode::Debezium),
        ("changes", Mode::Changes),
        ("complete", Mode::Complete),
    ];

    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, mode)| *mode == self).map_or("", |(word, _)| word)
    }
}
