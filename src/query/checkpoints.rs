//! The checkpoints of one query: its operators' state, whole now and then and by changes between.
//!
//! ```text
//! state/<id>/<epoch>.ckpt    header: offsets, watermarks, counters, the checkpoint it builds on; sections: operators
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use super::Watermarks;
use crate::{
    checkpoint::{Commit, file},
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
    /// Late rows without an event time, which `late` does not count.
    #[serde(default)]
    pub untimed: u64,
    pub bad: u64,
    /// The checkpoint that this one changes; `None` where it is whole.
    pub base: Option<Epoch>,
    /// The newest file of its relation: without it the relation is not as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// The commit of its epoch, where that came to the log later only: what is told of the epoch is told by this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
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
    /// Never locked: so that an operator need not be one that many may look at.
    pub fresh: Option<Mutex<Vec<Box<dyn Operator>>>>,
    /// Whether the sections are all of the state already.
    pub is_whole: bool,
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
        let left: Vec<String> = files.iter().filter(|file| !kept.contains(file)).cloned().collect();
        self.storage.remove_all(&left)?;
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

    /// Writes a checkpoint and drops what it makes superfluous. Where it fails, the draft is what it was: it may be saved
    /// later. Blocking.
    pub fn save(&mut self, draft: &mut Draft) -> Result<()> {
        // The relation first: a checkpoint without it would be worthless, a relation file past it is removed.
        draft.relation.as_ref().map_or(Ok(()), RelationDraft::write)?;
        if let Some(operators) = &mut draft.fresh {
            let operators = operators.get_mut().unwrap_or_else(PoisonError::into_inner);
            draft.sections = self.whole(&draft.sections, operators, draft.header.watermark)?;
            (draft.fresh, draft.is_whole) = (None, true);
        }
        let old = if draft.is_whole { self.chain.clone() } else { Vec::new() };
        draft.header.base = self.chain.last().copied().filter(|_| !draft.is_whole);
        let (epoch, bytes) = (draft.header.epoch, file::encode(&draft.header, &draft.sections)?);
        match self.storage.create(&self.path(epoch), &bytes) {
            // What an earlier try left, which did not come to its end.
            Err(error) if error.kind() == Kind::DuplicateObject => {
                self.storage.remove(&self.path(epoch))?;
                self.storage.create(&self.path(epoch), &bytes)?;
            }
            created => created?,
        }
        self.chain.retain(|epoch| !old.contains(epoch));
        self.chain.push(epoch);
        let old: Vec<String> = old.into_iter().map(|epoch| self.path(epoch)).collect();
        if let Err(error) = self.storage.remove_all(&old) {
            // The next load does it.
            tracing::warn!(%error, "checkpoints that nobody needs are left");
        }
        Ok(())
    }

    /// What the chain and the changes after it add up to.
    fn whole(
        &self,
        changes: &[Vec<RecordBatch>],
        operators: &[Box<dyn Operator>],
        watermark: Option<Micros>,
    ) -> Result<Vec<Vec<RecordBatch>>> {
        let mut operators = operators.iter().map(|operator| operator.fresh()).collect::<Result<Vec<_>>>()?;
        let mut load = |sections: &[Vec<RecordBatch>]| {
            let mut parts = operators.iter_mut().zip(sections);
            parts.try_for_each(|(operator, rows)| rows.iter().try_for_each(|rows| operator.state().load(rows)))
        };
        for epoch in &self.chain {
            load(&self.read(&self.path(*epoch))?.1)?;
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
        self.storage.clear(&self.folder)
    }
}
