//! Square roots of double precision.

use crate::error::{Error, ErrorKind, Result};

/// The square root. Fails with 2201F for negative numbers.
pub fn sqrt(value: f64) -> Result<f64> {
    if value < 0.0 {
        let message = "cannot take square root of a negative number";
        return Err(Error::new(ErrorKind::InvalidPowerArgument, message));
    }
    Ok(value.sqrt())
}
