//! Pushes NULLs of structs down to their fields. Arrow allows any child value under a NULL, and decoders leave zeros
//! and empty texts there; reading a field without its struct would expose them.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, GenericListArray, OffsetSizeTrait, StructArray},
    buffer::NullBuffer,
    compute::nullif,
    datatypes::DataType,
    error::ArrowError,
};

/// The same values, with every field of a NULL struct NULL, at any depth.
pub fn nulls_below(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    below(array, None)
}

/// The values of a struct field, NULL where the struct is NULL.
pub fn field_of(parent: &dyn Array, field: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match parent.logical_nulls() {
        Some(nulls) => hidden(field, &nulls),
        None => Ok(field.clone()),
    }
}

fn below(array: &ArrayRef, parent: Option<&NullBuffer>) -> Result<ArrayRef, ArrowError> {
    let array = match parent {
        Some(nulls) => hidden(array, nulls)?,
        None => array.clone(),
    };
    match array.data_type() {
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let columns = parts.columns().iter().map(|field| below(field, parts.nulls()));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            if columns.iter().zip(parts.columns()).all(|(new, old)| Arc::ptr_eq(new, old)) {
                return Ok(array);
            }
            let nulls = parts.nulls().cloned();
            Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, parts.len())?))
        }
        DataType::List(_) => items::<i32>(array),
        DataType::LargeList(_) => items::<i64>(array),
        _ => Ok(array),
    }
}

fn items<O: OffsetSizeTrait>(array: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list::<O>();
    let values = below(list.values(), None)?;
    if Arc::ptr_eq(&values, list.values()) {
        return Ok(array);
    }
    let (DataType::List(item) | DataType::LargeList(item)) = array.data_type() else { return Ok(array.clone()) };
    Ok(Arc::new(GenericListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned())?))
}

/// The array with the NULLs of `nulls` added.
fn hidden(array: &ArrayRef, nulls: &NullBuffer) -> Result<ArrayRef, ArrowError> {
    let is_so = |own: NullBuffer| own.contains(nulls);
    if nulls.null_count() == 0 || *array.data_type() == DataType::Null || array.logical_nulls().is_some_and(is_so) {
        return Ok(array.clone());
    }
    nullif(array, &BooleanArray::new(!nulls.inner(), None))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{DictionaryArray, Int64Array, ListArray, StringArray},
        buffer::OffsetBuffer,
        datatypes::{Field, Fields, Int32Type},
    };

    use super::*;

    fn fields(columns: &[(&str, &ArrayRef)]) -> Fields {
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), false)).collect()
    }

    #[test]
    fn nulls_below_null_struct_nulls_all_nested_fields() {
        let number: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let text: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter(["a", "b", "c", "d"]));
        let inner_fields = fields(&[("n", &number), ("t", &text)]);
        let some = |valid: [bool; 4]| Some(NullBuffer::from(valid.to_vec()));
        let nulls = some([true, false, true, true]);
        let inner: ArrayRef = Arc::new(StructArray::new(inner_fields, vec![number, text], nulls));
        let outer_fields = Fields::from(vec![Field::new("inner", inner.data_type().clone(), true)]);
        let nulls = some([true, true, false, true]);
        let outer: ArrayRef = Arc::new(StructArray::new(outer_fields, vec![inner], nulls));
        let item = Arc::new(Field::new("item", outer.data_type().clone(), true));
        let list: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::new(vec![0, 1, 4].into()), outer, None));
        let shown = nulls_below(&list).unwrap();
        assert_eq!(shown.data_type(), list.data_type());
        let inner = shown.as_list::<i32>().values().as_struct().column(0).clone();
        let places = |array: &dyn Array| (0..4).filter(|row| array.is_null(*row)).collect::<Vec<_>>();
        assert_eq!(places(&inner), [1, 2]);
        for column in inner.as_struct().columns() {
            assert_eq!(places(column), [1, 2], "{}", column.data_type());
        }
        assert!(Arc::ptr_eq(&nulls_below(&shown).unwrap(), &shown), "nothing is left to hide");
    }

    #[test]
    fn field_of_a_null_struct_is_null_and_others_unchanged() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("x")]));
        let nulls = Some(NullBuffer::from(vec![false, true, true]));
        let parent = StructArray::try_new_with_length(fields(&[]), vec![], nulls, 3).unwrap();
        let got = field_of(&parent, &text).unwrap();
        assert_eq!(got.as_string::<i32>(), &StringArray::from(vec![None, None, Some("x")]));
    }
}
