//! Received lines, numbered. They are in the journal before a number is used, and until every reader has consumed them.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::lines::LineGroup;
use crate::{
    error::{Error, ErrorKind, Result},
    storage::{Journal, Storage},
};

/// The version of the form of the journal's records: raised where an older release would misread them.
const RECORD_VERSION: u16 = 1;

/// Files of the journal are about this large: they are freed, and read, as a whole.
const FILE_BYTES: u64 = 8 << 20;

/// The newest lines, of about so many bytes, are also held in memory: a reader that keeps up reads no file.
const RECENT_BYTES: usize = 8 << 20;

/// The numbered lines of one source.
#[derive(Debug)]
pub(super) struct Received {
    journal: Journal,
    /// Held while journal and list are changed.
    change: Mutex<()>,
    list: Mutex<ReceivedFiles>,
    /// Limit of the journal's bytes.
    bytes_max: u64,
    file_bytes: u64,
    freed: Notify,
}

#[derive(Debug, Default)]
struct ReceivedFiles {
    files: VecDeque<ReceivedFile>,
    recent: VecDeque<LineGroup>,
    recent_bytes: usize,
    /// The number of the next line to come.
    next: u64,
}

/// The lines that one file of the journal holds.
#[derive(Debug)]
struct ReceivedFile {
    number: u64,
    first: u64,
    end: u64,
    bytes: u64,
}

/// Where some lines are: in memory or in a file.
#[derive(Debug, Clone)]
pub(super) enum ReceivedPiece {
    Memory(LineGroup, Range<u64>),
    File(u64, Range<u64>),
}

impl Received {
    /// Opens the journal in a folder of the storage. Blocks.
    pub fn open(storage: Arc<dyn Storage>, folder: &str, bytes_max: u64) -> Result<Received> {
        let mut list = ReceivedFiles::default();
        let journal = Journal::replay(storage, folder, RECORD_VERSION, |file, bytes| {
            let group = LineGroup::decode(&bytes)?;
            let begun = !list.files.is_empty();
            if begun && group.first > list.next {
                let message = format!("lines {} to {} of \"{folder}\" are gone", list.next, group.first);
                return Err(Error::new(ErrorKind::DataCorrupted, message)
                    .hint("The disk lost or changed data. Restore the data directory from a copy."));
            }
            // A write that failed but became durable was repeated unchanged.
            if !begun || group.first == list.next {
                list.push(file, bytes.len() as u64, group);
            }
            Ok(())
        })?;
        // A file is freed as a whole, so that there must be several, or the reader of the last would hold up all.
        let file_bytes = FILE_BYTES.min(bytes_max / 4);
        let list = Mutex::new(list);
        Ok(Received { journal, change: Mutex::default(), list, bytes_max, file_bytes, freed: Notify::new() })
    }

    fn list(&self) -> MutexGuard<'_, ReceivedFiles> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends lines, the first of which has the next number. Durable on return. After an error it is unknown whether
    /// they are durable: the same group must be added again before any other. Blocks.
    pub fn add(&self, group: LineGroup) -> Result<()> {
        let _one = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(group)
    }

    fn write(&self, group: LineGroup) -> Result<()> {
        let (file, bytes) = (self.journal.file(), group.encode()?);
        let length = bytes.len() as u64;
        self.journal.append(&[bytes])?;
        if self.list().push(file, length, group) >= self.file_bytes {
            self.journal.rotate();
        }
        Ok(())
    }

    /// Frees the files whose lines all have lower numbers. Blocks.
    pub fn forget(&self, before: u64) -> Result<()> {
        let _one = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, next) = self.bounds();
        if before <= first {
            return Ok(());
        }
        if before >= next {
            // The number of the next line must not be forgotten with the last.
            self.journal.rotate();
            self.write(LineGroup::empty(next))?;
        }
        let Some(file) = self.list().forget(before) else { return Ok(()) };
        self.freed.notify_one();
        self.journal.forget(file)
    }

    /// The number of the first line kept, and the next number.
    pub fn bounds(&self) -> (u64, u64) {
        let list = self.list();
        (list.first(), list.next)
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.list().files.iter().map(|f| f.bytes).sum::<u64>() < self.bytes_max
    }

    /// Waits until a file is freed.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// How many bytes the lines from a number on have; within a file they count as equally long.
    pub fn bytes_from(&self, from: u64) -> u64 {
        let list = self.list();
        list.files.iter().map(|file| file.share(from.clamp(file.first, file.end)..file.end)).sum()
    }

    /// How far `bytes` reach from a number on, by the same measure.
    pub fn reach(&self, from: u64, bytes: u64) -> u64 {
        let list = self.list();
        let mut left = bytes;
        for file in list.files.iter().filter(|file| file.end > from) {
            let from = from.max(file.first);
            let there = file.share(from..file.end);
            if there > left {
                let lines = u128::from(left) * u128::from(file.end - from) / u128::from(there);
                return from + lines as u64;
            }
            left -= there;
        }
        list.next
    }

    /// Where the lines of a range are, as far as they are not forgotten.
    pub fn pieces(&self, range: Range<u64>) -> Vec<ReceivedPiece> {
        let list = self.list();
        let recent = list.recent.front().map_or(list.next, |group| group.first);
        let mut pieces = Vec::new();
        for file in &list.files {
            let part = file.first.max(range.start)..file.end.min(range.end).min(recent);
            if !part.is_empty() {
                pieces.push(ReceivedPiece::File(file.number, part));
            }
        }
        let from = list.recent.partition_point(|group| group.end() <= range.start);
        for group in list.recent.range(from..) {
            let part = group.first.max(range.start)..group.end().min(range.end);
            if part.is_empty() {
                break;
            }
            pieces.push(ReceivedPiece::Memory(group.clone(), part));
        }
        pieces
    }

    /// The groups of a piece, each with the lines of it that are meant. Blocks.
    pub fn load(&self, piece: ReceivedPiece) -> Result<Vec<(LineGroup, Range<u64>)>> {
        let (file, range) = match piece {
            ReceivedPiece::Memory(group, range) => return Ok(vec![(group, range)]),
            ReceivedPiece::File(file, range) => (file, range),
        };
        let mut groups = Vec::new();
        let mut at = range.start;
        // A file that is gone was forgotten since: as if this had been asked a moment later.
        for bytes in self.journal.read(file)? {
            let group = LineGroup::decode(&bytes)?;
            let part = group.first.max(at)..group.end().min(range.end);
            if !part.is_empty() {
                at = part.end;
                groups.push((group, part));
            }
        }
        Ok(groups)
    }
}

impl ReceivedFiles {
    fn first(&self) -> u64 {
        self.files.front().map_or(self.next, |file| file.first)
    }

    /// Gives the bytes that the file now has.
    fn push(&mut self, number: u64, bytes: u64, group: LineGroup) -> u64 {
        let (first, end) = (group.first, group.end());
        if self.files.back().is_none_or(|file| file.number != number) {
            self.files.push_back(ReceivedFile { number, first, end, bytes: 0 });
        }
        self.next = end;
        if group.lines > 0 {
            self.recent_bytes += group.text.len();
            self.recent.push_back(group);
        }
        while self.recent_bytes > RECENT_BYTES
            && let Some(old) = self.recent.pop_front()
        {
            self.recent_bytes -= old.text.len();
        }
        self.files.back_mut().map_or(0, |file| {
            file.end = end;
            file.bytes += bytes;
            file.bytes
        })
    }

    /// Gives the number of the first file that is still needed; `None` where all are.
    fn forget(&mut self, before: u64) -> Option<u64> {
        let count = self.files.iter().take_while(|file| file.end <= before).count();
        let count = count.min(self.files.len().saturating_sub(1));
        self.files.drain(..count);
        let first = self.first();
        while self.recent.front().is_some_and(|group| group.end() <= first) {
            self.recent_bytes -= self.recent.pop_front().map_or(0, |group| group.text.len());
        }
        (count > 0).then(|| self.files.front().map(|file| file.number)).flatten()
    }
}

impl ReceivedFile {
    fn share(&self, lines: Range<u64>) -> u64 {
        let (some, all) = (lines.end.saturating_sub(lines.start), self.end - self.first);
        (u128::from(self.bytes) * u128::from(some)).checked_div(u128::from(all)).unwrap_or(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    /// Lines that say their numbers.
    fn group(first: u64, lines: u64) -> LineGroup {
        let text: String = (first..first + lines).map(|n| format!("{n:07}\n")).collect();
        LineGroup { first, lines, odd: Vec::new(), text: text.into() }
    }

    /// The numbers that the lines of a range say.
    fn read(received: &Received, range: Range<u64>) -> Vec<u64> {
        let mut numbers = Vec::new();
        for piece in received.pieces(range) {
            for (group, part) in received.load(piece).unwrap() {
                let lines = group.text.chunks(8).map(|line| std::str::from_utf8(&line[..7]).unwrap().parse().unwrap());
                let skip = (part.start - group.first) as usize;
                numbers.extend(lines.skip(skip).take((part.end - part.start) as usize).collect::<Vec<u64>>());
            }
        }
        numbers
    }

    #[test]
    fn received_line_numbers_survive_a_crash_at_every_write() {
        for crash in 1.. {
            let storage = Arc::new(MemoryStorage::default());
            storage.fail_at(crash);
            let (mut added, mut forgotten) = (0, 0);
            // So small that each group fills a file.
            let received = Received::open(storage.clone(), "s", 400).unwrap();
            for n in 0..30 {
                if received.add(group(added, n % 4)).is_err() {
                    break;
                }
                added += n % 4;
                if n % 5 == 4 {
                    let before = if n % 10 == 9 { added } else { added - 4 };
                    if received.forget(before).is_err() {
                        forgotten = before;
                        break;
                    }
                    forgotten = before;
                }
            }
            drop(received);
            let done = storage.writes() < crash;
            let received = Received::open(Arc::new(storage.survivor()), "s", 400).unwrap();
            let (first, next) = received.bounds();
            // What was acknowledged is there; of what was not, all or nothing of a group.
            assert!(first <= forgotten && added <= next && next <= added + 3, "write {crash}: {first}..{next}");
            assert_eq!(read(&received, 0..u64::MAX), (first..next).collect::<Vec<_>>(), "write {crash}");
            received.add(group(next, 2)).unwrap();
            assert_eq!(read(&received, next..next + 9), [next, next + 1], "write {crash}");
            if done {
                break;
            }
        }
    }

    #[test]
    fn received_group_written_twice_counts_once() {
        let storage = Arc::new(MemoryStorage::default());
        let received = Received::open(storage.clone(), "s", 1 << 20).unwrap();
        received.add(group(0, 3)).unwrap();
        storage.fail_at(2);
        assert!(received.add(group(3, 2)).is_err());
        storage.heal();
        // As a sync that fails after the bytes have come through.
        let (journal, _) = Journal::open(storage.clone(), "s", RECORD_VERSION).unwrap();
        journal.append(&[group(3, 2).encode().unwrap()]).unwrap();
        let received = Received::open(storage.clone(), "s", 1 << 20).unwrap();
        assert_eq!(received.bounds(), (0, 5));
        let (journal, _) = Journal::open(storage.clone(), "s", RECORD_VERSION).unwrap();
        journal.append(&[group(3, 2).encode().unwrap()]).unwrap();
        let received = Received::open(storage.clone(), "s", 1 << 20).unwrap();
        assert_eq!(read(&received, 0..9), [0, 1, 2, 3, 4]);
        // A hole is none of our doing.
        let (journal, _) = Journal::open(storage.clone(), "s", RECORD_VERSION).unwrap();
        journal.append(&[group(7, 1).encode().unwrap()]).unwrap();
        assert_eq!(Received::open(storage, "s", 1 << 20).unwrap_err().kind(), ErrorKind::DataCorrupted);
    }

    #[test]
    fn received_lines_behind_memory_are_read_from_files_until_forgotten() {
        let storage = Arc::new(MemoryStorage::default());
        let received = Received::open(storage.clone(), "s", 64 << 20).unwrap();
        // 32 MB, of which the last 8 are in memory.
        for n in 0..64 {
            received.add(group(n * 65_536, 65_536)).unwrap();
        }
        let all = 64 * 65_536;
        assert!(storage.list("s").unwrap().len() >= 4);
        for from in [0, 70_000, 2_500_000, all - 10] {
            assert_eq!(read(&received, from..from + 100_000), (from..all.min(from + 100_000)).collect::<Vec<_>>());
            assert_eq!(received.reach(from, u64::MAX), all);
            let half = received.reach(from, received.bytes_from(from) / 2);
            assert!(half.abs_diff((from + all) / 2) <= 2, "{from}: {half}");
        }
        let part = all / 2;
        received.forget(part).unwrap();
        let (first, next) = received.bounds();
        assert!(0 < first && first <= part && next == all);
        assert_eq!(read(&received, 0..part), (first..part).collect::<Vec<_>>());
        received.forget(all).unwrap();
        assert_eq!((received.bounds(), storage.list("s").unwrap().len()), ((all, all), 1));
        assert!(received.has_room());
    }
}
