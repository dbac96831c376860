//! `${NAME}` and `${NAME:-default}` in values: expansion from the environment, and redaction of the expanded values.
//!
//! Values are expanded after YAML was parsed, so that a variable cannot change the shape of a file.

use std::sync::{Mutex, PoisonError};

type VariableLookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The source of variables. Stores every value that it returned, to redact it in output.
pub struct Environment {
    lookup: Box<VariableLookup>,
    given: Mutex<Vec<(String, String)>>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment")
    }
}

impl Environment {
    /// The variables of this process.
    pub fn process() -> Self {
        Self::with(|name| std::env::var(name).ok())
    }

    pub fn with(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Environment { lookup: Box::new(lookup), given: Mutex::default() }
    }

    /// `text` with its variables expanded; `$${` is a literal `${`. The error says what is wrong with the text, and
    /// never shows a value.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at]);
                out.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let inner = &rest[at + 2..];
            let Some(end) = inner.find('}') else {
                return Err("\"${\" has no closing \"}\"".to_string());
            };
            out.push_str(&self.value(&inner[..end])?);
            rest = &inner[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The value of `NAME` or `NAME:-default`.
    fn value(&self, variable: &str) -> Result<String, String> {
        let (name, default) = match variable.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (variable, None),
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(word) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("\"${{{variable}}}\" does not name an environment variable"));
        }
        match ((self.lookup)(name).filter(|v| !v.is_empty()), default) {
            (Some(value), _) => {
                let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
                given.push((name.to_string(), value.clone()));
                Ok(value)
            }
            (None, Some(default)) => Ok(default.to_string()),
            (None, None) => Err(format!("environment variable \"{name}\" is not set")),
        }
    }

    /// `text` with every value from the environment replaced by the name of its variable. Values of one or two
    /// characters are not replaced: no secret is so short, and replacing them would garble every message.
    pub fn redact(&self, text: &str) -> String {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner).clone();
        given.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        let long = given.iter().filter(|(_, value)| value.chars().count() > 2);
        long.fold(text.to_string(), |text, (name, value)| text.replace(value.as_str(), &format!("${{{name}}}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::with(|name| match name {
            "TOKEN" => Some("s3cr3t".to_string()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn environment_variables_and_defaults_are_expanded() {
        let e = environment();
        assert_eq!(e.expand("a ${TOKEN} b").as_deref(), Ok("a s3cr3t b"));
        assert_eq!(e.expand("${NONE:-x y}${EMPTY:-z}").as_deref(), Ok("x yz"));
        assert_eq!(e.expand("${NONE:-}").as_deref(), Ok(""));
        assert_eq!(e.expand("$${TOKEN} $5 {}").as_deref(), Ok("${TOKEN} $5 {}"));
    }

    #[test]
    fn environment_unset_or_malformed_variable_is_an_error() {
        let e = environment();
        assert_eq!(e.expand("${NONE}"), Err("environment variable \"NONE\" is not set".to_string()));
        assert_eq!(e.expand("${TOKEN"), Err("\"${\" has no closing \"}\"".to_string()));
        assert_eq!(e.expand("${a-b}"), Err("\"${a-b}\" does not name an environment variable".to_string()));
    }

    #[test]
    fn environment_values_are_redacted_from_messages() {
        let e = environment();
        e.expand("${TOKEN}${NONE:-shown}").unwrap();
        assert_eq!(e.redact("option takes 'shown', not 's3cr3t'"), "option takes 'shown', not '${TOKEN}'");
    }
}
