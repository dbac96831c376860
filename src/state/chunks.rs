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

/// Rows by id. Appending and killing cost what they touch; a snapshot costs one pointer a chunk.
#[derive(Debug)]
pub struct Chunks {
    schema: SchemaRef,
    chunks: Vec<Option<Chunk>>,
    /// Per id the chunk and the row in it.
    at: Vec<Address>,
    /// Places in `chunks` whose chunk is gone.
    free: Vec<u32>,
    /// Chunks in order of age, the newest last: candidates for merging.
    young: Vec<u32>,
    rows: usize,
    garbage: usize,
    /// Of the batches of all chunks.
    bytes: usize,
    /// Columns of chunks that are gone, which snapshots may still hold, and what each takes.
    held: Vec<(Weak<dyn Array>, usize)>,
    compaction: Compaction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    chunk: u32,
    row: u32,
}

const NOWHERE: Address = Address { chunk: u32::MAX, row: u32::MAX };
/// Its row is about to be appended.
const RESERVED: Address = Address { chunk: u32::MAX, row: 0 };

#[derive(Debug)]
struct Chunk {
    batch: RecordBatch,
    ids: Vec<Id>,
    dead: Arc<Vec<u64>>,
    live: usize,
    bytes: usize,
}

/// The live rows of one chunk as a reader sees them.
#[derive(Debug, Clone)]
pub struct LiveRows {
    batch: RecordBatch,
    dead: Option<Arc<Vec<u64>>>,
}

impl LiveRows {
    pub fn whole(batch: RecordBatch) -> Self {
        LiveRows { batch, dead: None }
    }

    /// Rows in it, the dead ones with them, and what all of them take.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }
    pub fn bytes(&self) -> usize {
        bytes_of(&self.batch)
    }

    /// Some of its rows, less the dead ones.
    pub fn part(&self, from: usize, rows: usize) -> Result<RecordBatch> {
        let batch = self.batch.slice(from, rows);
        match &self.dead {
            None => Ok(batch),
            Some(dead) => Ok(filter_record_batch(&batch, &live_mask(dead, from, rows))?),
        }
    }

    /// The rows, as a batch without the dead ones, of the columns asked for.
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

    /// Adds rows under ids, one each. An id that had a row now has the new one.
    pub fn append(&mut self, batch: &RecordBatch, ids: &[Id]) -> Result<()> {
        debug_assert_eq!(batch.num_rows(), ids.len());
        // Slices share their batch's memory: each answers for its part of it.
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

    /// Marks an id whose row is about to be appended; `false` where it has one, or is marked already.
    pub fn reserve(&mut self, id: Id) -> bool {
        if self.at.len() <= id as usize {
            self.at.resize(id as usize + 1, NOWHERE);
        }
        let at = &mut self.at[id as usize];
        std::mem::replace(at, if *at == NOWHERE { RESERVED } else { *at }) == NOWHERE
    }

    /// Forgets the row of an id.
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
        // Only the chunks that hold one of them, numbered as they come.
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

    /// What is live now: immutable, and cheap to take.
    pub fn snapshot(&self) -> Vec<LiveRows> {
        self.chunks
            .iter()
            .flatten()
            .map(|c| LiveRows { batch: c.batch.clone(), dead: (c.live < c.batch.num_rows()).then(|| c.dead.clone()) })
            .collect()
    }

    /// What it takes in memory, with what its snapshots hold of rows that are gone.
    pub fn bytes(&self) -> usize {
        self.bytes + self.held_bytes() + self.at.capacity() * size_of::<Address>()
    }

    /// What its snapshots hold of rows that are gone.
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

    /// Small batches are merged as they pile up, each row `log(rows)` times at the most: the newest chunk is merged
    /// into the one before it while that one is not more than twice its size.
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

    /// Where a third is garbage, the worst chunks are rewritten: at the cost of as many rows as came, so that no epoch
    /// pays for all, and no garbage outruns its collection.
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

    /// Replaces chunks by one of their live rows.
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
