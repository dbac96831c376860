//! The settings of a session: `SET`, `SHOW` and `RESET`.
//!
//! Most settings have no effect here and are stored only because drivers set them; those that have one are validated
//! when they are set, so that readers can rely on them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use super::guc::{KNOWN, REPORTED, canonical, check, find, is_of_transaction, milliseconds, resettable};
use crate::{
    error::{Error, ErrorKind, Result},
    sync::locked,
};

/// Maximum of custom settings (`prefix.name`) per session.
const CUSTOM_MAX: usize = 256;

/// The settings of one session. Shared by its connection, its running statements and its SQL functions.
#[derive(Debug, Default)]
pub struct Settings {
    values: Mutex<SettingValues>,
}

#[derive(Debug, Default, Clone)]
struct SettingValues {
    /// Values by lowercase name; all other settings have their defaults.
    set: BTreeMap<String, String>,
    /// The values that `RESET` restores: those of the startup message.
    initial: BTreeMap<String, String>,
    /// The values that a rollback of the transaction restores.
    before: Option<BTreeMap<String, String>>,
    /// The values that `SET LOCAL` replaced, to be restored at the end of the transaction.
    covered: BTreeMap<String, Option<String>>,
}

impl Settings {
    /// The value in effect; `None` if there is no such setting.
    pub fn get(&self, name: &str) -> Option<String> {
        let name = canonical(name);
        let values = self.lock();
        let set = values.set.get(&name).or_else(|| values.initial.get(&name));
        set.cloned().or_else(|| find(&name).map(|k| k.default.to_string()))
    }

    /// Sets a value for the session, or for the transaction if `local`. An unknown name without a dot, a read-only
    /// setting, and an invalid value are errors, and change nothing.
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

    /// Sets a value from the startup message: `RESET` restores it.
    pub fn set_initial(&self, name: &str, value: &str) -> Result<()> {
        let name = canonical(name);
        let value = check(&name, value)?;
        self.lock().initial.insert(name, value);
        Ok(())
    }

    pub fn reset(&self, name: &str) -> Result<()> {
        let name = canonical(name);
        resettable(&name)?;
        self.lock().set.remove(&name);
        Ok(())
    }

    pub fn reset_all(&self) {
        self.lock().set.retain(|name, _| is_of_transaction(name));
    }

    /// Starts a transaction: a rollback undoes what is set from here on.
    pub fn begin(&self) {
        let mut values = self.lock();
        values.before = Some(values.set.clone());
        values.covered.clear();
    }

    /// Ends the transaction; `SET LOCAL` values are restored.
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

    /// Ends the transaction and restores the values before it.
    pub fn rollback(&self) {
        let mut values = self.lock();
        values.covered.clear();
        if let Some(before) = values.before.take() {
            values.set = before;
        }
    }

    /// All Postgres settings, and the session's custom ones.
    pub fn all(&self) -> Vec<(String, String)> {
        let known = KNOWN.iter().map(|k| k.name.to_string());
        let values = self.lock();
        let custom: Vec<String> = values.set.keys().filter(|name| find(name).is_none()).cloned().collect();
        drop(values);
        known.chain(custom).map(|name| (name.clone(), self.get(&name).unwrap_or_default())).collect()
    }

    /// The settings that are reported to the client.
    pub fn reported(&self) -> Vec<(&'static str, String)> {
        REPORTED.iter().map(|name| (*name, self.get(name).unwrap_or_default())).collect()
    }

    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "on")
    }

    /// The `statement_timeout`; `None` if there is none.
    pub fn statement_timeout(&self) -> Option<Duration> {
        let ms = milliseconds(&self.get("statement_timeout")?)?;
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    fn lock(&self) -> MutexGuard<'_, SettingValues> {
        locked(&self.values)
    }
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
