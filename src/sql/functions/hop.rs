//! `hop_starts(ts, slide, size [, offset])`: the starts of all sliding windows that contain a timestamp.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray},
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{
        ArrowTimestampType, DataType, Field, IntervalUnit, TimeUnit, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    },
};
use datafusion::{
    common::{Result, ScalarValue, exec_err, plan_err},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};

use crate::error::{Error, ErrorKind};

/// The function's name.
pub const HOP_STARTS: &str = "hop_starts";
/// The same, with a window NULL for a row in no window, so that the row is not dropped by `unnest`.
pub const HOP_STARTS_OR_NULL: &str = "hop_starts_or_null";

/// Maximum windows per timestamp: each row is copied into each of its windows.
pub const WINDOWS_MAX: i64 = 1000;

const DAY_NS: i128 = 86_400_000_000_000;

/// Windows start at every multiple of `slide` since 1970 (plus `offset`) and last for `size`; the last three arguments
/// are constant intervals without months.
///
/// Returns a list of timestamps of the first argument's type, oldest first; it is empty for NULL, and for a timestamp
/// whose windows start before the representable range: such a row is in no window.
/// begin before time can be counted, an empty one: such a row lies in no window.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HopStarts {
    or_null: bool,
    signature: Signature,
}

impl HopStarts {
    /// `or_null`: whether it is [`HOP_STARTS_OR_NULL`].
    pub fn new(or_null: bool) -> Self {
        HopStarts { or_null, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for HopStarts {
    fn name(&self) -> &str {
        if self.or_null { HOP_STARTS_OR_NULL } else { HOP_STARTS }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [time, intervals @ ..] = types else {
            return plan_err!("{HOP_STARTS} takes a timestamp and two intervals");
        };
        if !(2..=3).contains(&intervals.len()) {
            return plan_err!("{HOP_STARTS} takes a timestamp, the slide, the size and perhaps an offset");
        }
        let time = match time {
            DataType::Timestamp(..) => time.clone(),
            DataType::Date32 | DataType::Date64 | DataType::Null => DataType::Timestamp(TimeUnit::Microsecond, None),
            other => return plan_err!("{HOP_STARTS} takes a timestamp, not {other}"),
        };
        let mut coerced = vec![time];
        coerced.extend(intervals.iter().map(|_| DataType::Interval(IntervalUnit::MonthDayNano)));
        Ok(coerced)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(time @ DataType::Timestamp(..)) => Ok(DataType::List(item(time))),
            _ => plan_err!("{HOP_STARTS} takes a timestamp"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, intervals @ ..] = args.args.as_slice() else { return exec_err!("{HOP_STARTS} takes a timestamp") };
        let scalar = matches!(time, ColumnarValue::Scalar(_));
        let time = time.to_array(if scalar { 1 } else { args.number_rows })?;
        let DataType::Timestamp(unit, _) = time.data_type() else { return exec_err!("{HOP_STARTS} takes a timestamp") };
        let hops = Hops { or_null: self.or_null, ..Hops::new(intervals, *unit)? };
        let starts = match unit {
            TimeUnit::Second => hops.starts::<TimestampSecondType>(&time),
            TimeUnit::Millisecond => hops.starts::<TimestampMillisecondType>(&time),
            TimeUnit::Microsecond => hops.starts::<TimestampMicrosecondType>(&time),
            TimeUnit::Nanosecond => hops.starts::<TimestampNanosecondType>(&time),
        }?;
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::List(Arc::new(starts)))),
            false => Ok(ColumnarValue::Array(Arc::new(starts))),
        }
    }
}

fn item(time: &DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(time.clone(), true))
}

/// The windows, in the unit of their timestamps.
struct Hops {
    slide: i64,
    size: i64,
    offset: i64,
    or_null: bool,
}

impl Hops {
    fn new(intervals: &[ColumnarValue], unit: TimeUnit) -> Result<Self> {
        let mut lengths = [0; 3];
        for (length, interval) in lengths.iter_mut().zip(intervals) {
            *length = constant(interval, unit)?;
        }
        let [slide, size, offset] = lengths;
        let refuse = |message: &str| Err(Error::new(ErrorKind::InvalidParameterValue, message).into());
        if slide <= 0 || size <= 0 {
            return refuse("the slide and the size of a window must be positive");
        }
        if slide > size {
            return refuse("the slide of a window must not be greater than its size");
        }
        if size / slide > WINDOWS_MAX {
            return refuse(&format!("a moment can lie in at most {WINDOWS_MAX} windows"));
        }
        Ok(Hops { slide, size, offset: offset.rem_euclid(slide), or_null: false })
    }

    fn starts<T: ArrowTimestampType>(&self, time: &ArrayRef) -> Result<ListArray> {
        let times = time.as_primitive::<T>();
        let each = usize::try_from(self.size / self.slide).unwrap_or(0) + 1;
        let mut starts: Vec<i64> = Vec::with_capacity(times.len().saturating_mul(each).min(1 << 20));
        let (mut lengths, mut nulls) = (Vec::with_capacity(times.len()), Vec::new());
        for time in times.iter() {
            let before = starts.len();
            if let Some(time) = time {
                self.push(time, &mut starts);
            }
            if self.or_null && starts.len() == before {
                nulls.push(before);
                starts.push(0);
            }
            lengths.push(starts.len() - before);
        }
        if i32::try_from(starts.len()).is_err() {
            return exec_err!("{HOP_STARTS} of one batch makes more windows than a list can hold");
        }
        let data_type = time.data_type();
        let nulls = (!nulls.is_empty()).then(|| {
            let mut valid = vec![true; starts.len()];
            nulls.iter().for_each(|at| valid[*at] = false);
            NullBuffer::from(valid)
        });
        let values = PrimitiveArray::<T>::new(starts.into(), nulls).with_data_type(data_type.clone());
        Ok(ListArray::try_new(item(data_type), OffsetBuffer::from_lengths(lengths), Arc::new(values), None)?)
    }

    /// Appends the starts of the windows that contain `time`, oldest first; nothing if one is out of range.
    fn push(&self, time: i64, starts: &mut Vec<i64>) {
        // The newest window starts at the last multiple of the slide that is not after the timestamp; a window contains
        // it while its start is after `time - size`.
        let Some(shifted) = time.checked_sub(self.offset) else { return };
        let Some(newest) = shifted.checked_sub(shifted.rem_euclid(self.slide)) else { return };
        let covered = (self.size - (shifted - newest)).checked_add(self.slide - 1);
        let Some(count) = covered.map(|covered| covered / self.slide) else { return };
        let Some(oldest) = newest.checked_sub((count - 1) * self.slide).and_then(|o| o.checked_add(self.offset)) else {
            return;
        };
        starts.extend((0..count).map(|n| oldest + n * self.slide));
    }
}

/// The length of a constant interval in `unit`s.
fn constant(interval: &ColumnarValue, unit: TimeUnit) -> Result<i64> {
    let value = match interval {
        ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(value))) => value,
        _ => return exec_err!("{HOP_STARTS} takes constant intervals"),
    };
    if value.months != 0 {
        return Err(Error::unsupported("a sliding window of months or years").into());
    }
    let per_unit: i128 = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    let nanos = i128::from(value.days) * DAY_NS + i128::from(value.nanoseconds);
    if nanos % per_unit != 0 {
        let message = "the slide and the size of a window must not be finer than its timestamps";
        return Err(Error::new(ErrorKind::InvalidParameterValue, message).into());
    }
    i64::try_from(nanos / per_unit).or_else(|_| exec_err!("an interval of {HOP_STARTS} is out of range"))
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;
    use proptest::prelude::*;

    use super::*;

    fn starts(hops: &Hops, time: i64) -> Vec<i64> {
        let mut starts = vec![];
        hops.push(time, &mut starts);
        starts
    }

    #[test]
    fn hop_starts_of_a_time_are_those_of_its_windows() {
        let hops = Hops { slide: 5, size: 10, offset: 0, or_null: false };
        assert_eq!(starts(&hops, 0), [-5, 0]);
        assert_eq!(starts(&hops, 4), [-5, 0]);
        assert_eq!(starts(&hops, 5), [0, 5]);
        assert_eq!(starts(&hops, -1), [-10, -5]);
        let hops = Hops { slide: 5, size: 7, offset: 2, or_null: false };
        assert_eq!(starts(&hops, 8), [2, 7]);
        assert_eq!(starts(&hops, 9), [7]);
        assert_eq!(starts(&hops, i64::MIN), [] as [i64; 0]);
        assert!(!starts(&hops, i64::MAX).is_empty());
    }

    #[test]
    fn hop_starts_of_null_are_empty_or_null() {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(7), None]).with_timezone("+00:00"));
        let hops = |or_null| Hops { slide: 5, size: 5, offset: 0, or_null };
        let lists = hops(true).starts::<TimestampMicrosecondType>(&times).unwrap();
        assert_eq!((lists.value_length(1), lists.value(1).null_count()), (1, 1));
        let lists = hops(false).starts::<TimestampMicrosecondType>(&times).unwrap();
        assert_eq!(lists.value_length(0), 1);
        assert_eq!(lists.value_length(1), 0);
        assert_eq!(lists.null_count(), 0);
        assert_eq!(lists.value_type(), *times.data_type());
    }

    proptest! {
        #[test]
        fn hop_starts_equal_brute_force(
            time in -1000i64..1000, slide in 1i64..50, more in 0i64..100, offset in -60i64..60,
        ) {
            let hops = Hops { slide, size: slide + more, offset: offset.rem_euclid(slide), or_null: false };
            let expected: Vec<i64> = (-2000..2000)
                .filter(|start| (start - offset).rem_euclid(slide) == 0)
                .filter(|start| *start <= time && time < start + hops.size)
                .collect();
            prop_assert_eq!(starts(&hops, time), expected);
        }
    }
}
