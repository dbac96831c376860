//! NUMERIC from text, rounded half away from zero as in INSERT and casts. Arrow's decoders truncate instead, and its
//! cast does not parse exponents.

use arrow::{
    array::{Array, ArrowNativeTypeOp, PrimitiveArray, PrimitiveBuilder, StringArray},
    datatypes::{ArrowNativeType, DecimalType},
};

/// More digits than any type has, so that larger exponents can be clamped.
const DIGITS_MAX: i64 = 1_000;

/// Parses a column; the error is the first invalid text, and the reason.
pub(super) fn parse_all<T: DecimalType>(
    texts: &StringArray,
    precision: u8,
    scale: i8,
) -> Result<PrimitiveArray<T>, (String, String)> {
    let data_type = T::TYPE_CONSTRUCTOR(precision, scale);
    let mut values = PrimitiveBuilder::<T>::with_capacity(texts.len()).with_data_type(data_type);
    for text in texts {
        match text {
            None => values.append_null(),
            Some(text) => {
                let why = |why| (text.to_string(), why);
                let number = Number::read(text.trim()).ok_or_else(|| why("is no number".to_string()))?;
                let value = number.scaled::<T>(scale).filter(|v| T::is_valid_decimal_precision(*v, precision));
                let value = value.ok_or_else(|| why(format!("is out of range of numeric({precision}, {scale})")))?;
                values.append_value(value);
            }
        }
    }
    Ok(values.finish())
}

/// The parts of a number's text.
struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Number<'a> {
    /// Parses `[+-] digits [. digits] [e [+-] digits]`; at least one digit before `e` is required.
    fn read(text: &'a str) -> Option<Number<'a>> {
        let (negative, rest) = signed(text.as_bytes());
        let (whole, rest) = digits(rest);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => digits(rest),
            _ => (&rest[..0], rest),
        };
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return None,
        };
        (!whole.is_empty() || !fraction.is_empty()).then_some(Number { negative, whole, fraction, exponent })
    }

    /// The number times ten to the power of `scale`, rounded; `None` on overflow of the type.
    fn scaled<T: DecimalType>(&self, scale: i8) -> Option<T::Native> {
        let ten = T::Native::usize_as(10);
        let digit = |b: &u8| T::Native::usize_as(usize::from(b - b'0'));
        let all = || self.whole.iter().chain(self.fraction);
        // The number of digits that are kept, the others are rounded.
        let kept = self.whole.len() as i64 + self.exponent + i64::from(scale);
        let mut value = T::Native::ZERO;
        for b in all().take(usize::try_from(kept).unwrap_or(0)) {
            value = value.mul_checked(ten).ok()?.add_checked(digit(b)).ok()?;
        }
        let missing = kept - (self.whole.len() + self.fraction.len()) as i64;
        if missing > 0 && value != T::Native::ZERO {
            let power = u32::try_from(missing.min(DIGITS_MAX)).ok()?;
            value = value.mul_checked(ten.pow_checked(power).ok()?).ok()?;
        }
        if usize::try_from(kept).is_ok_and(|kept| all().nth(kept).is_some_and(|b| *b >= b'5')) {
            value = value.add_checked(T::Native::ONE).ok()?;
        }
        Some(if self.negative { value.neg_wrapping() } else { value })
    }
}

fn signed(bytes: &[u8]) -> (bool, &[u8]) {
    match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    }
}

fn digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().take_while(|b| b.is_ascii_digit()).count())
}

/// Parses the digits after `e`; a value beyond the maximum digits of any type is clamped.
fn exponent(bytes: &[u8]) -> Option<i64> {
    let (negative, rest) = signed(bytes);
    let (number, rest) = digits(rest);
    if number.is_empty() || !rest.is_empty() {
        return None;
    }
    let size = number.iter().fold(0_i64, |n, b| n.saturating_mul(10).saturating_add(i64::from(b - b'0')));
    // Many digits may compensate it, at most as many as a record has bytes.
    let size = size.min(i64::from(u32::MAX));
    Some(if negative { -size } else { size })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Decimal128Type, Decimal256Type};

    use super::*;

    fn show(text: &str, precision: u8, scale: i8) -> Result<String, String> {
        let texts = StringArray::from(vec![text]);
        match parse_all::<Decimal128Type>(&texts, precision, scale) {
            Ok(values) => Ok(values.value_as_string(0)),
            Err((_, why)) => Err(why),
        }
    }

    #[test]
    fn decimal_text_is_rounded_half_away_from_zero() {
        for (text, shown) in [
            ("1.239", "1.24"),
            ("1.235", "1.24"),
            ("-1.235", "-1.24"),
            ("1.2349999", "1.23"),
            ("-0.004", "0.00"),
            ("0.995", "1.00"),
            ("0.005", "0.01"),
            (" +7 ", "7.00"),
            (".5", "0.50"),
            ("5.", "5.00"),
            ("1e2", "100.00"),
            ("1.5E+3", "1500.00"),
            ("12345e-3", "12.35"),
            ("12345e-7", "0.00"),
            ("5e-3", "0.01"),
            ("5e-4", "0.00"),
            ("0e999999999999", "0.00"),
            ("1e-99999999999999999999", "0.00"),
            ("00000000000000000000000000000000000000000000001", "1.00"),
            ("99999999.994", "99999999.99"),
        ] {
            assert_eq!(show(text, 10, 2).as_deref(), Ok(shown), "{text}");
        }
        assert_eq!(show("1250", 5, -2).as_deref(), Ok("1300"));
    }

    #[test]
    fn decimal_text_out_of_range_or_malformed_is_an_error() {
        for text in ["99999999.995", "99999999.999", "100000000", "1e9", "-1e99999999999", &"9".repeat(100)] {
            assert_eq!(show(text, 10, 2).as_deref(), Err(&"is out of range of numeric(10, 2)".to_string()), "{text}");
        }
        for text in ["", "-", ".", "e5", "1e", "1e+", "1 2", "1.2.3", "1-2", "0x10", "NaN", "1_000", "١"] {
            assert_eq!(show(text, 10, 2).as_deref(), Err(&"is no number".to_string()), "{text}");
        }
        let most = "9".repeat(76);
        let wide = parse_all::<Decimal256Type>(&StringArray::from(vec![most.as_str()]), 76, 0);
        assert_eq!(wide.map(|v| v.value_as_string(0)), Ok(most));
    }
}
