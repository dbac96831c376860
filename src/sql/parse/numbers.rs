//! Numbers with an exponent, `1.5e-7`: written as a decimal if its digits suffice, else as a double.

use datafusion::sql::sqlparser::ast::{CastKind, DataType, Expr, Value};

use crate::error::{Error, ErrorKind, Result};

/// Digits of the widest decimal.
const DIGITS_MAX: usize = 76;

pub(super) fn written_out(expr: &mut Expr) -> Result<()> {
    let Expr::Value(value) = expr else { return Ok(()) };
    let Value::Number(text, _) = &mut value.value else { return Ok(()) };
    match digits(text) {
        NumberForm::AsIs => {}
        NumberForm::Out(plain) => *text = plain,
        NumberForm::Double => {
            if text.parse::<f64>().is_ok_and(f64::is_infinite) {
                let message = format!("\"{text}\" is out of range for type double precision");
                return Err(Error::new(ErrorKind::NumericOutOfRange, message));
            }
            value.value = Value::SingleQuotedString(std::mem::take(text));
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(Expr::Value(value.clone())),
                data_type: DataType::DoublePrecision,
                array: false,
                format: None,
            };
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq)]
enum NumberForm {
    AsIs,
    Out(String),
    Double,
}

fn digits(text: &str) -> NumberForm {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = (whole.bytes().chain(fraction.bytes())).all(|byte| byte.is_ascii_digit());
    let (true, Ok(exponent)) = (is_number && mantissa.len() <= DIGITS_MAX + 1, exponent.parse::<i32>()) else {
        return if is_number { NumberForm::Double } else { NumberForm::AsIs };
    };
    // The position of the decimal point, in digits from the first one.
    let point = whole.len() as i64 + i64::from(exponent);
    let digits = format!("{whole}{fraction}");
    let (before, behind) = (point.max(0), (digits.len() as i64 - point).max(0));
    if before + behind > DIGITS_MAX as i64 {
        return NumberForm::Double;
    }
    if mantissa.len() == text.len() {
        return NumberForm::AsIs;
    }
    let (before, behind) = (before as usize, behind as usize);
    let zeros = "0".repeat(behind.saturating_sub(digits.len()));
    let digits = format!("{zeros}{digits}{}", "0".repeat(before.saturating_sub(digits.len())));
    let (whole, fraction) = digits.split_at(digits.len() - behind);
    let whole = if whole.is_empty() { "0" } else { whole };
    NumberForm::Out(match fraction.is_empty() {
        // A trailing point makes it numeric, as any number with an exponent.
        true => format!("{whole}."),
        false => format!("{whole}.{fraction}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_with_exponent_becomes_a_decimal_while_it_fits() {
        for (text, expected) in [
            ("1", NumberForm::AsIs),
            ("1.50", NumberForm::AsIs),
            ("0x1e", NumberForm::AsIs),
            ("1_000", NumberForm::AsIs),
            ("1e3", NumberForm::Out("1000.".into())),
            ("1.5e1", NumberForm::Out("15.".into())),
            ("1.25e1", NumberForm::Out("12.5".into())),
            ("15e-1", NumberForm::Out("1.5".into())),
            ("1.5E-3", NumberForm::Out("0.0015".into())),
            (".5e+1", NumberForm::Out("5.".into())),
            ("5.e0", NumberForm::Out("5.".into())),
            ("1e75", NumberForm::Out(format!("1{}.", "0".repeat(75)))),
            ("1e76", NumberForm::Double),
            ("1e300", NumberForm::Double),
            ("1e-77", NumberForm::Double),
            ("1e99999999999999999999", NumberForm::Double),
        ] {
            assert_eq!(digits(text), expected, "{text}");
        }
        let long = "9".repeat(77);
        assert_eq!(digits(&long), NumberForm::Double);
    }
}
