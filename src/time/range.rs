//! Which dates, times and timestamps there are: those of PostgreSQL, as far as 64 bits of microseconds since 1970 reach.
//!
//! What comes from outside is held to this where it becomes a column, so that nothing behind it meets a time that it can
//! neither show nor compute with.

use std::ops::RangeInclusive;

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch, downcast_temporal_array},
    datatypes::{DataType, TimeUnit},
};

use super::Micros;
use crate::error::{Error, ErrorKind, Result};

/// Microseconds since 1970: from 4714-11-24 BC, where Julian days begin, to 294247-01-10. The greatest and the least
/// number are no times: Postgres takes those for infinity.
pub const TIMESTAMPS: RangeInclusive<Micros> = -210_866_803_200_000_000..=Micros::MAX - 1;

/// Days since 1970: from 4714-11-24 BC to 5874897-12-31.
pub const DATES: RangeInclusive<i64> = -2_440_588..=2_145_042_905;

/// Microseconds of a day, its end included: `24:00:00` is a time.
pub const TIMES: RangeInclusive<Micros> = 0..=86_400_000_000;

/// The values that a type may have, in its own unit; `None` where it may have all.
fn limits(data_type: &DataType) -> Option<RangeInclusive<i64>> {
    let scaled = |range: RangeInclusive<i64>, unit: &TimeUnit| match unit {
        TimeUnit::Second => range.start().div_euclid(1_000_000)..=range.end().div_euclid(1_000_000),
        TimeUnit::Millisecond => range.start().div_euclid(1_000)..=range.end().div_euclid(1_000),
        TimeUnit::Microsecond => range,
        TimeUnit::Nanosecond => range.start().saturating_mul(1_000)..=range.end().saturating_mul(1_000),
    };
    match data_type {
        DataType::Timestamp(unit, _) => Some(scaled(TIMESTAMPS, unit)),
        DataType::Date32 => Some(DATES),
        DataType::Date64 => Some(DATES.start() * 86_400_000..=DATES.end() * 86_400_000),
        DataType::Time32(unit) | DataType::Time64(unit) => Some(scaled(TIMES, unit)),
        _ => None,
    }
}

/// Whether some value of a type may be out of range, in it or in what it is made of.
fn has_limits(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_limits(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| has_limits(field.data_type())),
        other => limits(other).is_some(),
    }
}

/// The rows of a column with a value that is out of the range of its type, wherever in it; none most often.
pub fn rows_out_of_range(column: &dyn Array) -> Vec<usize> {
    if !has_limits(column.data_type()) {
        return Vec::new();
    }
    match column.data_type() {
        DataType::Struct(_) => {
            let mut rows: Vec<usize> =
                column.as_struct().columns().iter().flat_map(|field| rows_out_of_range(field)).collect();
            rows.retain(|row| column.is_valid(*row));
            rows.sort_unstable();
            rows.dedup();
            rows
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            let has = |row: &usize| column.is_valid(*row) && !rows_out_of_range(&item(column, *row)).is_empty();
            (0..column.len()).filter(has).collect()
        }
        _ => primitive(column),
    }
}

fn item(list: &dyn Array, row: usize) -> ArrayRef {
    match list.data_type() {
        DataType::List(_) => list.as_list::<i32>().value(row),
        DataType::LargeList(_) => list.as_list::<i64>().value(row),
        _ => list.as_fixed_size_list().value(row),
    }
}

fn primitive(column: &dyn Array) -> Vec<usize> {
    fn of<T: ArrowPrimitiveType<Native: Into<i64>>>(
        column: &arrow::array::PrimitiveArray<T>,
        range: &RangeInclusive<i64>,
    ) -> Vec<usize> {
        let outside = |value: &T::Native| !range.contains(&(*value).into());
        // Under a NULL there may be anything.
        if !column.values().iter().any(outside) {
            return Vec::new();
        }
        (0..column.len()).filter(|row| column.is_valid(*row) && outside(&column.value(*row))).collect()
    }
    let Some(range) = limits(column.data_type()) else { return Vec::new() };
    downcast_temporal_array!(
        column => of(column, &range),
        _ => Vec::new()
    )
}

/// What a value out of range is told as.
pub fn out_of_range(data_type: &DataType) -> Error {
    let what = match data_type {
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        _ => "timestamp",
    };
    Error::new(ErrorKind::DatetimeOverflow, format!("{what} out of range"))
}

/// Fails where a value of a batch is out of the range of its type; tells the column.
pub fn check(rows: &RecordBatch) -> Result<()> {
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if !rows_out_of_range(column).is_empty() {
            return Err(out_of_range(field.data_type()).detail(format!("It was to be in column \"{}\".", field.name())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            Date32Array, ListArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
            TimestampNanosecondArray, TimestampSecondArray,
        },
        buffer::{NullBuffer, OffsetBuffer},
        datatypes::Field,
    };

    use super::*;

    #[test]
    fn rows_out_of_range_are_those_beyond_the_limits_of_postgres() {
        let us = TimestampMicrosecondArray::from(vec![
            Some(*TIMESTAMPS.start()),
            Some(*TIMESTAMPS.start() - 1),
            Some(i64::MAX),
            Some(i64::MAX - 1),
            Some(i64::MIN),
            None,
        ]);
        assert_eq!(rows_out_of_range(&us), [1, 2, 4]);
        let days = Date32Array::from(vec![-2_440_588, -2_440_589, 2_145_042_905, 2_145_042_906, i32::MIN]);
        assert_eq!(rows_out_of_range(&days), [1, 3, 4]);
        let times = Time64MicrosecondArray::from(vec![0, -1, 86_400_000_000, 86_400_000_001]);
        assert_eq!(rows_out_of_range(&times), [1, 3]);
        assert_eq!(rows_out_of_range(&TimestampSecondArray::from(vec![i64::MAX, 0, i64::MIN])), [0, 2]);
        assert_eq!(rows_out_of_range(&TimestampNanosecondArray::from(vec![1, 0])), [0; 0]);
        assert_eq!(rows_out_of_range(&arrow::array::Int64Array::from(vec![i64::MAX])), [0; 0]);
    }

    #[test]
    fn rows_out_of_range_ignores_nested_values_below_a_null() {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0, i64::MAX, i64::MAX]));
        let field = Arc::new(Field::new("at", times.data_type().clone(), true));
        let nulls = NullBuffer::from(vec![true, true, false]);
        let rows = StructArray::new(vec![field.clone()].into(), vec![times.clone()], Some(nulls.clone()));
        assert_eq!(rows_out_of_range(&rows), [1]);
        let lists = ListArray::new(field, OffsetBuffer::from_lengths([1, 1, 1]), times, Some(nulls));
        assert_eq!(rows_out_of_range(&lists), [1]);
    }
}
