//! From key bytes to ids: a hash table whose keys lie in one arena.

use std::{hash::BuildHasher, sync::LazyLock};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{Compaction, Id};

/// Maps byte strings (`arrow-row` encoded keys) to dense ids. Several ids may have equal bytes where the caller wants
/// a multiset. Freed ids and bytes are used again: ids at once, bytes when a compaction moves the arena.
#[derive(Debug, Default)]
pub struct Index {
    table: HashTable<Id>,
    arena: Vec<u8>,
    /// Per id where its bytes lie in the arena, and their hash.
    entries: Vec<Entry>,
    free: Vec<Id>,
    garbage: usize,
    compaction: Compaction,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    length: u32,
    live: bool,
    hash: u64,
}

impl Index {
    /// The hash that the other methods want. In memory only: its seed changes with each start.
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

    pub fn find(&self, hash: u64, bytes: &[u8]) -> Option<Id> {
        self.table.find(hash, |id| self.bytes_of(*id) == bytes).copied()
    }

    /// How many ids have these bytes.
    pub fn count(&self, hash: u64, bytes: &[u8]) -> usize {
        self.table.iter_hash(hash).filter(|id| self.bytes_of(**id) == bytes).count()
    }

    /// Adds bytes under a new id, whether or not equal ones are there.
    pub fn insert(&mut self, hash: u64, bytes: &[u8]) -> Id {
        let entry = Entry { start: self.arena.len(), length: bytes.len() as u32, live: true, hash };
        self.arena.extend_from_slice(bytes);
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as Id
            }
        };
        let entries = &self.entries;
        self.table.insert_unique(hash, id, |id| entries[*id as usize].hash);
        id
    }

    pub fn remove(&mut self, id: Id) {
        let entry = self.entries[id as usize];
        if let Ok(found) = self.table.find_entry(entry.hash, |other| *other == id) {
            found.remove();
            self.entries[id as usize].live = false;
            self.garbage += entry.length as usize;
            self.free.push(id);
        }
        if self.garbage > self.compaction.dead_bytes_max && self.garbage > self.arena.len() / 2 {
            self.compact();
        }
    }

    pub fn bytes_of(&self, id: Id) -> &[u8] {
        let entry = &self.entries[id as usize];
        &self.arena[entry.start..entry.start + entry.length as usize]
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Ids in use, in no order.
    pub fn ids(&self) -> impl Iterator<Item = Id> + '_ {
        self.table.iter().copied()
    }

    pub fn memory(&self) -> usize {
        self.arena.capacity() + self.entries.capacity() * size_of::<Entry>() + self.table.capacity() * 5
    }

    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.garbage);
        for entry in self.entries.iter_mut().filter(|e| e.live) {
            let start = arena.len();
            arena.extend_from_slice(&self.arena[entry.start..entry.start + entry.length as usize]);
            entry.start = start;
        }
        self.arena = arena;
        self.garbage = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_in_it_and_nothing_else() {
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
}
