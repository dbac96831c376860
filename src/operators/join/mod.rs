//! Joins of two changing inputs: each side's rows are stored by key, and new rows of one side are matched with those of
//! the other.
//!
//! ```text
//! ΔL ⋈ R         the new rows of the left side and the rows of the right one so far
//! (L + ΔL) ⋈ ΔR  the new rows of the right side and all rows of the left one
//! ```
//!
//! For a row that is also emitted by itself (outer, semi, anti and mark joins) the number of its matches is stored; its
//! own output follows from that count alone, and an epoch emits the difference between its start and its end.
//! (Symmetric hash join: Wilschut & Apers, PDIS 1991; over Z-sets: Budiu et al., "DBSP", VLDB 2023.)

mod delta;
mod lookup;
mod pairs;
mod spec;

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::SchemaRef,
};

use self::{
    delta::{Delta, JoinInput, KeyedBatch},
    pairs::JoinOutput,
};
pub use self::{
    lookup::LookupJoin,
    spec::{JoinSpec, SideOutput, SideSpec},
};
use super::input_buffer::{InputBuffer, taken};
use crate::{
    changes::Changes,
    error::{Error, Result},
    exec::{Collector, Late, Operator, StepOutput},
    state::{Compaction, Durable, Id, JoinState, RowMeta, Saved, net},
    time::{Micros, Tick},
};

/// A join of two changing inputs.
#[derive(Debug)]
pub struct Join {
    spec: Arc<JoinSpec>,
    sides: Sides,
}

/// The state of a join.
#[derive(Debug)]
struct Sides {
    spec: Arc<JoinSpec>,
    sides: [JoinState; 2],
}

const NAMES: [&str; 2] = ["left", "right"];

/// The collected rows of an epoch, per side.
struct EpochInput {
    arrived: [Vec<KeyedBatch>; 2],
    late: Late,
}

impl EpochInput {
    fn of(collected: Vec<Box<dyn Collector>>) -> Result<Self> {
        let mut all = EpochInput { arrived: Default::default(), late: Late::default() };
        for part in collected {
            let part: InputBuffer<JoinInput> = taken(part)?;
            all.late.merge(part.late);
            all.arrived[part.input.side].extend(part.batches);
        }
        Ok(all)
    }
}

impl Sides {
    fn new(spec: Arc<JoinSpec>) -> Result<Self> {
        let side =
            |side: &SideSpec| JoinState::new(&side.stored_schema(), &side.key_fields()?, side.withdraws, side.close);
        let sides = [side(&spec.sides[0])?, side(&spec.sides[1])?];
        Ok(Sides { spec, sides })
    }
}

impl Join {
    pub fn new(spec: Arc<JoinSpec>) -> Result<Self> {
        Ok(Join { sides: Sides::new(spec.clone())?, spec })
    }

    /// Adds the new rows of one side: matching pairs go to `out`, and the former metadata of rows that are emitted by
    /// themselves to `before`.
    fn insert(
        &mut self,
        n: usize,
        delta: &Delta,
        before: &mut [RowMetaBefore; 2],
        out: &mut JoinOutput,
    ) -> Result<Vec<Id>> {
        let met = pairs::add_matches(&self.spec, &self.sides.sides[1 - n], n, delta, out)?;
        let [mut own, mut other] = self.sides.sides.each_mut().map(Some);
        let (own, other) = match n {
            0 => (own.take(), other.take()),
            _ => (other.take(), own.take()),
        };
        let (Some(own), Some(other)) = (own, other) else { return Ok(Vec::new()) };
        let added = own.add(&delta.rows, &delta.keys, |row| delta.has_null_key(row), &delta.diffs, &met.matches)?;
        if self.spec.sides[n].output != SideOutput::None {
            added.iter().for_each(|(id, slot)| _ = before[n].entry(*id).or_insert(*slot));
        }
        for (id, more) in met.others {
            before[1 - n].entry(id).or_insert_with(|| other.meta(id));
            other.add_matches(id, more);
        }
        Ok(added.into_iter().map(|(id, _)| id).collect())
    }

    /// Emits the difference in the own output of one side's rows, whose metadata was `before`.
    fn add_side_output(&self, n: usize, before: &RowMetaBefore, out: &mut Vec<Changes>) -> Result<()> {
        let (shows, side) = (self.spec.sides[n].output, &self.sides.sides[n]);
        let marks: &[bool] = match shows {
            SideOutput::None => return Ok(()),
            SideOutput::Mark => &[true, false],
            SideOutput::Semi => &[true],
            SideOutput::Anti if self.spec.deferred => return Ok(()),
            SideOutput::Anti => &[false],
        };
        for mark in marks {
            let shown = |slot: &RowMeta| if (slot.matches > 0) == *mark { slot.count } else { 0 };
            let (mut ids, mut diffs) = (Vec::new(), Vec::new());
            for (id, before) in before {
                let diff = shown(&side.meta(*id)) - shown(before);
                // One ±1 change per copy.
                for _ in 0..diff.abs() {
                    ids.push(*id);
                    diffs.push(diff.signum());
                }
            }
            out.extend(self.side_output_by_id(n, &ids, *mark, diffs)?);
        }
        Ok(())
    }

    /// The own output of rows of side `n`, by id.
    fn side_output_by_id(&self, n: usize, ids: &[Id], mark: bool, diffs: Vec<i64>) -> Result<Option<Changes>> {
        if ids.is_empty() {
            return Ok(None);
        }
        let rows = self.spec.side_output(n, &self.sides.sides[n].gather(ids)?, mark)?;
        Ok(Some(match diffs.iter().all(|diff| *diff > 0) {
            true => Changes::insert(rows),
            false => Changes::new(rows, Int64Array::from(diffs)),
        }))
    }

    /// Drops rows that can have no new match at `watermark`; emits those without any match, if deferred until then.
    fn close(&mut self, watermark: Option<Micros>, out: &mut Vec<Changes>) -> Result<()> {
        for n in 0..2 {
            let expired = self.sides.sides[n].expired(watermark);
            if self.spec.deferred && self.spec.sides[n].output == SideOutput::Anti {
                let met_nothing = |id: &&Id| self.sides.sides[n].meta(**id).matches == 0;
                let ids: Vec<Id> = expired.iter().filter(met_nothing).copied().collect();
                out.extend(self.side_output_by_id(n, &ids, false, vec![1; ids.len()])?);
            }
            self.sides.sides[n].forget(&expired);
        }
        Ok(())
    }
}

/// Metadata of rows before the epoch, by id.
type RowMetaBefore = BTreeMap<Id, RowMeta>;

impl Operator for Join {
    fn schema(&self) -> SchemaRef {
        self.spec.output.clone()
    }

    fn collector(&self, input: usize, tick: &Tick) -> Result<Box<dyn Collector>> {
        Ok(InputBuffer::collector(JoinInput { spec: self.spec.clone(), side: input }, tick))
    }

    fn step(&mut self, collected: Vec<Box<dyn Collector>>, tick: &Tick) -> Result<StepOutput> {
        let EpochInput { arrived, late } = EpochInput::of(collected)?;
        let (mut found, mut before): (_, [RowMetaBefore; 2]) = (JoinOutput::new(&self.spec), Default::default());
        let mut added = [Vec::new(), Vec::new()];
        for (n, batches) in arrived.into_iter().enumerate() {
            if let Some(delta) = Delta::new(&self.spec, n, &self.sides.sides[n], batches)? {
                added[n] = self.insert(n, &delta, &mut before, &mut found)?;
            }
        }
        let has_columns = !self.spec.output.fields().is_empty();
        let both_changed = has_columns && added.iter().all(|added| !added.is_empty());
        found.check()?;
        let mut out = found.changes;
        for (n, before) in before.iter().enumerate() {
            self.add_side_output(n, before, &mut out)?;
        }
        for (side, added) in self.sides.sides.iter_mut().zip(&added) {
            side.purge_deleted(added);
        }
        self.close(tick.watermark, &mut out)?;
        let changes = Changes::concat(&self.spec.output, &out)?;
        // A pair of an old row with a new one is inserted and retracted in the same epoch: a node above might fail on
        // it.
        let changes = if both_changed { net(&changes)? } else { changes };
        Ok(StepOutput { changes, late })
    }

    fn fresh(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Join::new(self.spec.clone())?))
    }

    fn state(&mut self) -> &mut dyn Durable {
        &mut self.sides
    }

    fn state_version(&self) -> u16 {
        1
    }

    fn restored(&mut self, watermark: Option<Micros>) {
        for side in &mut self.sides.sides {
            let expired = side.expired(watermark);
            side.forget(&expired);
        }
    }

    fn is_due(&self, watermark: Option<Micros>, _: Micros) -> bool {
        self.sides.sides.iter().any(|side| side.is_due(watermark))
    }
}

impl Durable for Sides {
    fn save(&mut self, full: bool) -> Result<Saved> {
        let mut rows = Vec::new();
        for (side, name) in self.sides.iter_mut().zip(NAMES) {
            rows.extend(side.save(name, full)?);
        }
        Ok(Saved { rows })
    }

    fn load(&mut self, saved: &RecordBatch) -> Result<()> {
        let schema = saved.schema();
        let n = NAMES.iter().position(|name| schema.fields().first().is_some_and(|field| field.name() == name));
        let n = n.ok_or_else(|| Error::internal("a join was given another operator's state"))?;
        let (spec, side) = (&self.spec, &mut self.sides[n]);
        let Some(rows) = side.saved_rows(saved)? else {
            side.load_removed(saved);
            return Ok(());
        };
        let keys = spec.sides[n].keys_of(&rows)?;
        let null_keys = delta::null_keys(spec, &keys);
        side.load_rows(saved, &rows, &side.encode(&keys)?, |row| {
            null_keys.as_ref().is_some_and(|nulls| nulls.is_null(row))
        })
    }

    fn set_compaction(&mut self, to: Compaction) {
        self.sides.iter_mut().for_each(|side| side.set_compaction(to));
    }

    fn len(&self) -> usize {
        self.sides.iter().map(JoinState::len).sum()
    }

    fn bytes(&self) -> usize {
        self.sides.iter().map(JoinState::bytes).sum()
    }
}
