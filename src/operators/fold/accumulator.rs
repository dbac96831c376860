//! The accumulator of one group of a folding aggregate.

use std::{collections::VecDeque, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, StructArray, UInt32Array, new_null_array},
    buffer::OffsetBuffer,
    compute::{SortColumn, SortOptions, concat, lexsort_to_indices, take},
    datatypes::{DataType, Field, Int8Type},
};
use datafusion::{common::ScalarValue, error::Result as DfResult, logical_expr::Accumulator};

use super::spec::{FoldSpec, fitted};
use crate::error::{Error, Result};

/// Whether a group has a state yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The state before the rows is not known yet: rows are buffered.
    Open,
    /// No row so far: the first row becomes the state.
    Empty,
    Folded,
}

impl Phase {
    fn of(number: i8) -> Phase {
        match number {
            0 => Phase::Open,
            1 => Phase::Empty,
            _ => Phase::Folded,
        }
    }
}

/// The state of a group, and buffered rows not folded yet.
#[derive(Debug)]
pub struct Folding {
    spec: Arc<FoldSpec>,
    order: Vec<DataType>,
    options: Vec<SortOptions>,
    phase: Phase,
    /// An array of one row.
    state: ArrayRef,
    rows: Vec<Vec<ArrayRef>>,
}

impl Folding {
    /// `order` are the types of the ORDER BY columns, which follow the arguments.
    pub fn new(spec: Arc<FoldSpec>, order: Vec<DataType>, options: Vec<SortOptions>) -> Folding {
        let state = new_null_array(&spec.state, 1);
        Folding { spec, order, options, phase: Phase::Open, state, rows: Vec::new() }
    }

    /// Declares that there is no state before the buffered rows.
    pub fn begin(&mut self) -> DfResult<()> {
        if self.phase == Phase::Open {
            match &self.spec.initial {
                Some(initial) => (self.state, self.phase) = (initial.to_array()?, Phase::Folded),
                None if self.spec.step.strict => self.phase = Phase::Empty,
                None => self.phase = Phase::Folded,
            }
        }
        Ok(())
    }

    /// New rows: folded at once if there is a state, buffered otherwise.
    fn take_in(&mut self, rows: Vec<ArrayRef>) -> DfResult<()> {
        if rows.first().is_none_or(|column| column.is_empty()) {
            return Ok(());
        }
        if !self.spec.is_put_off(&self.order) {
            self.begin()?;
        }
        match self.phase {
            Phase::Open => {
                self.rows.push(rows);
                Ok(())
            }
            _ => self.fold(&rows),
        }
    }

    fn fold(&mut self, rows: &[ArrayRef]) -> DfResult<()> {
        let arguments = &rows[..self.spec.arguments.len()];
        for row in 0..arguments[0].len() {
            if self.spec.step.strict && arguments.iter().any(|argument| argument.is_null(row)) {
                continue;
            }
            if self.phase == Phase::Empty {
                self.state = fitted(&arguments[0].slice(row, 1), &self.spec.state)?;
                self.phase = Phase::Folded;
                continue;
            }
            if self.spec.step.strict && self.state.is_null(0) {
                // As in Postgres: a strict function whose state is NULL stays NULL.
                break;
            }
            let mut columns = vec![self.state.clone()];
            columns.extend(arguments.iter().map(|argument| argument.slice(row, 1)));
            self.state = self.spec.step.of(columns, 1)?;
        }
        self.detach()
    }

    /// The state may be a slice of a whole batch, which it must not keep.
    fn detach(&mut self) -> DfResult<()> {
        self.state = take(&self.state, &UInt32Array::from(vec![0]), None)?;
        Ok(())
    }

    /// The buffered rows, in ORDER BY or arrival order.
    fn waiting(&mut self) -> DfResult<Option<Vec<ArrayRef>>> {
        let Some(first) = self.rows.first() else { return Ok(None) };
        let joined = |n: usize| {
            let parts: Vec<&dyn Array> = self.rows.iter().map(|rows| rows[n].as_ref()).collect();
            concat(&parts)
        };
        let columns = (0..first.len()).map(joined).collect::<Result<Vec<_>, _>>()?;
        self.rows = vec![columns.clone()];
        Ok(Some(columns))
    }

    fn sorted(&self, columns: Vec<ArrayRef>) -> DfResult<Vec<ArrayRef>> {
        if self.order.is_empty() {
            return Ok(columns);
        }
        let by = columns[self.spec.arguments.len()..].iter().zip(&self.options);
        let mut by: Vec<SortColumn> =
            by.map(|(values, options)| SortColumn { values: values.clone(), options: Some(*options) }).collect();
        // Stable: ties keep their arrival order.
        let places = UInt32Array::from_iter_values(0..columns[0].len() as u32);
        by.push(SortColumn { values: Arc::new(places), options: None });
        let places = lexsort_to_indices(&by, None)?;
        Ok(columns.iter().map(|column| take(column, &places, None)).collect::<Result<_, _>>()?)
    }

    fn fold_waiting(&mut self) -> DfResult<()> {
        if let Some(rows) = self.waiting()? {
            self.rows.clear();
            let rows = self.sorted(rows)?;
            self.fold(&rows)?;
        }
        Ok(())
    }

    /// Appends another partial state of the same group.
    fn join(&mut self, phase: Phase, state: ArrayRef) -> DfResult<()> {
        match (self.phase, phase) {
            (_, Phase::Open) => Ok(()),
            (Phase::Open, _) => {
                (self.phase, self.state) = (phase, state);
                self.fold_waiting()
            }
            (_, Phase::Empty) => Ok(()),
            (Phase::Empty, _) => {
                (self.phase, self.state) = (phase, state);
                Ok(())
            }
            (Phase::Folded, Phase::Folded) => self.combine(state),
        }
    }

    fn combine(&mut self, state: ArrayRef) -> DfResult<()> {
        let Some(combine) = &self.spec.combine else {
            return Err(Error::internal("states of an aggregate without COMBINEFUNC met").into());
        };
        if combine.strict && state.is_null(0) {
            return Ok(());
        }
        self.state = match combine.strict && self.state.is_null(0) {
            true => state,
            false => combine.of(vec![self.state.clone(), state], 1)?,
        };
        Ok(())
    }

    /// The buffered rows as a list value.
    fn rows_value(&mut self) -> DfResult<ScalarValue> {
        let fields = self.spec.row_fields(&self.order);
        let item = Arc::new(Field::new_list_field(DataType::Struct(fields.clone()), true));
        let list = match self.waiting()? {
            None => ListArray::new_null(item, 1),
            Some(columns) => {
                let rows = StructArray::try_new(fields, columns, None)?;
                ListArray::try_new(item, OffsetBuffer::from_lengths([rows.len()]), Arc::new(rows), None)?
            }
        };
        Ok(ScalarValue::List(Arc::new(list)))
    }
}

impl Accumulator for Folding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let types = self.spec.arguments.iter().chain(&self.order);
        let rows = values.iter().zip(types).map(|(value, of)| fitted(value, of)).collect::<DfResult<Vec<_>>>()?;
        self.take_in(rows)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let [phases, values, rest @ ..] = states else {
            return Err(Error::internal("an aggregate's state lacks columns").into());
        };
        let phases = phases.as_primitive::<Int8Type>();
        for row in 0..phases.len() {
            let state = take(values, &UInt32Array::from(vec![row as u32]), None)?;
            self.join(Phase::of(phases.value(row)), state)?;
            if let Some(lists) = rest.first().filter(|lists| lists.is_valid(row)) {
                let rows = lists.as_list::<i32>().value(row);
                self.take_in(rows.as_struct().columns().to_vec())?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.begin()?;
        self.fold_waiting()?;
        let answer = match &self.spec.finish {
            Some(finish) => finish.of(vec![self.state.clone()], 1)?,
            None => self.state.clone(),
        };
        ScalarValue::try_from_array(&answer, 0)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let phase = ScalarValue::Int8(Some(self.phase as i8));
        let mut columns = vec![phase, ScalarValue::try_from_array(&self.state, 0)?];
        if self.spec.is_put_off(&self.order) {
            columns.push(self.rows_value()?);
        }
        Ok(columns)
    }

    fn size(&self) -> usize {
        // A group's array is a slice of a whole batch.
        let of = |column: &ArrayRef| size_of::<ArrayRef>() + column.to_data().get_slice_memory_size().unwrap_or(0);
        size_of_val(self) + of(&self.state) + self.rows.iter().flatten().map(of).sum::<usize>()
    }
}

/// For window functions: the rows of a sliding frame, folded anew at each position.
#[derive(Debug)]
pub struct Sliding {
    spec: Arc<FoldSpec>,
    rows: VecDeque<Vec<ArrayRef>>,
}

impl Sliding {
    pub fn new(spec: Arc<FoldSpec>) -> Sliding {
        Sliding { spec, rows: VecDeque::new() }
    }

    fn folded(&self) -> DfResult<Folding> {
        let mut folding = Folding::new(self.spec.clone(), Vec::new(), Vec::new());
        self.rows.iter().try_for_each(|row| folding.update_batch(row))?;
        Ok(folding)
    }
}

impl Accumulator for Sliding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let count = values.first().map_or(0, |column| column.len());
        self.rows.extend((0..count).map(|row| values.iter().map(|column| column.slice(row, 1)).collect()));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let count = values.first().map_or(0, |column| column.len());
        self.rows.drain(..count.min(self.rows.len()));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> DfResult<()> {
        Err(Error::internal("a window frame is not merged").into())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.folded()?.evaluate()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.folded()?.state()
    }

    fn size(&self) -> usize {
        let row = |row: &Vec<ArrayRef>| size_of_val(row.as_slice());
        size_of_val(self) + self.rows.iter().map(row).sum::<usize>()
    }
}
