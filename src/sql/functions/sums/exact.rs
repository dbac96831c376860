//! The exact sum of floats, independent of order, supporting retraction: a superaccumulator (Neal, "Fast exact
//! summation using small and large superaccumulators", 2015) that stores only the limbs in use.
//!
//! ```text
//! 2^-1074          one fixed point for all floats               2^1024 · rows
//! │   limb 0   │   limb 1   │      …      │  limb 65  │  limb 66  │
//!   32 bits each, held in 64 with a sign, so that carries can wait
//! ```

use crate::error::{Error, ErrorKind, Result};

const LIMB_BITS: usize = 32;
const LIMB: i64 = 1 << LIMB_BITS;
const LIMB_MASK: u64 = LIMB as u64 - 1;
/// The bits of a float's fraction, and its greatest exponent, which is that of infinities and NaN.
const FRACTION_BITS: usize = 52;
const SPECIAL: u64 = 0x7ff;
/// Adds before carries must be propagated.
const ADDS_MAX: i64 = 1 << 30;

/// A sum of floats.
#[derive(Debug, Clone, Default)]
pub struct ExactSum {
    /// The position of the first limb.
    low: usize,
    limbs: Vec<i64>,
    /// Adds since carries were propagated.
    adds: i64,
    /// Counts of NaN, Infinity and -Infinity, so that they can be retracted.
    specials: Option<Box<[i64; 3]>>,
}

impl ExactSum {
    /// Adds `value` with weight `times`; negative weights retract it.
    pub fn add(&mut self, value: f64, times: i64) {
        let bits = value.to_bits();
        let (exponent, fraction) = (bits >> FRACTION_BITS & SPECIAL, bits & ((1 << FRACTION_BITS) - 1));
        if exponent == SPECIAL {
            let special = if value.is_nan() { 0 } else { 1 + usize::from(value < 0.0) };
            return self.add_special(special, times);
        }
        let (whole, place) = match exponent {
            0 => (fraction, 0),
            _ => (fraction | 1 << FRACTION_BITS, exponent as usize - 1),
        };
        if whole == 0 {
            return;
        }
        let times = if value < 0.0 { -times } else { times };
        let (place, bit) = (place / LIMB_BITS, place % LIMB_BITS);
        // A fraction spans at most three limbs.
        let parts =
            [whole << bit & LIMB_MASK, whole >> (LIMB_BITS - bit) & LIMB_MASK, whole >> LIMB_BITS >> (LIMB_BITS - bit)];
        if times.unsigned_abs() > ADDS_MAX.unsigned_abs() {
            let (before, after) = (times / 2, times - times / 2);
            self.add(value.abs(), before);
            return self.add(value.abs(), after);
        }
        self.adds += times.abs();
        if self.adds > ADDS_MAX {
            self.carry();
            self.adds += times.abs();
        }
        let first = place.wrapping_sub(self.low);
        let first =
            if first.saturating_add(parts.len()) > self.limbs.len() { self.room(place, parts.len()) } else { first };
        for (limb, part) in self.limbs[first..first + parts.len()].iter_mut().zip(parts) {
            *limb += part as i64 * times;
        }
    }

    fn add_special(&mut self, special: usize, times: i64) {
        let counts = self.specials.get_or_insert_default();
        counts[special] += times;
        if **counts == [0; 3] {
            self.specials = None;
        }
    }

    /// Makes room for `count` limbs from position `place` on; returns the index of the first.
    fn room(&mut self, place: usize, count: usize) -> usize {
        if self.limbs.is_empty() {
            self.low = place;
        } else if place < self.low {
            self.limbs.splice(..0, std::iter::repeat_n(0, self.low - place));
            self.low = place;
        }
        let first = place - self.low;
        if first + count > self.limbs.len() {
            self.limbs.resize(first + count, 0);
        }
        first
    }

    /// Propagates carries: all limbs but the last are in range and non-negative; the last one has the sign.
    fn carry(&mut self) {
        self.adds = 1;
        let mut carried = 0;
        for limb in &mut self.limbs {
            let sum = *limb + carried;
            (*limb, carried) = (sum & (LIMB - 1), sum >> LIMB_BITS);
        }
        match (carried, self.limbs.last_mut()) {
            (0, _) => {}
            (-1, Some(last)) => *last -= LIMB,
            _ => self.limbs.push(carried),
        }
    }

    /// The sum in two's complement with the fewest digits; the last one has the sign.
    fn digits(&self) -> (usize, Vec<u32>) {
        let mut own = self.clone();
        own.carry();
        let (mut digits, mut carried) = (Vec::with_capacity(own.limbs.len() + 1), 0);
        for limb in &own.limbs {
            let sum = limb + carried;
            digits.push(sum as u32);
            carried = sum >> LIMB_BITS;
        }
        digits.push(carried as u32);
        while let [.., before, last] = digits.as_slice()
            && *last == (*before as i32 >> (LIMB_BITS - 1)) as u32
        {
            digits.pop();
        }
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        match zeros == digits.len() {
            true => (0, Vec::new()),
            false => (own.low + zeros, digits.split_off(zeros)),
        }
    }

    /// The sum rounded half to even; 0 for no values. Overflow is an error, as in Postgres.
    pub fn rounded(&self) -> Result<f64> {
        if let Some(counts) = &self.specials {
            return Ok(match **counts {
                [0, _, 0] => f64::INFINITY,
                [0, 0, _] => f64::NEG_INFINITY,
                _ => f64::NAN,
            });
        }
        let (low, mut digits) = self.digits();
        let is_negative = digits.last().is_some_and(|last| (*last as i32) < 0);
        if is_negative {
            let mut carried = true;
            for digit in &mut digits {
                (*digit, carried) = (!*digit).overflowing_add(u32::from(carried));
            }
        }
        let magnitude = float_of(low, &digits);
        match magnitude >> FRACTION_BITS < SPECIAL {
            true => Ok(f64::from_bits(magnitude | u64::from(is_negative) << 63)),
            false => Err(Error::new(ErrorKind::NumericOutOfRange, "value out of range: overflow")),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let (low, digits) = self.digits();
        let mut bytes = vec![low as u8, u8::from(self.specials.is_some())];
        bytes.extend(self.specials.iter().flat_map(|counts| counts.iter()).flat_map(|count| count.to_le_bytes()));
        bytes.extend(digits.iter().flat_map(|digit| digit.to_le_bytes()));
        bytes
    }

    /// Adds an encoded sum.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<()> {
        let spoiled = || Error::new(ErrorKind::DataCorrupted, "a sum that was saved is spoiled");
        let [low, has_specials, rest @ ..] = bytes else { return Err(spoiled()) };
        let mut digits = rest;
        if *has_specials != 0 {
            let (counts, others) = rest.split_at_checked(3 * size_of::<i64>()).ok_or_else(spoiled)?;
            for (special, count) in counts.as_chunks().0.iter().enumerate() {
                self.add_special(special, i64::from_le_bytes(*count));
            }
            digits = others;
        }
        let digits = digits.as_chunks().0;
        let Some(last) = digits.len().checked_sub(1) else { return Ok(()) };
        if self.adds >= ADDS_MAX {
            self.carry();
        }
        self.adds += 1;
        let first = self.room(usize::from(*low), digits.len());
        for (n, (limb, digit)) in self.limbs[first..].iter_mut().zip(digits).enumerate() {
            let digit = u32::from_le_bytes(*digit);
            *limb += if n == last { i64::from(digit as i32) } else { i64::from(digit) };
        }
        Ok(())
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.limbs.capacity() * size_of::<i64>() + self.specials.as_deref().map_or(0, size_of_val)
    }
}

/// The bits of the float nearest to a number, ties to even. Overflow gives the exponent of infinity.
fn float_of(low: usize, digits: &[u32]) -> u64 {
    let used = digits.len() - digits.iter().rev().take_while(|digit| **digit == 0).count();
    let Some(top) = used.checked_sub(1) else { return 0 };
    let digit = |back: usize| top.checked_sub(back).map_or(0, |n| u128::from(digits[n]));
    let mut bits = (0..4).fold(0, |bits, back| bits << LIMB_BITS | digit(back));
    // Bits below only break ties.
    bits |= u128::from(top >= 4 && digits[..top - 3].iter().any(|digit| *digit != 0));
    let zeros = bits.leading_zeros() as usize;
    // The position of the first bit, counted from the last bit of the smallest float.
    let place = (low + top + 1) * LIMB_BITS - 1 - zeros;
    let aligned = bits << zeros;
    // A float has 53 bits, or fewer if it is subnormal.
    let kept = (place + 1).min(FRACTION_BITS + 1);
    let (whole, rest) = ((aligned >> (128 - kept)) as u64, aligned << kept);
    let half = 1 << 127;
    let up = rest > half || (rest == half && whole & 1 == 1);
    // The leading bit is implicit: adding it to the exponent field increments that, as a carry does.
    (((place + 1 - kept) as u64) << FRACTION_BITS) + whole + u64::from(up)
}

#[cfg(test)]
mod tests;
