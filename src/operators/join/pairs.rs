//! Matching pairs: new rows of one side with the stored rows of the other.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array},
    compute::{concat, prep_null_mask_filter},
};
use datafusion::physical_expr::PhysicalExpr;

use super::{
    delta::Delta,
    spec::{JoinSpec, SideOutput},
};
use crate::{
    changes::{Changes, batch_of, bytes_of, rows_at},
    error::{Error, ErrorKind, Result},
    exec::is_of_rows,
    operators::grouping::evaluate,
    state::{Id, JoinState, net},
};

/// The pairs of an epoch and their bytes: a join without a key, or with many duplicates, can make more pairs than fit
/// in memory.
pub(super) struct JoinOutput {
    pub changes: Vec<Changes>,
    /// Pairs that the condition failed on, with the first error.
    failed: Vec<Changes>,
    error: Option<Error>,
    bytes: usize,
    bytes_max: usize,
}

impl JoinOutput {
    pub fn new(spec: &JoinSpec) -> Self {
        JoinOutput { changes: Vec::new(), failed: Vec::new(), error: None, bytes: 0, bytes_max: spec.pairs_bytes_max }
    }

    /// Reserves `bytes` before they are allocated.
    fn ask(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= self.bytes_max {
            return Ok(());
        }
        let message = "the pairs of a join in one epoch would hold more than query.memory_limit";
        Err(Error::new(ErrorKind::ConfigurationLimit, message).hint(
            "Raise query.memory_limit, then ALTER … RESUME; or make another one with a key, a narrower condition, or sources \
             that read less at a time (max_rows_per_trigger).",
        ))
    }

    /// Adds pairs with their diffs.
    fn push(&mut self, pairs: RecordBatch, diffs: Vec<i64>) -> Result<()> {
        self.ask(bytes_of_each(&pairs, &diffs))?;
        self.changes.push(each_once(pairs, diffs)?);
        Ok(())
    }

    /// Adds pairs that the condition failed on.
    fn push_failed(&mut self, pairs: RecordBatch, diffs: Vec<i64>, error: Error) -> Result<()> {
        self.ask(bytes_of_each(&pairs, &diffs))?;
        self.failed.push(each_once(pairs, diffs)?);
        self.error.get_or_insert(error);
        Ok(())
    }

    /// Fails if the condition failed on a pair that remains after consolidation. A pair of a retracted row and a new
    /// one is inserted and retracted in the same epoch, and its error is ignored.
    pub fn check(&mut self) -> Result<()> {
        let Some(error) = self.error.take() else { return Ok(()) };
        let Some(first) = self.failed.first() else { return Err(error) };
        let failed = Changes::concat(&first.schema(), &self.failed)?;
        match net(&failed)?.is_empty() {
            true => Ok(()),
            false => Err(error),
        }
    }
}

/// Match counts.
pub(super) struct MatchCounts {
    /// Per new row: number of its matches.
    pub matches: Vec<i64>,
    /// Rows of the other side (id) with the change of their match count; empty if that side needs none.
    pub others: Vec<(Id, i64)>,
}

/// Finds the pairs of new rows of side `n` with stored rows of side `other`; adds them to `out` if the join emits
/// pairs.
pub(super) fn add_matches(
    spec: &JoinSpec,
    other: &JoinState,
    n: usize,
    delta: &Delta,
    out: &mut JoinOutput,
) -> Result<MatchCounts> {
    let mut met = MatchCounts { matches: vec![0; delta.len()], others: Vec::new() };
    let pairs_max = pairs_max(spec, other, delta);
    let (mut rows, mut ids) = (Vec::new(), Vec::new());
    for row in (0..delta.len()).filter(|row| !delta.has_null_key(*row)) {
        for id in other.members(delta.keys.row(row).as_ref()) {
            rows.push(row as u32);
            ids.push(*id);
            if rows.len() >= pairs_max {
                let (rows, ids) = (std::mem::take(&mut rows), std::mem::take(&mut ids));
                Pairs { spec, n, delta, other, rows, ids }.emit(&mut met, out)?;
            }
        }
    }
    Pairs { spec, n, delta, other, rows, ids }.emit(&mut met, out)?;
    Ok(met)
}

/// Pairs evaluated at a time: fewer for wide rows, since memory is reserved only after a batch is built.
fn pairs_max(spec: &JoinSpec, other: &JoinState, delta: &Delta) -> usize {
    let width = other.bytes() / other.len().max(1) + bytes_of(&delta.rows) / delta.len().max(1);
    (spec.pairs_bytes_max / 8 / width.max(1)).clamp(1, spec.pairs_max.max(1))
}

/// A batch of pairs: positions of new rows, and ids of the other side.
struct Pairs<'a> {
    spec: &'a JoinSpec,
    n: usize,
    delta: &'a Delta,
    other: &'a JoinState,
    rows: Vec<u32>,
    ids: Vec<Id>,
}

impl Pairs<'_> {
    /// Gives `out` the pairs that the filter passes, and counts them in `met`.
    fn emit(mut self, met: &mut MatchCounts, out: &mut JoinOutput) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut columns = None;
        if let Some(filter) = &self.spec.filter {
            let all = self.columns()?;
            let pairs = batch_of(&self.spec.combined, all, self.rows.len())?;
            let mut condition = Condition { filter, failed: Vec::new(), error: None };
            let passed = condition.holds(&pairs, 0)?;
            if let Some(error) = condition.error {
                let failed: UInt32Array = condition.failed.iter().map(|at| *at as u32).collect();
                let diffs = condition.failed.into_iter().map(|at| self.diff(at)).collect();
                out.push_failed(rows_at(&pairs, &failed)?, diffs, error)?;
            }
            if passed.true_count() < self.rows.len() {
                let kept: Vec<usize> = passed.values().set_indices().collect();
                self.rows = kept.iter().map(|at| self.rows[*at]).collect();
                self.ids = kept.iter().map(|at| self.ids[*at]).collect();
                let kept: UInt32Array = kept.into_iter().map(|at| at as u32).collect();
                columns = Some(rows_at(&pairs, &kept)?.columns().to_vec());
            } else {
                columns = Some(pairs.columns().to_vec());
            }
        }
        let tracked = self.spec.sides[1 - self.n].output != SideOutput::None;
        if tracked {
            out.ask(self.ids.len() * size_of::<(Id, i64)>())?;
        }
        let mut diffs = Vec::with_capacity(self.rows.len());
        for (at, (row, id)) in self.rows.iter().zip(&self.ids).enumerate() {
            met.matches[*row as usize] += self.other.meta(*id).count;
            if tracked {
                met.others.push((*id, self.delta.diffs[*row as usize]));
            }
            diffs.push(self.diff(at));
        }
        if self.spec.pairs && !self.rows.is_empty() {
            let columns = columns.map_or_else(|| self.columns(), Ok)?;
            out.push(batch_of(&self.spec.output, columns, diffs.len())?, diffs)?;
        }
        Ok(())
    }

    /// The diff of a pair.
    fn diff(&self, at: usize) -> i64 {
        self.delta.diffs[self.rows[at] as usize].saturating_mul(self.other.meta(self.ids[at]).count)
    }

    /// The columns of the left side, then of the right side.
    fn columns(&self) -> Result<Vec<ArrayRef>> {
        let new = rows_at(&self.delta.rows, &UInt32Array::from(self.rows.clone()))?;
        let old = self.other.gather(&self.ids)?;
        let own = |n: usize, batch: &RecordBatch| batch.columns()[..self.spec.sides[n].schema.fields().len()].to_vec();
        let (mut left, right) = match self.n {
            0 => (own(0, &new), own(1, &old)),
            _ => (own(0, &old), own(1, &new)),
        };
        left.extend(right);
        Ok(left)
    }
}

/// The join filter, and the pairs it fails on.
struct Condition<'a> {
    filter: &'a Arc<dyn PhysicalExpr>,
    failed: Vec<usize>,
    error: Option<Error>,
}

impl Condition<'_> {
    /// Which pairs satisfy the filter; pairs that it fails on (found by bisecting) do not. `from` is the position of
    /// the first pair.
    fn holds(&mut self, pairs: &RecordBatch, from: usize) -> Result<BooleanArray> {
        let rows = pairs.num_rows();
        match evaluate(self.filter, pairs) {
            Ok(passed) if passed.null_count() > 0 => Ok(prep_null_mask_filter(passed.as_boolean())),
            Ok(passed) => Ok(passed.as_boolean().clone()),
            Err(error) if !is_of_pairs(&error) || pairs.num_columns() == 0 => Err(error),
            Err(error) if rows <= 1 => {
                self.failed.push(from);
                self.error.get_or_insert(error);
                Ok(BooleanArray::from(vec![false; rows]))
            }
            Err(_) => {
                let first = self.holds(&pairs.slice(0, rows / 2), from)?;
                let second = self.holds(&pairs.slice(rows / 2, rows - rows / 2), from + rows / 2)?;
                Ok(concat(&[&first, &second])?.as_boolean().clone())
            }
        }
    }
}

fn is_of_pairs(error: &Error) -> bool {
    is_of_rows(error) || error.kind() == ErrorKind::CardinalityViolation
}

fn bytes_of_each(rows: &RecordBatch, diffs: &[i64]) -> usize {
    let times = diffs.iter().fold(0_usize, |all, diff| all.saturating_add(diff.unsigned_abs() as usize));
    times.saturating_mul(bytes_of(rows) / diffs.len().max(1) + size_of::<i64>())
}

/// Changes with a diff of ±1 per row, repeating rows.
fn each_once(rows: RecordBatch, diffs: Vec<i64>) -> Result<Changes> {
    if diffs.iter().all(|diff| *diff == 1) {
        return Ok(Changes::insert(rows));
    }
    if diffs.iter().all(|diff| diff.abs() == 1) {
        return Ok(Changes::new(rows, Int64Array::from(diffs)));
    }
    let times =
        |(row, diff): (usize, &i64)| std::iter::repeat_n((row as u32, diff.signum()), diff.unsigned_abs() as usize);
    let (at, diffs): (Vec<u32>, Vec<i64>) = diffs.iter().enumerate().flat_map(times).unzip();
    Ok(Changes::new(rows_at(&rows, &UInt32Array::from(at))?, Int64Array::from(diffs)))
}
