//! The form of a checkpoint file, version 1.
//!
//! ```text
//! "TMCK" │ version: u8 │ crc32 of the rest: u32 LE │ header length: u32 LE │ header: JSON
//!        │ per section: length: u64 LE │ Arrow IPC stream
//! ```
//! A file is written once and whole. A checksum that fails is corruption, never a torn write.

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, Kind, Result};

const MAGIC: &[u8; 4] = b"TMCK";
const VERSION: u8 = 1;

/// One Arrow IPC stream: batches of one schema.
pub fn ipc(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?)
}

pub fn from_ipc(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    Ok(StreamReader::try_new(bytes, None)?.collect::<Result<_, _>>()?)
}

/// A header and its sections as the bytes of a file. A section without batches is kept, and is empty again when read.
pub fn encode(header: &impl Serialize, sections: &[Vec<RecordBatch>]) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(header).map_err(|e| Error::internal(format!("a checkpoint header: {e}")))?;
    let length = u32::try_from(json.len())
        .map_err(|_| Error::new(Kind::LimitExceeded, "a checkpoint header is larger than 4 GiB"))?;
    let mut body = Vec::new();
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(&json);
    for section in sections {
        // Batches of a section may have different schemas (keys removed, keys set), so each is a stream of its own.
        body.extend_from_slice(&(section.len() as u64).to_le_bytes());
        for batch in section {
            let bytes = ipc(&batch.schema(), std::slice::from_ref(batch))?;
            body.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            body.extend_from_slice(&bytes);
        }
    }
    let mut file = Vec::with_capacity(body.len() + 9);
    file.extend_from_slice(MAGIC);
    file.push(VERSION);
    file.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    file.extend_from_slice(&body);
    Ok(file)
}

/// The header and the sections of a file. `path` is for the errors.
pub fn decode<H: DeserializeOwned>(path: &str, file: &[u8]) -> Result<(H, Vec<Vec<RecordBatch>>)> {
    let corrupt = |what: &str| {
        Error::new(Kind::DataCorrupted, format!("checkpoint \"{path}\" {what}"))
            .hint("The disk lost or changed data. Restore the data directory from a copy.")
    };
    if file.len() < 13 || &file[..4] != MAGIC {
        return Err(corrupt("is not a checkpoint"));
    }
    if file[4] != VERSION {
        return Err(Error::new(Kind::DataCorrupted, format!("checkpoint \"{path}\" has version {}", file[4]))
            .hint("It was written by a newer release: start that one."));
    }
    let body = &file[9..];
    if crc32fast::hash(body).to_le_bytes() != file[5..9] {
        return Err(corrupt("fails its checksum"));
    }
    let mut reader = Reader(body);
    let length = reader.take(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let json = length.and_then(|n| reader.take(n)).ok_or_else(|| corrupt("ends early"))?;
    let header = serde_json::from_slice(json).map_err(|e| corrupt("has a header that cannot be read").caused_by(e))?;
    let mut sections = Vec::new();
    while !reader.0.is_empty() {
        let mut section = Vec::new();
        for _ in 0..reader.number().ok_or_else(|| corrupt("ends early"))? {
            let length = reader.number().ok_or_else(|| corrupt("ends early"))?;
            let bytes = reader.take(length as usize).ok_or_else(|| corrupt("ends early"))?;
            section.extend(from_ipc(bytes)?);
        }
        sections.push(section);
    }
    Ok((header, sections))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_changed_byte_is_noticed() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let mut bytes = encode(&"header", &[vec![], vec![batch.clone(), batch.clone()]]).unwrap();
        let (header, sections): (String, _) = decode("f", &bytes).unwrap();
        assert_eq!(header, "header");
        assert_eq!(sections, [vec![], vec![batch.clone(), batch]]);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        assert_eq!(decode::<String>("f", &bytes).unwrap_err().kind(), Kind::DataCorrupted);
    }
}
