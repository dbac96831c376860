//! Rows in immutable batches, addressed by id.

use std::sync::{Arc, Weak};

use arrow::{
    array::{Array, BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    compute::{filter_record_batch, interleave_record_batch},
    datatypes::SchemaRef,
};

use super::{Compaction, Id};
use crate::{
    changes::bytes_of,
    error::{Error, Result},
};

/// Rows by id. Append and delete cost O(rows touched); a snapshot costs one pointer per chunk.
#[derive(Debug)]
pub struct Chunks {
    schema: SchemaRef,
    chunks: Vec<Option<Chunk>>,
    /// Per id: chunk, and row in it.
    at: Vec<Address>,
    /// Free positions in `chunks`.
    free: Vec<u32>,
    /// Chunks by age, newest last: candidates for merging.
    young: Vec<u32>,
    rows: usize,
    garbage: usize,
    /// Bytes of the batches of all chunks.
    bytes: usize,
    /// Columns of removed chunks that snapshots may still hold, with their bytes.
    held: Vec<(Weak<dyn Array>, usize)>,
    compaction: Compaction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    chunk: u32,
    row: u32,
}

const NOWHERE: Address = Address { chunk: u32::MAX, row: u32::MAX };
/// The address of an id whose row is about to be appended.
const RESERVED: Address = Address { chunk: u32::MAX, row: 0 };

#[derive(Debug)]
struct Chunk {
    batch: RecordBatch,
    ids: Vec<Id>,
    dead: Arc<Vec<u64>>,
    live: usize,
    bytes: usize,
}

/// A reader's view of the live rows of one chunk.
#[derive(Debug, Clone)]
pub struct LiveRows {
    batch: RecordBatch,
    dead: Option<Arc<Vec<u64>>>,
}

impl LiveRows {
    pub fn whole(batch: RecordBatch) -> Self {
        LiveRows { batch, dead: None }
    }

    /// Number of rows, including dead ones; and their bytes.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }
    pub fn bytes(&self) -> usize {
        bytes_of(&self.batch)
    }

    /// The live ones of `rows` rows starting at `from`.
    pub fn part(&self, from: usize, rows: usize) -> Result<RecordBatch> {
        let batch = self.batch.slice(from, rows);
        match &self.dead {
            None => Ok(batch),
            Some(dead) => Ok(filter_record_batch(&batch, &live_mask(dead, from, rows))?),
        }
    }

    /// The live rows as a batch of the projected columns.
    pub fn project(&self, projection: Option<&[usize]>) -> Result<RecordBatch> {
        let batch = match projection {
            Some(columns) => self.batch.project(columns)?,
            None => self.batch.clone(),
        };
        match &self.dead {
            None => Ok(batch),
            Some(dead) => Ok(filter_record_batch(&batch, &live_mask(dead, 0, batch.num_rows()))?),
        }
    }
}

fn is_held(column: &Weak<dyn Array>) -> bool {
    column.strong_count() > 0
}

fn live_mask(dead: &[u64], from: usize, rows: usize) -> BooleanArray {
    let live = |row: usize| dead[(from + row) / 64] >> ((from + row) % 64) & 1 == 0;
    BooleanArray::new(BooleanBuffer::collect_bool(rows, live), None)
}

impl Chunks {
    pub fn new(schema: SchemaRef) -> Self {
        Chunks {
            schema,
            chunks: Vec::new(),
            at: Vec::new(),
            free: Vec::new(),
            young: Vec::new(),
            rows: 0,
            garbage: 0,
            bytes: 0,
            held: Vec::new(),
            compaction: Compaction::default(),
        }
    }

    pub fn set_compaction(&mut self, to: Compaction) {
        self.compaction = to;
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Stores one row per id, replacing the row of an id that has one.
    pub fn append(&mut self, batch: &RecordBatch, ids: &[Id]) -> Result<()> {
        debug_assert_eq!(batch.num_rows(), ids.len());
        // Slices share their batch's memory: each counts its part.
        let bytes = batch.get_array_memory_size();
        for start in (0..ids.len()).step_by(self.compaction.chunk_rows_max) {
            let length = self.compaction.chunk_rows_max.min(ids.len() - start);
            let part = (bytes as u64 * length as u64 / ids.len() as u64) as usize;
            self.push(batch.slice(start, length), ids[start..start + length].to_vec(), part);
        }
        self.merge_young()?;
        self.compact(ids.len())
    }

    fn push(&mut self, batch: RecordBatch, ids: Vec<Id>, bytes: usize) {
        for id in &ids {
            if self.contains(*id) {
                self.kill(*id);
            }
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.chunks.push(None);
            (self.chunks.len() - 1) as u32
        });
        for (row, id) in ids.iter().enumerate() {
            if self.at.len() <= *id as usize {
                self.at.resize(*id as usize + 1, NOWHERE);
            }
            self.at[*id as usize] = Address { chunk: place, row: row as u32 };
        }
        let live = ids.len();
        self.rows += live;
        self.bytes += bytes;
        let dead = Arc::new(vec![0; live.div_ceil(64)]);
        self.chunks[place as usize] = Some(Chunk { batch, ids, dead, live, bytes });
        self.young.push(place);
    }

    fn address(&self, id: Id) -> Address {
        self.at.get(id as usize).copied().unwrap_or(NOWHERE)
    }

    /// Whether an id has a row.
    pub fn contains(&self, id: Id) -> bool {
        self.address(id).chunk != NOWHERE.chunk
    }

    /// Reserves the address of an id whose row is about to be appended; `false` if it has a row or is reserved already.
    pub fn reserve(&mut self, id: Id) -> bool {
        if self.at.len() <= id as usize {
            self.at.resize(id as usize + 1, NOWHERE);
        }
        let at = &mut self.at[id as usize];
        std::mem::replace(at, if *at == NOWHERE { RESERVED } else { *at }) == NOWHERE
    }

    /// Deletes the row of an id.
    pub fn kill(&mut self, id: Id) {
        let at = self.address(id);
        let Some(chunk) = self.chunks.get_mut(at.chunk as usize).and_then(Option::as_mut) else { return };
        let dead = Arc::make_mut(&mut chunk.dead);
        dead[at.row as usize / 64] |= 1 << (at.row % 64);
        chunk.live -= 1;
        self.at[id as usize] = NOWHERE;
        self.rows -= 1;
        self.garbage += 1;
        if chunk.live == 0 {
            self.garbage -= chunk.ids.len();
            self.drop_chunk(at.chunk);
        }
    }

    /// The rows of ids, in their order.
    pub fn gather(&self, ids: &[Id]) -> Result<RecordBatch> {
        if ids.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        // Only the chunks with one of the ids, numbered in order of occurrence.
        const NONE: u32 = u32::MAX;
        let mut numbers = vec![NONE; self.chunks.len()];
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids {
            let Address { chunk: place, row } = self.at[*id as usize];
            let number = &mut numbers[place as usize];
            if *number == NONE {
                let chunk = self.chunks[place as usize].as_ref();
                *number = batches.len() as u32;
                batches.push(&chunk.ok_or_else(|| Error::internal("a row is in a chunk that is gone"))?.batch);
            }
            rows.push((*number as usize, row as usize));
        }
        Ok(interleave_record_batch(&batches, &rows)?)
    }

    /// An immutable snapshot of the live rows; cheap to take.
    pub fn snapshot(&self) -> Vec<LiveRows> {
        self.chunks
            .iter()
            .flatten()
            .map(|c| LiveRows { batch: c.batch.clone(), dead: (c.live < c.batch.num_rows()).then(|| c.dead.clone()) })
            .collect()
    }

    /// Bytes in memory, including deleted rows that snapshots still hold.
    pub fn bytes(&self) -> usize {
        self.bytes + self.held_bytes() + self.at.capacity() * size_of::<Address>()
    }

    /// Bytes of deleted rows that snapshots still hold.
    pub fn held_bytes(&self) -> usize {
        self.held.iter().filter(|(column, _)| is_held(column)).map(|(_, bytes)| bytes).sum()
    }

    fn drop_chunk(&mut self, place: u32) {
        self.held.retain(|(column, _)| is_held(column));
        if let Some(chunk) = self.chunks[place as usize].take() {
            self.bytes -= chunk.bytes;
            let column_bytes = |column: &dyn Array| column.to_data().get_slice_memory_size().unwrap_or(0);
            let columns = chunk.batch.columns().iter().filter(|column| Arc::strong_count(column) > 1);
            self.held.extend(columns.map(|column| (Arc::downgrade(column), column_bytes(column))));
        }
        self.young.retain(|p| *p != place);
        self.free.push(place);
    }

    /// Merges small chunks, each row at most `log(rows)` times: the newest chunk is merged into the previous one while
    /// that is at most twice its size.
    fn merge_young(&mut self) -> Result<()> {
        while let [.., older, newer] = self.young[..] {
            let size = |place: u32| self.chunks[place as usize].as_ref().map_or(0, |c| c.ids.len());
            if size(older) > 2 * size(newer) || size(older) + size(newer) > self.compaction.chunk_rows_max {
                break;
            }
            self.rewrite(&[older, newer])?;
        }
        Ok(())
    }

    /// If a third of all rows are dead, rewrites the worst chunks, at most as many rows as `came` (were appended): so
    /// no epoch pays for all, and compaction keeps up with the garbage.
    fn compact(&mut self, came: usize) -> Result<()> {
        let mut rewritten = 0;
        while self.garbage > self.rows / 2 + self.compaction.dead_rows_max && rewritten <= came {
            let worst = self.chunks.iter().enumerate().filter_map(|(place, c)| {
                let c = c.as_ref()?;
                Some((c.ids.len() - c.live, c.live, place as u32))
            });
            let Some((_, live, place)) = worst.max() else { break };
            rewritten += live.max(1);
            self.rewrite(&[place])?;
        }
        Ok(())
    }

    /// Replaces chunks by one chunk of their live rows.
    fn rewrite(&mut self, places: &[u32]) -> Result<()> {
        let mut ids = Vec::new();
        for chunk in places.iter().filter_map(|p| self.chunks[*p as usize].as_ref()) {
            let live = |row: &usize| chunk.dead[row / 64] >> (row % 64) & 1 == 0;
            ids.extend((0..chunk.ids.len()).filter(live).map(|row| chunk.ids[row]));
            self.garbage -= chunk.ids.len() - chunk.live;
        }
        let batch = self.gather(&ids)?;
        for place in places {
            self.drop_chunk(*place);
        }
        for id in &ids {
            self.at[*id as usize] = NOWHERE;
        }
        self.rows -= ids.len();
        if !ids.is_empty() {
            let bytes = batch.get_array_memory_size();
            self.push(batch, ids, bytes);
        }
        Ok(())
    }
}
