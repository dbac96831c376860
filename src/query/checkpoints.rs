//! The checkpoints of one query: its operators' state, whole now and then and by changes between.
//!
//! ```text
//! state/<id>/<epoch>.ckpt    header: offsets, watermarks, counters, the checkpoint it builds on; sections: operators
//! ```

use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use super::Watermarks;
use crate::{
    checkpoint::file,
    connectors::Offsets,
    error::{Error, Kind, Result},
    operators::Operator,
    relations::Draft as RelationDraft,
    storage::Storage,
    time::{Epoch, Micros},
};

/// All that a query remembers besides its operators' state and its relation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Header {
    pub epoch: Epoch,
    /// The ids of the inputs, and how far each was read.
    #[serde(default)]
    pub inputs: Vec<u64>,
    pub offsets: Vec<Offsets>,
    pub watermarks: Watermarks,
    /// The watermark that the epoch used: what it closed is closed.
    pub watermark: Option<Micros>,
    pub rows_in: u64,
    pub rows_out: u64,
    pub late: u64,
    pub bad: u64,
    /// The checkpoint that this one changes; `None` where it is whole.
    pub base: Option<Epoch>,
}

/// The batches of each operator, in the order of the plan.
pub type Sections = Vec<Vec<RecordBatch>>;

/// A whole checkpoint after so many that only hold changes: recovery reads at most this many files.
const CHAIN_MAX: usize = 16;

/// What a checkpoint will hold. Taken between two epochs, at the cost of what changed; written elsewhere while the next
/// epochs run.
#[derive(Debug)]
pub struct Draft {
    pub header: Header,
    /// For each operator what changed in its state.
    pub sections: Vec<Vec<RecordBatch>>,
    pub relation: Option<RelationDraft>,
    /// Empty operators, where the chain has become long: what the chain adds up to is loaded into them and saved whole.
    pub fresh: Option<Vec<Box<dyn Operator>>>,
}

#[derive(Debug, Clone)]
pub struct Checkpoints {
    storage: Arc<dyn Storage>,
    folder: String,
    /// The files of the chain that the newest one ends.
    chain: Vec<Epoch>,
}

impl Checkpoints {
    pub fn new(storage: Arc<dyn Storage>, query: u64) -> Self {
        Checkpoints { storage, folder: format!("state/{query}"), chain: Vec::new() }
    }

    fn path(&self, epoch: Epoch) -> String {
        format!("{}/{:016}.ckpt", self.folder, epoch.0)
    }

    /// Whether the next checkpoint is to be whole. The first one is so by itself: everything has changed since nothing.
    pub fn wants_whole(&self) -> bool {
        self.chain.len() >= CHAIN_MAX
    }

    /// The newest checkpoint: its header, and the sections to load, oldest first. `None` where there is none.
    pub fn load(&mut self) -> Result<Option<(Header, Vec<Sections>)>> {
        let files = self.storage.list(&self.folder)?;
        let Some(newest) = files.last() else { return Ok(None) };
        let (header, sections) = self.read(newest)?;
        let mut all = vec![sections];
        self.chain = vec![header.epoch];
        let mut base = header.base;
        while let Some(epoch) = base {
            let (header, sections) = self.read(&self.path(epoch))?;
            all.push(sections);
            self.chain.push(epoch);
            base = header.base;
        }
        all.reverse();
        self.chain.reverse();
        // What a crash left of an older chain.
        let kept: Vec<String> = self.chain.iter().map(|epoch| self.path(*epoch)).collect();
        files.iter().filter(|file| !kept.contains(file)).try_for_each(|file| self.storage.remove(file))?;
        Ok(Some((header, all)))
    }

    /// The header of the newest checkpoint, where there is one.
    pub fn peek(&self) -> Result<Option<Header>> {
        match self.storage.list(&self.folder)?.last() {
            Some(newest) => Ok(Some(self.read(newest)?.0)),
            None => Ok(None),
        }
    }

    fn read(&self, path: &str) -> Result<(Header, Sections)> {
        let bytes = self.storage.read(path)?;
        let bytes =
            bytes.ok_or_else(|| Error::new(Kind::DataCorrupted, format!("checkpoint \"{path}\" is missing")))?;
        file::decode(path, &bytes)
    }

    /// Writes a checkpoint and drops what it makes superfluous. Blocking.
    pub fn save(&mut self, draft: Draft) -> Result<()> {
        let Draft { mut header, mut sections, relation, fresh } = draft;
        // The relation first: a checkpoint without it would be worthless, a relation file past it is removed.
        relation.as_ref().map_or(Ok(()), RelationDraft::write)?;
        let old = if fresh.is_some() { std::mem::take(&mut self.chain) } else { Vec::new() };
        if let Some(operators) = fresh {
            sections = self.whole(&old, sections, operators, header.watermark)?;
        }
        header.base = self.chain.last().copied();
        let bytes = file::encode(&header, &sections)?;
        self.storage.create(&self.path(header.epoch), &bytes)?;
        self.chain.push(header.epoch);
        for epoch in old {
            self.storage.remove(&self.path(epoch))?;
        }
        Ok(())
    }

    /// What a chain and the changes after it add up to.
    fn whole(
        &self,
        chain: &[Epoch],
        changes: Vec<Vec<RecordBatch>>,
        mut operators: Vec<Box<dyn Operator>>,
        watermark: Option<Micros>,
    ) -> Result<Vec<Vec<RecordBatch>>> {
        let mut load = |sections: Vec<Vec<RecordBatch>>| {
            let mut parts = operators.iter_mut().zip(&sections);
            parts.try_for_each(|(operator, rows)| rows.iter().try_for_each(|rows| operator.state().load(rows)))
        };
        for epoch in chain {
            load(self.read(&self.path(*epoch))?.1)?;
        }
        load(changes)?;
        let save = |operator: &mut Box<dyn Operator>| {
            operator.restored(watermark);
            Ok(operator.state().save(true)?.rows)
        };
        operators.iter_mut().map(save).collect()
    }

    /// Removes every trace.
    pub fn remove(&self) -> Result<()> {
        self.storage.list(&self.folder)?.iter().try_for_each(|path| self.storage.remove(path))
    }
}
