//! What a sum is of, and what it gives.

use arrow::datatypes::DataType;

use crate::error::{Error, Result};

/// What a sum is of, and what it gives.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub is_avg: bool,
    pub by_diff: bool,
    pub argument: DataType,
    pub output: DataType,
}

impl Spec {
    /// Of decimals: the precision and scale of the answer, and how many more digits it has behind its point than what it
    /// is of.
    pub fn decimal(&self) -> Result<(u8, i8, u32)> {
        match (&self.argument, &self.output) {
            (DataType::Decimal128(_, own), DataType::Decimal128(precision, scale)) => {
                Ok((*precision, *scale, scale.saturating_sub(*own).max(0) as u32))
            }
            _ => Err(Error::internal("a sum of decimals is of no decimals")),
        }
    }
}
