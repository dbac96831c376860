//! How a sink writes rows, and the words for it.

/// How rows are written: the option `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Insertions only.
    Append,
    /// The newest row of each key; deletes keys without a row.
    Upsert,
    /// Each change of a row in Debezium's envelope.
    Debezium,
    /// Each insertion and retraction, with its sign.
    Changes,
    /// The complete answer each time, replacing the previous one.
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
