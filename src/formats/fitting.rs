//! Casts a Parquet file's types to the declared ones, and reports the rows that lost values.
//!
//! Arrow's cast turns values that do not fit into NULL, within lists too, and truncates fractions to integers; here
//! both are reported, so that a row is decoded completely or rejected. Struct fields are found by name, as columns are.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StructArray, new_null_array},
    compute::{CastOptions, can_cast_types, cast_with_options, kernels::cmp::neq},
    datatypes::{DataType, FieldRef, Fields, Float64Type},
    error::ArrowError,
    util::display::FormatOptions,
};

/// A column cast to its declared type.
#[derive(Debug)]
pub(super) struct Fitted {
    pub array: ArrayRef,
    /// Whether each row lost a value; empty if none did.
    pub lost: Vec<bool>,
}

impl Fitted {
    fn whole(array: ArrayRef) -> Fitted {
        Fitted { array, lost: Vec::new() }
    }
}

/// Whether a type can be cast at all. A number is not cast to a timestamp: its unit is unknown.
pub(super) fn can_fit(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        _ if from == to => true,
        (DataType::Dictionary(_, values), _) => can_fit(values, to),
        (DataType::Struct(from), DataType::Struct(to)) => {
            to.iter().all(|t| member(from, t).is_none_or(|i| can_fit(from[i].data_type(), t.data_type())))
        }
        (_, DataType::List(to)) => match item(from) {
            Some(from_item) => {
                can_cast_types(from, &DataType::List(from_item.clone()))
                    && can_fit(from_item.data_type(), to.data_type())
            }
            None => false,
        },
        _ if from.is_numeric() && to.is_temporal() || from.is_temporal() && to.is_numeric() => false,
        _ => can_cast_types(from, to),
    }
}

/// Casts a column. Fails only for types that [`can_fit`] refuses.
pub(super) fn fit(stored: &ArrayRef, to: &DataType) -> Result<Fitted, ArrowError> {
    match (stored.data_type(), to) {
        (from, _) if from == to => Ok(Fitted::whole(stored.clone())),
        (DataType::Struct(from), DataType::Struct(to)) => members(stored.as_struct(), from, to),
        (DataType::List(_), DataType::List(to)) => items(stored.as_list(), to),
        (from, DataType::List(to)) => match item(from) {
            Some(from) => items(cast(stored, &DataType::List(from.clone()))?.as_list(), to),
            None => leaf(stored, &DataType::List(to.clone())),
        },
        _ => leaf(stored, to),
    }
}

/// The item field of any list type.
fn item(list: &DataType) -> Option<&FieldRef> {
    match list {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => Some(f),
        DataType::ListView(f) | DataType::LargeListView(f) => Some(f),
        _ => None,
    }
}

/// The index of a struct field by its declared name.
fn member(fields: &Fields, wanted: &FieldRef) -> Option<usize> {
    let exact = fields.iter().position(|f| f.name() == wanted.name());
    exact.or_else(|| fields.iter().position(|f| f.name().eq_ignore_ascii_case(wanted.name())))
}

fn members(stored: &StructArray, from: &Fields, to: &Fields) -> Result<Fitted, ArrowError> {
    let mut arrays = Vec::with_capacity(to.len());
    let mut lost = Vec::new();
    for field in to {
        let part = match member(from, field) {
            Some(i) => fit(stored.column(i), field.data_type())?,
            None => Fitted::whole(new_null_array(field.data_type(), stored.len())),
        };
        if !part.lost.is_empty() {
            lost.resize(stored.len(), false);
            // Values under a NULL struct do not count.
            (0..stored.len()).for_each(|row| lost[row] |= part.lost[row] && stored.is_valid(row));
        }
        arrays.push(part.array);
    }
    let array = StructArray::try_new_with_length(to.clone(), arrays, stored.nulls().cloned(), stored.len())?;
    Ok(Fitted { array: Arc::new(array), lost })
}

fn items(stored: &ListArray, to: &FieldRef) -> Result<Fitted, ArrowError> {
    let values = fit(stored.values(), to.data_type())?;
    let mut lost = Vec::new();
    if !values.lost.is_empty() {
        let offsets = stored.value_offsets();
        let any = |row: usize| values.lost[offsets[row] as usize..offsets[row + 1] as usize].contains(&true);
        lost = (0..stored.len()).map(|row| stored.is_valid(row) && any(row)).collect();
    }
    let array = ListArray::try_new(to.clone(), stored.offsets().clone(), values.array, stored.nulls().cloned())?;
    Ok(Fitted { array: Arc::new(array), lost })
}

fn leaf(stored: &ArrayRef, to: &DataType) -> Result<Fitted, ArrowError> {
    let array = cast(stored, to)?;
    let mut lost = Vec::new();
    if array.null_count() > stored.logical_null_count() {
        let nulls = stored.logical_nulls();
        let was = |row| nulls.as_ref().is_none_or(|n| n.is_valid(row));
        lost = (0..array.len()).map(|row| array.is_null(row) && was(row)).collect();
    }
    if let Some(changed) = changed(stored, &array)?.filter(BooleanArray::has_true) {
        lost.resize(array.len(), false);
        (0..array.len()).for_each(|row| lost[row] |= changed.is_valid(row) && changed.value(row));
    }
    Ok(Fitted { array, lost })
}

/// Which non-NULL values were changed by the cast: truncated fractions, and floats that overflow a smaller type.
fn changed(stored: &ArrayRef, array: &ArrayRef) -> Result<Option<BooleanArray>, ArrowError> {
    use DataType::*;
    let (from, to) = (stored.data_type(), array.data_type());
    Ok(match from {
        Float16 | Float32 | Float64 if to.is_integer() => {
            let wide = cast(stored, &Float64)?;
            Some(BooleanArray::from_unary(wide.as_primitive::<Float64Type>(), |v| v.fract() != 0.0))
        }
        Float64 if *to == Float32 => {
            let too_large = |v: f64| v.is_finite() && (v as f32).is_infinite();
            Some(BooleanArray::from_unary(stored.as_primitive::<Float64Type>(), too_large))
        }
        Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) if to.is_integer() => {
            Some(neq(&cast(array, from)?, stored)?)
        }
        _ => None,
    })
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    cast_with_options(array, to, &CastOptions { safe: true, format_options: FormatOptions::default() })
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Decimal128Array, Float64Array, Int32Array, StringArray},
        buffer::{NullBuffer, OffsetBuffer},
        datatypes::{Field, TimeUnit},
    };

    use super::*;

    fn fitted(stored: ArrayRef, to: &DataType) -> (ArrayRef, Vec<usize>) {
        assert!(can_fit(stored.data_type(), to));
        let Fitted { array, lost } = fit(&stored, to).unwrap();
        assert_eq!(array.data_type(), to);
        (array, lost.iter().enumerate().filter(|(_, lost)| **lost).map(|(row, _)| row).collect())
    }

    #[test]
    fn fit_of_a_fraction_to_an_integer_is_lossy() {
        let floats = vec![Some(5.0), Some(5.7), None, Some(-0.0), Some(f64::NAN), Some(1e300), Some(-0.5)];
        let (array, lost) = fitted(Arc::new(Float64Array::from(floats)), &DataType::Int32);
        assert_eq!(
            (lost, array.as_ref().as_primitive::<arrow::datatypes::Int32Type>().value(0)),
            (vec![1, 4, 5, 6], 5)
        );
        let decimals = Decimal128Array::from(vec![Some(500), Some(570), None]).with_precision_and_scale(10, 2).unwrap();
        assert_eq!(fitted(Arc::new(decimals), &DataType::Int64).1, [1]);
        let (_, lost) = fitted(Arc::new(Float64Array::from(vec![1.5, 1e300, f64::INFINITY])), &DataType::Float32);
        assert_eq!(lost, [1]);
    }

    #[test]
    fn fit_finds_lossy_values_inside_lists_and_structs() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["1", "x", "2", "y", "3"]));
        let text = Arc::new(Field::new("element", DataType::Utf8, true));
        let number = Arc::new(Field::new("item", DataType::Int32, true));
        let offsets = OffsetBuffer::new(vec![0, 2, 3, 4, 5].into());
        let nulls = NullBuffer::from(vec![true, true, false, true]);
        let list = ListArray::new(text.clone(), offsets, texts, Some(nulls));
        let (array, lost) = fitted(Arc::new(list.clone()), &DataType::List(number.clone()));
        // The third is NULL, so the value under it does not count.
        assert_eq!((lost, array.null_count()), (vec![0], 1));
        let ints = Arc::new(Int32Array::from(vec![1, 2, 3, 4]));
        let fields = vec![Field::new("L", list.data_type().clone(), true), Field::new("n", DataType::Int32, true)];
        let parts = StructArray::new(fields.into(), vec![Arc::new(list), ints], None);
        let to = vec![
            Field::new("n", DataType::Int64, true),
            Field::new("l", DataType::List(number), true),
            Field::new("more", DataType::Utf8, true),
        ];
        let (array, lost) = fitted(Arc::new(parts), &DataType::Struct(to.into()));
        assert_eq!((lost, array.as_struct().column(2).null_count()), (vec![0], 4));
    }

    #[test]
    fn can_fit_number_to_timestamp_is_false() {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert!(!can_fit(&DataType::Int64, &time) && !can_fit(&time, &DataType::Int64));
        assert!(!can_fit(&DataType::Int32, &DataType::Date32));
        assert!(can_fit(&DataType::Utf8, &time) && can_fit(&DataType::Timestamp(TimeUnit::Nanosecond, None), &time));
    }
}
