//! The types of a sum's argument and result.

use arrow::datatypes::DataType;

use crate::error::{Error, Result};

/// The types of a sum's argument and result.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub is_avg: bool,
    pub by_diff: bool,
    pub argument: DataType,
    pub output: DataType,
}

impl Spec {
    /// For decimals: precision and scale of the result, and how many more fractional digits it has than the argument.
    pub fn decimal(&self) -> Result<(u8, i8, u32)> {
        match (&self.argument, &self.output) {
            (DataType::Decimal128(_, own), DataType::Decimal128(precision, scale)) => {
                Ok((*precision, *scale, scale.saturating_sub(*own).max(0) as u32))
            }
            _ => Err(Error::internal("a sum of decimals is of no decimals")),
        }
    }
}
