//! The names of days, months, eras and halves of a day, in the `C` locale.

use super::date_patterns::LetterCase;

pub const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

pub const DAY_ABBREVIATIONS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub const MONTH_ABBREVIATIONS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The months in roman numbers, from January.
pub const ROMAN_MONTHS: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// After and before Christ.
pub fn eras(is_dotted: bool) -> [&'static str; 2] {
    if is_dotted { ["A.D.", "B.C."] } else { ["AD", "BC"] }
}

/// Before and after noon.
pub fn meridiems(is_dotted: bool) -> [&'static str; 2] {
    if is_dotted { ["A.M.", "P.M."] } else { ["AM", "PM"] }
}

/// Writes a name of ASCII; `Title` leaves it as it is.
pub fn push_name(out: &mut String, name: &str, case: LetterCase) {
    match case {
        LetterCase::Upper => out.extend(name.chars().map(|letter| letter.to_ascii_uppercase())),
        LetterCase::Title => out.push_str(name),
        LetterCase::Lower => out.extend(name.chars().map(|letter| letter.to_ascii_lowercase())),
    }
}
