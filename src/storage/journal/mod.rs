//! A journal: append-only files of framed records, in which missing and altered files are detected.
//!
//! Each file begins with a header that names the file before it, with the length and checksum of its valid part; the
//! mark beside the journal does so for the newest. So a missing, truncated or altered file is detected and named. Only
//! the end of the newest file, after the mark, may be torn: it was never acknowledged and is dropped when it is read.
//! After a failed write the next record goes to a new file, whose header excludes what the failed write left.

mod frame;
mod legacy;
mod mark;

use std::collections::BTreeMap;

use bytes::Bytes;

use self::{
    frame::{Frame, FrameKind, MAGIC, Walked},
    mark::Prefix,
};
use super::{
    Storage,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use crate::error::{Error, ErrorKind, Result};

/// Records of one append that exceed this size are written in several parts, so that the copy of them in memory stays
/// within it.
pub(super) const WRITE_BYTES_MAX: usize = 64 << 20;

/// Numbered files of frames in one folder. Appends are durable on return.
#[derive(Debug)]
pub struct Journal {
    storage: Arc<dyn Storage>,
    folder: String,
    /// The version of its record format.
    version: u16,
    /// Whether the mark existed when it was opened, so that no synced record can be missing unnoticed.
    marked: bool,
    /// The file that the next record goes to.
    file: AtomicU64,
    state: Mutex<JournalState>,
}

#[derive(Debug, Default)]
struct JournalState {
    /// The end of the valid records, and the number of the last group.
    tail: Prefix,
    group: u32,
    /// The valid length of each file.
    lengths: BTreeMap<u64, u64>,
    /// Files below this number may be removed.
    forgotten: u64,
}

impl Journal {
    /// Opens the journal of a folder; returns its records, each with the number of its file. `version` is that of the
    /// record format, from 1: a journal with a newer one is refused.
    pub fn open(
        storage: Arc<dyn Storage>,
        folder: impl Into<String>,
        version: u16,
    ) -> Result<(Journal, Vec<(u64, Bytes)>)> {
        let mut records = Vec::new();
        let journal = Journal::replay(storage, folder, version, |number, payload| {
            records.push((number, payload));
            Ok(())
        })?;
        Ok((journal, records))
    }

    /// The same, passing record by record to `record`: two files at a time are in memory.
    pub fn replay(
        storage: Arc<dyn Storage>,
        folder: impl Into<String>,
        version: u16,
        record: impl FnMut(u64, Bytes) -> Result<()>,
    ) -> Result<Journal> {
        let folder = folder.into();
        let state = JournalState::default();
        let mut replay = Replay { folder: folder.clone(), version, state, record, held: None, missing: Vec::new() };
        let mut numbers: Vec<u64> = storage.list(&folder)?.iter().filter_map(|path| file_number(path)).collect();
        numbers.sort_unstable();
        for number in &numbers {
            let bytes = storage.read(&path(&folder, *number))?.unwrap_or_default();
            replay.replay_file(*number, bytes)?;
        }
        let mark = mark::read(storage.as_ref(), &folder)?;
        let state = replay.end(&numbers, mark)?;
        // Always a new file after a start: the old one may end in a torn frame.
        let newest = numbers.last().copied().unwrap_or_default().max(mark.map_or(0, |mark| mark.file));
        let marked = mark.is_some();
        Ok(Journal { storage, folder, version, marked, file: AtomicU64::new(newest + 1), state: Mutex::new(state) })
    }

    /// Removes all of the journal of a folder.
    pub fn remove(storage: &dyn Storage, folder: &str) -> Result<()> {
        // The mark first: a mark without its files would say that they are missing.
        storage.remove(&mark::path(folder))?;
        storage.clear(folder)
    }

    fn state(&self) -> MutexGuard<'_, JournalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of one file; none if it was removed.
    pub fn read(&self, file: u64) -> Result<Vec<Bytes>> {
        let path = path(&self.folder, file);
        let Some(length) = self.state().lengths.get(&file).copied() else { return Ok(Vec::new()) };
        let bytes = match self.storage.read(&path)? {
            Some(bytes) => up_to(&path, bytes, length)?,
            None if self.state().lengths.contains_key(&file) => return Err(missing(&path)),
            None => return Ok(Vec::new()),
        };
        if !bytes.starts_with(MAGIC) {
            return Ok(legacy::unframe(&bytes).map_err(|e| damaged(e, &path))?.0);
        }
        let Walked { frames, end, .. } = frame::walk(&bytes, file);
        if end < bytes.len() {
            return Err(spoiled(&path, end));
        }
        Ok(frames.into_iter().filter(|frame| frame.kind == FrameKind::Record).map(|frame| frame.payload).collect())
    }

    /// The numbers of the files that are not removed.
    pub fn files(&self) -> Vec<u64> {
        self.state().lengths.keys().copied().collect()
    }

    /// Whether no record was ever written.
    pub fn is_new(&self) -> bool {
        self.state().tail.file == 0
    }

    /// Whether it was certain when it was opened that no acknowledged record is missing.
    pub fn is_certain(&self) -> bool {
        self.marked
    }

    /// The number of the file that the next record goes to.
    pub fn file(&self) -> u64 {
        self.file.load(Ordering::Acquire)
    }

    /// Appends records; after a crash a prefix of them exists. After a failed write it is open whether they exist,
    /// until the next write succeeds: from then on they do not.
    pub fn append(&self, payloads: &[Bytes]) -> Result<()> {
        payloads.iter().try_for_each(|payload| frame::check_size(payload).map(drop))?;
        self.write(FrameKind::Record, payloads)
    }

    fn write(&self, kind: FrameKind, payloads: &[Bytes]) -> Result<()> {
        let mut state = self.state();
        let before = (state.tail, state.group);
        let mut rest = payloads;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |payload: &&Bytes| {
                bytes += frame::framed_size(payload);
                bytes <= WRITE_BYTES_MAX
            };
            let (part, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            if let Err(error) = self.write_group(&mut state, kind, part) {
                self.take_back(&mut state, before);
                return Err(error);
            }
            rest = after;
        }
        // All records are durable; a stale mark only weakens the detection of loss, and is not worth an error.
        if let Err(error) = self.storage.overwrite(&mark::path(&self.folder), &state.tail.encode()) {
            tracing::debug!(%error, folder = self.folder, "the mark of a journal was not written");
        }
        Ok(())
    }

    /// Writes frames as one group, and syncs them.
    fn write_group(&self, state: &mut JournalState, kind: FrameKind, payloads: &[Bytes]) -> Result<()> {
        let number = self.file();
        let mut bytes = Vec::with_capacity(payloads.iter().map(|p| frame::framed_size(p)).sum::<usize>() + 64);
        let (from, group) = match state.tail.file == number {
            true => (state.tail, state.group + 1),
            false => {
                bytes.extend_from_slice(MAGIC);
                let (before, forgotten, version) = (state.tail, state.forgotten, self.version);
                let header = JournalHeader { before, forgotten, version }.encode();
                frame::push(&mut bytes, (number, 0), (FrameKind::Header, 1, false), &header)?;
                (Prefix { file: number, ..Prefix::default() }, 1)
            }
        };
        for (n, payload) in payloads.iter().enumerate() {
            frame::push(&mut bytes, (number, from.length), (kind, group, n + 1 == payloads.len()), payload)?;
        }
        self.storage.append(&path(&self.folder, number), &bytes)?;
        (state.tail, state.group) = (from.grown(&bytes), group);
        state.lengths.insert(number, state.tail.length);
        Ok(())
    }

    /// After a failed write: resets the end of the journal to where it was before.
    fn take_back(&self, state: &mut JournalState, (tail, group): (Prefix, u32)) {
        (state.tail, state.group) = (tail, group);
        state.lengths.retain(|file, _| *file <= tail.file);
        state.lengths.entry(tail.file).and_modify(|length| *length = tail.length);
        let file = self.file();
        // A file without valid records is removed; if that fails, the next header excludes it.
        if tail.file == file || self.storage.remove(&path(&self.folder, file)).is_err() {
            self.rotate();
        }
    }

    /// Continues in this file or a later one: numbers of removed files are not used again.
    pub fn begin_at(&self, file: u64) {
        self.file.fetch_max(file, Ordering::AcqRel);
    }

    /// Starts a new file; returns its number.
    pub fn rotate(&self) -> u64 {
        self.file.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Removes the files before number `before`. The removal is durable in the journal before the first file is
    /// removed.
    pub fn forget(&self, before: u64) -> Result<()> {
        let old = |path: &String| file_number(path).is_some_and(|n| n < before);
        let old: Vec<String> = self.storage.list(&self.folder)?.into_iter().filter(old).collect();
        if old.is_empty() {
            return Ok(());
        }
        self.write(FrameKind::Forgot, &[Bytes::copy_from_slice(&before.to_le_bytes())])?;
        {
            let mut state = self.state();
            state.forgotten = state.forgotten.max(before);
            state.lengths.retain(|file, _| *file >= before);
        }
        self.storage.remove_all(&old)
    }
}

/// The header of a file: what precedes it.
#[derive(Debug, Clone, Copy)]
struct JournalHeader {
    /// The file before this one, and its valid part. Files between the two do not count.
    before: Prefix,
    forgotten: u64,
    /// The version of the record format: 1 in headers without it.
    version: u16,
}

impl JournalHeader {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.before.encode();
        bytes.extend_from_slice(&self.forgotten.to_le_bytes());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes
    }

    /// The header of a file; `None` if it does not begin with one.
    fn read(bytes: &Bytes, number: u64) -> Option<JournalHeader> {
        let frame = bytes.starts_with(MAGIC).then(|| frame::frame_at(bytes, number, MAGIC.len())).flatten()?;
        let (before, rest) = frame.payload.split_first_chunk::<{ mark::SIZE }>()?;
        let (forgotten, version) = rest.split_first_chunk::<8>()?;
        let version = version.first_chunk().map_or(1, |version| u16::from_le_bytes(*version));
        let is_header = frame.kind == FrameKind::Header;
        is_header.then(|| {
            Some(JournalHeader { before: Prefix::decode(before)?, forgotten: u64::from_le_bytes(*forgotten), version })
        })?
    }
}

/// Replay of a journal, oldest file first. Each file is held until the next one's header says which part of it is
/// valid.
struct Replay<F> {
    folder: String,
    version: u16,
    state: JournalState,
    record: F,
    held: Option<(u64, Bytes)>,
    /// Files that a header names and that do not exist.
    missing: Vec<u64>,
}

impl<F: FnMut(u64, Bytes) -> Result<()>> Replay<F> {
    fn replay_file(&mut self, number: u64, bytes: Bytes) -> Result<()> {
        let path = path(&self.folder, number);
        frame::check_magic(&bytes, &path)?;
        if let Some(header) = JournalHeader::read(&bytes, number) {
            if header.version > self.version {
                let (found, known) = (header.version, self.version);
                let message =
                    format!("journal \"{path}\" has records of version {found}, of which {known} is known here");
                return Err(frame::newer(message));
            }
            self.state.forgotten = self.state.forgotten.max(header.forgotten);
            self.replay_held(header.before)?;
            self.held = Some((number, bytes));
            return Ok(());
        }
        let (records, _) = legacy::unframe(&bytes).map_err(|e| damaged(e, &path))?;
        if !records.is_empty() {
            let held = self.held.replace((number, bytes));
            return held.map_or(Ok(()), |(number, bytes)| self.hand_out(number, &bytes));
        }
        // Nothing in it was ever synced, or it would begin with a header.
        match frame::walk(&bytes, number).spoiled {
            true => Err(spoiled(&path, 0)),
            false => Ok(()),
        }
    }

    /// Replays the held file, if it is the one that the next header names.
    fn replay_held(&mut self, before: Prefix) -> Result<()> {
        match self.held.take() {
            Some((number, bytes)) if number == before.file => {
                let path = path(&self.folder, number);
                let bytes = up_to(&path, bytes, before.length)?;
                if crc32fast::hash(&bytes) != before.crc32 {
                    return Err(changed(&path));
                }
                self.hand_out(number, &bytes)
            }
            held => {
                if before.file > self.state.tail.file {
                    self.missing.push(before.file);
                }
                // A later file that is not named is what a failed write left.
                let earlier = held.filter(|(number, _)| *number < before.file);
                earlier.map_or(Ok(()), |(number, bytes)| self.hand_out(number, &bytes))
            }
        }
    }

    fn hand_out(&mut self, number: u64, bytes: &Bytes) -> Result<()> {
        let path = path(&self.folder, number);
        let (payloads, end) = if bytes.starts_with(MAGIC) {
            let Walked { frames, end, spoiled: was_synced } = frame::walk(bytes, number);
            if was_synced {
                return Err(spoiled(&path, end));
            }
            (frames, end)
        } else {
            let (payloads, end) = legacy::unframe(bytes).map_err(|e| damaged(e, &path))?;
            let record = |payload| Frame { kind: FrameKind::Record, group: 0, last: true, payload, end };
            (payloads.into_iter().map(record).collect(), end)
        };
        for frame in payloads {
            match frame.kind {
                FrameKind::Record => (self.record)(number, frame.payload)?,
                FrameKind::Forgot => {
                    let before = <[u8; 8]>::try_from(&frame.payload[..]).map_or(0, u64::from_le_bytes);
                    self.state.forgotten = self.state.forgotten.max(before);
                }
                FrameKind::Header => {}
            }
        }
        self.state.tail = Prefix::of(number, &bytes[..end]);
        self.state.lengths.insert(number, end as u64);
        Ok(())
    }

    /// Replays the newest file, and checks that none is missing.
    fn end(mut self, numbers: &[u64], mark: Option<Prefix>) -> Result<JournalState> {
        let newest = self.held.take();
        if let Some(mark) = mark {
            let is_newest = newest.as_ref().filter(|(number, _)| *number == mark.file);
            let path = path(&self.folder, mark.file);
            match is_newest {
                Some((_, bytes)) if crc32fast::hash(&up_to(&path, bytes.clone(), mark.length)?) != mark.crc32 => {
                    return Err(changed(&path));
                }
                Some(_) => {}
                None if newest.as_ref().is_some_and(|(number, _)| *number > mark.file) => {}
                None if numbers.contains(&mark.file) => return Err(spoiled(&path, 0)),
                None => return Err(missing(&path)),
            }
        }
        if let Some((number, bytes)) = newest {
            self.hand_out(number, &bytes)?;
        }
        match self.missing.iter().find(|number| **number >= self.state.forgotten) {
            Some(number) => Err(missing(&path(&self.folder, *number))),
            None => Ok(self.state),
        }
    }
}

fn path(folder: &str, file: u64) -> String {
    format!("{folder}/{file:012}.log")
}

fn file_number(path: &str) -> Option<u64> {
    path.rsplit('/').next()?.strip_suffix(".log")?.parse().ok()
}

/// The first `length` bytes of a file; fails if it is shorter.
fn up_to(path: &str, bytes: Bytes, length: u64) -> Result<Bytes> {
    match usize::try_from(length).ok().filter(|length| *length <= bytes.len()) {
        Some(length) => Ok(bytes.slice(..length)),
        None => {
            let message = format!("journal \"{path}\" has {} bytes, but {length} were written to it", bytes.len());
            Err(restore(message))
        }
    }
}

fn missing(path: &str) -> Error {
    restore(format!("journal \"{path}\" is missing"))
}

fn changed(path: &str) -> Error {
    restore(format!("journal \"{path}\" fails its checksum"))
}

fn spoiled(path: &str, at: usize) -> Error {
    restore(format!("journal \"{path}\": record at byte {at} fails its checksum"))
}

fn damaged(error: Error, path: &str) -> Error {
    restore(format!("journal \"{path}\": {error}"))
}

fn restore(message: String) -> Error {
    Error::new(ErrorKind::DataCorrupted, message)
        .hint("The disk lost or changed data. Restore the data directory from a copy.")
}
