//! Two operands, as columns or as constants, and the loop over them.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray},
    buffer::NullBuffer,
    datatypes::DataType,
};
use datafusion::{
    common::{Result, ScalarValue},
    logical_expr::ColumnarValue,
};

/// The operands of a call: of one row each where they are constant.
pub struct Operands {
    left: ArrayRef,
    right: ArrayRef,
    is_constant: [bool; 2],
}

/// One operand's values.
enum Side<'a, N> {
    Rows(&'a [N]),
    Constant(N),
}

impl Operands {
    pub fn of(left: &ColumnarValue, right: &ColumnarValue) -> Result<Operands> {
        let is_constant = [left, right].map(|side| matches!(side, ColumnarValue::Scalar(_)));
        Ok(Operands { left: left.to_array(1)?, right: right.to_array(1)?, is_constant })
    }

    /// The operands of `0 - x`, which is `-x` of integers.
    pub fn negated(of: &ColumnarValue) -> Result<Operands> {
        Operands::of(&ColumnarValue::Scalar(ScalarValue::new_zero(&of.data_type())?), of)
    }

    /// That of both; a NULL without a type, as the optimizer puts one in place of a column, takes that of the other.
    pub fn data_type(&self) -> &DataType {
        match self.right.data_type() {
            DataType::Null => self.left.data_type(),
            data_type => data_type,
        }
    }

    fn side<'a, T: ArrowPrimitiveType>(array: &'a ArrayRef, is_constant: bool) -> Side<'a, T::Native> {
        let values: &PrimitiveArray<T> = array.as_primitive();
        match is_constant {
            true => Side::Constant(values.values().first().copied().unwrap_or_default()),
            false => Side::Rows(values.values()),
        }
    }

    /// The result of `operation`, which also says whether a row failed; it is asked of every row, NULL or not, so that the
    /// loop has no branches. Where some row did, `checked` decides it again for the rows that are not NULL.
    pub fn map<T: ArrowPrimitiveType>(
        &self,
        rows: usize,
        operation: impl Fn(T::Native, T::Native) -> (T::Native, bool),
        checked: impl Fn(T::Native, T::Native) -> crate::error::Result<T::Native>,
    ) -> Result<ColumnarValue> {
        let rows = if self.is_constant == [true; 2] { 1 } else { rows };
        let is_null =
            |array: &ArrayRef, is_constant| *array.data_type() == DataType::Null || is_constant && array.is_null(0);
        if is_null(&self.left, self.is_constant[0]) || is_null(&self.right, self.is_constant[1]) {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(self.data_type())?));
        }
        let nulls = |array: &ArrayRef, is_constant: bool| if is_constant { None } else { array.nulls().cloned() };
        let (left, right) = (nulls(&self.left, self.is_constant[0]), nulls(&self.right, self.is_constant[1]));
        let nulls = NullBuffer::union(left.as_ref(), right.as_ref());
        let left = Self::side::<T>(&self.left, self.is_constant[0]);
        let right = Self::side::<T>(&self.right, self.is_constant[1]);
        let mut failed = false;
        let mut values: Vec<T::Native> = Vec::with_capacity(rows);
        let mut row = |a, b| {
            let (value, fails) = operation(a, b);
            failed |= fails;
            value
        };
        match (&left, &right) {
            (Side::Rows(left), Side::Rows(right)) => {
                values.extend(left.iter().zip(right.iter()).map(|(a, b)| row(*a, *b)));
            }
            (Side::Rows(left), Side::Constant(b)) => values.extend(left.iter().map(|a| row(*a, *b))),
            (Side::Constant(a), Side::Rows(right)) => values.extend(right.iter().map(|b| row(*a, *b))),
            (Side::Constant(a), Side::Constant(b)) => values.push(row(*a, *b)),
        }
        if failed {
            let at = |side: &Side<T::Native>, n: usize| match side {
                Side::Rows(values) => values.get(n).copied().unwrap_or_default(),
                Side::Constant(value) => *value,
            };
            for (n, value) in values.iter_mut().enumerate() {
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(n)) {
                    *value = checked(at(&left, n), at(&right, n))?;
                }
            }
        }
        let answer = PrimitiveArray::<T>::new(values.into(), nulls);
        match self.is_constant == [true; 2] {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?)),
            false => Ok(ColumnarValue::Array(Arc::new(answer))),
        }
    }
}
