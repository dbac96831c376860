//! What a number that its type cannot hold is, in PostgreSQL's words.

use arrow::datatypes::DataType;

use crate::{
    error::{Error, ErrorKind},
    sql::types::sql_type,
};

/// Of an integer type.
pub(super) fn out_of_range(data_type: &DataType) -> Error {
    Error::new(ErrorKind::NumericOutOfRange, format!("{} out of range", sql_type(data_type)))
}

/// Of a float that became infinite.
pub(super) fn overflow() -> Error {
    Error::new(ErrorKind::NumericOutOfRange, "value out of range: overflow")
}

/// Of a float that became zero.
pub(super) fn underflow() -> Error {
    Error::new(ErrorKind::NumericOutOfRange, "value out of range: underflow")
}

pub(super) fn division_by_zero() -> Error {
    Error::new(ErrorKind::DivisionByZero, "division by zero")
}
