//! `to_char` of numbers, and `to_number`.

use std::cell::RefCell;
use std::rc::Rc;

use super::decimal::{NumericValue, PlainDecimal};
use super::float_text::{fixed_text, scientific_text};
use super::number_layout::NumberLayout;
use super::number_reader::read_digits;
use super::number_template::NumberTemplate;
use super::number_writer::{WritableNumber, write_number, write_roman};
use super::template_cache::TemplateCache;
use crate::error::{Error, ErrorKind, Result};

/// How many digits behind the point a `numeric` is rounded to at most.
const ROUNDING_SCALE_MAX: usize = 16_383;

thread_local! {
    static TEMPLATES: RefCell<TemplateCache<NumberTemplate>> = const { RefCell::new(TemplateCache::new()) };
}

fn template(text: &str) -> Result<Rc<NumberTemplate>> {
    TEMPLATES.with_borrow_mut(|cache| cache.get(text, NumberTemplate::parse))
}

/// `to_char(integer, text)`. A power of ten of `V` wraps around, as in PostgreSQL.
pub fn int4_to_char(value: i32, text: &str) -> Result<String> {
    let template = template(text)?;
    let layout = &template.layout;
    if layout.is_roman {
        return Ok(write_roman(&template, value));
    }
    if layout.is_scientific {
        return Ok(scientific_text(value.into(), layout.after_point));
    }
    let power = u32::try_from(layout.shift).ok().and_then(|shift| 10_i32.checked_pow(shift)).unwrap_or(i32::MIN);
    write_integer(&template, value.wrapping_mul(power).into())
}

/// `to_char(bigint, text)`. Error 22003 if a power of ten of `V` is too large, or a roman number is beyond `integer`.
pub fn int8_to_char(value: i64, text: &str) -> Result<String> {
    let template = template(text)?;
    let layout = &template.layout;
    if layout.is_roman {
        let value = i32::try_from(value).map_err(|_| out_of_range("integer out of range"))?;
        return Ok(write_roman(&template, value));
    }
    if layout.is_scientific {
        return Ok(spaced(PlainDecimal::of_scaled(value.into(), 0).scientific_text(layout.after_point)));
    }
    let power = u32::try_from(layout.shift).ok().and_then(|shift| 10_i64.checked_pow(shift));
    let value = power.and_then(|power| value.checked_mul(power)).ok_or_else(|| out_of_range("bigint out of range"))?;
    write_integer(&template, value)
}

fn write_integer(template: &NumberTemplate, value: i64) -> Result<String> {
    let layout = shifted(&template.layout);
    let point = if layout.after_point > 0 { "." } else { "" };
    let text = format!("{value}{point}{}", "0".repeat(layout.after_point));
    let number = WritableNumber::new(&text, &layout);
    write_number(template, layout, &number)
}

fn out_of_range(message: &str) -> Error {
    Error::new(ErrorKind::NumericOutOfRange, message)
}

/// The layout with places for the digits of `V`.
fn shifted(layout: &NumberLayout) -> NumberLayout {
    NumberLayout { before_point: layout.before_point + layout.shift, ..layout.clone() }
}

/// `to_char(real, text)`: six digits are written at most.
pub fn float4_to_char(value: f32, text: &str) -> Result<String> {
    let template = template(text)?;
    let shift = template.layout.shift;
    let shifted = if shift > 0 { value * power_of_ten(shift) as f32 } else { value };
    write_float(&template, value.into(), shifted.into(), f32::DIGITS as usize)
}

/// `to_char(double precision, text)`: fifteen digits are written at most.
pub fn float8_to_char(value: f64, text: &str) -> Result<String> {
    let template = template(text)?;
    let shift = template.layout.shift;
    let shifted = if shift > 0 { value * power_of_ten(shift) } else { value };
    write_float(&template, value, shifted, f64::DIGITS as usize)
}

fn power_of_ten(exponent: usize) -> f64 {
    10_f64.powf(exponent as f64)
}

/// A float, and what `V` makes of it.
fn write_float(template: &NumberTemplate, value: f64, shifted_value: f64, digits_max: usize) -> Result<String> {
    let layout = &template.layout;
    if layout.is_roman {
        return Ok(write_roman(template, value.round_ties_even() as i32));
    }
    if layout.is_scientific {
        let is_finite = value.is_finite();
        return Ok(if is_finite { scientific_text(value, layout.after_point) } else { scientific_blank(layout) });
    }
    let mut layout = shifted(layout);
    let whole_digits = fixed_text(shifted_value.abs(), 0).len();
    layout.after_point = layout.after_point.min(digits_max.saturating_sub(whole_digits));
    let number = WritableNumber::new(&fixed_text(shifted_value, layout.after_point), &layout);
    write_number(template, layout, &number)
}

/// What stands for a number that has no scientific notation.
fn scientific_blank(layout: &NumberLayout) -> String {
    format!(" {}.{}", "#".repeat(layout.before_point), "#".repeat(layout.after_point + 4))
}

fn spaced(text: String) -> String {
    if text.starts_with('-') { text } else { format!(" {text}") }
}

/// `to_char(numeric, text)`, of an unscaled value and its scale.
pub fn numeric_to_char(value: (i128, i8), text: &str) -> Result<String> {
    write_numeric(NumericValue::Finite(PlainDecimal::of_scaled(value.0, value.1)), text)
}

/// `to_char(numeric, text)`, of a number of any size as PostgreSQL prints it, `NaN` and infinities included. Error
/// 22P02 if it is not one.
pub fn numeric_text_to_char(value: &str, text: &str) -> Result<String> {
    write_numeric(NumericValue::parse(value)?, text)
}

fn write_numeric(value: NumericValue, text: &str) -> Result<String> {
    let template = template(text)?;
    let layout = &template.layout;
    if layout.is_roman {
        let unsupported = |what| Error::new(ErrorKind::Unsupported, format!("cannot convert {what} to integer"));
        let value = match value {
            NumericValue::Undefined => return Err(unsupported("NaN")),
            NumericValue::Infinite { .. } => return Err(unsupported("infinity")),
            NumericValue::Finite(value) => value.to_int4()?,
        };
        return Ok(write_roman(&template, value));
    }
    if layout.is_scientific {
        return Ok(match value {
            NumericValue::Finite(value) => spaced(value.scientific_text(layout.after_point)),
            _ => scientific_blank(layout),
        });
    }
    let rounding_scale = i32::try_from(layout.after_point.min(ROUNDING_SCALE_MAX)).unwrap_or_default();
    let text = match value {
        NumericValue::Undefined => "NaN".to_string(),
        NumericValue::Infinite { is_negative } => if is_negative { "-Infinity" } else { "Infinity" }.to_string(),
        NumericValue::Finite(value) => value.shifted(layout.shift).checked()?.rounded(rounding_scale).text(),
    };
    let layout = shifted(layout);
    let number = WritableNumber::new(&text, &layout);
    write_number(&template, layout, &number)
}

/// `to_number(text, text)`: the number as PostgreSQL prints it. NULL for an empty template. Errors 22P02 if there are
/// no digits, 22003 if there are more than the template has places.
pub fn to_number(value: &str, text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let template = template(text)?;
    let layout = &template.layout;
    let read = read_digits(&template, value)?;
    let precision = layout.before_point + layout.shift + read.scale;
    let number = limited(PlainDecimal::parse(&read.text)?, precision, read.scale)?.checked()?;
    let number = if layout.is_shifted { number.divided(layout.shift) } else { number };
    Ok(Some(number.text()))
}

/// Rounds a number to a scale, and checks its precision. Both are packed into one integer, as PostgreSQL does: that
/// gives other limits for thousands of digits, or none.
fn limited(number: PlainDecimal, precision: usize, scale: usize) -> Result<PlainDecimal> {
    let part = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let packed = part(precision).wrapping_shl(16) | part(scale);
    if packed < 0 {
        return Ok(number);
    }
    let precision = (packed >> 16) & 0xffff;
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    let number = number.rounded(scale);
    let digits_max = precision - scale;
    if i64::try_from(number.whole_digits()).unwrap_or(i64::MAX) > digits_max.into() {
        let limit = if digits_max == 0 { "1".to_string() } else { format!("10^{digits_max}") };
        return Err(out_of_range("numeric field overflow").detail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than {limit}."
        )));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_of_any_size_are_written() -> Result<()> {
        let wide = "9".repeat(50);
        assert_eq!(numeric_text_to_char(&wide, &wide)?, format!(" {wide}"));
        assert_eq!(numeric_text_to_char(&wide, "9.99EEEE")?, " 10.00e+49");
        assert_eq!(numeric_text_to_char("NaN", "9.9EEEE")?, " #.#####");
        assert_eq!(numeric_text_to_char("-Infinity", "FM999999999.9")?, "-Infinity");
        let roman = ["NaN", "Infinity", "1e5"].map(|value| numeric_text_to_char(value, "RN"));
        let messages = roman.map(|result| result.err().map(|error| error.message().to_string()).unwrap_or_default());
        let malformed = "invalid input syntax for type numeric: \"1e5\"";
        assert_eq!(messages, ["cannot convert NaN to integer", "cannot convert infinity to integer", malformed]);
        Ok(())
    }
}
