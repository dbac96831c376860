//! One value of a column, in Postgres' binary form, which most drivers request.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::cast,
    datatypes::{
        DataType, Date32Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type,
        UInt32Type,
    },
};
use bytes::{BufMut, BytesMut};
use pgwire::api::Type;

use super::{numeric, text};
use crate::{
    error::{Error, ErrorKind, Result},
    pg_catalog::types,
};

/// Microseconds from 1970 to 2000, the epoch of Postgres.
pub(super) const EPOCH_US: i64 = 946_684_800_000_000;
pub(super) const EPOCH_DAYS: i32 = 10_957;

/// The column type with the same values that has a binary form here; `None` if there is only text.
pub(super) fn form(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Date64 => DataType::Date32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Interval(_) | DataType::Duration(_) => {
            DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano)
        }
        DataType::List(f) => DataType::List(Arc::new(f.as_ref().clone().with_data_type(form(f.data_type())))),
        DataType::Struct(fields) => DataType::Struct(
            fields.iter().map(|f| Arc::new(f.as_ref().clone().with_data_type(form(f.data_type())))).collect(),
        ),
        other => other.clone(),
    }
}

/// A column in its [`form`].
pub(super) fn column(column: &ArrayRef) -> Result<ArrayRef> {
    let form = form(column.data_type());
    if *column.data_type() == form { Ok(column.clone()) } else { Ok(cast(column, &form)?) }
}

/// Appends the value of `row`, which is not null, without its length. `field` has the type reported to the client.
pub(super) fn write(array: &dyn Array, row: usize, field: &Arc<Field>, out: &mut BytesMut) -> Result<()> {
    match array.data_type() {
        DataType::Boolean => out.put_u8(array.as_boolean().value(row).into()),
        DataType::Int8 => out.put_i16(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::UInt8 => out.put_i16(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::Int16 => out.put_i16(array.as_primitive::<Int16Type>().value(row)),
        DataType::UInt16 => out.put_i32(array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::Int32 => out.put_i32(array.as_primitive::<Int32Type>().value(row)),
        DataType::UInt32 => out.put_i64(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::Int64 => out.put_i64(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => out.put_f32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => out.put_f64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => out.put_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => out.put_slice(array.as_binary::<i32>().value(row)),
        DataType::Date32 => out.put_i32(array.as_primitive::<Date32Type>().value(row).saturating_sub(EPOCH_DAYS)),
        DataType::Time64(TimeUnit::Microsecond) => {
            out.put_i64(array.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            out.put_i64(array.as_primitive::<TimestampMicrosecondType>().value(row).saturating_sub(EPOCH_US));
        }
        DataType::Interval(_) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            out.put_i64(value.nanoseconds / 1000);
            out.put_i32(value.days);
            out.put_i32(value.months);
        }
        DataType::UInt64 => decimal(array, row, out)?,
        kind if kind.is_decimal() => decimal(array, row, out)?,
        DataType::List(item) => list(&array.as_list::<i32>().value(row), item, out)?,
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            out.put_i32(columns.len() as i32);
            for (column, field) in columns.iter().zip(fields) {
                out.put_u32(types::of_field(field).oid());
                sized(column, row, field, out)?;
            }
        }
        _ => {
            let mut shown = String::new();
            text::write(array, row, text::utc(), &mut shown)?;
            out.put_slice(shown.as_bytes());
        }
    }
    debug_assert!(types::of_field(field) != Type::CHAR || array.data_type() == &DataType::Utf8);
    Ok(())
}

fn decimal(array: &dyn Array, row: usize, out: &mut BytesMut) -> Result<()> {
    let mut digits = String::new();
    text::write(array, row, text::utc(), &mut digits)?;
    numeric::to_binary(&digits, out);
    Ok(())
}

/// Appends the length of a value and the value; the length of null is -1.
pub(super) fn sized(array: &ArrayRef, row: usize, field: &Arc<Field>, out: &mut BytesMut) -> Result<()> {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    write(array.as_ref(), row, field, out)?;
    let length = i32::try_from(out.len() - start - 4)
        .map_err(|_| Error::new(ErrorKind::LimitExceeded, "a value is longer than 2 GiB"))?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Number of dimensions, whether there are nulls, the type of the items; then the items, those of nested lists
/// flattened.
fn list(items: &ArrayRef, item: &Arc<Field>, out: &mut BytesMut) -> Result<()> {
    let (mut lengths, mut items, mut item) = (vec![items.len()], items.clone(), item.clone());
    while let DataType::List(inner) = item.data_type().clone() {
        let lists = items.as_list::<i32>();
        let sizes: Vec<usize> = (0..lists.len()).map(|i| lists.value(i).len()).collect();
        let size = sizes.first().copied().unwrap_or(0);
        if lists.null_count() > 0 || sizes.iter().any(|s| *s != size) {
            return Err(Error::unsupported("an array of arrays of different lengths in binary form"));
        }
        let parts: Vec<ArrayRef> = (0..lists.len()).map(|i| lists.value(i)).collect();
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        items = match parts.is_empty() {
            true => arrow::array::new_empty_array(inner.data_type()),
            false => arrow::compute::concat(&parts)?,
        };
        lengths.push(size);
        item = inner;
    }
    let oid = types::of_field(&item).oid();
    out.put_i32(if items.is_empty() { 0 } else { lengths.len() as i32 });
    out.put_i32((items.null_count() > 0).into());
    out.put_u32(oid);
    if !items.is_empty() {
        for length in lengths {
            out.put_i32(length as i32);
            out.put_i32(1);
        }
    }
    (0..items.len()).try_for_each(|row| sized(&items, row, &item, out))
}
