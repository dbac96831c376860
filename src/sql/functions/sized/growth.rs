//! The size of a result, for each function whose result may be larger than its arguments.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::cast,
    datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, IntervalUnit},
};
use datafusion::{common::ScalarValue, error::Result as DfResult, logical_expr::ColumnarValue};

use crate::changes::bytes_of_array;

/// How the size of a result depends on the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// The first argument, repeated as often as the second says.
    Repeat,
    /// The same of an element, which has a place even if it is empty.
    RepeatElement,
    /// The second argument is the length in characters.
    Pad,
    /// All arguments together.
    Sum,
    /// All arguments together, with the first one as separator.
    SumBetween,
    /// The first argument, with each occurrence of the second replaced by the third.
    Replace,
    /// The same with a pattern: the third argument at most between each two characters, with captured groups.
    ReplacePattern,
    /// Numbers or times from the first argument to the second.
    Series,
    /// The second argument is the number of elements.
    Resize,
    /// The first argument, where each element may be replaced by the third argument.
    ReplaceElements,
    /// The elements of the first argument as text, with the other arguments as separators.
    ElementsAsText,
    /// All arguments together, and the widths that the first one asks for.
    Widths,
    /// A template, the second argument, of which each letter may become a word.
    Template,
    /// This many times the first argument.
    Times(usize),
}

/// Bytes of a number as text.
const NUMBER_BYTES: usize = 24;

impl Growth {
    pub fn of(function: &str) -> Option<Growth> {
        Some(match function {
            "repeat" => Growth::Repeat,
            "array_repeat" => Growth::RepeatElement,
            "lpad" | "rpad" => Growth::Pad,
            "concat" | "textcat" | "make_array" | "array_concat" | "array_append" | "array_prepend" | "array_union"
            | "arrays_zip" | "map" | "overlay" => Growth::Sum,
            "concat_ws" => Growth::SumBetween,
            "format" => Growth::Widths,
            "to_char" => Growth::Template,
            "replace" => Growth::Replace,
            "regexp_replace" => Growth::ReplacePattern,
            "range" | "generate_series" => Growth::Series,
            "array_resize" => Growth::Resize,
            "array_replace" | "array_replace_n" | "array_replace_all" => Growth::ReplaceElements,
            "array_to_string" => Growth::ElementsAsText,
            "encode" => Growth::Times(4),
            "convert" | "convert_from" | "convert_to" => Growth::Times(3),
            "translate" | "upper" | "lower" | "initcap" | "quote_ident" | "quote_literal" | "quote_nullable" => {
                Growth::Times(3)
            }
            "normalize" => Growth::Times(12),
            "like_escape" | "similar_escape" | "similar_to_escape" => Growth::Times(4),
            "string_to_array" | "regexp_match" | "regexp_split_to_array" => Growth::Times(5),
            _ => return None,
        })
    }

    /// Whether the computed size is exact, and not just an upper bound.
    pub fn is_exact(self) -> bool {
        !matches!(self, Growth::ReplacePattern | Growth::ElementsAsText | Growth::ReplaceElements | Growth::Times(_))
    }

    /// An upper bound for all results together; cheap, and far too large where rows differ.
    pub fn at_most(self, args: &[ColumnarValue], rows: usize) -> DfResult<usize> {
        let widest: Vec<Measure> =
            args.iter().map(|arg| Measure::widest(arg, self.counts())).collect::<DfResult<_>>()?;
        if matches!(self, Growth::Series | Growth::Widths) {
            let sizes = ResultSizes::of(self, args)?;
            return Ok((0..rows).fold(0, |all: usize, row| all.saturating_add(sizes.row(row))));
        }
        Ok(self.bytes(&widest, None).saturating_mul(rows))
    }

    /// Whether the second argument is a count.
    fn counts(self) -> bool {
        matches!(self, Growth::Repeat | Growth::RepeatElement | Growth::Pad | Growth::Resize)
    }

    /// The size of a result, from the sizes of its arguments; `found` is how often a text contains another.
    fn bytes(self, args: &[Measure], found: Option<usize>) -> usize {
        let bytes = |n: usize| args.get(n).map_or(0, |arg| arg.bytes);
        let number = |n: usize| args.get(n).map_or(0, |arg| arg.number);
        let elements = args.first().map_or(0, |arg| arg.elements);
        let sum = args.iter().fold(0, |all: usize, arg| all.saturating_add(arg.bytes));
        match self {
            Growth::Repeat => bytes(0).saturating_mul(number(1)),
            Growth::RepeatElement => bytes(0).max(1).saturating_mul(number(1)),
            Growth::Pad if args.len() > 2 && bytes(2) == 0 => bytes(0),
            Growth::Pad => number(1).saturating_mul(4),
            Growth::Sum | Growth::Widths => sum,
            Growth::SumBetween => sum.saturating_add(bytes(0).saturating_mul(args.len())),
            Growth::Replace => {
                let found = found.unwrap_or_else(|| bytes(0) / bytes(1).max(1) + 1);
                bytes(0).saturating_add(found.saturating_mul(bytes(2)))
            }
            Growth::ReplacePattern => bytes(0).saturating_add(1).saturating_mul(2 * bytes(2) + 1),
            Growth::Series => 0,
            Growth::Resize => {
                let element = bytes(2).max(bytes(0) / elements.max(1)).max(1);
                bytes(0).saturating_add(number(1).saturating_mul(element))
            }
            Growth::ReplaceElements => bytes(0).saturating_add(elements.saturating_mul(bytes(2))),
            Growth::ElementsAsText => {
                let between = bytes(1).saturating_add(bytes(2)).saturating_add(NUMBER_BYTES);
                bytes(0).saturating_add(elements.saturating_mul(between))
            }
            Growth::Template => bytes(1).saturating_mul(16),
            Growth::Times(times) => bytes(0).saturating_mul(times),
        }
    }
}

/// The functions whose results are no larger than their arguments, or small.
#[cfg(test)]
pub fn does_not_grow(function: &str) -> bool {
    const NAMES: &str = "
        !~ !~* !~~ !~~* # & << >> @ ^ abs acos acosd acosh array_add array_any_match array_any_value array_avg
        array_compact array_dims array_distance array_distinct array_element array_except array_filter
        array_first array_has array_has_all array_has_any array_intersect array_length array_max array_min
        array_ndims array_normalize array_pop_back array_pop_front array_position array_positions array_product
        array_remove array_remove_all array_remove_n array_reverse array_scale array_slice array_sort
        array_subtract array_sum array_transform arrow_cast arrow_field arrow_metadata arrow_try_cast
        arrow_typeof ascii asin asind asinh atan atan2 atan2d atand atanh bit_count bit_length btrim cardinality
        cast_to_type cbrt ceil ceiling char_length character_length chr coalesce contains cos cosd cosh
        cosine_distance cot cotd current_date current_time date_bin date_part date_trunc decode degrees digest
        empty ends_with exp factorial file_row_index find_in_set flatten floor from_unixtime gcd get_bit
        get_byte get_field greatest initcap inner_product input_file_name is_normalized isnan iszero lcm least
        left length levenshtein ln log log10 log2 ltrim make_date make_time map_entries map_extract map_keys
        map_values md5 mod named_struct nanvl now nullif nvl nvl2 octet_length parse_ident pg_client_encoding
        pg_size_bytes pg_size_pretty pi position pow power radians random regexp_count regexp_instr regexp_like
        regexp_substr reverse right round rtrim set_bit set_byte sha224 sha256 sha384 sha512 sign signum sin
        sind sinh split_part sqrt starts_with strpos struct substr substr_index substring tan tand tanh to_ascii
        to_date to_hex to_local_time to_number to_time to_timestamp to_timestamp_micros to_timestamp_millis
        to_timestamp_nanos to_timestamp_seconds to_unixtime trim trunc try_cast_to_type union_extract union_tag
        unistr uuid version width_bucket with_metadata | |/ ||/ ~ ~* ~~ ~~*";
    NAMES.split_whitespace().any(|name| name == function)
}

/// The size of one argument.
#[derive(Debug, Clone, Copy, Default)]
struct Measure {
    bytes: usize,
    elements: usize,
    /// Its value, if it is a count; not negative.
    number: usize,
}

impl Measure {
    /// The maximum over all values of an argument.
    fn widest(arg: &ColumnarValue, counts: bool) -> DfResult<Measure> {
        match arg {
            ColumnarValue::Scalar(value) => Measure::scalar(value),
            ColumnarValue::Array(array) => {
                let number = match counts.then(|| numbers(array)).transpose()?.flatten() {
                    Some(numbers) => arrow::compute::max(numbers.as_primitive::<Int64Type>()).unwrap_or(0),
                    None => 0,
                };
                Ok(Measure {
                    bytes: widest_bytes(array),
                    elements: elements(array).unwrap_or(0),
                    number: usize::try_from(number).unwrap_or(0),
                })
            }
        }
    }

    fn scalar(value: &ScalarValue) -> DfResult<Measure> {
        if value.is_null() {
            return Ok(Measure::default());
        }
        let number = match value.data_type().is_integer() {
            true => match value.cast_to(&DataType::Int64)? {
                ScalarValue::Int64(Some(number)) => number,
                _ => 0,
            },
            false => 0,
        };
        let elements = match value {
            ScalarValue::List(list) => list.value_length(0) as usize,
            ScalarValue::LargeList(list) => list.value_length(0) as usize,
            _ => 0,
        };
        Ok(Measure { bytes: scalar_bytes(value), elements, number: usize::try_from(number).unwrap_or(0) })
    }
}

/// An upper bound for the widest value of an array.
fn widest_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8 | DataType::Binary | DataType::List(_) => {
            (0..array.len()).map(|row| bytes_of_rows(array, row, row + 1)).max().unwrap_or(0)
        }
        of => of.primitive_width().unwrap_or_else(|| bytes_of_array(array.as_ref())),
    }
}

/// The bytes of a range of values of an array.
fn bytes_of_rows(array: &ArrayRef, from: usize, to: usize) -> usize {
    let between = |offsets: &[i32]| (offsets[from] as usize, offsets[to] as usize);
    match array.data_type() {
        DataType::Utf8 | DataType::Binary => {
            let (start, end) = match array.as_string_opt::<i32>() {
                Some(texts) => between(texts.value_offsets()),
                None => between(array.as_binary::<i32>().value_offsets()),
            };
            end - start
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (start, end) = between(list.value_offsets());
            bytes_of_rows(list.values(), start, end) + (to - from) * size_of::<i32>()
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(|column| bytes_of_rows(column, from, to)).sum(),
        of => match of.primitive_width() {
            Some(width) => width * (to - from),
            None => bytes_of_array(array.slice(from, to - from).as_ref()),
        },
    }
}

/// The number of elements in all lists of an array.
fn elements(array: &ArrayRef) -> Option<usize> {
    let list = array.as_list_opt::<i32>()?;
    Some((list.value_offsets().last()? - list.value_offsets().first()?) as usize)
}

fn numbers(array: &ArrayRef) -> DfResult<Option<ArrayRef>> {
    match array.data_type().is_integer() {
        true => Ok(Some(cast(array, &DataType::Int64)?)),
        false => Ok(None),
    }
}

/// The sizes of the results of one call, row by row.
#[derive(Debug)]
pub struct ResultSizes {
    growth: Growth,
    args: Vec<SizedArgument>,
}

#[derive(Debug)]
enum SizedArgument {
    Constant(Measure, ScalarValue),
    Rows { values: ArrayRef, numbers: Option<ArrayRef> },
}

impl ResultSizes {
    pub fn of(growth: Growth, args: &[ColumnarValue]) -> DfResult<ResultSizes> {
        let argument = |arg: &ColumnarValue| {
            Ok(match arg {
                ColumnarValue::Scalar(value) => SizedArgument::Constant(Measure::scalar(value)?, value.clone()),
                ColumnarValue::Array(array) => SizedArgument::Rows { values: array.clone(), numbers: numbers(array)? },
            })
        };
        Ok(ResultSizes { growth, args: args.iter().map(argument).collect::<DfResult<_>>()? })
    }

    /// The bytes of a row's result, or an upper bound.
    pub fn row(&self, row: usize) -> usize {
        if self.growth == Growth::Series {
            return self.series(row).unwrap_or(0);
        }
        let is_strict = matches!(self.growth, Growth::Repeat | Growth::Pad | Growth::Replace | Growth::ReplacePattern);
        if is_strict && self.args.iter().any(|arg| arg.is_null(row)) {
            return 0;
        }
        let widths = if self.growth == Growth::Widths { self.widths(row) } else { 0 };
        let measures: Vec<Measure> = self.args.iter().map(|arg| arg.measure(row)).collect();
        let found = (self.growth == Growth::Replace).then(|| self.found(row)).flatten();
        self.growth.bytes(&measures, found).saturating_add(widths)
    }

    /// All widths in a format, as in `%10s`; with a `*` those that its arguments give. What is no width is refused by
    /// the function itself: a number of more than 31 bits, and the number of an argument, as in `%2$s`.
    fn widths(&self, row: usize) -> usize {
        let Some(format) = self.args.first().and_then(|format| format.text(row)) else { return 0 };
        let sum = |numbers: &mut dyn Iterator<Item = usize>| numbers.fold(0, usize::saturating_add);
        let numbers = format.split_inclusive(|c: char| !c.is_ascii_digit()).filter(|number| !number.ends_with('$'));
        let width = |number: &str| number.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<i32>().ok();
        let written = sum(&mut numbers.filter_map(width).map(|width| width.unsigned_abs() as usize));
        if !format.contains('*') {
            return written;
        }
        let width = |arg: &SizedArgument| arg.text(row)?.trim().parse::<i32>().ok();
        let given = self.args.iter().filter_map(width).map(|width| width.unsigned_abs() as usize);
        written.saturating_add(sum(&mut given.into_iter()))
    }

    /// How often the first text contains the second.
    fn found(&self, row: usize) -> Option<usize> {
        let [text, from, ..] = self.args.as_slice() else { return None };
        let (text, from) = (text.text(row)?, from.text(row)?);
        if from.is_empty() {
            return Some(text.len() + 1);
        }
        Some(text.matches(&from).count())
    }

    fn series(&self, row: usize) -> Option<usize> {
        let number = |n: usize| self.args.get(n).and_then(|arg| arg.number(row));
        let (start, stop) = match self.args.len() {
            0 => return None,
            1 => (0, number(0)?),
            _ => (number(0)?, number(1)?),
        };
        let step = match self.args.get(2) {
            None => 1,
            Some(arg) => arg.step(row, self.args[0].unit_ns())?,
        };
        // A series in the wrong direction is empty; a step of zero is an error of the function itself.
        let count = i128::from(stop).checked_sub(i128::from(start))?.checked_div(step)?;
        let elements = if count < 0 { 0 } else { usize::try_from(count).unwrap_or(usize::MAX) };
        Some(elements.saturating_add(1).saturating_mul(size_of::<i64>()))
    }
}

impl SizedArgument {
    fn is_null(&self, row: usize) -> bool {
        match self {
            SizedArgument::Constant(_, value) => value.is_null(),
            SizedArgument::Rows { values, .. } => values.is_null(row),
        }
    }

    fn measure(&self, row: usize) -> Measure {
        let (values, numbers) = match self {
            SizedArgument::Constant(measure, _) => return *measure,
            SizedArgument::Rows { values, .. } if values.is_null(row) => return Measure::default(),
            SizedArgument::Rows { values, numbers } => (values, numbers),
        };
        let number = numbers.as_ref().map_or(0, |numbers| numbers.as_primitive::<Int64Type>().value(row));
        let one = values.slice(row, 1);
        Measure {
            bytes: bytes_of_rows(values, row, row + 1),
            elements: elements(&one).unwrap_or(0),
            number: usize::try_from(number).unwrap_or(0),
        }
    }

    fn scalar(&self, row: usize) -> Option<ScalarValue> {
        let value = match self {
            SizedArgument::Constant(_, value) => value.clone(),
            SizedArgument::Rows { values, .. } => ScalarValue::try_from_array(values, row).ok()?,
        };
        (!value.is_null()).then_some(value)
    }

    fn text(&self, row: usize) -> Option<String> {
        self.scalar(row)?.try_as_str().flatten().map(str::to_string)
    }

    /// The first or last value of a series, in its own unit.
    fn number(&self, row: usize) -> Option<i64> {
        if let SizedArgument::Rows { numbers: Some(numbers), .. } = self {
            let numbers = numbers.as_primitive::<Int64Type>();
            return numbers.is_valid(row).then(|| numbers.value(row));
        }
        let value = self.scalar(row)?;
        match value.cast_to(&DataType::Int64).ok()? {
            ScalarValue::Int64(number) => number,
            _ => None,
        }
    }

    /// The nanoseconds per unit of a date or time; `None` for a number.
    fn unit_ns(&self) -> Option<i128> {
        use arrow::datatypes::TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        let of = match self {
            SizedArgument::Constant(_, value) => value.data_type(),
            SizedArgument::Rows { values, .. } => values.data_type().clone(),
        };
        match of {
            DataType::Date32 => Some(86_400_000_000_000),
            DataType::Date64 | DataType::Timestamp(Millisecond, _) => Some(1_000_000),
            DataType::Timestamp(Second, _) => Some(1_000_000_000),
            DataType::Timestamp(Microsecond, _) => Some(1_000),
            DataType::Timestamp(Nanosecond, _) => Some(1),
            _ => None,
        }
    }

    /// A lower bound for the step of a series, in the unit of its first value.
    fn step(&self, row: usize, unit_ns: Option<i128>) -> Option<i128> {
        let Some(unit_ns) = unit_ns else { return self.number(row).map(i128::from) };
        let interval = self.scalar(row)?.cast_to(&DataType::Interval(IntervalUnit::MonthDayNano)).ok()?;
        let ScalarValue::IntervalMonthDayNano(Some(interval)) = interval else { return None };
        let (months, days, ns) = IntervalMonthDayNanoType::to_parts(interval);
        // Days of the shortest month.
        let ns = (i128::from(months) * 28 + i128::from(days)) * 86_400_000_000_000 + i128::from(ns);
        let step = ns / unit_ns;
        Some(if step == 0 { ns.signum() } else { step })
    }
}

/// The bytes of a scalar.
fn scalar_bytes(value: &ScalarValue) -> usize {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
            text.as_ref().map_or(0, String::len)
        }
        other => other.data_type().primitive_width().unwrap_or_else(|| other.size()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, ListArray};

    use super::*;

    /// A list counts with its own elements only, not with those of the whole batch.
    #[test]
    fn growth_lists_of_a_batch_are_measured_row_by_row() {
        let lists = ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>(
            (0..1000).map(|n| (n > 0).then(|| vec![Some(n); 1 + n as usize % 3])),
        );
        let lists: ArrayRef = Arc::new(lists);
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..1000));
        assert_eq!(bytes_of_rows(&lists, 4, 5), 4 + 2 * 4);
        assert_eq!(widest_bytes(&lists.slice(1, 900)), 4 + 3 * 4);
        let args = [ColumnarValue::Array(lists.slice(10, 20)), ColumnarValue::Array(numbers.slice(10, 20))];
        let sizes = ResultSizes::of(Growth::Sum, &args).unwrap();
        assert_eq!(sizes.row(0), 4 + 2 * 4 + 4);
        assert!(Growth::Sum.at_most(&args, 20).unwrap() <= 20 * (4 + 3 * 4 + 4));
    }
}
