//! Arrays of integers and of doubles as arguments, without a copy.

use arrow::{
    array::{Array, ArrowPrimitiveType, AsArray},
    datatypes::{ArrowNativeType, Float64Type, Int32Type, Int64Type},
};

use crate::{
    error::Result,
    functions::numbers::null_threshold,
    sql::builtins::{
        overload::{Arg, ArgumentColumn},
        pg_type::Pg,
    },
};

/// One row's array.
pub(super) struct BucketBounds<'a, T> {
    values: &'a [T],
    has_nulls: bool,
}

impl<'a, T: ArrowNativeType> BucketBounds<'a, T> {
    /// The values. Fails with 22004 if one of them is NULL.
    pub(super) fn all(&self) -> Result<&'a [T]> {
        if self.has_nulls { Err(null_threshold()) } else { Ok(self.values) }
    }

    fn of<A: ArrowPrimitiveType<Native = T>>(column: &'a ArgumentColumn, row: usize) -> Option<Self> {
        let row = if column.is_scalar { 0 } else { row };
        let lists = column.array.as_list::<i32>();
        if lists.is_null(row) {
            return None;
        }
        let bound = |row: usize| lists.value_offsets().get(row).and_then(|offset| usize::try_from(*offset).ok());
        let (start, end) = (bound(row)?, bound(row + 1)?);
        let items = lists.values().as_primitive::<A>();
        let values: &[T] = items.values();
        let has_nulls = items.nulls().is_some_and(|nulls| (start..end).any(|item| nulls.is_null(item)));
        Some(BucketBounds { values: values.get(start..end)?, has_nulls })
    }
}

macro_rules! arrays {
    ($($name:ident: $pg:expr, $arrow:ty, $native:ty;)*) => {$(
        pub(super) struct $name;

        impl Arg for $name {
            const TYPE: Pg = $pg;
            type Of<'a> = BucketBounds<'a, $native>;

            fn get(column: &ArgumentColumn, row: usize) -> Option<Self::Of<'_>> {
                BucketBounds::of::<$arrow>(column, row)
            }
        }
    )*};
}

arrays! {
    Int4s: Pg::Int4s, Int32Type, i32;
    Int8s: Pg::Int8s, Int64Type, i64;
    Float8s: Pg::Float8s, Float64Type, f64;
}
