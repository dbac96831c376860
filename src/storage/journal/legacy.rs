//! The frames of journal files of earlier releases; read only.
//!
//! ```text
//! frame = length: u32 LE │ crc32 of length: u32 LE │ crc32 of payload: u32 LE │ payload
//! ```

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

const HEAD: usize = 12;

/// The payloads of a file, and where they end. A torn end is dropped; a bad frame before a good one is corruption.
pub(super) fn unframe(bytes: &Bytes) -> Result<(Vec<Bytes>, usize)> {
    let (mut payloads, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match frame_at(bytes, at) {
            Some(payload) => {
                at += HEAD + payload.len();
                payloads.push(payload);
            }
            None if (at + 1..bytes.len()).all(|later| frame_at(bytes, later).is_none()) => break,
            None => {
                return Err(Error::new(ErrorKind::DataCorrupted, format!("record at byte {at} fails its checksum")));
            }
        }
    }
    Ok((payloads, at))
}

fn frame_at(bytes: &Bytes, at: usize) -> Option<Bytes> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = number(at)?;
    if number(at + 4)? != crc32fast::hash(&length.to_le_bytes()) {
        return None;
    }
    let (start, end) = (at + HEAD, at + HEAD + length as usize);
    (crc32fast::hash(bytes.get(start..end)?) == number(at + 8)?).then(|| bytes.slice(start..end))
}
