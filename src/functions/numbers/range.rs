//! What a number that its type cannot hold is, in PostgreSQL's words, and the checks of a float's range.

use crate::error::{Error, ErrorKind, Result};

/// An integer of `T` is out of range.
pub(super) fn integer_out_of_range<T>() -> Error {
    out_of_range(format!("{} out of range", integer_name::<T>()))
}

/// The SQL name of an integer type, told by its width.
pub(super) fn integer_name<T>() -> &'static str {
    match size_of::<T>() {
        2 => "smallint",
        4 => "integer",
        _ => "bigint",
    }
}

/// A finite float became infinite.
pub(super) fn overflow() -> Error {
    out_of_range("value out of range: overflow")
}

/// A float that is not zero became zero.
pub(super) fn underflow() -> Error {
    out_of_range("value out of range: underflow")
}

/// A function is not defined for such an argument.
pub(super) fn input_out_of_range() -> Error {
    out_of_range("input is out of range")
}

/// A number is out of range, said in these words.
pub(super) fn out_of_range(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::NumericOutOfRange, message)
}

/// A result that may be infinite only where `may_be_infinite`, and zero only where `may_be_zero`.
pub(super) fn checked(result: f64, may_be_infinite: bool, may_be_zero: bool) -> Result<f64> {
    if result.is_infinite() && !may_be_infinite {
        return Err(overflow());
    }
    if result == 0.0 && !may_be_zero {
        return Err(underflow());
    }
    Ok(result)
}
