//! What a client can `SET` and `SHOW`: Postgres' names and defaults, and what one session has made of them.
//!
//! Most of them have no effect here and are kept only because drivers set them; those that do have one are checked
//! when they are set, so that whoever reads them later need not doubt them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arrow::array::timezone::Tz;

use crate::error::{Error, ErrorKind, Result};

/// The version that drivers branch on.
pub const SERVER_VERSION: &str = "16.6";

/// The version of the server, as `version()` tells it: drivers look for a number behind the first word.
pub fn version() -> String {
    format!("PostgreSQL {SERVER_VERSION} (Tidemark {})", env!("CARGO_PKG_VERSION"))
}

/// How many custom settings (`prefix.name`) one session may keep.
const CUSTOM_MAX: usize = 256;
/// The longest value that is kept.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// One setting: its name as Postgres spells it, its default, and who may change it.
struct Setting {
    name: &'static str,
    default: &'static str,
    kind: Check,
}

/// What a value has to be.
#[derive(Clone, Copy, PartialEq)]
enum Check {
    /// Nobody can change it.
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

const fn known(name: &'static str, default: &'static str, kind: Check) -> Setting {
    Setting { name, default, kind }
}

/// In the order of `SHOW ALL`.
const KNOWN: &[Setting] = &[
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

/// Those that a client is told of at login and whenever they change.
const REPORTED: &[&str] = &[
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

/// What one session has set. Shared by its connection, its running statements and its SQL functions.
#[derive(Debug, Default)]
pub struct Settings {
    values: Mutex<SettingValues>,
}

#[derive(Debug, Default, Clone)]
struct SettingValues {
    /// By lowercase name; all others have their defaults.
    set: BTreeMap<String, String>,
    /// What `RESET` goes back to: what the client asked for when it connected.
    initial: BTreeMap<String, String>,
    /// What to go back to when the transaction is rolled back.
    before: Option<BTreeMap<String, String>>,
    /// What `SET LOCAL` covered, to be uncovered at the end of the transaction.
    covered: BTreeMap<String, Option<String>>,
}

impl Settings {
    /// What is in force; `None` where there is no such setting.
    pub fn get(&self, name: &str) -> Option<String> {
        let name = canonical(name);
        let values = self.lock();
        let set = values.set.get(&name).or_else(|| values.initial.get(&name));
        set.cloned().or_else(|| find(&name).map(|k| k.default.to_string()))
    }

    /// Sets it for the session, or for the transaction where `local`. An unknown name without a dot, a setting that is
    /// fixed, and a value that does not fit are errors, and change nothing.
    pub fn set(&self, name: &str, value: &str, local: bool) -> Result<()> {
        let name = canonical(name);
        let value = check(&name, value)?;
        let mut values = self.lock();
        if find(&name).is_none() && !values.set.contains_key(&name) && values.set.len() >= CUSTOM_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("more than {CUSTOM_MAX} settings in one session"),
            ));
        }
        if local {
            if values.before.is_none() {
                return Ok(());
            }
            let old = values.set.get(&name).cloned();
            values.covered.entry(name.clone()).or_insert(old);
        } else {
            values.covered.remove(&name);
        }
        values.set.insert(name, value);
        Ok(())
    }

    /// Sets it as the client asked for when it connected: what `RESET` goes back to.
    pub fn set_initial(&self, name: &str, value: &str) -> Result<()> {
        let name = canonical(name);
        let value = check(&name, value)?;
        self.lock().initial.insert(name, value);
        Ok(())
    }

    pub fn reset(&self, name: &str) -> Result<()> {
        let name = canonical(name);
        match find(&name) {
            Some(k) if k.kind == Check::Fixed => return Err(fixed(k.name)),
            Some(k) if is_of_transaction(k.name) => {
                return Err(Error::new(ErrorKind::Unsupported, format!("parameter \"{}\" cannot be reset", k.name)));
            }
            None if !name.contains('.') => return Err(unknown(&name)),
            _ => {}
        }
        self.lock().set.remove(&name);
        Ok(())
    }

    pub fn reset_all(&self) {
        self.lock().set.retain(|name, _| is_of_transaction(name));
    }

    /// A transaction begins: from here on a rollback undoes what is set.
    pub fn begin(&self) {
        let mut values = self.lock();
        values.before = Some(values.set.clone());
        values.covered.clear();
    }

    /// The transaction ends; what was `SET LOCAL` ends with it.
    pub fn commit(&self) {
        let mut values = self.lock();
        values.before = None;
        for (name, old) in std::mem::take(&mut values.covered) {
            match old {
                Some(old) => values.set.insert(name, old),
                None => values.set.remove(&name),
            };
        }
    }

    /// The transaction ends as if nothing had been set in it.
    pub fn rollback(&self) {
        let mut values = self.lock();
        values.covered.clear();
        if let Some(before) = values.before.take() {
            values.set = before;
        }
    }

    /// All settings with a name of Postgres', and the session's own ones.
    pub fn all(&self) -> Vec<(String, String)> {
        let known = KNOWN.iter().map(|k| k.name.to_string());
        let values = self.lock();
        let custom: Vec<String> = values.set.keys().filter(|name| find(name).is_none()).cloned().collect();
        drop(values);
        known.chain(custom).map(|name| (name.clone(), self.get(&name).unwrap_or_default())).collect()
    }

    /// Those that a client is told of.
    pub fn reported(&self) -> Vec<(&'static str, String)> {
        REPORTED.iter().map(|name| (*name, self.get(name).unwrap_or_default())).collect()
    }

    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "on")
    }

    /// How long a statement may take; `None` is for ever.
    pub fn statement_timeout(&self) -> Option<Duration> {
        let ms = milliseconds(&self.get("statement_timeout")?)?;
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    fn lock(&self) -> MutexGuard<'_, SettingValues> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name as Postgres spells it: `timezone` is `TimeZone`.
pub fn spelled(name: &str) -> String {
    let name = canonical(name);
    find(&name).map_or(name, |k| k.name.to_string())
}

fn find(lowercase: &str) -> Option<&'static Setting> {
    KNOWN.iter().find(|k| k.name.eq_ignore_ascii_case(lowercase))
}

/// What `BEGIN` and `SET TRANSACTION` say: it is the transaction's, and a RESET does not take it back.
fn is_of_transaction(name: &str) -> bool {
    name.starts_with("transaction_")
}

fn canonical(name: &str) -> String {
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

fn fixed(name: &str) -> Error {
    Error::new(ErrorKind::ObjectNotInState, format!("parameter \"{name}\" cannot be changed"))
}

fn check(name: &str, value: &str) -> Result<String> {
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

/// Dates always go out in ISO form; the order only says how ambiguous input is read.
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
fn milliseconds(text: &str) -> Option<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_validated_and_normalized_as_in_postgres() {
        let s = Settings::default();
        s.set("timezone", "utc", false).expect("a zone");
        assert_eq!(s.get("TimeZone").as_deref(), Some("UTC"));
        s.set("datestyle", "iso, dmy", false).expect("a style");
        assert_eq!(s.get("DateStyle").as_deref(), Some("ISO, DMY"));
        s.set_initial("client_encoding", "'utf-8'").expect("an encoding");
        assert_eq!(s.get("client_encoding").as_deref(), Some("UTF8"));
        s.set("statement_timeout", "2s", false).expect("a duration");
        assert_eq!(s.statement_timeout(), Some(Duration::from_secs(2)));
        s.set("my_app.colour", "red", false).expect("a setting of one's own");
        assert_eq!(s.get("my_app.colour").as_deref(), Some("red"));
        for (name, value, kind) in [
            ("timezone", "Mars/Olympus", ErrorKind::InvalidParameterValue),
            ("client_encoding", "LATIN1", ErrorKind::InvalidParameterValue),
            ("statement_timeout", "soon", ErrorKind::InvalidParameterValue),
            ("statement_timeout", "99999999999999999999", ErrorKind::InvalidParameterValue),
            ("colour", "red", ErrorKind::UndefinedObject),
            ("server_version", "17", ErrorKind::ObjectNotInState),
        ] {
            assert_eq!(s.set(name, value, false).expect_err(name).kind(), kind, "{name} = {value}");
        }
        assert_eq!(s.get("colour"), None);
    }

    #[test]
    fn settings_of_a_transaction_are_restored_on_rollback_and_set_local_on_commit() {
        let s = Settings::default();
        s.set("application_name", "a", false).expect("set");
        s.begin();
        s.set("application_name", "b", false).expect("set");
        s.rollback();
        assert_eq!(s.get("application_name").as_deref(), Some("a"));
        s.begin();
        s.set("application_name", "c", true).expect("set");
        assert_eq!(s.get("application_name").as_deref(), Some("c"));
        s.commit();
        assert_eq!(s.get("application_name").as_deref(), Some("a"));
        s.set("application_name", "d", true).expect("outside a transaction it does nothing");
        assert_eq!(s.get("application_name").as_deref(), Some("a"));
        s.set_initial("application_name", "psql").expect("set");
        s.reset("application_name").expect("reset");
        assert_eq!(s.get("application_name").as_deref(), Some("psql"));
    }
}
