//! Floats as decimal texts, as PostgreSQL's own `printf` writes them.

/// Digits beyond these are zeros.
const PRECISION_MAX: usize = 350;

/// With so many digits behind the point.
pub fn fixed_text(value: f64, precision: usize) -> String {
    if value.is_nan() {
        return "NaN".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_string();
    }
    format!("{value:.precision$}")
}

/// A finite number in scientific notation, with a space in place of a plus sign.
pub fn scientific_text(value: f64, precision: usize) -> String {
    let text = format!("{value:.*e}", precision.min(PRECISION_MAX));
    let zeros = "0".repeat(precision.saturating_sub(PRECISION_MAX));
    let (significand, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let space = if significand.starts_with('-') { "" } else { " " };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{space}{significand}{zeros}e{sign}{digits:0>2}")
}
