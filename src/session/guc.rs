//! Postgres' settings (GUCs): their names, their defaults, and which values are valid.

use arrow::array::timezone::Tz;

use crate::error::{Error, ErrorKind, Result};

/// The version that drivers branch on.
const SERVER_VERSION: &str = "16.6";

/// The text of `version()`: drivers parse a number after the first word.
pub fn version() -> String {
    format!("PostgreSQL {SERVER_VERSION} (Tidemark {})", env!("CARGO_PKG_VERSION"))
}

/// The longest value that is stored.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// One setting: its name as Postgres spells it, its default, and who may change it.
pub(super) struct Guc {
    pub name: &'static str,
    pub default: &'static str,
    kind: Check,
}

/// Which values a setting takes.
#[derive(Clone, Copy, PartialEq)]
enum Check {
    /// None: it is read-only.
    Fixed,
    Any,
    Bool,
    Integer,
    /// A number of milliseconds, or a number and a unit.
    Duration,
    Encoding,
    DateStyle,
    IntervalStyle,
    TimeZone,
    Isolation,
}

const fn known(name: &'static str, default: &'static str, kind: Check) -> Guc {
    Guc { name, default, kind }
}

/// In the order of `SHOW ALL`.
pub(super) const KNOWN: &[Guc] = &[
    known("application_name", "", Check::Any),
    known("backslash_quote", "safe_encoding", Check::Any),
    known("bytea_output", "hex", Check::Any),
    known("check_function_bodies", "on", Check::Bool),
    known("client_encoding", "UTF8", Check::Encoding),
    known("client_min_messages", "notice", Check::Any),
    known("DateStyle", "ISO, MDY", Check::DateStyle),
    known("default_table_access_method", "heap", Check::Any),
    known("default_tablespace", "", Check::Any),
    known("default_transaction_deferrable", "off", Check::Bool),
    known("default_transaction_isolation", "read committed", Check::Isolation),
    known("default_transaction_read_only", "off", Check::Bool),
    known("escape_string_warning", "on", Check::Bool),
    known("extra_float_digits", "1", Check::Integer),
    known("geqo", "on", Check::Bool),
    known("idle_in_transaction_session_timeout", "0", Check::Duration),
    known("idle_session_timeout", "0", Check::Duration),
    known("in_hot_standby", "off", Check::Fixed),
    known("integer_datetimes", "on", Check::Fixed),
    known("IntervalStyle", "postgres", Check::IntervalStyle),
    known("is_superuser", "on", Check::Fixed),
    known("jit", "off", Check::Bool),
    known("lc_collate", "C", Check::Fixed),
    known("lc_ctype", "C", Check::Fixed),
    known("lc_messages", "C", Check::Any),
    known("lc_monetary", "C", Check::Any),
    known("lc_numeric", "C", Check::Any),
    known("lc_time", "C", Check::Any),
    known("lock_timeout", "0", Check::Duration),
    known("max_connections", "100", Check::Fixed),
    known("max_identifier_length", "63", Check::Fixed),
    known("max_index_keys", "32", Check::Fixed),
    known("row_security", "on", Check::Bool),
    known("search_path", "\"$user\", public", Check::Any),
    known("server_encoding", "UTF8", Check::Fixed),
    known("server_version", SERVER_VERSION, Check::Fixed),
    known("server_version_num", "160006", Check::Fixed),
    known("session_authorization", "", Check::Any),
    known("session_replication_role", "origin", Check::Any),
    known("standard_conforming_strings", "on", Check::Bool),
    known("statement_timeout", "0", Check::Duration),
    known("synchronous_commit", "on", Check::Any),
    known("synchronize_seqscans", "on", Check::Bool),
    known("TimeZone", "UTC", Check::TimeZone),
    known("transaction_deferrable", "off", Check::Bool),
    known("transaction_isolation", "read committed", Check::Isolation),
    known("transaction_read_only", "off", Check::Bool),
    known("wal_level", "replica", Check::Fixed),
    known("work_mem", "4MB", Check::Any),
    known("xmlbinary", "base64", Check::Any),
    known("xmloption", "content", Check::Any),
];

/// Those reported to the client (`ParameterStatus`), at login and whenever they change.
pub(super) const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// The name as Postgres spells it: `timezone` is `TimeZone`.
pub fn spelled(name: &str) -> String {
    let name = canonical(name);
    find(&name).map_or(name, |k| k.name.to_string())
}

/// The setting of a canonical name.
pub(super) fn find(lowercase: &str) -> Option<&'static Guc> {
    KNOWN.iter().find(|k| k.name.eq_ignore_ascii_case(lowercase))
}

/// Whether a setting belongs to the transaction (`BEGIN` and `SET TRANSACTION` set it): RESET does not change it.
pub(super) fn is_of_transaction(name: &str) -> bool {
    name.starts_with("transaction_")
}

/// The name that a setting is stored under: lowercase, the same for all of its spellings.
pub(super) fn canonical(name: &str) -> String {
    let name = name.trim().to_lowercase();
    match name.as_str() {
        "time zone" | "time.zone" => "timezone".into(),
        "names" => "client_encoding".into(),
        "transaction isolation level" => "transaction_isolation".into(),
        "session authorization" => "session_authorization".into(),
        _ => name,
    }
}

fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::UndefinedObject, format!("unrecognized configuration parameter \"{name}\""))
        .hint("SHOW ALL lists the settings; a setting of your own needs a prefix: my_app.name.")
}

/// Refuses a `RESET` of a setting that is read-only, the transaction's, or unknown. `name` is canonical.
pub(super) fn resettable(name: &str) -> Result<()> {
    match find(name) {
        Some(k) if k.kind == Check::Fixed => Err(fixed(k.name)),
        Some(k) if is_of_transaction(k.name) => {
            Err(Error::new(ErrorKind::Unsupported, format!("parameter \"{}\" cannot be reset", k.name)))
        }
        None if !name.contains('.') => Err(unknown(name)),
        _ => Ok(()),
    }
}

fn fixed(name: &str) -> Error {
    Error::new(ErrorKind::ObjectNotInState, format!("parameter \"{name}\" cannot be changed"))
}

/// The value as it is stored, or the error if the setting cannot have it. `name` is canonical.
pub(super) fn check(name: &str, value: &str) -> Result<String> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, format!("value of \"{name}\" is longer than 16 KiB")));
    }
    let Some(known) = find(name) else {
        return if name.contains('.') { Ok(value.to_string()) } else { Err(unknown(name)) };
    };
    let wrong = || {
        Error::new(
            ErrorKind::InvalidParameterValue,
            format!("invalid value for parameter \"{}\": \"{value}\"", known.name),
        )
    };
    let value = value.trim();
    let word = value.to_lowercase();
    match known.kind {
        Check::Fixed => Err(fixed(known.name)),
        Check::Any => Ok(value.to_string()),
        Check::Bool => match word.as_str() {
            "on" | "true" | "t" | "yes" | "y" | "1" => Ok("on".into()),
            "off" | "false" | "f" | "no" | "n" | "0" => Ok("off".into()),
            _ => Err(wrong().hint("Use on or off.")),
        },
        Check::Integer => value.parse::<i32>().map(|n| n.to_string()).map_err(|_| wrong()),
        Check::Duration => milliseconds(value)
            .map(|_| value.to_string())
            .ok_or_else(|| wrong().hint("Valid units are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".")),
        // Drivers write 'utf-8', some with the quotes: only letters and digits count.
        Check::Encoding => match word.replace(|c: char| !c.is_ascii_alphanumeric(), "").as_str() {
            "utf8" | "unicode" | "sqlascii" => Ok("UTF8".into()),
            _ => Err(wrong().hint("This server speaks UTF8 only.")),
        },
        Check::DateStyle => date_style(&word).ok_or_else(wrong),
        Check::IntervalStyle => match word.as_str() {
            "postgres" | "postgres_verbose" | "sql_standard" | "iso_8601" => Ok(word),
            _ => Err(wrong().hint("Available values: postgres, postgres_verbose, sql_standard, iso_8601.")),
        },
        Check::TimeZone => time_zone(value).ok_or_else(wrong),
        Check::Isolation => match word.as_str() {
            "read uncommitted" | "read committed" | "repeatable read" | "serializable" => Ok(word),
            _ => Err(wrong()),
        },
    }
}

/// Dates are always output in ISO form; the order only says how ambiguous input is read.
fn date_style(word: &str) -> Option<String> {
    let mut order = "MDY";
    for part in word.split([',', ' ']).map(str::trim).filter(|p| !p.is_empty()) {
        match part {
            "iso" | "default" => {}
            "mdy" | "us" | "noneuropean" => order = "MDY",
            "dmy" | "european" | "euro" => order = "DMY",
            "ymd" => order = "YMD",
            _ => return None,
        }
    }
    Some(format!("ISO, {order}"))
}

fn time_zone(value: &str) -> Option<String> {
    let value = value.trim_matches('\'');
    match value.to_lowercase().as_str() {
        "default" | "local" | "utc" | "gmt" | "z" | "zulu" | "etc/utc" => return Some("UTC".into()),
        _ => {}
    }
    value.parse::<Tz>().is_ok().then(|| value.to_string())
}

/// A number of milliseconds, or a number with a unit.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let (factor, divisor) = match text[digits..].trim() {
        "" | "ms" => (1, 1),
        "us" => (1, 1000),
        "s" => (1000, 1),
        "min" => (60_000, 1),
        "h" => (3_600_000, 1),
        "d" => (86_400_000, 1),
        _ => return None,
    };
    let ms = number.checked_mul(factor)? / divisor;
    (ms <= i32::MAX as u64).then_some(ms)
}
