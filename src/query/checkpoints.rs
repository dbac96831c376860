//! The checkpoints of one query: its operators' state, full now and then, incremental in between.
//!
//! ```text
//! state/<id>/<epoch>.ckpt    header: offsets, watermarks, counters, the base checkpoint; sections: operators
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
    state::StateId,
    storage::{Reading, Storage},
    time::{Epoch, Micros},
};

/// All that is saved of a query besides its operators' state and its relation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CheckpointHeader {
    pub epoch: Epoch,
    /// The ids of the inputs, and the offset up to which each was read.
    #[serde(default)]
    pub inputs: Vec<u64>,
    pub offsets: Vec<Offsets>,
    /// Per section: the operator whose state it has. `None` in older checkpoints: in the order of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operators: Option<Vec<StateId>>,
    pub watermarks: Watermarks,
    /// The watermark of the epoch: what it closed stays closed.
    pub watermark: Option<Micros>,
    pub rows_in: u64,
    pub rows_out: u64,
    pub late: u64,
    /// Late rows without an event time, which `late` does not count.
    #[serde(default)]
    pub untimed: u64,
    pub bad: u64,
    /// The checkpoint that this incremental one builds on; `None` if it is full.
    pub base: Option<Epoch>,
    /// The newest file of its relation: recovery fails if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// The commit of its epoch, if the checkpoint was taken before the log had it: recovery appends it to the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
}

/// The contents of a checkpoint. Taken between two epochs, at the cost of what changed; written in the background while
/// the next epochs run.
#[derive(Debug)]
pub struct CheckpointDraft {
    pub header: CheckpointHeader,
    /// Per operator: the changes of its state.
    pub sections: Vec<Vec<RecordBatch>>,
    pub relation: Option<RelationDraft>,
    /// Empty operators, if the chain has become long: the chain is loaded into them, and they are saved in full. The
    /// mutex is never locked: it only spares operators from being `Sync`.
    pub fresh: Option<Mutex<Vec<Box<dyn Operator>>>>,
    /// Whether the sections are the full state already.
    pub is_whole: bool,
    /// Its memory reservation until it is written.
    pub room: BudgetShare,
}

#[derive(Debug, Clone)]
pub struct Checkpoints {
    storage: Arc<dyn Storage>,
    folder: String,
    /// The epochs of the newest checkpoint and those it builds on, oldest first.
    chain: Vec<Epoch>,
    chain_max: usize,
    /// The operators of the query's present plan, and the ids of its inputs, in the order of the plan.
    operators: Vec<StateId>,
    inputs: Vec<u64>,
}

impl Checkpoints {
    pub fn new(storage: Arc<dyn Storage>, query: u64) -> Self {
        let chain_max = Thresholds::default().checkpoint_chain_max;
        Checkpoints {
            storage,
            folder: format!("state/{query}"),
            chain: Vec::new(),
            chain_max,
            operators: Vec::new(),
            inputs: Vec::new(),
        }
    }

    /// Sets the maximum length of a chain: then the next checkpoint is full.
    pub fn with_chain_max(self, chain_max: usize) -> Self {
        Checkpoints { chain_max, ..self }
    }

    /// Sets the operators and inputs of the query.
    pub fn with_plan(self, operators: Vec<StateId>, inputs: Vec<u64>) -> Self {
        Checkpoints { operators, inputs, ..self }
    }

    fn path(&self, epoch: Epoch) -> String {
        format!("{}/{:016}.ckpt", self.folder, epoch.0)
    }

    /// Whether there is no checkpoint yet: the next one has the full state.
    pub fn is_first(&self) -> bool {
        self.chain.is_empty()
    }

    /// Whether the next checkpoint is to be full. The first one is so anyway: all state has changed since nothing was
    /// saved.
    pub fn wants_whole(&self) -> bool {
        self.chain.len() >= self.chain_max
    }

    /// The header of the newest checkpoint; [`Checkpoints::each`] reads the sections of its chain. `None` if there is
    /// no checkpoint. Fails, naming the file, if its state does not fit the operators of the present plan.
    pub fn open(&mut self) -> Result<Option<CheckpointHeader>> {
        let files = self.storage.list(&self.folder)?;
        let Some(newest) = files.last() else { return Ok(None) };
        let path = newest;
        let newest = self.header(path)?;
        self.section_operators(path, &newest)?;
        self.chain = vec![newest.epoch];
        let mut base = newest.base;
        while let Some(epoch) = base {
            self.chain.push(epoch);
            let path = self.path(epoch);
            let header = self.header(&path)?;
            self.section_operators(&path, &header)?;
            base = header.base;
        }
        self.chain.reverse();
        // Files of an older chain that a crash kept from being removed.
        let kept: Vec<String> = self.chain.iter().map(|epoch| self.path(*epoch)).collect();
        let left: Vec<String> = files.iter().filter(|file| !kept.contains(file)).cloned().collect();
        self.storage.remove_all(&left)?;
        Ok(Some(newest))
    }

    /// Passes the saved batches of the chain, oldest first, each with the number of its operator. One batch at a time
    /// is in
    /// memory.
    pub fn each(&self, mut take: impl FnMut(usize, &RecordBatch) -> Result<()>) -> Result<()> {
        for epoch in &self.chain {
            let path = self.path(*epoch);
            let (header, decoder): (CheckpointHeader, _) = SectionDecoder::new(&path, self.file(&path)?)?;
            let places = self.section_operators(&path, &header)?;
            let mut sections = 0;
            decoder.each(|section, batch| {
                sections = section + 1;
                let place = places.get(section).ok_or_else(|| unfit(&path, "has more operators than the query"))?;
                batch.iter().try_for_each(|batch| take(*place, batch))
            })?;
            if sections < places.len() {
                return Err(unfit(&path, "has fewer operators than the query"));
            }
        }
        Ok(())
    }

    /// Per section of a checkpoint: the number of its operator in the plan.
    fn section_operators(&self, path: &str, header: &CheckpointHeader) -> Result<Vec<usize>> {
        if !header.inputs.is_empty() && header.inputs != self.inputs {
            return Err(unfit(path, "is of other inputs than the query has now"));
        }
        let Some(saved) = &header.operators else { return Ok((0..self.operators.len()).collect()) };
        let place = |saved: &StateId| {
            let place = self.operators.iter().position(|operator| operator.uid == saved.uid);
            let place = place.ok_or_else(|| {
                unfit(
                    path,
                    &format!("holds the state of operator \"{}\", which the query does not have now", saved.uid),
                )
            })?;
            let StateId { uid, version } = &self.operators[place];
            match *version == saved.version {
                true => Ok(place),
                false => {
                    let saved = saved.version;
                    Err(unfit(
                        path,
                        &format!("holds the state of operator \"{uid}\" in version {saved}, not {version}"),
                    ))
                }
            }
        };
        let places = saved.iter().map(place).collect::<Result<Vec<_>>>()?;
        match self.operators.iter().enumerate().find(|(n, _)| !places.contains(n)) {
            Some((_, lacking)) => Err(unfit(path, &format!("holds no state of operator \"{}\"", lacking.uid))),
            None => Ok(places),
        }
    }

    /// The header of the newest checkpoint; `None` if there is none.
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

    /// Writes a checkpoint and removes superseded ones. If it fails, the draft can be saved again later.
    /// Blocking.
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
            // An incomplete file of an earlier try.
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
            // The next load removes them.
            tracing::warn!(%error, "checkpoints that nobody needs are left");
        }
        Ok(())
    }

    fn write(&self, draft: &CheckpointDraft) -> Result<()> {
        let path = self.path(draft.header.epoch);
        self.storage.create_with(&path, &mut |file| {
            let mut encoder = SectionEncoder::new(file, &path, &draft.header)?;
            for section in &draft.sections {
                encoder.section(section.iter().cloned().map(Ok))?;
            }
            encoder.finish()?;
            Ok(())
        })
    }

    /// The full state: the chain and the changes after it.
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

    /// Removes all checkpoint files of the query.
    pub fn remove(&self) -> Result<()> {
        self.storage.clear(&self.folder)
    }
}

/// The error for a checkpoint of another release that this one cannot continue from.
fn unfit(path: &str, what: &str) -> Error {
    Error::new(ErrorKind::ObjectNotInState, format!("checkpoint \"{path}\" {what}"))
        .detail("It was written by another release, which keeps the state of this query in another way.")
        .hint("Start that release again; or create another view of the same query beside this one.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn id(uid: &str, version: u16) -> StateId {
        StateId { uid: uid.to_string(), version }
    }

    fn section_operators(saved: Option<Vec<StateId>>, plan: &[StateId]) -> Result<Vec<usize>> {
        let checkpoints = Checkpoints::new(Arc::new(MemoryStorage::default()), 7).with_plan(plan.to_vec(), vec![3]);
        let header = CheckpointHeader { operators: saved, inputs: vec![3], ..CheckpointHeader::default() };
        checkpoints.section_operators("state/7/1.ckpt", &header)
    }

    #[test]
    fn checkpoint_sections_are_found_by_uid_and_not_by_place() {
        let plan = [id("Join[a = b]@0", 1), id("Aggregate[k]@0.0", 2)];
        let saved = vec![plan[1].clone(), plan[0].clone()];
        assert_eq!(section_operators(Some(saved), &plan).unwrap(), [1, 0]);
        assert_eq!(section_operators(None, &plan).unwrap(), [0, 1], "an older one, in the order of the plan");
    }

    #[test]
    fn checkpoint_of_an_older_release_with_another_number_of_operators_is_refused() {
        let storage = Arc::new(MemoryStorage::default());
        let header = CheckpointHeader { epoch: Epoch(1), ..CheckpointHeader::default() };
        let path = "state/7/0000000000000001.ckpt";
        storage.create(path, &crate::checkpoint::file::encode(path, &header, &[vec![], vec![]]).unwrap()).unwrap();
        let of = |operators: usize| {
            let plan = (0..operators).map(|n| id(&format!("Aggregate[k]@{n}"), 1)).collect();
            let mut checkpoints = Checkpoints::new(storage.clone(), 7).with_plan(plan, Vec::new());
            checkpoints.open().unwrap().unwrap();
            checkpoints.each(|_, _| Ok(())).map_err(|error| error.message().to_string())
        };
        let refused = |what: &str| Err(format!("checkpoint \"state/7/0000000000000001.ckpt\" {what}"));
        assert_eq!(of(2), Ok(()));
        assert_eq!(of(1), refused("has more operators than the query"));
        assert_eq!(of(3), refused("has fewer operators than the query"));
    }

    #[test]
    fn checkpoint_of_other_inputs_is_refused() {
        let checkpoints = Checkpoints::new(Arc::new(MemoryStorage::default()), 7).with_plan(Vec::new(), vec![3, 4]);
        let of = |inputs: &[u64]| {
            let header = CheckpointHeader { inputs: inputs.to_vec(), ..CheckpointHeader::default() };
            checkpoints.section_operators("state/7/1.ckpt", &header).is_ok()
        };
        assert!(of(&[3, 4]) && of(&[]), "an older one does not say");
        assert!(!of(&[4, 3]) && !of(&[3]) && !of(&[3, 4, 5]));
    }

    #[test]
    fn checkpoint_state_that_does_not_fit_is_refused_by_name() {
        let plan = [id("Aggregate[k]@0", 2)];
        for (saved, expected) in [
            (vec![id("Aggregate[j]@0", 2)], "operator \"Aggregate[j]@0\", which the query does not have now"),
            (vec![id("Aggregate[k]@0", 1)], "operator \"Aggregate[k]@0\" in version 1, not 2"),
            (vec![], "holds no state of operator \"Aggregate[k]@0\""),
        ] {
            let error = section_operators(Some(saved), &plan).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ObjectNotInState);
            assert!(error.message().contains(expected), "{error}");
        }
    }
}
