//! The form of a checkpoint file, version 3.
//!
//! ```text
//! "TMCK" │ version: u8 │ path length: u32 LE │ path │ header length: u32 LE │ header: JSON
//!        │ per section: (1: u8 │ Arrow IPC stream)* │ 0: u8
//!        │ crc32 of all of it: u32 LE
//! ```
//! The path is the file's own, within the storage: whole files in each other's places are told apart by it. Earlier
//! versions can still be read. Version 2 has no path. Version 1 has none, its checksum before the header, over all that
//! follows, and lengths:
//!
//! ```text
//! "TMCK" │ version: u8 │ crc32 │ header length: u32 LE │ header: JSON
//!        │ per section: number: u64 LE │ (length: u64 LE │ Arrow IPC stream)*
//! ```
//! A file is written once and whole. A checksum that fails is corruption, never a torn write.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Take, Write};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use serde::{Serialize, de::DeserializeOwned};

use crc32fast::Hasher;

use crate::error::{Error, ErrorKind, Result};

const MAGIC: &[u8; 4] = b"TMCK";
const VERSION: u8 = 3;
/// The length of magic and version.
const START: u64 = 5;

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

/// The length of a checksum.
const CHECKSUM: u64 = 4;

/// Precedes each batch of a section; 0 ends the section.
const BATCH: u8 = 1;
const END: u8 = 0;

/// A header and its sections as the bytes of a file. A section without batches is kept, and is empty again when read.
pub fn encode(path: &str, header: &impl Serialize, sections: &[Vec<RecordBatch>]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut encoder = SectionEncoder::new(&mut file, path, header)?;
    for section in sections {
        encoder.section(section.iter().cloned().map(Ok))?;
    }
    encoder.finish()?;
    Ok(file)
}

/// A writer that computes checksum and length of what passes through it.
pub(super) struct Summed<W> {
    out: W,
    checksum: Hasher,
    length: u64,
}

impl<W> Summed<W> {
    pub(super) fn new(out: W) -> Self {
        Summed { out, checksum: Hasher::new(), length: 0 }
    }

    pub(super) fn checksum(&self) -> u32 {
        self.checksum.clone().finalize()
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.checksum.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a file batch by batch: each can be dropped once it is written.
pub struct SectionEncoder<W> {
    file: Summed<W>,
}

impl<W: Write> SectionEncoder<W> {
    /// `path` is where the file will be.
    pub fn new(out: W, path: &str, header: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_vec(header).map_err(|e| Error::internal(format!("a checkpoint header: {e}")))?;
        let mut file = Summed::new(out);
        file.write_all(MAGIC)?;
        file.write_all(&[VERSION])?;
        for part in [path.as_bytes(), &json] {
            let length = u32::try_from(part.len())
                .map_err(|_| Error::new(ErrorKind::LimitExceeded, "a checkpoint header is larger than 4 GiB"))?;
            file.write_all(&length.to_le_bytes())?;
            file.write_all(part)?;
        }
        Ok(SectionEncoder { file })
    }

    /// A section of these batches. They may have different schemas (keys removed, keys set), so each is a stream of its
    /// own.
    pub fn section(&mut self, batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<()> {
        for batch in batches {
            let batch = batch?;
            self.file.write_all(&[BATCH])?;
            let mut writer = StreamWriter::try_new(&mut self.file, &batch.schema())?;
            writer.write(&batch)?;
            writer.finish()?;
        }
        Ok(self.file.write_all(&[END])?)
    }

    pub fn finish(mut self) -> Result<()> {
        let checksum = self.file.checksum();
        Ok(self.file.out.write_all(&checksum.to_le_bytes())?)
    }
}

/// The header and the sections of a file. `path` is for the errors.
pub fn decode<H: DeserializeOwned>(path: &str, file: &[u8]) -> Result<(H, Vec<Vec<RecordBatch>>)> {
    let (header, decoder) = SectionDecoder::new(path, Cursor::new(file))?;
    let mut sections = Vec::new();
    decoder.each(|section, batch| {
        sections.resize_with(sections.len().max(section + 1), Vec::new);
        sections[section].extend(batch);
        Ok(())
    })?;
    Ok((header, sections))
}

/// Reads a file batch by batch.
pub struct SectionDecoder<'a, R> {
    path: &'a str,
    version: u8,
    /// The rest of the file, up to the end of the sections.
    file: Take<R>,
}

impl<'a, R: Read + Seek> SectionDecoder<'a, R> {
    /// The header of a file, once its checksum is verified, and the decoder of its sections.
    pub fn new<H: DeserializeOwned>(path: &'a str, mut file: R) -> Result<(H, Self)> {
        let length = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut start = [0; MAGIC.len() + 1];
        let begins = file.read_exact(&mut start).is_ok() && start.starts_with(MAGIC);
        if !begins || length < START + CHECKSUM {
            return Err(corrupt(path, "is not a checkpoint"));
        }
        let version = start[MAGIC.len()];
        // Offset of the checksum, and the range that it covers.
        let (at, from, to) = match version {
            1 => (START, START + CHECKSUM, length),
            2 | VERSION => (length - CHECKSUM, 0, length - CHECKSUM),
            newer => {
                let message = format!("checkpoint \"{path}\" has version {newer}");
                return Err(Error::new(ErrorKind::DataCorrupted, message)
                    .hint("It was written by a newer release: start that one."));
            }
        };
        let mut checksum = [0; CHECKSUM as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut checksum)?;
        file.seek(SeekFrom::Start(from))?;
        let mut body = Summed::new(io::sink());
        io::copy(&mut file.by_ref().take(to - from), &mut body)?;
        if body.checksum().to_le_bytes() != checksum {
            return Err(corrupt(path, "fails its checksum"));
        }
        let from = from.max(START);
        file.seek(SeekFrom::Start(from))?;
        let mut decoder = SectionDecoder { path, version, file: file.take(to - from) };
        if version == VERSION {
            let own = decoder.take_sized()?;
            if own != path.as_bytes() {
                let own = String::from_utf8_lossy(&own);
                return Err(corrupt(path, &format!("is a copy of \"{own}\"")));
            }
        }
        let header = serde_json::from_slice(&decoder.take_sized()?);
        Ok((header.map_err(|e| corrupt(path, "has a header that cannot be read").caused_by(e))?, decoder))
    }

    /// Calls `take` with the number of each section, first with `None`, then with each of its batches.
    pub fn each(mut self, mut take: impl FnMut(usize, Option<RecordBatch>) -> Result<()>) -> Result<()> {
        let mut section = 0;
        while self.file.limit() > 0 {
            take(section, None)?;
            match self.version {
                1 => {
                    for _ in 0..u64::from_le_bytes(self.read_array()?) {
                        let length = u64::from_le_bytes(self.read_array()?);
                        let mut stream = self.file.by_ref().take(length);
                        each_of(&mut stream, |batch| take(section, Some(batch)))?;
                        io::copy(&mut stream, &mut io::sink())?;
                    }
                }
                _ => {
                    while self.read_array()? == [BATCH] {
                        each_of(&mut self.file, |batch| take(section, Some(batch)))?;
                    }
                }
            }
            section += 1;
        }
        Ok(())
    }

    /// Bytes after their length.
    fn take_sized(&mut self) -> Result<Vec<u8>> {
        let length = u32::from_le_bytes(self.read_array()?);
        let mut bytes = Vec::new();
        self.file.by_ref().take(length.into()).read_to_end(&mut bytes)?;
        match bytes.len() as u64 == u64::from(length) {
            true => Ok(bytes),
            false => Err(self.ends_early()),
        }
    }

    fn read_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(|_| self.ends_early())?;
        Ok(bytes)
    }

    fn ends_early(&self) -> Error {
        corrupt(self.path, "ends early")
    }
}

/// The batches of one stream, up to its end.
fn each_of(stream: &mut impl Read, take: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
    let mut take = take;
    StreamReader::try_new(stream, None)?.try_for_each(|batch| take(batch?))
}

fn corrupt(path: &str, what: &str) -> Error {
    Error::new(ErrorKind::DataCorrupted, format!("checkpoint \"{path}\" {what}"))
        .hint("The disk lost or changed data. Restore the data directory from a copy.")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn checkpoint_file_roundtrips_and_any_damage_is_data_corrupted() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let mut bytes = encode("f", &"header", &[vec![], vec![batch.clone(), batch.clone()]]).unwrap();
        let (header, sections): (String, _) = decode("f", &bytes).unwrap();
        assert_eq!(header, "header");
        assert_eq!(sections, [vec![], vec![batch.clone(), batch.clone()]]);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        assert_eq!(decode::<String>("f", &bytes).unwrap_err().kind(), ErrorKind::DataCorrupted);
        for short in 0..bytes.len() {
            assert_eq!(decode::<String>("f", &bytes[..short]).unwrap_err().kind(), ErrorKind::DataCorrupted);
        }
    }

    #[test]
    fn checkpoint_file_in_the_place_of_another_is_named() {
        let bytes = encode("state/3/1.ckpt", &"header", &[]).unwrap();
        assert!(decode::<String>("state/3/1.ckpt", &bytes).is_ok());
        let error = decode::<String>("state/4/1.ckpt", &bytes).unwrap_err();
        assert_eq!(error.message(), "checkpoint \"state/4/1.ckpt\" is a copy of \"state/3/1.ckpt\"");
    }

    #[test]
    fn checkpoint_file_of_version_2_is_decoded() {
        let file = [&b"TMCK\x02"[..], &8_u32.to_le_bytes(), b"\"header\"", &[END]].concat();
        let file = [&file[..], &crc32fast::hash(&file).to_le_bytes()].concat();
        let (header, sections): (String, _) = decode("f", &file).unwrap();
        assert_eq!((header.as_str(), sections), ("header", vec![vec![]]));
    }

    #[test]
    fn checkpoint_file_of_version_1_is_decoded() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let stream = ipc(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
        let mut body = Vec::new();
        body.extend(8_u32.to_le_bytes());
        body.extend(b"\"header\"");
        // A section without batches, and one with two.
        body.extend(0_u64.to_le_bytes());
        body.extend(2_u64.to_le_bytes());
        for _ in 0..2 {
            body.extend((stream.len() as u64).to_le_bytes());
            body.extend(&stream);
        }
        let file = [&b"TMCK\x01"[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat();
        let (header, sections): (String, _) = decode("f", &file).unwrap();
        assert_eq!((header.as_str(), sections), ("header", vec![vec![], vec![batch.clone(), batch]]));
    }
}
