//! The shortest decimal that is nearest to one float and to no other, by Ryu (Ulf Adams, 2018) as PostgreSQL has it.
//!
//! PostgreSQL's takes no decimal that lies exactly between two floats, for not every reader rounds half to even; Rust's
//! does.

use super::powers_of_five::{INVERSE_BITS, INVERSES, POWER_BITS, POWERS, bits_of_power};

/// A decimal number: `digits` times ten to the power `exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub digits: u64,
    pub exponent: i32,
}

/// A finite float greater than zero: `mantissa` times two to the power `exponent`.
pub(super) struct Positive {
    mantissa: u64,
    exponent: i32,
    /// Whether the float below is half as far as the one above.
    is_near_below: bool,
}

impl From<f64> for Positive {
    fn from(value: f64) -> Positive {
        Positive::of_fields(value.to_bits(), 52, 1023)
    }
}

impl From<f32> for Positive {
    fn from(value: f32) -> Positive {
        Positive::of_fields(u64::from(value.to_bits()), 23, 127)
    }
}

/// A float, the middles between it and its neighbours, and how much of them is cut off, in units of a power of ten.
struct RoundingInterval {
    value: u64,
    above: u64,
    below: u64,
    exponent: i32,
    /// Whether nothing of the value is cut off.
    is_exact: bool,
}

impl Positive {
    /// From the bits of a float without a sign.
    fn of_fields(bits: u64, mantissa_bits: u32, bias: i32) -> Positive {
        let (fraction, field) = (bits & ((1 << mantissa_bits) - 1), (bits >> mantissa_bits) as i32);
        let lead = if field == 0 { 0 } else { 1 << mantissa_bits };
        Positive {
            mantissa: fraction | lead,
            exponent: field.max(1) - bias - mantissa_bits as i32,
            is_near_below: fraction == 0 && field > 1,
        }
    }

    /// The shortest decimal; of those the nearest; of two the even one.
    pub(super) fn shortest(&self) -> Decimal {
        let RoundingInterval { mut value, mut above, mut below, exponent, is_exact } = self.interval();
        let (mut removed, mut last_digit, mut is_exact) = (0, 0, is_exact);
        while above / 10 > below / 10 {
            is_exact &= last_digit == 0;
            last_digit = value % 10;
            (value, above, below) = (value / 10, above / 10, below / 10);
            removed += 1;
        }
        let is_tie_to_even = is_exact && last_digit == 5 && value % 2 == 0;
        let goes_up = value == below || (last_digit >= 5 && !is_tie_to_even);
        Decimal { digits: value + u64::from(goes_up), exponent: exponent + removed }
    }

    /// In quarters of the lowest bit all of its numbers are whole.
    fn quarters(&self) -> (u64, u64, u64) {
        let value = 4 * self.mantissa;
        (value, value + 2, value - if self.is_near_below { 1 } else { 2 })
    }

    fn interval(&self) -> RoundingInterval {
        let exponent = self.exponent - 2;
        if exponent >= 0 { self.large_interval(exponent) } else { self.small_interval(-exponent) }
    }

    /// Of quarters times two to the power `exponent`.
    fn large_interval(&self, exponent: i32) -> RoundingInterval {
        let (value, above, below) = self.quarters();
        let cut = ((exponent * 78_913) >> 18) - i32::from(exponent > 3);
        let inverse = entry(&INVERSES, cut);
        let shift = cut - exponent + INVERSE_BITS + bits_of_power(cut) - 1;
        let scaled = |number| product(number, inverse, shift);
        let is_cut_exactly = |number| cut <= 21 && is_multiple_of_power(number, cut);
        RoundingInterval {
            value: scaled(value),
            above: scaled(above) - u64::from(is_cut_exactly(above)),
            below: scaled(below),
            exponent: cut,
            is_exact: is_cut_exactly(value),
        }
    }

    /// Of quarters divided by two to the power `exponent`.
    fn small_interval(&self, exponent: i32) -> RoundingInterval {
        let (value, above, below) = self.quarters();
        let cut = ((exponent * 732_923) >> 20) - i32::from(exponent > 1);
        let power = exponent - cut;
        let shift = cut - bits_of_power(power) + POWER_BITS;
        let scaled = |number| product(number, entry(&POWERS, power), shift);
        let is_exact = cut <= 1 || (cut < 63 && value.trailing_zeros() as i32 >= cut - 1);
        RoundingInterval {
            value: scaled(value),
            above: scaled(above) - u64::from(cut <= 1),
            below: scaled(below),
            exponent: cut - exponent,
            is_exact,
        }
    }
}

fn entry(table: &[u128], index: i32) -> u128 {
    usize::try_from(index).ok().and_then(|index| table.get(index)).copied().unwrap_or_default()
}

/// A product of 55 and 124 bits less so many of its lowest bits, which are more than 64.
fn product(left: u64, right: u128, shift: i32) -> u64 {
    let low = u128::from(left) * u128::from(right as u64);
    let high = u128::from(left) * (right >> 64);
    (((low >> 64) + high) >> (shift - 64)) as u64
}

/// Whether a number is a multiple of 5^`exponent`.
fn is_multiple_of_power(mut number: u64, exponent: i32) -> bool {
    (0..exponent).all(|_| {
        let is_multiple = number.is_multiple_of(5);
        number /= 5;
        is_multiple
    })
}
