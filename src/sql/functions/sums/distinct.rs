//! `sum(DISTINCT …)` and `avg(DISTINCT …)`: a multiset of values, summed at the end.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray},
    buffer::OffsetBuffer,
    datatypes::Field,
};
use datafusion::{common::ScalarValue, error::Result as DfResult, logical_expr::Accumulator};

use super::{
    spec::Spec,
    totals::{Native, Total},
};

#[derive(Debug)]
pub(super) struct Distinct<T> {
    spec: Spec,
    values: HashMap<i128, i64>,
    of: std::marker::PhantomData<T>,
}

impl<T: Total> Distinct<T> {
    pub fn new(spec: Spec) -> Self {
        Distinct { spec, values: HashMap::new(), of: std::marker::PhantomData }
    }

    fn add(&mut self, values: &dyn Array, times: i64) {
        for value in values.as_primitive::<T::Of>().iter().flatten() {
            let key = T::key(value);
            let count = self.values.entry(key).or_default();
            *count += times;
            if *count == 0 {
                self.values.remove(&key);
            }
        }
    }

    fn values(&self) -> impl Iterator<Item = Native<T>> {
        self.values.keys().map(|key| T::of_key(*key))
    }
}

impl<T: Total> Accumulator for Distinct<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add(&values[0], 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add(&values[0], -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        states[0].as_list::<i32>().iter().flatten().for_each(|values| self.add(&values, 1));
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let mut total = T::default();
        self.values().for_each(|value| total.add(value, 1));
        let rows = self.values.len() as i64;
        let answer = (rows != 0).then(|| total.answer(rows, &self.spec)).transpose()?;
        let answer = PrimitiveArray::<T::Of>::from_iter([answer]).with_data_type(self.spec.output.clone());
        ScalarValue::try_from_array(&answer, 0)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let values = PrimitiveArray::<T::Of>::from_iter_values(self.values());
        let values = values.with_data_type(self.spec.argument.clone());
        let item = Arc::new(Field::new_list_field(self.spec.argument.clone(), true));
        let list = ListArray::try_new(item, OffsetBuffer::from_lengths([values.len()]), Arc::new(values), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<(i128, i64)>()
    }
}
