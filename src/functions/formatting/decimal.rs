//! Decimal numbers of any size, as far as formatting needs them: read, multiplied by powers of ten, rounded and
//! shown.

use crate::error::{Error, ErrorKind, Result};

/// How many digits PostgreSQL's `numeric` has before the point.
const DIGITS_MAX: usize = 131_072;

/// A number of `numeric`.
#[derive(Debug, Clone)]
pub enum NumericValue {
    /// `NaN`.
    Undefined,
    Infinite {
        is_negative: bool,
    },
    Finite(PlainDecimal),
}

/// The digits without point and sign, of which the last `scale` ones are behind the point. No digits are 0.
#[derive(Debug, Clone)]
pub struct PlainDecimal {
    is_negative: bool,
    digits: Vec<u8>,
    scale: usize,
}

impl NumericValue {
    /// Reads what PostgreSQL prints for a `numeric`. Error 22P02 for anything else.
    pub fn parse(text: &str) -> Result<NumericValue> {
        match text {
            "NaN" => Ok(NumericValue::Undefined),
            "Infinity" => Ok(NumericValue::Infinite { is_negative: false }),
            "-Infinity" => Ok(NumericValue::Infinite { is_negative: true }),
            _ => PlainDecimal::parse(text).map(NumericValue::Finite),
        }
    }
}

impl PlainDecimal {
    /// White space, a sign, digits and a point. Error 22P02 for anything else.
    pub fn parse(text: &str) -> Result<PlainDecimal> {
        let trimmed = text.trim_ascii();
        let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits = [whole.as_bytes(), fraction.as_bytes()].concat();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            let message = format!("invalid input syntax for type numeric: \"{text}\"");
            return Err(Error::new(ErrorKind::InvalidText, message));
        }
        Ok(PlainDecimal::of_digits(trimmed.starts_with('-'), digits, fraction.len()))
    }

    /// An integer, which is divided by so many powers of ten.
    pub fn of_scaled(unscaled: i128, scale: i8) -> PlainDecimal {
        let digits = unscaled.unsigned_abs().to_string().into_bytes();
        let powers = usize::from(scale.unsigned_abs());
        let decimal = PlainDecimal::of_digits(unscaled < 0, digits, if scale > 0 { powers } else { 0 });
        if scale < 0 { decimal.shifted(powers) } else { decimal }
    }

    fn of_digits(is_negative: bool, mut digits: Vec<u8>, scale: usize) -> PlainDecimal {
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        PlainDecimal { is_negative: is_negative && !digits.is_empty(), digits, scale }
    }

    /// Multiplied by a power of ten.
    pub fn shifted(mut self, power: usize) -> PlainDecimal {
        let zeros = if self.digits.is_empty() { 0 } else { power.saturating_sub(self.scale) };
        self.digits.resize(self.digits.len() + zeros, b'0');
        self.scale = self.scale.saturating_sub(power);
        self
    }

    /// Divided by a power of ten, with the digits that PostgreSQL has of such a quotient: 16 more, as which smaller
    /// powers of ten are 0.
    pub fn divided(mut self, power: usize) -> PlainDecimal {
        match 16_usize.checked_sub(power) {
            Some(zeros) if !self.digits.is_empty() => self.digits.resize(self.digits.len() + zeros, b'0'),
            Some(_) => {}
            None => self.digits.clear(),
        }
        self.is_negative &= !self.digits.is_empty();
        self.scale += 16;
        self
    }

    /// Rounded to so many digits behind the point, half away from zero; negative ones are before the point.
    pub fn rounded(mut self, new_scale: i32) -> PlainDecimal {
        let kept_scale = usize::try_from(new_scale).unwrap_or_default();
        let whole_zeros = usize::try_from(new_scale.saturating_neg()).unwrap_or_default();
        let dropped = self.scale.saturating_sub(kept_scale) + whole_zeros;
        if dropped > 0 {
            self.drop_digits(dropped);
            self.digits.resize(self.digits.len() + if self.digits.is_empty() { 0 } else { whole_zeros }, b'0');
        } else if !self.digits.is_empty() {
            self.digits.resize(self.digits.len() + kept_scale - self.scale, b'0');
        }
        self.scale = kept_scale;
        self.is_negative &= !self.digits.is_empty();
        self
    }

    fn drop_digits(&mut self, count: usize) {
        let remaining = self.digits.len().checked_sub(count);
        let is_up = remaining.and_then(|remaining| self.digits.get(remaining)).is_some_and(|digit| *digit >= b'5');
        self.digits.truncate(remaining.unwrap_or_default());
        if !is_up {
            return;
        }
        for digit in self.digits.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
        self.digits.insert(0, b'1');
    }

    /// How many digits are before the point, without leading zeros.
    pub fn whole_digits(&self) -> usize {
        self.digits.len().saturating_sub(self.scale)
    }

    /// Error 22003 if it is beyond PostgreSQL's `numeric`.
    pub fn checked(self) -> Result<PlainDecimal> {
        if self.whole_digits() > DIGITS_MAX {
            return Err(Error::new(ErrorKind::NumericOutOfRange, "value overflows numeric format"));
        }
        Ok(self)
    }

    /// Error 22003 if it is no `integer` after rounding.
    pub fn to_int4(&self) -> Result<i32> {
        self.clone()
            .rounded(0)
            .text()
            .parse()
            .map_err(|_| Error::new(ErrorKind::NumericOutOfRange, "integer out of range"))
    }

    /// As PostgreSQL prints it.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(self.digits.len() + self.scale + 3);
        if self.is_negative {
            out.push('-');
        }
        let (whole, fraction) = self.digits.split_at(self.whole_digits());
        if whole.is_empty() {
            out.push('0');
        }
        out.extend(whole.iter().map(|digit| char::from(*digit)));
        if self.scale > 0 {
            out.push('.');
            out.extend(std::iter::repeat_n('0', self.scale.saturating_sub(fraction.len())));
            out.extend(fraction.iter().map(|digit| char::from(*digit)));
        }
        out
    }

    /// In scientific notation, with so many digits behind the point. Rounding may give a significand of 10.
    pub fn scientific_text(&self, precision: usize) -> String {
        let Some(digits) = self.digits.len().checked_sub(1) else {
            let zero = PlainDecimal { is_negative: false, digits: Vec::new(), scale: precision };
            return format!("{}e+00", zero.text());
        };
        let significand = PlainDecimal { scale: digits, ..self.clone() };
        let significand = significand.rounded(i32::try_from(precision).unwrap_or(i32::MAX));
        let is_small = digits < self.scale;
        let sign = if is_small { '-' } else { '+' };
        format!("{}e{sign}{:02}", significand.text(), digits.abs_diff(self.scale))
    }
}
