//! The shape of `tidemark.yaml`: its keys. [`super::Config`] validates the values.

use serde::{Deserialize, Serialize};

use super::yaml::{Scalar, Scalars};

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    pub listen: Option<Scalar>,
    pub data_dir: Option<Scalar>,
    pub memory_limit: Option<Scalar>,
    pub insecure: Option<Scalar>,
    pub connectors: Option<RawConnectors>,
    pub sessions: Option<RawSessions>,
    pub query: Option<RawQuery>,
    pub state: Option<RawState>,
    pub epoch: Option<RawEpoch>,
    pub checkpoint: Option<RawCheckpoint>,
    pub journal: Option<RawJournal>,
    pub changelog: Option<RawChangelog>,
    pub dead_letters: Option<RawDeadLetters>,
    pub late_rows: Option<RawKept>,
    pub threads: Option<RawThreads>,
    pub logging: Option<RawLogging>,
}

impl RawConfig {
    /// Its keys, in the order of the file.
    pub fn keys() -> Vec<String> {
        let Ok(serde_yaml::Value::Mapping(map)) = serde_yaml::to_value(RawConfig::default()) else { return Vec::new() };
        map.keys().filter_map(|key| key.as_str().map(str::to_string)).collect()
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawConnectors {
    pub allow: Option<RawAllow>,
    pub open_timeout: Option<Scalar>,
    pub write_timeout: Option<Scalar>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawAllow {
    pub write: Option<Scalars>,
    pub read: Option<Scalars>,
    pub environment: Option<Scalars>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawSessions {
    pub max: Option<Scalar>,
    pub reserved: Option<Scalar>,
    pub startup_timeout: Option<Scalar>,
    pub starting_max: Option<Scalar>,
    pub starting_per_address: Option<Scalar>,
    pub message_max: Option<Scalar>,
    pub memory_limit: Option<Scalar>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawQuery {
    pub memory_limit: Option<Scalar>,
    pub value_limit: Option<Scalar>,
    pub copy_limit: Option<Scalar>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawState {
    pub memory_limit: Option<Scalar>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawEpoch {
    pub memory_limit: Option<Scalar>,
    pub target: Option<Scalar>,
    pub max_rows: Option<Scalar>,
    pub max_bytes: Option<Scalar>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawCheckpoint {
    pub interval: Option<Scalar>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawJournal {
    pub segment_size: Option<Scalar>,
    pub record_size: Option<Scalar>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawChangelog {
    pub max_rows: Option<Scalar>,
    pub memory_limit: Option<Scalar>,
    pub max_disk: Option<Scalar>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawDeadLetters {
    pub max_rows: Option<Scalar>,
    pub max_bytes: Option<Scalar>,
    pub epoch_max_rows: Option<Scalar>,
    pub epoch_max_bytes: Option<Scalar>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawKept {
    pub max_rows: Option<Scalar>,
    pub max_bytes: Option<Scalar>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawThreads {
    pub network: Option<Scalar>,
    pub query: Option<Scalar>,
    pub epoch: Option<Scalar>,
    pub aside: Option<Scalar>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawLogging {
    pub level: Option<Scalar>,
    pub format: Option<Scalar>,
}
