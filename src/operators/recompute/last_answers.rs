//! The last emitted answers of functions that are not deterministic: they are retracted exactly as they were emitted.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array},
    compute::{kernels::zip::zip, take},
    datatypes::{Field, Schema, SchemaRef},
};

use crate::{
    changes::batch_of,
    error::Result,
    operators::{AggregateCall, Grouping, grouping::Emission},
    state::{Compaction, Durable, Id, KeyedLog, Saved, StateShape, Windowed},
    time::Micros,
};

/// The name of its saved rows.
pub(super) const SAVED_AS: &str = "told";

/// Per group the last answers of some functions.
#[derive(Debug)]
pub(super) struct LastAnswers {
    /// Positions of those functions among all.
    functions: Vec<usize>,
    schema: SchemaRef,
    groups: Windowed<KeyedLog>,
}

impl LastAnswers {
    /// `None` if all answers are determined by the stored rows, or each is emitted only once.
    pub fn new(grouping: &Grouping, functions: &[AggregateCall]) -> Option<LastAnswers> {
        let unsettled = |n: &usize| !functions[*n].is_settled();
        let of: Vec<usize> = (0..functions.len()).filter(unsettled).collect();
        if of.is_empty() || grouping.emission == Emission::OnClose {
            return None;
        }
        let field = |n: &usize| Field::new(n.to_string(), functions[*n].aggregate.field().data_type().clone(), true);
        let schema = Arc::new(Schema::new(of.iter().map(field).collect::<Vec<_>>()));
        let shape =
            StateShape { keys: grouping.state_fields(SAVED_AS), values: schema.fields().clone(), order: Vec::new() };
        let groups = Windowed::new(grouping.close, shape, |shape| KeyedLog::new(&shape.keys, &shape.values));
        Some(LastAnswers { functions: of, schema, groups })
    }

    /// Replaces recomputed answers by the last emitted ones, for groups with stored ones.
    pub fn recall(&mut self, moment: Micros, keys: &[ArrayRef], answers: &mut [ArrayRef]) -> Result<()> {
        let log = self.groups.window(moment)?;
        let found = log.find(&log.encode(keys)?);
        let there: Vec<Id> = found.iter().flatten().copied().collect();
        let emitted = log.gather(&there)?;
        let mut next = 0..there.len() as u32;
        let places: UInt32Array = found.iter().map(|id| id.and_then(|_| next.next())).collect();
        let was_emitted = BooleanArray::from_iter(found.iter().map(|id| Some(id.is_some())));
        for (function, emitted) in self.functions.iter().zip(emitted.columns()) {
            answers[*function] = zip(&was_emitted, &take(emitted, &places, None)?, &answers[*function])?;
        }
        Ok(())
    }

    /// Stores the emitted answers of groups; deletes those of groups without rows (not `there`).
    pub fn record(&mut self, moment: Micros, keys: &[ArrayRef], answers: &[ArrayRef], there: &[bool]) -> Result<()> {
        let log = self.groups.window(moment)?;
        let gone: Vec<Option<Id>> = log.find(&log.encode(keys)?);
        gone.iter().zip(there).filter(|(_, there)| !**there).filter_map(|(id, _)| *id).for_each(|id| log.remove(id));
        let left: UInt32Array = (0..there.len() as u32).filter(|row| there[*row as usize]).collect();
        let at = |columns: &mut dyn Iterator<Item = &ArrayRef>| -> Result<Vec<ArrayRef>> {
            Ok(columns.map(|column| take(column, &left, None)).collect::<Result<_, _>>()?)
        };
        let keys = log.encode(&at(&mut keys.iter())?)?;
        let emitted = at(&mut self.functions.iter().map(|function| &answers[*function]))?;
        log.upsert(&keys, &log.find(&keys), &batch_of(&self.schema, emitted, left.len())?)
    }

    pub fn close(&mut self, watermark: Option<Micros>) {
        self.groups.close(watermark);
    }

    pub fn save(&mut self, full: bool) -> Result<Saved> {
        self.groups.save(full)
    }

    pub fn load(&mut self, rows: &RecordBatch) -> Result<()> {
        self.groups.load(rows)
    }

    pub fn set_compaction(&mut self, to: Compaction) {
        self.groups.set_compaction(to);
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn bytes(&self) -> usize {
        self.groups.bytes()
    }
}
