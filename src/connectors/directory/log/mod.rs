//! The log of a folder: which of its files count. Each entry is a file of its own, and its creation is the one step by
//! which all that it says becomes true at once.
//!
//! For Parquet it is a Delta Lake transaction log (<https://github.com/delta-io/delta/blob/master/PROTOCOL.md>), so that
//! every reader of Delta tables sees what we see. For CSV and JSON the same entries stand in a folder of our own.

mod checkpoint;
mod decode;
mod follow;
mod types;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::decode::decode_log;
pub(super) use self::{
    checkpoint::{from_parquet, to_parquet},
    follow::{Followed, follow, log_of},
    types::{schema_of, schema_string},
};

use crate::error::{Error, ErrorKind, Result};

/// The folders that logs are in: Delta's, and that of formats which Delta does not know.
pub(super) const DELTA: &str = "_delta_log";
pub(super) const OWN: &str = "_tidemark_log";

/// The folder of rows whose value of a partition column is NULL, as Hive calls it.
pub(super) const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// One action: a line of an entry, or a row of a checkpoint. Just one of its members is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Action {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_info: Option<CommitInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<MetaData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn: Option<Txn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove: Option<Remove>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<Add>,
}

/// Says to people what happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CommitInfo {
    #[serde(default)]
    pub timestamp: i64,
    #[serde(default)]
    pub operation: String,
}

/// What a reader and a writer must know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    pub min_reader_version: i32,
    pub min_writer_version: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader_features: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer_features: Option<Vec<String>>,
}

/// What the folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MetaData {
    pub id: String,
    pub format: FileKind,
    /// The columns, in JSON.
    pub schema_string: String,
    pub partition_columns: Vec<String>,
    #[serde(default)]
    pub configuration: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct FileKind {
    pub provider: String,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// How far a writer has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Txn {
    pub app_id: String,
    pub version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<i64>,
}

/// A file counts from here on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Add {
    /// Below the folder, as a URL has it.
    pub path: String,
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size: i64,
    /// In milliseconds since 1970 UTC, as all times here.
    pub modification_time: i64,
    /// Whether its rows are new, not only stored anew.
    pub data_change: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
}

/// A file no longer counts, and will be deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Remove {
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<i64>,
    pub data_change: bool,
}

/// What stands in a log, or in a part of it from the beginning.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    /// The files that count, by path.
    pub files: BTreeMap<String, Add>,
    /// Files that did, and when they ceased to.
    pub removed: BTreeMap<String, i64>,
    pub txns: BTreeMap<String, i64>,
    pub protocol: Option<Protocol>,
    pub meta: Option<MetaData>,
}

impl Contents {
    pub fn apply(&mut self, action: Action) {
        if let Some(add) = action.add {
            self.removed.remove(&add.path);
            self.files.insert(add.path.clone(), add);
        }
        if let Some(remove) = action.remove {
            self.files.remove(&remove.path);
            self.removed.insert(remove.path, remove.deletion_timestamp.unwrap_or(0));
        }
        if let Some(txn) = action.txn {
            self.txns.insert(txn.app_id, txn.version);
        }
        self.protocol = action.protocol.or(self.protocol.take());
        self.meta = action.meta_data.or(self.meta.take());
    }
}

/// The name of an entry.
pub(super) fn entry_name(version: u64) -> String {
    format!("{version:020}.json")
}

/// The name of all that was said up to an entry, that one included.
pub(super) fn checkpoint_name(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

/// The version that a file of the log is of, if it is an entry (`json`) or a checkpoint (`checkpoint.parquet`).
pub(super) fn version_of(name: &str, ending: &str) -> Option<u64> {
    let (version, rest) = name.split_once('.')?;
    (version.len() == 20 && rest == ending).then(|| version.parse().ok()).flatten()
}

/// The ending of the names of entries, and of checkpoints.
pub(super) const ENTRY: &str = "json";
pub(super) const CHECKPOINT: &str = "checkpoint.parquet";

/// The actions of an entry.
pub(super) fn parse(name: &str, entry: &[u8]) -> Result<Vec<Action>> {
    let lines = entry.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let actions = lines.map(|line| {
        serde_json::from_slice(line)
            .map_err(|e| Error::new(ErrorKind::DataCorrupted, format!("log entry \"{name}\" makes no sense: {e}")))
    });
    actions.collect()
}

/// An entry of these actions.
pub(super) fn print(actions: &[Action]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for action in actions {
        serde_json::to_writer(&mut lines, action).map_err(|e| Error::internal(e.to_string()))?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// All but what every file system and every URL takes as it is becomes `%20` and the like.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Takes [`escape`] back; what is no escape stays.
pub(super) fn unescape(text: &str) -> String {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        match others {
            [high, low, behind @ ..] if *first == b'%' => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => {
                    bytes.push((high * 16 + low) as u8);
                    rest = behind;
                    continue;
                }
                _ => bytes.push(*first),
            },
            _ => bytes.push(*first),
        }
        rest = others;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delta_path_escape_and_unescape_are_inverse() {
        for text in ["a b/ü=%20", "", "%", "%4", "%zz", "plain-1_2.3"] {
            assert_eq!(unescape(&escape(text)), text);
        }
        assert_eq!(escape("a b/ü"), "a%20b%2F%C3%BC");
        assert_eq!(unescape("%zz%4"), "%zz%4");
    }

    #[test]
    fn delta_file_names_and_actions_are_parsed() {
        assert_eq!(version_of("00000000000000000012.json", ENTRY), Some(12));
        assert_eq!(version_of("00000000000000000012.checkpoint.parquet", CHECKPOINT), Some(12));
        for name in ["12.json", "_last_checkpoint", "00000000000000000012.crc", "0000000000000000001x.json"] {
            assert_eq!(version_of(name, ENTRY), None, "{name}");
        }
        let add =
            r#"{"path":"x","partitionValues":{"a":null},"size":1,"modificationTime":2,"dataChange":true,"tags":{}}"#;
        let actions = parse("x", format!("{{\"add\":{add}}}\n\n{{\"cdc\":{{}}}}\n").as_bytes()).unwrap();
        assert_eq!(actions[1], Action::default());
        assert_eq!(parse("x", &print(&actions).unwrap()).unwrap(), actions);
        assert_eq!(parse("x", b"{\"add\":").unwrap_err().kind(), ErrorKind::DataCorrupted);
    }
}
