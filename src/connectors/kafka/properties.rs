//! The options that are librdkafka's own: `properties.…`.

use std::{collections::BTreeMap, fmt};

use crate::options::is_secret;

/// What their names begin with.
pub(super) const PREFIX: &str = "properties.";

/// What is passed on to librdkafka. Secrets among them are not shown.
#[derive(Clone, Default)]
pub struct Properties(pub BTreeMap<String, String>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(key, value)| (key, if is_secret(key) { "***" } else { value });
        f.debug_map().entries(self.0.iter().map(|(key, value)| shown((key.as_str(), value.as_str())))).finish()
    }
}
