//! One signature of a function of PostgreSQL, and the kernel that computes it over columns.
//!
//! A kernel is a plain function of one row's values. It runs for the rows whose arguments are not NULL (`STRICT`),
//! unless an argument is [`Nullable`].

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryBuilder, BooleanArray, BooleanBuilder, GenericListArray,
    ListBuilder, NullBufferBuilder, PrimitiveArray, StringArray, StringBuilder,
};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, TimestampMicrosecondType,
};

use super::pg_type::Pg;
use crate::error::Result;

/// A column of arguments: of as many rows as the call has, or of one row, which stands for all.
#[derive(Debug, Clone)]
pub struct ArgumentColumn {
    pub array: ArrayRef,
    pub is_scalar: bool,
}

impl ArgumentColumn {
    fn at(&self, row: usize) -> Option<usize> {
        let row = if self.is_scalar { 0 } else { row };
        self.array.is_valid(row).then_some(row)
    }
}

/// Computes a column from the arguments' columns, for so many rows.
pub type Kernel = Arc<dyn Fn(&[ArgumentColumn], usize) -> Result<ArrayRef> + Send + Sync>;

/// One signature of a function.
#[derive(Clone)]
pub struct Overload {
    pub params: Vec<Pg>,
    /// Whether the last parameter may be repeated.
    pub is_variadic: bool,
    pub returns: Pg,
    pub kernel: Kernel,
}

impl Overload {
    /// The type of the nth parameter; the last one may stand for all after it.
    pub fn param(&self, n: usize) -> Option<Pg> {
        let last = self.params.last().filter(|_| self.is_variadic);
        self.params.get(n).or(last).copied()
    }

    /// The Arrow type that the nth argument, of another, is cast to. A decimal keeps its precision.
    pub fn taken(&self, n: usize, from: &DataType) -> DataType {
        match (self.param(n), from) {
            (Some(Pg::Numeric), DataType::Decimal128(..)) | (Some(Pg::Any), DataType::Boolean) | (None, _) => {
                from.clone()
            }
            (Some(Pg::Numeric), from) if from.is_integer() => DataType::Decimal128(20, 0),
            (Some(to), _) => to.data_type(),
        }
    }
}

/// The type of a parameter.
pub trait Arg {
    const TYPE: Pg;
    /// One row's value.
    type Of<'a>;
    /// The value in a row; `None` if the call is NULL for it.
    fn get(column: &ArgumentColumn, row: usize) -> Option<Self::Of<'_>>;
}

/// The type of a result.
pub trait Ret {
    const TYPE: Pg;
    /// One row's value.
    type Out;
    /// The column of some rows' values, in order.
    fn collect(rows: impl ExactSizeIterator<Item = Result<Option<Self::Out>>>) -> Result<ArrayRef>;
}

/// A parameter that may be NULL, or a result that may be although no argument is.
pub struct Nullable<T>(std::marker::PhantomData<T>);

impl<T: Arg> Arg for Nullable<T> {
    const TYPE: Pg = T::TYPE;
    type Of<'a> = Option<T::Of<'a>>;

    fn get(column: &ArgumentColumn, row: usize) -> Option<Self::Of<'_>> {
        Some(T::get(column, row))
    }
}

impl<T: Ret> Ret for Nullable<T> {
    const TYPE: Pg = T::TYPE;
    type Out = Option<T::Out>;

    fn collect(rows: impl ExactSizeIterator<Item = Result<Option<Self::Out>>>) -> Result<ArrayRef> {
        T::collect(rows.map(|row| row.map(Option::flatten)))
    }
}

/// Rows of a fixed width.
fn primitives<T: ArrowPrimitiveType>(
    rows: impl ExactSizeIterator<Item = Result<Option<T::Native>>>,
) -> Result<PrimitiveArray<T>> {
    let mut values = Vec::with_capacity(rows.len());
    let mut nulls = NullBufferBuilder::new(rows.len());
    for row in rows {
        let value = row?;
        nulls.append(value.is_some());
        values.push(value.unwrap_or_default());
    }
    Ok(PrimitiveArray::new(values.into(), nulls.finish()))
}

macro_rules! primitive {
    ($($name:ident: $pg:expr, $arrow:ty, $native:ty;)*) => {$(
        pub struct $name;

        impl Arg for $name {
            const TYPE: Pg = $pg;
            type Of<'a> = $native;

            fn get(column: &ArgumentColumn, row: usize) -> Option<$native> {
                Some(column.array.as_primitive::<$arrow>().value(column.at(row)?))
            }
        }

        impl Ret for $name {
            const TYPE: Pg = $pg;
            type Out = $native;

            fn collect(rows: impl ExactSizeIterator<Item = Result<Option<$native>>>) -> Result<ArrayRef> {
                let rows = primitives::<$arrow>(rows)?;
                Ok(Arc::new(rows.with_data_type(<$name as Ret>::TYPE.data_type())))
            }
        }
    )*};
}

// Times are microseconds, dates days since 1970, as Arrow has them.
primitive! {
    Int2: Pg::Int2, Int16Type, i16;
    Int4: Pg::Int4, Int32Type, i32;
    Int8: Pg::Int8, Int64Type, i64;
    Float4: Pg::Float4, Float32Type, f32;
    Float8: Pg::Float8, Float64Type, f64;
    Date: Pg::Date, Date32Type, i32;
    Timestamp: Pg::Timestamp, TimestampMicrosecondType, i64;
    Timestamptz: Pg::Timestamptz, TimestampMicrosecondType, i64;
    Interval: Pg::Interval, IntervalMonthDayNanoType, IntervalMonthDayNano;
}

pub struct Bool;

impl Arg for Bool {
    const TYPE: Pg = Pg::Bool;
    type Of<'a> = bool;

    fn get(column: &ArgumentColumn, row: usize) -> Option<bool> {
        Some(column.array.as_boolean().value(column.at(row)?))
    }
}

impl Ret for Bool {
    const TYPE: Pg = Pg::Bool;
    type Out = bool;

    fn collect(rows: impl ExactSizeIterator<Item = Result<Option<bool>>>) -> Result<ArrayRef> {
        let mut column = BooleanBuilder::with_capacity(rows.len());
        for row in rows {
            column.append_option(row?);
        }
        Ok(Arc::new(column.finish()) as Arc<BooleanArray> as ArrayRef)
    }
}

pub struct Text;

impl Arg for Text {
    const TYPE: Pg = Pg::Text;
    type Of<'a> = &'a str;

    fn get(column: &ArgumentColumn, row: usize) -> Option<&str> {
        Some(column.array.as_string::<i32>().value(column.at(row)?))
    }
}

impl Ret for Text {
    const TYPE: Pg = Pg::Text;
    type Out = String;

    fn collect(rows: impl ExactSizeIterator<Item = Result<Option<String>>>) -> Result<ArrayRef> {
        let mut column = StringBuilder::with_capacity(rows.len(), 0);
        for row in rows {
            column.append_option(row?);
        }
        Ok(Arc::new(column.finish()))
    }
}

/// A value of any type, as the text that its output function prints. That of a boolean is another than its cast's.
pub struct Any;

impl Arg for Any {
    const TYPE: Pg = Pg::Any;
    type Of<'a> = &'a str;

    fn get(column: &ArgumentColumn, row: usize) -> Option<&str> {
        match column.array.as_boolean_opt() {
            Some(booleans) => Some(if booleans.value(column.at(row)?) { "t" } else { "f" }),
            None => Text::get(column, row),
        }
    }
}

pub struct Bytea;

impl Arg for Bytea {
    const TYPE: Pg = Pg::Bytea;
    type Of<'a> = &'a [u8];

    fn get(column: &ArgumentColumn, row: usize) -> Option<&[u8]> {
        Some(column.array.as_binary::<i32>().value(column.at(row)?))
    }
}

impl Ret for Bytea {
    const TYPE: Pg = Pg::Bytea;
    type Out = Vec<u8>;

    fn collect(rows: impl ExactSizeIterator<Item = Result<Option<Vec<u8>>>>) -> Result<ArrayRef> {
        let mut column = BinaryBuilder::with_capacity(rows.len(), 0);
        for row in rows {
            column.append_option(row?);
        }
        Ok(Arc::new(column.finish()))
    }
}

/// A number of fixed precision.
pub struct Numeric;

impl Arg for Numeric {
    const TYPE: Pg = Pg::Numeric;
    /// Unscaled value and scale.
    type Of<'a> = (i128, i8);

    fn get(column: &ArgumentColumn, row: usize) -> Option<(i128, i8)> {
        use arrow::datatypes::Decimal128Type;
        let DataType::Decimal128(_, scale) = column.array.data_type() else { return None };
        Some((column.array.as_primitive::<Decimal128Type>().value(column.at(row)?), *scale))
    }
}

/// An array of texts, of one dimension.
pub struct Texts;

impl Arg for Texts {
    const TYPE: Pg = Pg::Texts;
    type Of<'a> = Vec<Option<&'a str>>;

    fn get(column: &ArgumentColumn, row: usize) -> Option<Vec<Option<&str>>> {
        let row = column.at(row)?;
        let lists: &GenericListArray<i32> = column.array.as_list();
        let items: &StringArray = lists.values().as_string();
        let (start, end) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
        Some((start..end).map(|item| items.is_valid(item).then(|| items.value(item))).collect())
    }
}

impl Ret for Texts {
    const TYPE: Pg = Pg::Texts;
    type Out = Vec<Option<String>>;

    fn collect(rows: impl ExactSizeIterator<Item = Result<Option<Self::Out>>>) -> Result<ArrayRef> {
        let mut column = ListBuilder::with_capacity(StringBuilder::new(), rows.len());
        for row in rows {
            column.append_option(row?);
        }
        Ok(Arc::new(column.finish()))
    }
}

/// An overload of fixed parameters.
fn overload<R: Ret>(params: Vec<Pg>, kernel: Kernel) -> Overload {
    Overload { params, is_variadic: false, returns: R::TYPE, kernel }
}

macro_rules! arities {
    ($($name:ident($($arg:ident $value:ident $index:tt),*);)*) => {$(
        /// A signature of so many parameters; the last type is that of the result.
        #[allow(non_snake_case)]
        pub fn $name<$($arg: Arg + 'static,)* R: Ret + 'static>(
            kernel: impl Fn($($arg::Of<'_>),*) -> Result<R::Out> + Send + Sync + 'static,
        ) -> Overload {
            let kernel: Kernel = Arc::new(move |_args, rows| {
                R::collect((0..rows).map(|_row| {
                    $(let Some($value) = $arg::get(&_args[$index], _row) else { return Ok(None) };)*
                    kernel($($value),*).map(Some)
                }))
            });
            overload::<R>(vec![$($arg::TYPE),*], kernel)
        }
    )*};
}

arities! {
    f0();
    f1(A a 0);
    f2(A a 0, B b 1);
    f3(A a 0, B b 1, C c 2);
    f4(A a 0, B b 1, C c 2, D d 3);
    f5(A a 0, B b 1, C c 2, D d 3, E e 4);
    f6(A a 0, B b 1, C c 2, D d 3, E e 4, F f 5);
    f7(A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6);
}

/// A name with its signatures, in the order of preference.
pub struct Function {
    pub name: &'static str,
    pub overloads: Vec<Overload>,
}

pub fn function(name: &'static str, overloads: impl Into<Vec<Overload>>) -> Function {
    Function { name, overloads: overloads.into() }
}
