//! A hash table from key bytes to ids, with its keys in one arena.

use std::{hash::BuildHasher, sync::LazyLock};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table};

use super::{Compaction, Id};

/// Maps byte strings (`arrow-row` encoded keys) to dense ids. For a multiset, several ids may have equal bytes: they
/// share the bytes and one table entry, so that duplicates cost O(1). Freed ids are reused at once, freed bytes after a
/// compaction of the arena.
#[derive(Debug, Default)]
pub struct Index {
    /// One of the ids of each byte string.
    table: HashTable<Id>,
    arena: Vec<u8>,
    entries: Vec<IndexEntry>,
    free: Vec<Id>,
    garbage: usize,
    compaction: Compaction,
}

/// The entry of one id.
#[derive(Debug, Clone, Copy)]
struct IndexEntry {
    /// Offset of its bytes in the arena.
    start: usize,
    length: u32,
    live: bool,
    hash: u64,
    /// Neighbours in the ring of ids with the same bytes; itself if it is the only one.
    next: Id,
    previous: Id,
}

impl Index {
    /// The hash that the other methods take. Its seed changes with each start: never persisted.
    pub fn hash(bytes: &[u8]) -> u64 {
        static STATE: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);
        STATE.hash_one(bytes)
    }

    pub fn set_compaction(&mut self, to: Compaction) {
        self.compaction = to;
    }

    pub fn contains(&self, id: Id) -> bool {
        self.entries.get(id as usize).is_some_and(|e| e.live)
    }

    /// One id with these bytes.
    pub fn find(&self, hash: u64, bytes: &[u8]) -> Option<Id> {
        self.table.find(hash, |id| self.bytes_of(*id) == bytes).copied()
    }

    /// All ids with these bytes.
    pub fn find_all(&self, hash: u64, bytes: &[u8]) -> impl Iterator<Item = Id> + '_ {
        let first = self.find(hash, bytes);
        let after = move |id: &Id| Some(self.entries[*id as usize].next).filter(|next| Some(*next) != first);
        std::iter::successors(first, after)
    }

    /// Adds bytes under a new id, even if equal bytes exist.
    pub fn insert(&mut self, hash: u64, bytes: &[u8]) -> Id {
        let id = self.free.last().copied().unwrap_or(self.entries.len() as Id);
        let (entries, arena) = (&self.entries, &self.arena);
        let same = |other: &Id| entries[*other as usize].bytes(arena) == bytes;
        let entry = match self.table.entry(hash, same, |other| entries[*other as usize].hash) {
            hash_table::Entry::Occupied(found) => {
                let other = *found.get();
                let entry = IndexEntry { previous: other, ..entries[other as usize] };
                self.entries[entry.next as usize].previous = id;
                self.entries[other as usize].next = id;
                entry
            }
            hash_table::Entry::Vacant(place) => {
                place.insert(id);
                let start = self.arena.len();
                self.arena.extend_from_slice(bytes);
                IndexEntry { start, length: bytes.len() as u32, live: true, hash, next: id, previous: id }
            }
        };
        match self.free.pop() {
            Some(id) => self.entries[id as usize] = entry,
            None => self.entries.push(entry),
        }
        id
    }

    /// Frees an id in use.
    pub fn remove(&mut self, id: Id) {
        let entry = self.entries[id as usize];
        if !entry.live {
            return;
        }
        self.entries[entry.previous as usize].next = entry.next;
        self.entries[entry.next as usize].previous = entry.previous;
        // The table may hold another id of the ring.
        if let Ok(mut found) = self.table.find_entry(entry.hash, |other| *other == id) {
            match entry.next == id {
                true => drop(found.remove()),
                false => *found.get_mut() = entry.next,
            }
        }
        if entry.next == id {
            self.garbage += entry.length as usize;
        }
        self.entries[id as usize].live = false;
        self.free.push(id);
        if self.garbage > self.compaction.dead_bytes_max && self.garbage > self.arena.len() / 2 {
            self.compact();
        }
    }

    pub fn bytes_of(&self, id: Id) -> &[u8] {
        self.entries[id as usize].bytes(&self.arena)
    }

    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Ids in use, in no order.
    pub fn ids(&self) -> impl Iterator<Item = Id> + '_ {
        (0..self.entries.len() as Id).filter(|id| self.contains(*id))
    }

    pub fn memory(&self) -> usize {
        self.arena.capacity() + self.entries.capacity() * size_of::<IndexEntry>() + self.table.capacity() * 5
    }

    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.garbage);
        for first in &self.table {
            let start = arena.len();
            arena.extend_from_slice(self.entries[*first as usize].bytes(&self.arena));
            let mut id = *first;
            loop {
                self.entries[id as usize].start = start;
                id = self.entries[id as usize].next;
                if id == *first {
                    break;
                }
            }
        }
        self.arena = arena;
        self.garbage = 0;
    }
}

impl IndexEntry {
    fn bytes<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        &arena[self.start..self.start + self.length as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_finds_inserted_and_not_removed_bytes() {
        let mut index = Index::default();
        let mut ids = Vec::new();
        for n in 0..20_000u32 {
            let bytes = n.to_be_bytes().repeat(4);
            ids.push(index.insert(Index::hash(&bytes), &bytes));
        }
        for n in (0..20_000u32).filter(|n| n % 3 != 0) {
            index.remove(ids[n as usize]);
        }
        for n in 0..20_000u32 {
            let bytes = n.to_be_bytes().repeat(4);
            let expected = (n % 3 == 0).then(|| ids[n as usize]);
            assert_eq!(index.find(Index::hash(&bytes), &bytes), expected);
        }
        assert_eq!(index.len(), 6_667);
    }

    /// A million equal rows: quadratic, it would not end.
    #[test]
    fn index_of_a_million_equal_keys_is_not_quadratic() {
        const ROWS: usize = 1_000_000;
        let mut index = Index::default();
        let (hash, other) = (Index::hash(b"equal"), Index::hash(b"other"));
        let ids: Vec<Id> = (0..ROWS).map(|_| index.insert(hash, b"equal")).collect();
        index.insert(other, b"other");
        assert_eq!((index.len(), index.find_all(hash, b"equal").count()), (ROWS + 1, ROWS));
        assert_eq!(index.arena.len(), 10, "equal ids share their bytes");
        for id in ids {
            assert!(index.contains(id));
            index.remove(id);
        }
        assert_eq!((index.len(), index.find(hash, b"equal"), index.find_all(other, b"other").count()), (1, None, 1));
    }
}
