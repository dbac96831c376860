//! `width_bucket`: the number of the bucket of a histogram that a value falls into.

use super::range::integer_out_of_range;
use crate::error::{Error, ErrorKind, Result};

/// 2^31: what is no int4 becomes the least one where a processor truncates it, as NaN does.
const BUCKET_END: f64 = 2_147_483_648.0;

/// The bucket of `operand` among `count` buckets of equal width from `low` to `high`, from 1; 0 is before the first,
/// and `count + 1` after the last. Bounds may descend. Fails with 2201G for no buckets, NaN, and infinite or equal
/// bounds.
pub fn width_bucket(operand: f64, low: f64, high: f64, count: i32) -> Result<i32> {
    if count <= 0 {
        return Err(invalid("count must be greater than zero"));
    }
    if operand.is_nan() || low.is_nan() || high.is_nan() {
        return Err(invalid("operand, lower bound, and upper bound cannot be NaN"));
    }
    if low.is_infinite() || high.is_infinite() {
        return Err(invalid("lower and upper bounds must be finite"));
    }
    if low == high {
        return Err(invalid("lower bound cannot equal upper bound"));
    }
    // Descending bounds are ascending ones of opposite numbers.
    let (operand, low, high) = if low < high { (operand, low, high) } else { (-operand, -low, -high) };
    if operand < low {
        return Ok(0);
    }
    if operand >= high {
        return count.checked_add(1).ok_or_else(integer_out_of_range::<i32>);
    }
    // In this order, as PostgreSQL 15: what overflows or is rounded up gives the bucket that it has there.
    let bucket = f64::from(count) * (operand - low) / (high - low) + 1.0;
    Ok(if bucket < BUCKET_END { bucket as i32 } else { i32::MIN })
}

/// How many of some thresholds, which ascend, are not greater than `operand`.
pub fn integer_bucket<T: Ord>(operand: &T, thresholds: &[T]) -> Result<i32> {
    search(thresholds, |threshold| operand < threshold)
}

/// The same of floats, among which NaN is the greatest.
pub fn float_bucket(operand: f64, thresholds: &[f64]) -> Result<i32> {
    search(thresholds, |threshold| !operand.is_nan() && (threshold.is_nan() || operand < *threshold))
}

/// What fails where a threshold is NULL (22004).
pub fn null_threshold() -> Error {
    Error::new(ErrorKind::NullNotAllowed, "thresholds array must not contain NULLs")
}

/// The first threshold that is greater than the operand, counted from 0. Where thresholds do not ascend, it depends on
/// which are looked at: always the one in the middle of those that are left.
fn search<T>(thresholds: &[T], is_greater: impl Fn(&T) -> bool) -> Result<i32> {
    let (mut start, mut end) = (0, thresholds.len());
    while start < end {
        let middle = (start + end) / 2;
        match thresholds.get(middle).is_some_and(&is_greater) {
            true => end = middle,
            false => start = middle + 1,
        }
    }
    i32::try_from(start).map_err(|_| integer_out_of_range::<i32>())
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidWidthBucket, message)
}
