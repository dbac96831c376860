//! Group recompute with a whole plan: for what has no faster way (window functions, ORDER BY … LIMIT) a group's rows are
//! kept, the batch plan runs over the touched groups again, and what differs from their last answer is the change.
//!
//! ```text
//! rows ─▶ kept by group ─ all rows of the touched groups, with the number of each ─▶ [ sort · window · filter … ]
//!                                                                                             │ DataFusion's
//! changes ◀─ what differs ◀─ the answers that were given, kept by group ◀──── answers by group number
//! ```

use std::{
    any::Any,
    sync::{Arc, Mutex},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int8Array, Int64Array, RecordBatch, UInt32Array},
    compute::{concat_batches, take},
    datatypes::{DataType, Field, Fields, Int64Type, SchemaRef},
};
use datafusion::{execution::TaskContext, physical_plan::ExecutionPlan};

use super::{
    Collector, Evaluated, Grouping, Late, Operator, Step,
    cell::locked,
    exec::again,
    grouping::{Emission, distinct_keys},
};
use crate::{
    changes::{Changes, batch_of, has_diff, rows_at},
    error::{Error, Result},
    state::{Durable, Multiset, Saved, Shape, Windowed},
    time::{Micros, Tick},
};

/// Where a plan finds the rows that it is run over.
pub type Given = Arc<Mutex<Option<RecordBatch>>>;

/// A plan over the rows of groups.
#[derive(Debug, Clone)]
pub struct GroupPlan {
    /// Its leaf reads `given`; its last column is the number of the group, as the last one of its leaf is.
    pub plan: Arc<dyn ExecutionPlan>,
    pub given: Given,
    /// The columns of the leaf, without the number.
    pub input: SchemaRef,
    pub context: Arc<TaskContext>,
}

/// Runs a plan over the rows of each touched group.
#[derive(Debug)]
pub struct Regroup {
    /// Its output has the columns of the plan, without the number.
    grouping: Grouping,
    plan: GroupPlan,
    kept: Kept,
}

/// What came, and what was answered.
#[derive(Debug)]
struct Kept {
    rows: Windowed<Multiset>,
    answers: Windowed<Multiset>,
}

const ROWS: &str = "rows";
const ANSWERS: &str = "answers";

impl Regroup {
    pub fn new(grouping: Grouping, plan: GroupPlan) -> Result<Self> {
        // The names tell apart what is saved of the two.
        let keys = |name: &str| -> Fields {
            match grouping.is_global() {
                true => Fields::from(vec![Field::new(name, DataType::Int8, false)]),
                false => grouping.key_fields.iter().map(|f| f.as_ref().clone().with_name(name)).collect(),
            }
        };
        let shape = |name: &str, values: &SchemaRef| Shape { keys: keys(name), values: values.fields().clone() };
        let kept = |shape| Windowed::new(grouping.close, shape, |shape| Multiset::new(&shape.keys, &shape.values));
        let rows = kept(shape(ROWS, &plan.input));
        let answers = kept(shape(ANSWERS, &grouping.output));
        Ok(Regroup { grouping, plan, kept: Kept { rows, answers } })
    }

    /// The answers over some groups' rows, and the group of each.
    fn answers(&self, rows: Vec<ArrayRef>, groups: &[usize]) -> Result<(RecordBatch, UInt32Array)> {
        let numbers = Int64Array::from_iter_values(groups.iter().map(|group| *group as i64));
        let mut columns = rows;
        columns.push(Arc::new(numbers));
        let leaf = leaf_schema(&self.plan.plan);
        *locked(&self.plan.given) = Some(RecordBatch::try_new(leaf, columns)?);
        let plan = again(&self.plan.plan)?;
        let run = datafusion::physical_plan::collect(plan.clone(), self.plan.context.clone());
        let batches = futures::executor::block_on(run)?;
        let all = concat_batches(&plan.schema(), &batches)?;
        let last = all.num_columns() - 1;
        let groups = all.column(last).as_primitive::<Int64Type>();
        let groups = groups.values().iter().map(|group| *group as u32).collect();
        let columns = all.columns()[..last].to_vec();
        Ok((batch_of(&self.grouping.output, columns, all.num_rows())?, groups))
    }

    fn fold(&mut self, batches: &[(RecordBatch, Vec<ArrayRef>, Int64Array)]) -> Result<Vec<Changes>> {
        let Some((_, first, _)) = batches.first() else { return Ok(Vec::new()) };
        let rows = concat_batches(&self.plan.input, batches.iter().map(|(rows, ..)| rows))?;
        let keys = (0..first.len()).map(|n| {
            let parts: Vec<&dyn Array> = batches.iter().map(|(_, keys, _)| keys[n].as_ref()).collect();
            Ok(arrow::compute::concat(&parts)?)
        });
        let keys: Vec<ArrayRef> = keys.collect::<Result<_>>()?;
        let diffs: Int64Array = batches.iter().flat_map(|(_, _, diffs)| diffs.values().to_vec()).collect();
        let mut changes = Vec::new();
        for (moment, part) in self.kept.rows.split(&keys)? {
            let keys: Vec<ArrayRef> = keys.iter().map(|key| take(key, &part, None)).collect::<Result<_, _>>()?;
            let rows = rows_at(&rows, &part)?;
            let diffs = take(&diffs, &part, None)?.as_primitive::<Int64Type>().clone();
            self.kept.rows.window(moment)?.apply(&keys, rows.columns(), &diffs)?;
            if self.grouping.emission == Emission::OnClose {
                continue;
            }
            let touched = distinct_keys(&keys)?;
            let (rows, groups) = self.kept.rows.window(moment)?.gather(&touched)?;
            let (answers, groups) = self.answers(rows, &groups)?;
            let window = self.kept.answers.window(moment)?;
            let (columns, diffs) = window.replace(&touched, answers.columns(), &groups)?;
            changes.push(Changes::new(batch_of(&self.grouping.output, columns, diffs.len())?, diffs));
        }
        Ok(changes)
    }

    /// Takes out the closed windows; their answers where those are to be shown now.
    fn close(&mut self, watermark: Option<Micros>) -> Result<Vec<Changes>> {
        let closing = self.grouping.closing(watermark);
        let closed = self.kept.rows.close(closing);
        self.kept.answers.close(closing);
        if self.grouping.emission != Emission::OnClose {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        for window in closed.iter().filter(|w| !w.is_empty()) {
            let (rows, groups) = window.gather(&window.all_keys()?)?;
            changes.push(Changes::insert(self.answers(rows, &groups)?.0));
        }
        Ok(changes)
    }
}

/// The columns of the only leaf of a plan.
fn leaf_schema(plan: &Arc<dyn ExecutionPlan>) -> SchemaRef {
    plan.children().first().map_or_else(|| plan.schema(), |child| leaf_schema(child))
}

/// Rows of one partition.
struct Arrived {
    grouping: Grouping,
    input: SchemaRef,
    tick: Tick,
    batches: Vec<(RecordBatch, Vec<ArrayRef>, Int64Array)>,
    late: Late,
}

impl Collector for Arrived {
    fn evaluate(&mut self, batch: RecordBatch) -> Result<Evaluated> {
        self.grouping.evaluate(&[], batch, &self.tick)
    }

    fn push(&mut self, rows: Evaluated) -> Result<()> {
        let Evaluated { batch, mut keys, late, .. } = rows;
        late.iter().for_each(|late| self.late.add(late));
        let count = batch.num_rows();
        if count == 0 {
            return Ok(());
        }
        if keys.is_empty() {
            keys.push(Arc::new(Int8Array::from_value(0, count)));
        }
        let diffs = match has_diff(&batch.schema()) {
            true => batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>().clone(),
            false => Int64Array::from_value(1, count),
        };
        let columns = batch.columns()[..self.input.fields().len()].to_vec();
        self.batches.push((batch_of(&self.input, columns, count)?, keys, diffs));
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

impl Operator for Regroup {
    fn schema(&self) -> SchemaRef {
        self.grouping.output.clone()
    }

    fn collector(&self, _: usize, tick: &Tick) -> Result<Box<dyn Collector>> {
        let (grouping, input) = (self.grouping.clone(), self.plan.input.clone());
        Ok(Box::new(Arrived { grouping, input, tick: *tick, batches: Vec::new(), late: Late::default() }))
    }

    fn step(&mut self, collected: Vec<Box<dyn Collector>>, tick: &Tick) -> Result<Step> {
        let (mut batches, mut late) = (Vec::new(), Late::default());
        for part in collected {
            let part = part.into_any().downcast::<Arrived>();
            let part = part.map_err(|_| Error::internal("a regroup was given another operator's rows"))?;
            batches.extend(part.batches);
            late.merge(part.late);
        }
        let mut changes = self.fold(&batches)?;
        changes.extend(self.close(tick.watermark)?);
        Ok(Step { changes: Changes::concat(&self.grouping.output, &changes)?, late })
    }

    fn fresh(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Regroup::new(self.grouping.clone(), self.plan.clone())?))
    }

    fn state(&mut self) -> &mut dyn Durable {
        &mut self.kept
    }

    fn restored(&mut self, watermark: Option<Micros>) {
        let closing = self.grouping.closing(watermark);
        self.kept.rows.close(closing);
        self.kept.answers.close(closing);
    }

    fn is_due(&self, watermark: Option<Micros>) -> bool {
        self.kept.rows.is_due(self.grouping.closing(watermark))
    }
}

impl Durable for Kept {
    fn save(&mut self, full: bool) -> Result<Saved> {
        let mut saved = self.rows.save(full)?;
        saved.rows.extend(self.answers.save(full)?.rows);
        Ok(saved)
    }

    fn load(&mut self, rows: &RecordBatch) -> Result<()> {
        match rows.schema().field(0).name().as_str() {
            ROWS => self.rows.load(rows),
            _ => self.answers.load(rows),
        }
    }

    fn len(&self) -> usize {
        self.rows.len() + self.answers.len()
    }

    fn bytes(&self) -> usize {
        self.rows.bytes() + self.answers.bytes()
    }
}
