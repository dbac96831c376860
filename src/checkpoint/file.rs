//! The form of a checkpoint file, version 1.
//!
//! ```text
//! "TMCK" │ version: u8 │ crc32 of the rest: u32 LE │ header length: u32 LE │ header: JSON
//!        │ per section: length: u64 LE │ Arrow IPC stream
//! ```
//! A file is written once and whole. A checksum that fails is corruption, never a torn write.

use std::ops::Range;

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    changes::bytes_of,
    error::{Error, Kind, Result},
};

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
    let mut encoder = Encoder::new(header, sections.iter().flatten().map(bytes_of).sum())?;
    for section in sections {
        encoder.begin_section();
        section.iter().try_for_each(|batch| encoder.push(batch))?;
    }
    Ok(encoder.finish())
}

/// Makes the bytes of a file batch by batch: they are there once, and no batch needs to be there longer than it takes.
#[derive(Debug)]
pub struct Encoder {
    file: Vec<u8>,
    /// Where the number of batches of the present section stands, and how many they are.
    section: Option<(usize, u64)>,
}

/// Where the checksum stands, and what it is of.
const CHECKSUM: Range<usize> = 5..9;

/// What a file has besides its batches, about, and each of these.
const OVERHEAD_BYTES: usize = 4096;

impl Encoder {
    /// For batches of about so many bytes.
    pub fn new(header: &impl Serialize, bytes: usize) -> Result<Self> {
        let json = serde_json::to_vec(header).map_err(|e| Error::internal(format!("a checkpoint header: {e}")))?;
        let length = u32::try_from(json.len())
            .map_err(|_| Error::new(Kind::LimitExceeded, "a checkpoint header is larger than 4 GiB"))?;
        let mut file = Vec::with_capacity(bytes + json.len() + OVERHEAD_BYTES);
        file.extend_from_slice(MAGIC);
        file.push(VERSION);
        file.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&length.to_le_bytes());
        file.extend_from_slice(&json);
        Ok(Encoder { file, section: None })
    }

    pub fn begin_section(&mut self) {
        self.end_section();
        self.section = Some((self.file.len(), 0));
        self.file.extend_from_slice(&[0; 8]);
    }

    fn end_section(&mut self) {
        if let Some((at, count)) = self.section.take() {
            self.put(at, count);
        }
    }

    fn put(&mut self, at: usize, number: u64) {
        self.file[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }

    /// Batches of a section may have different schemas (keys removed, keys set), so each is a stream of its own.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let at = self.file.len();
        self.file.extend_from_slice(&[0; 8]);
        let mut writer = StreamWriter::try_new(&mut self.file, &batch.schema())?;
        writer.write(batch)?;
        writer.finish()?;
        drop(writer);
        self.put(at, (self.file.len() - at - 8) as u64);
        if let Some((_, count)) = &mut self.section {
            *count += 1;
        }
        Ok(())
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.end_section();
        let checksum = crc32fast::hash(&self.file[CHECKSUM.end..]);
        self.file[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        self.file
    }
}

/// The header and the sections of a file. `path` is for the errors.
pub fn decode<H: DeserializeOwned>(path: &str, file: &[u8]) -> Result<(H, Vec<Vec<RecordBatch>>)> {
    let (header, mut reader) = opened(path, file)?;
    let mut sections = Vec::new();
    while !reader.0.is_empty() {
        let mut section = Vec::new();
        for _ in 0..reader.number().ok_or_else(|| corrupt(path, "ends early"))? {
            let length = reader.number().ok_or_else(|| corrupt(path, "ends early"))?;
            let bytes = reader.take(length as usize).ok_or_else(|| corrupt(path, "ends early"))?;
            section.extend(from_ipc(bytes)?);
        }
        sections.push(section);
    }
    Ok((header, sections))
}

/// The header alone.
pub fn decode_header<H: DeserializeOwned>(path: &str, file: &[u8]) -> Result<H> {
    Ok(opened(path, file)?.0)
}

/// The header of a file that is whole, and a reader of what comes behind it.
fn opened<'a, H: DeserializeOwned>(path: &str, file: &'a [u8]) -> Result<(H, Reader<'a>)> {
    if file.len() < 13 || &file[..4] != MAGIC {
        return Err(corrupt(path, "is not a checkpoint"));
    }
    if file[4] != VERSION {
        return Err(Error::new(Kind::DataCorrupted, format!("checkpoint \"{path}\" has version {}", file[4]))
            .hint("It was written by a newer release: start that one."));
    }
    let body = &file[9..];
    if crc32fast::hash(body).to_le_bytes() != file[5..9] {
        return Err(corrupt(path, "fails its checksum"));
    }
    let mut reader = Reader(body);
    let length = reader.take(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let json = length.and_then(|n| reader.take(n)).ok_or_else(|| corrupt(path, "ends early"))?;
    let header = serde_json::from_slice(json);
    Ok((header.map_err(|e| corrupt(path, "has a header that cannot be read").caused_by(e))?, reader))
}

fn corrupt(path: &str, what: &str) -> Error {
    Error::new(Kind::DataCorrupted, format!("checkpoint \"{path}\" {what}"))
        .hint("The disk lost or changed data. Restore the data directory from a copy.")
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
