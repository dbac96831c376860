//! The frames of a journal file, version 2.
//!
//! ```text
//! file  = "TMJ2" │ frame*          the first frame is the file's header
//! frame = length: u32 │ group: u32 │ kind: u8 │ crc32 of the payload: u32 │ crc32 of the head: u32 │ payload     (LE)
//! ```
//! Frames that were written and synced together are a *group*; its last frame is marked. The checksum of a head covers
//! the number of its file and its offset, so that bytes that merely look like a frame, in a payload or copied from
//! another place, are not one.

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

pub(super) const MAGIC: &[u8; 4] = b"TMJ2";
/// The first bytes of files of all versions except the first.
const FAMILY: &[u8] = b"TMJ";
const HEAD: usize = 17;

/// Set in the kind of the last frame of a group.
const LAST: u8 = 0x80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// The journal header: which file precedes this one.
    Header = 0,
    Record = 1,
    /// Files with a lower number may be removed.
    Forgot = 2,
}

/// Fails for a file of an unknown version.
pub(super) fn check_magic(bytes: &[u8], path: &str) -> Result<()> {
    match bytes.get(..MAGIC.len()) {
        Some(magic) if magic.starts_with(FAMILY) && magic != MAGIC => {
            let version = char::from(magic[FAMILY.len()]).escape_default();
            Err(newer(format!("journal \"{path}\" has version {version}")))
        }
        _ => Ok(()),
    }
}

/// The error for a file of a newer release.
pub(super) fn newer(message: String) -> Error {
    Error::new(ErrorKind::DataCorrupted, message).hint("It was written by a newer release: start that one.")
}

/// A frame with valid checksums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub kind: FrameKind,
    pub group: u32,
    /// Whether it is the last one of its group.
    pub last: bool,
    pub payload: Bytes,
    /// Where the next frame begins.
    pub end: usize,
}

struct Head {
    length: usize,
    group: u32,
    kind: FrameKind,
    last: bool,
    payload_crc32: u32,
}

/// Bytes that a payload takes in a file.
pub(super) fn framed_size(payload: &[u8]) -> usize {
    HEAD + payload.len()
}

/// The length of a payload; fails if it exceeds what a frame can have.
pub(super) fn check_size(payload: &[u8]) -> Result<u32> {
    u32::try_from(payload.len()).map_err(|_| {
        Error::new(
            ErrorKind::LimitExceeded,
            format!("a journal record of {} bytes is larger than 4 GiB", payload.len()),
        )
    })
}

/// Appends a frame to bytes that will be at offset `base` in file `number`.
pub(super) fn push(
    bytes: &mut Vec<u8>,
    (number, base): (u64, u64),
    (kind, group, last): (FrameKind, u32, bool),
    payload: &[u8],
) -> Result<()> {
    let length = check_size(payload)?;
    let at = bytes.len();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&group.to_le_bytes());
    bytes.push(kind as u8 | if last { LAST } else { 0 });
    bytes.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let checksum = head_crc32(&bytes[at..], number, base + at as u64);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(payload);
    Ok(())
}

fn head_crc32(head: &[u8], number: u64, offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(&number.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.finalize()
}

fn head_at(bytes: &[u8], number: u64, at: usize) -> Option<Head> {
    let head = bytes.get(at..at + HEAD)?;
    let word = |n: usize| u32::from_le_bytes([head[n], head[n + 1], head[n + 2], head[n + 3]]);
    let kind = match head[8] & !LAST {
        0 => FrameKind::Header,
        1 => FrameKind::Record,
        2 => FrameKind::Forgot,
        _ => return None,
    };
    (head_crc32(&head[..13], number, at as u64) == word(13)).then(|| Head {
        length: word(0) as usize,
        group: word(4),
        kind,
        last: head[8] & LAST != 0,
        payload_crc32: word(9),
    })
}

/// The valid frame at an offset of file `number`, if there is one.
pub(super) fn frame_at(bytes: &Bytes, number: u64, at: usize) -> Option<Frame> {
    let Head { length, group, kind, last, payload_crc32 } = head_at(bytes, number, at)?;
    let (start, end) = (at + HEAD, at + HEAD + length);
    let good = crc32fast::hash(bytes.get(start..end)?) == payload_crc32;
    good.then(|| Frame { kind, group, last, payload: bytes.slice(start..end), end })
}

/// The valid frames from the beginning of a file, and where they end.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub frames: Vec<Frame>,
    pub end: usize,
    /// Whether the bytes after the end were synced once: a later group follows them, so that they are corrupt, not
    /// torn.
    pub spoiled: bool,
}

pub(super) fn walk(bytes: &Bytes, number: u64) -> Walked {
    let mut walked = Walked::default();
    if bytes.starts_with(MAGIC) {
        walked.end = MAGIC.len();
        while let Some(frame) = frame_at(bytes, number, walked.end) {
            walked.end = frame.end;
            walked.frames.push(frame);
        }
    }
    // A group is begun only after the one before is synced. The disk may persist the end of a group before its
    // beginning.
    let unsynced = walked.frames.last().map_or(1, |frame| if frame.last { frame.group + 1 } else { frame.group });
    let later = |at: usize| head_at(bytes, number, at).is_some_and(|head| head.group > unsynced);
    walked.spoiled = (walked.end + 1..bytes.len().saturating_sub(HEAD - 1)).any(later);
    walked
}
