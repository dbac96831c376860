//! The records of the log. A stable format: a field may be added with a default, none may change its meaning.
//!
//! Each is framed (`storage/framed.rs`): JSON, followed by bytes: the rows of a table as an Arrow IPC stream, else
//! none.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    catalog,
    changes::ChangesHash,
    connectors::Span,
    error::Result,
    storage::framed,
    time::{Epoch, Micros},
};

/// One log record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogRecord {
    /// A change of the catalog.
    Catalog(catalog::CatalogChange),
    Intent(Intent),
    Commit(Commit),
    /// Rows of a table, durable before they are acknowledged; the rows themselves follow as bytes.
    Rows(TableRows),
    /// The first record of a data directory.
    Begun,
    /// A file was written.
    File {
        path: String,
        #[serde(flatten)]
        entry: FileEntry,
    },
    /// Files that are about to be removed, or are removed already.
    Removed {
        paths: Vec<String>,
    },
}

/// Length and checksum of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub length: u64,
    pub crc32: u32,
    /// XXH64 of the file. Older logs have the CRC alone, which says nothing of a file that ends in its own CRC: that of
    /// each such file is the same number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xxh64: Option<u64>,
}

/// Epoch N will read exactly this. Has everything that is not deterministic about an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub query: u64,
    pub epoch: Epoch,
    /// Per input of the query, in the order of its plan.
    pub spans: Vec<Span>,
    pub watermark: Option<Micros>,
    pub now: Micros,
    /// Number of streams of each input: the order of rows depends on it.
    pub partitions: usize,
}

/// Epoch N is complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub query: u64,
    pub epoch: Epoch,
    pub rows_in: u64,
    pub rows_out: u64,
    /// The hash of its net changes; `None` if a replay may give other, equally valid ones, and in older logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ChangesHash>,
    /// Number of rows below the watermark.
    pub late: u64,
    /// Number of rows without a required event time.
    #[serde(default)]
    pub untimed: u64,
    pub bad: u64,
    /// Per watermark of the plan: the greatest event time observed in each partition.
    pub observed: Vec<BTreeMap<String, Micros>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late_rows: Vec<LateRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead_letters: Vec<DeadLetter>,
}

/// Why a row is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateCause {
    /// Its window or group was closed by the watermark.
    #[default]
    BehindWatermark,
    /// It has no event time: its group would never close.
    NoEventTime,
}

impl LateCause {
    pub fn word(self) -> &'static str {
        match self {
            LateCause::BehindWatermark => "behind_watermark",
            LateCause::NoEventTime => "no_event_time",
        }
    }
}

/// A late row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LateRow {
    pub query: String,
    pub epoch: Epoch,
    #[serde(default)]
    pub cause: LateCause,
    pub watermark: Option<Micros>,
    /// The columns that the query reads, as JSON.
    pub row: String,
    pub at: Micros,
}

/// A record that did not decode, or a row that an expression failed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub source: String,
    pub query: String,
    /// The epoch of the query, if an expression of the query failed; `None` if the record did not decode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    pub origin: String,
    pub position: Option<i64>,
    #[serde(with = "raw_bytes")]
    pub raw: Vec<u8>,
    pub reason: String,
    pub at: Micros,
    /// When it was replayed to its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Micros>,
}

/// Rows inserted into a table, or deleted, in one transaction, which is one epoch of the table. They may be in several
/// records, and count once the last record of the transaction is in the log.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TableRows {
    pub table: u64,
    pub epoch: Epoch,
    /// The number of the transaction, unique in the log; [`TableRows::NO_TRANSACTION`] in older logs.
    #[serde(default)]
    pub transaction: u64,
    /// The number of this record among those of its table in the transaction, from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub part: u32,
    /// Whether more records of the transaction follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

impl TableRows {
    /// In older logs each statement on one table is a transaction, and its last record ends it.
    pub const NO_TRANSACTION: u64 = 0;
}

fn is_zero(part: &u32) -> bool {
    *part == 0
}

/// The bytes of a record as JSON: text if they are plain text, else `{"hex": "…"}`. Older logs have a number per byte,
/// which is up to four times as long.
mod raw_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Spelled {
        Text(String),
        Hex { hex: String },
        Numbers(Vec<u8>),
    }

    pub fn serialize<S: Serializer>(raw: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let spelled = match std::str::from_utf8(raw) {
            // JSON escapes a control character with six characters.
            Ok(text) if !text.contains(|c: char| c.is_control() && c != '\t') => Spelled::Text(text.to_string()),
            _ => Spelled::Hex { hex: raw.iter().map(|byte| format!("{byte:02x}")).collect() },
        };
        spelled.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        match Spelled::deserialize(deserializer)? {
            Spelled::Text(text) => Ok(text.into_bytes()),
            Spelled::Numbers(bytes) => Ok(bytes),
            Spelled::Hex { hex } => {
                let digit = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
                let byte = |pair: &[u8]| match pair {
                    [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                    _ => None,
                };
                let bytes = hex.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
                bytes.ok_or_else(|| D::Error::custom("bytes are no pairs of hexadecimal digits"))
            }
        }
    }
}

impl LogRecord {
    /// The id of the query or table that the record is about; `None` if it is about the server.
    pub fn object(&self) -> Option<u64> {
        match self {
            LogRecord::Intent(intent) => Some(intent.query),
            LogRecord::Commit(commit) => Some(commit.query),
            LogRecord::Rows(rows) => Some(rows.table),
            LogRecord::Catalog(_) | LogRecord::Begun | LogRecord::File { .. } | LogRecord::Removed { .. } => None,
        }
    }

    pub fn encode(&self, bytes: &[u8]) -> Result<Bytes> {
        framed::encode(RECORD, self, bytes)
    }

    pub fn decode(record: &Bytes) -> Result<(LogRecord, Bytes)> {
        framed::decode(RECORD, record)
    }
}

/// What a record is, for errors.
const RECORD: &str = "a log record";

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_letter(raw: &[u8]) -> DeadLetter {
        let text = String::new;
        DeadLetter {
            source: text(),
            query: text(),
            epoch: None,
            origin: text(),
            position: None,
            raw: raw.to_vec(),
            reason: text(),
            at: 0,
            replayed: None,
        }
    }

    #[test]
    fn dead_letter_raw_bytes_roundtrip_through_compact_json() {
        for raw in [&b""[..], "a line,\t\"quoted\", é".as_bytes(), b"\xFF\x00\x0a", b"one\ntwo", &[b'x'; 60_000]] {
            let json = serde_json::to_string(&dead_letter(raw)).unwrap();
            assert!(json.len() < 2 * raw.len() + 200, "{} for {}", json.len(), raw.len());
            assert_eq!(serde_json::from_str::<DeadLetter>(&json).unwrap(), dead_letter(raw));
        }
    }

    #[test]
    fn dead_letters_of_older_logs_are_read() {
        let json = r#"{"source":"","query":"","origin":"","position":null,"raw":[120,255],"reason":"","at":0}"#;
        assert_eq!(serde_json::from_str::<DeadLetter>(json).unwrap(), dead_letter(b"x\xFF"));
        assert!(serde_json::from_str::<DeadLetter>(&json.replace("[120,255]", "{\"hex\":\"0\"}")).is_err());
    }
}
