//! Sums of many groups, over insertions, retractions and partial sums.

use std::{fmt::Debug, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryBuilder, BooleanArray, Int64Array, PrimitiveArray},
    datatypes::{Decimal128Type, DecimalType, Float64Type, Int64Type, i256},
};
use datafusion::{
    common::ScalarValue,
    error::Result as DfResult,
    logical_expr::{Accumulator, EmitTo, GroupsAccumulator},
};

use super::{exact::ExactSum, spec::Spec};
use crate::error::{Error, ErrorKind, Result};

/// An exact sum of values of one type.
pub(super) trait Total: Clone + Default + Debug + Send + Sync + 'static {
    type Of: ArrowPrimitiveType;

    fn add(&mut self, value: Native<Self>, times: i64);
    fn to_bytes(&self) -> Vec<u8>;
    fn merge(&mut self, bytes: &[u8]) -> Result<()>;
    fn heap_bytes(&self) -> usize;
    /// The sum, or the average over `rows` rows.
    fn answer(&self, rows: i64, spec: &Spec) -> Result<Native<Self>>;
    /// The key by which DISTINCT compares values; and the inverse.
    fn key(value: Native<Self>) -> i128;
    fn of_key(key: i128) -> Native<Self>;
}

pub(super) type Native<T> = <<T as Total>::Of as ArrowPrimitiveType>::Native;

impl Total for ExactSum {
    type Of = Float64Type;

    fn add(&mut self, value: f64, times: i64) {
        ExactSum::add(self, value, times);
    }

    fn to_bytes(&self) -> Vec<u8> {
        ExactSum::to_bytes(self)
    }

    fn merge(&mut self, bytes: &[u8]) -> Result<()> {
        ExactSum::merge(self, bytes)
    }

    fn heap_bytes(&self) -> usize {
        ExactSum::heap_bytes(self)
    }

    fn answer(&self, rows: i64, spec: &Spec) -> Result<f64> {
        let sum = self.rounded()?;
        Ok(if spec.is_avg { sum / rows as f64 } else { sum })
    }

    fn key(value: f64) -> i128 {
        let one = if value.is_nan() { f64::NAN } else { value + 0.0 };
        i128::from(one.to_bits())
    }

    fn of_key(key: i128) -> f64 {
        f64::from_bits(key as u64)
    }
}

/// A sum of decimals; the number of rows of 38 digits cannot overflow it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wide(i256);

impl Total for Wide {
    type Of = Decimal128Type;

    fn add(&mut self, value: i128, times: i64) {
        let value = i256::from_i128(value);
        self.0 = match times {
            1 => self.0.wrapping_add(value),
            -1 => self.0.wrapping_sub(value),
            _ => self.0.wrapping_add(value.wrapping_mul(i256::from_i128(times.into()))),
        };
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn merge(&mut self, bytes: &[u8]) -> Result<()> {
        let bytes = bytes.try_into();
        let bytes = bytes.map_err(|_| Error::new(ErrorKind::DataCorrupted, "a sum that was saved is spoiled"))?;
        self.0 = self.0.wrapping_add(i256::from_le_bytes(bytes));
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        0
    }

    fn answer(&self, rows: i64, spec: &Spec) -> Result<i128> {
        let (precision, scale, more) = spec.decimal()?;
        let answer = match spec.is_avg {
            false => self.0,
            true => self.0.wrapping_mul(i256::from_i128(10i128.pow(more))).wrapping_div(i256::from_i128(rows.into())),
        };
        let fits = |value: &i128| Decimal128Type::is_valid_decimal_precision(*value, precision);
        answer.to_i128().filter(fits).ok_or_else(|| {
            let whole = i16::from(precision) - i16::from(scale);
            Error::new(ErrorKind::NumericOutOfRange, "numeric field overflow").detail(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{whole}."
            ))
        })
    }

    fn key(value: i128) -> i128 {
        value
    }

    fn of_key(key: i128) -> i128 {
        key
    }
}

/// The sums of groups.
#[derive(Debug)]
pub(super) struct Totals<T> {
    spec: Spec,
    totals: Vec<T>,
    /// Number of non-NULL rows of each group.
    rows: Vec<i64>,
    heap_bytes: usize,
}

impl<T: Total> Totals<T> {
    pub fn new(spec: Spec) -> Self {
        Totals { spec, totals: Vec::new(), rows: Vec::new(), heap_bytes: 0 }
    }

    fn grow(&mut self, groups: usize) {
        if groups > self.totals.len() {
            self.totals.resize_with(groups, T::default);
            self.rows.resize(groups, 0);
        }
    }

    /// Adds rows with weight `sign`, times their diffs if there are any.
    fn feed(
        &mut self,
        columns: &[ArrayRef],
        group: impl Fn(usize) -> usize,
        filter: Option<&BooleanArray>,
        sign: i64,
    ) -> DfResult<()> {
        let values = columns[0].as_primitive::<T::Of>();
        let diffs = columns.get(1).filter(|_| self.spec.by_diff).map(|diffs| diffs.as_primitive::<Int64Type>());
        for (row, value) in values.values().iter().enumerate() {
            let counts = values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if !counts {
                continue;
            }
            let times = diffs.map_or(sign, |diffs| sign * diffs.value(row));
            let (total, rows) = (&mut self.totals[group(row)], &mut self.rows[group(row)]);
            let before = total.heap_bytes();
            total.add(*value, times);
            *rows += times;
            self.heap_bytes += total.heap_bytes().saturating_sub(before);
        }
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], group: impl Fn(usize) -> usize) -> DfResult<()> {
        let [totals, rows] = states else { return Err(Error::internal("the state of a sum lacks columns").into()) };
        let (totals, rows) = (totals.as_binary::<i32>(), rows.as_primitive::<Int64Type>());
        for row in (0..totals.len()).filter(|row| totals.is_valid(*row)) {
            let own = &mut self.totals[group(row)];
            let before = own.heap_bytes();
            own.merge(totals.value(row))?;
            self.rows[group(row)] += rows.value(row);
            self.heap_bytes += own.heap_bytes().saturating_sub(before);
        }
        Ok(())
    }

    fn take_needed(&mut self, emit_to: EmitTo) -> (Vec<T>, Vec<i64>) {
        let taken = emit_to.take_needed(&mut self.totals);
        let bytes: usize = taken.iter().map(T::heap_bytes).sum();
        self.heap_bytes = self.heap_bytes.saturating_sub(bytes);
        (taken, emit_to.take_needed(&mut self.rows))
    }

    fn answers(&self, totals: &[T], rows: &[i64]) -> DfResult<ArrayRef> {
        let answer = |(total, rows): (&T, &i64)| (*rows != 0).then(|| total.answer(*rows, &self.spec)).transpose();
        let answers = totals.iter().zip(rows).map(answer).collect::<Result<PrimitiveArray<T::Of>>>()?;
        Ok(Arc::new(answers.with_data_type(self.spec.output.clone())))
    }

    fn states(totals: &[T], rows: Vec<i64>) -> Vec<ArrayRef> {
        let mut bytes = BinaryBuilder::new();
        totals.iter().for_each(|total| bytes.append_value(total.to_bytes()));
        vec![Arc::new(bytes.finish()), Arc::new(Int64Array::from(rows))]
    }

    fn bytes(&self) -> usize {
        self.totals.capacity() * size_of::<T>() + self.rows.capacity() * size_of::<i64>() + self.heap_bytes
    }
}

impl<T: Total> GroupsAccumulator for Totals<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> DfResult<()> {
        self.grow(total);
        self.feed(values, |row| groups[row], filter, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> DfResult<()> {
        self.grow(total);
        self.merge(states, |row| groups[row])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let (totals, rows) = self.take_needed(emit_to);
        self.answers(&totals, &rows)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let (totals, rows) = self.take_needed(emit_to);
        Ok(Self::states(&totals, rows))
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        let mut each = Totals::<T>::new(self.spec.clone());
        each.grow(values[0].len());
        each.feed(values, |row| row, filter, 1)?;
        GroupsAccumulator::state(&mut each, EmitTo::All)
    }

    fn size(&self) -> usize {
        self.bytes()
    }
}

/// The sum of one group, or of a window frame.
#[derive(Debug)]
pub(super) struct One<T>(Totals<T>);

impl<T: Total> One<T> {
    pub fn new(spec: Spec) -> Self {
        let mut totals = Totals::new(spec);
        totals.grow(1);
        One(totals)
    }
}

impl<T: Total> Accumulator for One<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.0.feed(values, |_| 0, None, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.0.feed(values, |_| 0, None, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.0.merge(states, |_| 0)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        ScalarValue::try_from_array(&self.0.answers(&self.0.totals, &self.0.rows)?, 0)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let states = Totals::<T>::states(&self.0.totals, self.0.rows.clone());
        states.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.bytes()
    }
}
