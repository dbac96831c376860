//! The records of the log. Serialized, so a promise: a field may be added with a default, none may change its meaning.
//!
//! ```text
//! record = json length: u32 LE │ JSON │ bytes (a table's rows, as an Arrow IPC stream; empty otherwise)
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    catalog,
    changes::ChangesHash,
    connectors::Span,
    error::{Error, ErrorKind, Result},
    time::{Epoch, Micros},
};

/// One durable line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogRecord {
    /// What exists has changed.
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
    /// Files are to go, or are gone.
    Removed {
        paths: Vec<String>,
    },
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub length: u64,
    pub crc32: u32,
}

/// Epoch N will read exactly this. All that is not deterministic about an epoch is here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub query: u64,
    pub epoch: Epoch,
    /// For each input of the query, in the order of its plan.
    pub spans: Vec<Span>,
    pub watermark: Option<Micros>,
    pub now: Micros,
    /// In how many streams each input came: what depends on the order of rows depends on it.
    pub partitions: usize,
}

/// Epoch N happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub query: u64,
    pub epoch: Epoch,
    pub rows_in: u64,
    pub rows_out: u64,
    /// What its changes add up to; `None` where running it again may give others that are as right, and in older logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<ChangesHash>,
    /// Rows that came behind the watermark.
    pub late: u64,
    /// Rows without an event time, where one is needed.
    #[serde(default)]
    pub untimed: u64,
    pub bad: u64,
    /// For each watermark of the plan the greatest event time that each partition showed it.
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
    /// What it belongs to had closed.
    #[default]
    BehindWatermark,
    /// It has no event time, so that nothing it belongs to ever closes.
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

/// A row that came too late for an answer.
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
    /// The epoch of the query, where the query's expression failed and not the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    pub origin: String,
    pub position: Option<i64>,
    #[serde(with = "raw_bytes")]
    pub raw: Vec<u8>,
    pub reason: String,
    pub at: Micros,
    /// When its source was given it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Micros>,
}

/// Rows that came to a table, or went, in one transaction, which is one epoch of the table. They may be in several records,
/// and count once the last record of the transaction is there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TableRows {
    pub table: u64,
    pub epoch: Epoch,
    /// The number of the transaction, unlike any other in the log; [`TableRows::NO_TRANSACTION`] in older logs.
    #[serde(default)]
    pub transaction: u64,
    /// The number of this record among those of its table in the transaction, from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub part: u32,
    /// Whether others of the transaction follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

impl TableRows {
    /// Older logs have a statement at a time, of one table, whose last record is its end.
    pub const NO_TRANSACTION: u64 = 0;
}

fn is_zero(part: &u32) -> bool {
    *part == 0
}

/// The bytes of a record as JSON: as text where they are plain text, else `{"hex": "…"}`. Older logs have a number for
/// each byte, which is up to four times as long.
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
            // JSON spells a control character with six.
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
    /// The query or the table that it is about; `None` where it is about the server.
    pub fn object(&self) -> Option<u64> {
        match self {
            LogRecord::Intent(intent) => Some(intent.query),
            LogRecord::Commit(commit) => Some(commit.query),
            LogRecord::Rows(rows) => Some(rows.table),
            LogRecord::Catalog(_) | LogRecord::Begun | LogRecord::File { .. } | LogRecord::Removed { .. } => None,
        }
    }

    pub fn encode(&self, bytes: &[u8]) -> Result<Bytes> {
        let json = serde_json::to_vec(self).map_err(|e| Error::internal(format!("a log record: {e}")))?;
        let length = u32::try_from(json.len())
            .map_err(|_| Error::new(ErrorKind::LimitExceeded, "a log record is larger than 4 GiB"))?;
        let mut all = Vec::with_capacity(4 + json.len() + bytes.len());
        all.extend_from_slice(&length.to_le_bytes());
        all.extend_from_slice(&json);
        all.extend_from_slice(bytes);
        Ok(all.into())
    }

    pub fn decode(record: &Bytes) -> Result<(LogRecord, Bytes)> {
        let corrupt = || Error::new(ErrorKind::DataCorrupted, "a log record cannot be read");
        let length = record.get(..4).ok_or_else(corrupt)?;
        let end = 4 + u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let json = record.get(4..end).ok_or_else(corrupt)?;
        let decoded = serde_json::from_slice(json)
            .map_err(|e| corrupt().detail(e.to_string()).hint("It may have been written by a newer release."))?;
        Ok((decoded, record.slice(end..)))
    }
}

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
