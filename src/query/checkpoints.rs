//! The checkpoints of one query: its operators' state, whole now and then and by changes between.
//!
//! ```text
//! state/<id>/<epoch>.ckpt    header: offsets, watermarks, counters, the checkpoint it builds on; sections: operators
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use super::{Thresholds, Watermarks};
use crate::{
    checkpoint::{
        Commit,
        file::{SectionDecoder, SectionEncoder},
    },
    connectors::Offsets,
    error::{Error, ErrorKind, Result},
    exec::Operator,
    memory::BudgetShare,
    relations::Draft as RelationDraft,
    storage::{Reading, Storage},
    time::{Epoch, Micros},
};

/// All that a query remembers besides its operators' state and its relation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CheckpointHeader {
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

/// What a checkpoint will hold. Taken between two epochs, at the cost of what changed; written elsewhere while the next
/// epochs run.
#[derive(Debug)]
pub struct CheckpointDraft {
    pub header: CheckpointHeader,
    /// For each operator what changed in its state.
    pub sections: Vec<Vec<RecordBatch>>,
    pub relation: Option<RelationDraft>,
    /// Empty operators, where the chain has become long: what the chain adds up to is loaded into them and saved whole.
    /// Never locked: so that an operator need not be one that many may look at.
    pub fresh: Option<Mutex<Vec<Box<dyn Operator>>>>,
    /// Whether the sections are all of the state already.
    pub is_whole: bool,
    /// What it takes in memory until it is written.
    pub room: BudgetShare,
}

#[derive(Debug, Clone)]
pub struct Checkpoints {
    storage: Arc<dyn Storage>,
    folder: String,
    /// The files of the chain that the newest one ends.
    chain: Vec<Epoch>,
    chain_max: usize,
}

impl Checkpoints {
    pub fn new(storage: Arc<dyn Storage>, query: u64) -> Self {
        let chain_max = Thresholds::default().checkpoint_chain_max;
        Checkpoints { storage, folder: format!("state/{query}"), chain: Vec::new(), chain_max }
    }

    /// With a whole one after so many that hold changes only.
    pub fn with_chain_max(self, chain_max: usize) -> Self {
        Checkpoints { chain_max, ..self }
    }

    fn path(&self, epoch: Epoch) -> String {
        format!("{}/{:016}.ckpt", self.folder, epoch.0)
    }

    /// Whether there is no checkpoint yet: the next one holds all of the state.
    pub fn is_first(&self) -> bool {
        self.chain.is_empty()
    }

    /// Whether the next checkpoint is to be whole. The first one is so by itself: everything has changed since nothing.
    pub fn wants_whole(&self) -> bool {
        self.chain.len() >= self.chain_max
    }

    /// The header of the newest checkpoint; [`Checkpoints::each`] reads what it and those before it hold. `None` where
    /// there is none.
    pub fn open(&mut self) -> Result<Option<CheckpointHeader>> {
        let files = self.storage.list(&self.folder)?;
        let Some(newest) = files.last() else { return Ok(None) };
        let newest = self.header(newest)?;
        self.chain = vec![newest.epoch];
        let mut base = newest.base;
        while let Some(epoch) = base {
            self.chain.push(epoch);
            base = self.header(&self.path(epoch))?.base;
        }
        self.chain.reverse();
        // What a crash left of an older chain.
        let kept: Vec<String> = self.chain.iter().map(|epoch| self.path(*epoch)).collect();
        let left: Vec<String> = files.iter().filter(|file| !kept.contains(file)).cloned().collect();
        self.storage.remove_all(&left)?;
        Ok(Some(newest))
    }

    /// Gives what is to be loaded, each batch with the number of its operator, the oldest first. One batch at a time is in
    /// memory.
    pub fn each(&self, mut take: impl FnMut(usize, &RecordBatch) -> Result<()>) -> Result<()> {
        for epoch in &self.chain {
            let path = self.path(*epoch);
            let (_, decoder): (CheckpointHeader, _) = SectionDecoder::new(&path, self.file(&path)?)?;
            decoder.each(|section, batch| batch.iter().try_for_each(|batch| take(section, batch)))?;
        }
        Ok(())
    }

    /// The header of the newest checkpoint, where there is one.
    pub fn peek(&self) -> Result<Option<CheckpointHeader>> {
        self.storage.list(&self.folder)?.last().map(|newest| self.header(newest)).transpose()
    }

    fn header(&self, path: &str) -> Result<CheckpointHeader> {
        Ok(SectionDecoder::new(path, self.file(path)?)?.0)
    }

    fn file(&self, path: &str) -> Result<Box<dyn Reading>> {
        let missing = || Error::new(ErrorKind::DataCorrupted, format!("checkpoint \"{path}\" is missing"));
        self.storage.open(path)?.ok_or_else(missing)
    }

    /// Writes a checkpoint and drops what it makes superfluous. Where it fails, the draft is what it was: it may be saved
    /// later. Blocking.
    pub fn save(&mut self, draft: &mut CheckpointDraft) -> Result<()> {
        // The relation first: a checkpoint without it would be worthless, a relation file past it is removed.
        draft.relation.as_ref().map_or(Ok(()), RelationDraft::write)?;
        if let Some(operators) = &mut draft.fresh {
            let operators = operators.get_mut().unwrap_or_else(PoisonError::into_inner);
            draft.sections = self.whole(&draft.sections, operators, draft.header.watermark)?;
            (draft.fresh, draft.is_whole) = (None, true);
        }
        let old = if draft.is_whole { self.chain.clone() } else { Vec::new() };
        draft.header.base = self.chain.last().copied().filter(|_| !draft.is_whole);
        let epoch = draft.header.epoch;
        match self.write(draft) {
            // What an earlier try left, which did not come to its end.
            Err(error) if error.kind() == ErrorKind::DuplicateObject => {
                self.storage.remove(&self.path(epoch))?;
                self.write(draft)?;
            }
            written => written?,
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

    fn write(&self, draft: &CheckpointDraft) -> Result<()> {
        self.storage.create_with(&self.path(draft.header.epoch), &mut |file| {
            let mut encoder = SectionEncoder::new(file, &draft.header)?;
            for section in &draft.sections {
                encoder.section(section.iter().cloned().map(Ok))?;
            }
            encoder.finish()?;
            Ok(())
        })
    }

    /// What the chain and the changes after it add up to.
    fn whole(
        &self,
        changes: &[Vec<RecordBatch>],
        operators: &[Box<dyn Operator>],
        watermark: Option<Micros>,
    ) -> Result<Vec<Vec<RecordBatch>>> {
        let mut operators = operators.iter().map(|operator| operator.fresh()).collect::<Result<Vec<_>>>()?;
        let mut load = |section: usize, rows: &RecordBatch| {
            operators.get_mut(section).map_or(Ok(()), |operator| operator.state().load(rows))
        };
        self.each(&mut load)?;
        for (section, rows) in changes.iter().enumerate() {
            rows.iter().try_for_each(|rows| load(section, rows))?;
        }
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
