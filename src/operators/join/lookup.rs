//! Lookup (processing-time) join: each left row is joined once, with the right side as of its epoch, and then
//! forgotten.
//!
//! ```text
//! ΔR ─▶ kept by key        first what changed of the table
//! ΔL ⋈ R ─▶ rows           then the new rows meet it; no later change of the table reaches them
//! ```

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, UInt32Array},
    datatypes::SchemaRef,
};

use super::{
    EpochInput, JoinSpec, SideOutput, Sides,
    delta::{Delta, JoinInput},
    pairs::{self, JoinOutput},
};
use crate::{
    changes::{Changes, rows_at},
    error::Result,
    exec::{Collector, Operator, StepOutput},
    operators::input_buffer::InputBuffer,
    state::Durable,
    time::{Micros, Tick},
};

/// Joins append-only left rows with the current rows of the right side.
#[derive(Debug)]
pub struct LookupJoin {
    spec: Arc<JoinSpec>,
    /// The left side stores no rows.
    sides: Sides,
}

impl LookupJoin {
    pub fn new(spec: Arc<JoinSpec>) -> Result<Self> {
        Ok(LookupJoin { sides: Sides::new(spec.clone())?, spec })
    }

    /// Emits left rows by themselves (outer, semi, anti, mark), by their match counts.
    fn push_side_output(&self, rows: &RecordBatch, matches: &[i64], out: &mut Vec<Changes>) -> Result<()> {
        let shown: &[bool] = match self.spec.sides[0].output {
            SideOutput::None => &[],
            SideOutput::Anti => &[false],
            SideOutput::Semi => &[true],
            SideOutput::Mark => &[true, false],
        };
        for met in shown {
            let at = (0..matches.len() as u32).filter(|row| (matches[*row as usize] > 0) == *met);
            let at: UInt32Array = at.collect();
            if !at.is_empty() {
                out.push(Changes::insert(self.spec.side_output(0, &rows_at(rows, &at)?, *met)?));
            }
        }
        Ok(())
    }
}

impl Operator for LookupJoin {
    fn schema(&self) -> SchemaRef {
        self.spec.output.clone()
    }

    fn collector(&self, input: usize, tick: &Tick) -> Result<Box<dyn Collector>> {
        Ok(InputBuffer::collector(JoinInput { spec: self.spec.clone(), side: input }, tick))
    }

    fn step(&mut self, collected: Vec<Box<dyn Collector>>, _: &Tick) -> Result<StepOutput> {
        let EpochInput { mut arrived, late } = EpochInput::of(collected)?;
        let mut found = JoinOutput::new(&self.spec);
        let [_, table] = &mut self.sides.sides;
        if let Some(delta) = Delta::new(&self.spec, 1, table, std::mem::take(&mut arrived[1]))? {
            let nothing = vec![0; delta.len()];
            let added = table.add(&delta.rows, &delta.keys, |row| delta.has_null_key(row), &delta.diffs, &nothing)?;
            table.purge_deleted(&added.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
        }
        let [rows, table] = &self.sides.sides;
        if let Some(delta) = Delta::new(&self.spec, 0, rows, std::mem::take(&mut arrived[0]))? {
            let met = pairs::add_matches(&self.spec, table, 0, &delta, &mut found)?;
            found.check()?;
            self.push_side_output(&delta.rows, &met.matches, &mut found.changes)?;
        }
        Ok(StepOutput { changes: Changes::concat(&self.spec.output, &found.changes)?, late })
    }

    fn fresh(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(LookupJoin::new(self.spec.clone())?))
    }

    fn state(&mut self) -> &mut dyn Durable {
        &mut self.sides
    }

    fn state_version(&self) -> u16 {
        1
    }

    fn restored(&mut self, _: Option<Micros>) {}

    fn is_due(&self, _: Option<Micros>, _: Micros) -> bool {
        false
    }
}
