//! Floats that are equal: to PostgreSQL -0 is 0, and every NaN is the same, greater than all else.
//!
//! Arrow hashes and compares by IEEE's total order, to which they all differ, and a NaN with a sign is the least. Among
//! values in one form, [`canonical`], that order is PostgreSQL's. Keys are brought to it where they are made; what a row
//! shows is left as it was given, and so is what withdraws a row.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeListArray, GenericListArray, OffsetSizeTrait,
        StructArray,
    },
    datatypes::{DataType, Float16Type, Float32Type, Float64Type},
};

use crate::error::Result;

/// Whether values of a type are floats, or have some in them.
pub fn has_floats(of: &DataType) -> bool {
    match of {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_floats(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::Dictionary(_, value) => has_floats(value),
        _ => false,
    }
}

/// The same values, those that are equal in one form: 0 for -0, one NaN for all. The array itself where all are.
pub fn canonical(array: &ArrayRef) -> Result<ArrayRef> {
    type F16 = <Float16Type as ArrowPrimitiveType>::Native;
    if !has_floats(array.data_type()) {
        return Ok(array.clone());
    }
    Ok(match array.data_type() {
        // Only -0 changes when 0 is added to it.
        DataType::Float64 => {
            let one = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            plain::<Float64Type>(array, one, |v| one(v).to_bits() ^ v.to_bits())
        }
        DataType::Float32 => {
            let one = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            plain::<Float32Type>(array, one, |v| u64::from(one(v).to_bits() ^ v.to_bits()))
        }
        DataType::Float16 => {
            let one = |v: F16| if v.is_nan() { F16::NAN } else { v + F16::ZERO };
            plain::<Float16Type>(array, one, |v| u64::from(one(v).to_bits() ^ v.to_bits()))
        }
        DataType::List(_) => list::<i32>(array)?,
        DataType::LargeList(_) => list::<i64>(array)?,
        DataType::FixedSizeList(item, size) => {
            let values = array.as_fixed_size_list().values();
            match canonical(values)? {
                same if Arc::ptr_eq(&same, values) => array.clone(),
                new => Arc::new(FixedSizeListArray::try_new(item.clone(), *size, new, array.nulls().cloned())?),
            }
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let new = canonical_columns(columns)?;
            match new.iter().zip(columns).all(|(new, column)| Arc::ptr_eq(new, column)) {
                true => array.clone(),
                false => Arc::new(StructArray::try_new(fields.clone(), new, array.nulls().cloned())?),
            }
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            match canonical(dictionary.values())? {
                same if Arc::ptr_eq(&same, dictionary.values()) => array.clone(),
                new => dictionary.with_values(new),
            }
        }
        _ => array.clone(),
    })
}

/// [`canonical`] of each of some columns.
pub fn canonical_columns(columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    columns.iter().map(canonical).collect()
}

fn plain<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    one: impl Fn(T::Native) -> T::Native,
    differs: impl Fn(T::Native) -> u64,
) -> ArrayRef {
    let floats = array.as_primitive::<T>();
    // The bits that differ. Without a way out of it the loop is one over vectors.
    match floats.values().iter().fold(0, |all, value| all | differs(*value)) {
        0 => array.clone(),
        _ => Arc::new(floats.unary::<_, T>(one)),
    }
}

fn list<O: OffsetSizeTrait>(array: &ArrayRef) -> Result<ArrayRef> {
    let lists = array.as_list::<O>();
    let values = canonical(lists.values())?;
    if Arc::ptr_eq(&values, lists.values()) {
        return Ok(array.clone());
    }
    let (DataType::List(item) | DataType::LargeList(item)) = array.data_type() else { return Ok(array.clone()) };
    let lists = GenericListArray::<O>::try_new(item.clone(), lists.offsets().clone(), values, lists.nulls().cloned())?;
    Ok(Arc::new(lists))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Float32Array, Float64Array, ListArray},
        buffer::{NullBuffer, OffsetBuffer},
        datatypes::{Field, Fields},
    };

    use super::*;

    fn bits(array: &ArrayRef) -> Vec<Option<u64>> {
        array.as_primitive::<Float64Type>().iter().map(|value| value.map(f64::to_bits)).collect()
    }

    fn odd() -> ArrayRef {
        let other = f64::from_bits(f64::NAN.to_bits() | 7);
        Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(-f64::NAN), Some(other), Some(f64::NEG_INFINITY)]))
    }

    fn even() -> ArrayRef {
        let nan = Some(f64::NAN);
        Arc::new(Float64Array::from(vec![Some(0.0), None, nan, nan, Some(f64::NEG_INFINITY)]))
    }

    #[test]
    fn canonical_equal_floats_have_equal_bits() {
        assert_eq!(bits(&canonical(&odd()).unwrap()), bits(&even()));
        let singles: ArrayRef = Arc::new(Float32Array::from(vec![-0.0, -f32::NAN, f32::MIN_POSITIVE / 2.0]));
        let found = canonical(&singles).unwrap();
        let found: Vec<u32> = found.as_primitive::<Float32Type>().values().iter().map(|v| v.to_bits()).collect();
        assert_eq!(found, [0.0, f32::NAN, f32::MIN_POSITIVE / 2.0].map(f32::to_bits));
    }

    #[test]
    fn canonical_floats_in_lists_and_structs_have_equal_bits() {
        let item = Arc::new(Field::new("item", DataType::Float64, true));
        let lists = |values: ArrayRef| -> ArrayRef {
            let nulls = Some(NullBuffer::from(vec![true, false, true]));
            Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths([2, 0, 3]), values, nulls))
        };
        let fields = Fields::from(vec![Field::new("l", lists(even()).data_type().clone(), true)]);
        let of =
            |values: ArrayRef| -> ArrayRef { Arc::new(StructArray::new(fields.clone(), vec![lists(values)], None)) };
        let found = canonical(&of(odd())).unwrap();
        assert_eq!(found.data_type(), of(even()).data_type());
        let found = found.as_struct().column(0).as_list::<i32>();
        assert_eq!(bits(found.values()), bits(&even()));
        assert_eq!(found.nulls(), lists(even()).nulls());
    }

    #[test]
    fn canonical_array_is_returned_without_a_copy() {
        let item = Arc::new(Field::new("item", DataType::Float64, true));
        let list: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([5]), even(), None));
        for array in [even(), list] {
            assert!(Arc::ptr_eq(&canonical(&array).unwrap(), &array));
        }
    }
}
