//! Texts of numbers: hexadecimal, and sizes with their units.

use crate::error::{Error, ErrorKind, Result};

/// A unit of sizes.
struct SizeUnit {
    name: &'static str,
    /// From here on, as an absolute number of halves of this unit (whole bytes), the next unit is used.
    limit: u128,
    /// How many bits it has more than bytes.
    bits: u32,
}

const BYTES_LIMIT: u128 = 10 * 1024;
const HALVES_LIMIT: u128 = 20 * 1024 - 1;

const UNITS: [SizeUnit; 6] = [
    SizeUnit { name: "bytes", limit: BYTES_LIMIT, bits: 0 },
    SizeUnit { name: "kB", limit: HALVES_LIMIT, bits: 10 },
    SizeUnit { name: "MB", limit: HALVES_LIMIT, bits: 20 },
    SizeUnit { name: "GB", limit: HALVES_LIMIT, bits: 30 },
    SizeUnit { name: "TB", limit: HALVES_LIMIT, bits: 40 },
    SizeUnit { name: "PB", limit: u128::MAX, bits: 50 },
];

/// Hexadecimal digits, those of a negative number as two's complement.
pub fn to_hex4(number: i32) -> String {
    format!("{number:x}")
}

pub fn to_hex8(number: i64) -> String {
    format!("{number:x}")
}

/// A size in whole bytes, in the unit that shows it in up to five digits.
fn with_unit(size: i128) -> String {
    let halves = |unit: &SizeUnit| if unit.bits == 0 { size } else { size / (1 << (unit.bits - 1)) };
    let fitting = UNITS.iter().find(|unit| halves(unit).unsigned_abs() < unit.limit);
    match fitting {
        Some(unit) if unit.bits > 0 => format!("{} {}", (halves(unit) + halves(unit).signum()) / 2, unit.name),
        _ => format!("{size} bytes"),
    }
}

/// A size in bytes, in the unit that shows it in up to five digits.
pub fn pg_size_pretty(size: i64) -> String {
    with_unit(i128::from(size))
}

/// The same of a decimal number, unscaled and with its scale: a few bytes have their fraction, other units none. What
/// 38 digits do not hold is an error (22003).
pub fn pg_size_pretty_numeric(size: i128, scale: i8) -> Result<String> {
    let one = 10_i128.checked_pow(u32::from(scale.unsigned_abs())).ok_or_else(overflow)?;
    if scale <= 0 {
        return Ok(with_unit(size.checked_mul(one).ok_or_else(overflow)?));
    }
    let (whole, fraction) = (size / one, size % one);
    if whole.unsigned_abs() >= BYTES_LIMIT {
        return Ok(with_unit(whole));
    }
    let (sign, digits) = (if size < 0 { "-" } else { "" }, usize::from(scale.unsigned_abs()));
    Ok(format!("{sign}{}.{:0digits$} bytes", whole.unsigned_abs(), fraction.unsigned_abs()))
}

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// The digits at the start of a text, and what follows them.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// A decimal number: its digits, and the place of the point between them, which may lie outside.
struct DecimalDigits {
    is_negative: bool,
    digits: Vec<u8>,
    point: i64,
}

/// Digits that a number of PostgreSQL may have before and behind its point.
const DIGITS_BEFORE_MAX: i64 = 131_072;
const DIGITS_BEHIND_MAX: i64 = 16_383;

fn overflow() -> Error {
    Error::new(ErrorKind::NumericOutOfRange, "value overflows numeric format")
}

/// The exponent at the start of a text, if there is one, and what follows it.
fn exponent(text: &str) -> Option<(i64, &str)> {
    let behind = text.strip_prefix(['e', 'E'])?.trim_start_matches(is_space);
    let is_negative = behind.starts_with('-');
    let (number, rest) = digits(behind.strip_prefix(['-', '+']).unwrap_or(behind));
    if number.is_empty() {
        return None;
    }
    let number = number.parse().unwrap_or(i64::MAX);
    Some((if is_negative { -number } else { number }, rest))
}

impl DecimalDigits {
    /// The number at the start of a text, and what follows it. `Ok(None)` if there is none.
    fn read(text: &str) -> Result<Option<(Self, &str)>> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, rest) = digits(unsigned);
        let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Ok(None);
        }
        let (exponent, rest) = exponent(rest).unwrap_or((0, rest));
        if exponent.unsigned_abs() >= u64::from(i32::MAX.unsigned_abs() / 2) {
            return Err(overflow());
        }
        let scale = i64::try_from(fraction.len()).unwrap_or(i64::MAX).saturating_sub(exponent);
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|digit| digit - b'0').collect();
        let leading = digits.iter().take_while(|digit| **digit == 0).count();
        let digits: Vec<u8> = digits.into_iter().skip(leading).collect();
        let point = i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_sub(scale);
        if scale > DIGITS_BEHIND_MAX || (point > DIGITS_BEFORE_MAX && !digits.is_empty()) {
            return Err(overflow());
        }
        Ok(Some((DecimalDigits { is_negative: text.starts_with('-'), digits, point }, rest)))
    }

    /// The number times a power of two, rounded, half away from zero. Out of range is an error (22003).
    fn shifted(&self, bits: u32) -> Result<i64> {
        let out_of_range = || Error::new(ErrorKind::NumericOutOfRange, "bigint out of range");
        if self.digits.is_empty() {
            return Ok(0);
        }
        // A bigint has 19 digits.
        if self.point > 19 {
            return Err(out_of_range());
        }
        let before = usize::try_from(self.point).unwrap_or(0);
        let digit = |n| i128::from(self.digits.get(n).copied().unwrap_or(0));
        let mut whole = (0..before).fold(0_i128, |whole, n| whole * 10 + digit(n));
        let zeros = usize::try_from(-self.point).unwrap_or(0);
        let behind = self.digits.iter().skip(before).copied();
        let mut fraction: Vec<u8> = std::iter::repeat_n(0, zeros).chain(behind).collect();
        for _ in 0..bits {
            let mut carry = 0;
            for digit in fraction.iter_mut().rev() {
                let doubled = *digit * 2 + carry;
                (*digit, carry) = (doubled % 10, doubled / 10);
            }
            whole = whole * 2 + i128::from(carry);
        }
        if fraction.first().is_some_and(|first| *first >= 5) {
            whole += 1;
        }
        i64::try_from(if self.is_negative { -whole } else { whole }).map_err(|_| out_of_range())
    }
}

/// The bytes of a size that is written with a unit, in any case, or without. What is no size is an error (22023).
pub fn pg_size_bytes(text: &str) -> Result<i64> {
    let invalid = || Error::new(ErrorKind::InvalidParameterValue, format!("invalid size: \"{text}\""));
    let (number, rest) = DecimalDigits::read(text.trim_start_matches(is_space))?.ok_or_else(invalid)?;
    let unit = rest.trim_matches(is_space);
    if unit.is_empty() {
        return number.shifted(0);
    }
    let found = UNITS.iter().find(|known| known.name.eq_ignore_ascii_case(unit));
    let unknown = || {
        invalid()
            .detail(format!("Invalid size unit: \"{unit}\"."))
            .hint("Valid units are \"bytes\", \"kB\", \"MB\", \"GB\", \"TB\", and \"PB\".")
    };
    number.shifted(found.ok_or_else(unknown)?.bits)
}
