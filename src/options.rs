//! `WITH (key = 'value', …)`: the options of a statement, taken one by one, so that what is left over is an error.

mod redactor;

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::redactor::SecretRedactor;
use crate::error::{Error, ErrorKind, Result};

/// Options as written: keys in lowercase, values as text. Order does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options(pub BTreeMap<String, String>);

/// Begins a value that is the name of a secret: no text that a client writes can hold this character.
const SECRET: char = '\0';

impl Options {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) -> Option<String> {
        self.0.insert(key.into().to_lowercase(), value.into())
    }

    /// The value of an option that is a secret, by the name of the secret.
    pub fn secret(name: &str) -> String {
        format!("{SECRET}{name}")
    }

    /// The names of the secrets that these options refer to.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter_map(|value| value.strip_prefix(SECRET))
    }

    /// The same options with the values of their secrets.
    pub fn revealed(&self, mut value: impl FnMut(&str) -> Result<String>) -> Result<Options> {
        let reveal = |(key, text): (&String, &String)| {
            let text = text.strip_prefix(SECRET).map_or_else(|| Ok(text.clone()), &mut value)?;
            Ok((key.clone(), text))
        };
        self.0.iter().map(reveal).collect::<Result<_>>().map(Options)
    }

    /// The options whose names begin with `prefix`, and the others.
    pub fn split(&self, prefix: &str) -> (Options, Options) {
        let (with, without) = self.0.clone().into_iter().partition(|(key, _)| key.starts_with(prefix));
        (Options(with), Options(without))
    }

    /// Begins to take options for `what` (`source "flights"`), which every error then names.
    pub fn taker(&self, what: impl Into<String>) -> Taker {
        Taker { what: what.into(), left: self.0.clone(), known: Vec::new() }
    }
}

/// Hands options out by name and remembers which names are known.
#[derive(Debug)]
pub struct Taker {
    what: String,
    left: BTreeMap<String, String>,
    known: Vec<String>,
}

impl Taker {
    pub fn text(&mut self, key: &str) -> Option<String> {
        self.known.push(key.to_string());
        self.left.remove(key)
    }

    /// Whether one of these is given and was not taken yet.
    pub fn has(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.left.contains_key(*key))
    }

    /// The value of an option that has several names, of which one may be given.
    pub fn first(&mut self, keys: &[&str]) -> Result<Option<String>> {
        let mut found: Option<(&str, String)> = None;
        for key in keys {
            let Some(value) = self.text(key) else { continue };
            if let Some((other, _)) = found {
                let message = format!("options \"{other}\" and \"{key}\" of {} say the same", self.what);
                return Err(Error::new(ErrorKind::InvalidParameterValue, message));
            }
            found = Some((key, value));
        }
        Ok(found.map(|(_, value)| value))
    }

    /// All that is left whose name begins with `prefix`, without it.
    pub fn prefixed(&mut self, prefix: &str) -> BTreeMap<String, String> {
        self.known.push(format!("{prefix}…"));
        let (these, left) = std::mem::take(&mut self.left).into_iter().partition(|(key, _)| key.starts_with(prefix));
        self.left = left;
        let these: BTreeMap<String, String> = these;
        these.into_iter().map(|(key, value)| (key[prefix.len()..].to_string(), value)).collect()
    }

    pub fn required(&mut self, key: &str) -> Result<String> {
        self.text(key).ok_or_else(|| self.missing(key))
    }

    /// That an option which must be there is not.
    pub fn missing(&self, key: &str) -> Error {
        Error::new(ErrorKind::InvalidParameterValue, format!("{} needs option \"{key}\"", self.what))
            .hint(format!("Add {key} = '…' to its WITH clause."))
    }

    /// A number or anything else that parses; `takes` says what was expected.
    pub fn parse<T: FromStr>(&mut self, key: &str, takes: &str) -> Result<Option<T>> {
        match self.text(key) {
            None => Ok(None),
            Some(value) => value.trim().parse().map(Some).map_err(|_| self.bad(key, &value, takes)),
        }
    }

    pub fn boolean(&mut self, key: &str, default: bool) -> Result<bool> {
        match self.text(key) {
            None => Ok(default),
            Some(value) => match value.trim().to_lowercase().as_str() {
                "true" | "on" | "yes" | "1" | "t" => Ok(true),
                "false" | "off" | "no" | "0" | "f" => Ok(false),
                _ => Err(self.bad(key, &value, "true or false")),
            },
        }
    }

    /// One of a closed list of words.
    pub fn one_of<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Result<Option<T>> {
        match self.text(key) {
            None => Ok(None),
            Some(value) => {
                let word = value.trim().to_lowercase();
                match words.iter().find(|(w, _)| *w == word) {
                    Some((_, t)) => Ok(Some(*t)),
                    None => {
                        let list: Vec<_> = words.iter().map(|(w, _)| format!("'{w}'")).collect();
                        Err(self.bad(key, &value, &format!("one of {}", list.join(", "))))
                    }
                }
            }
        }
    }

    pub fn duration(&mut self, key: &str) -> Result<Option<Duration>> {
        match self.text(key) {
            None => Ok(None),
            Some(value) => match parse_duration(&value) {
                Some(d) => Ok(Some(d)),
                None => Err(self.bad(key, &value, "a duration such as '500 ms' or '10 seconds'")),
            },
        }
    }

    /// A size in bytes, `'64 MB'` and the like.
    pub fn bytes(&mut self, key: &str) -> Result<Option<u64>> {
        match self.text(key) {
            None => Ok(None),
            Some(value) => match parse_bytes(&value) {
                Some(n) => Ok(Some(n)),
                None => Err(self.bad(key, &value, "a size such as '64 MB'")),
            },
        }
    }

    /// Fails on whatever nobody took.
    pub fn finish(self) -> Result<()> {
        let Some(key) = self.left.keys().next() else { return Ok(()) };
        let error = Error::new(ErrorKind::InvalidParameterValue, format!("{} has no option \"{key}\"", self.what));
        Err(match nearest(key, &self.known) {
            Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
            None => error.hint(format!("Its options are: {}.", self.known.join(", "))),
        })
    }

    fn bad(&self, key: &str, value: &str, takes: &str) -> Error {
        Error::new(
            ErrorKind::InvalidParameterValue,
            format!("option \"{key}\" of {} takes {takes}, not '{value}'", self.what),
        )
    }
}

/// Whether an option's value is nobody's to see, going by its name.
pub fn is_secret(key: &str) -> bool {
    const WORDS: [&str; 6] = ["password", "secret", "token", "credential", "jaas", "ssl.key"];
    let key = key.to_lowercase();
    WORDS.iter().any(|word| key.contains(word)) || key.contains("private") && key.contains("key")
}

/// `'500 ms'`, `'1.5 s'`, `'10 minutes'`, `'2h'`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..split].parse().ok()?;
    let unit = match text[split..].trim().to_lowercase().as_str() {
        "us" | "microsecond" | "microseconds" => 1e-6,
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

/// `'64 MB'`, `'1GiB'`, `'4096'`: powers of 1024, as Postgres' own settings.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().ok()?;
    let shift = match text[split..].trim().to_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// The known word that `word` is most likely a slip of.
pub fn nearest<'a>(word: &str, known: &'a [String]) -> Option<&'a str> {
    known.iter().map(|k| (distance(word, k), k.as_str())).filter(|(d, k)| *d <= 1 + k.len() / 4).min().map(|(_, k)| k)
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_parsed_with_units() {
        assert_eq!(parse_duration("500 ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("10 minutes"), Some(Duration::from_secs(600)));
        assert_eq!(parse_duration("soon"), None);
        assert_eq!(parse_bytes("64 MB"), Some(64 << 20));
        assert_eq!(parse_bytes("9 parsecs"), None);
    }

    #[test]
    fn options_split_by_a_prefix_are_all_there_once() {
        let pairs = [("topic", "t"), ("watermark.delay", "1s"), ("watermarks", "2")];
        let all = Options(pairs.map(|(key, value)| (key.to_string(), value.to_string())).into());
        let (with, without) = all.split("watermark.");
        assert_eq!(with.0.keys().collect::<Vec<_>>(), ["watermark.delay"]);
        assert_eq!(without.0.keys().collect::<Vec<_>>(), ["topic", "watermarks"]);
    }

    #[test]
    fn secret_options_are_recognized_by_name() {
        for key in
            ["password", "properties.sasl.password", "ssl.key.pem", "sasl.jaas.config", "private_key", "aws.Secret"]
        {
            assert!(is_secret(key), "{key}");
        }
        for key in ["properties.sasl.username", "topic", "ssl.ca.location", "key", "primary_key"] {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn taker_takes_one_of_several_names_and_all_of_a_prefix() {
        let mut options = Options::default();
        for (key, value) in [("b", "1"), ("p.x", "2"), ("p.y.z", "3")] {
            options.insert(key, value);
        }
        let mut taker = options.taker("source \"s\"");
        assert_eq!(taker.first(&["a", "b"]).unwrap().as_deref(), Some("1"));
        let all = taker.prefixed("p.");
        assert_eq!((all["x"].as_str(), all["y.z"].as_str()), ("2", "3"));
        taker.finish().unwrap();
        options.insert("a", "1");
        let error = options.taker("source \"s\"").first(&["a", "b"]).unwrap_err();
        assert_eq!(error.message(), "options \"a\" and \"b\" of source \"s\" say the same");
    }

    #[test]
    fn taker_finish_with_an_unknown_option_is_an_error_with_a_hint() {
        let mut options = Options::default();
        options.insert("heder", "true");
        let mut taker = options.taker("source \"s\"");
        assert!(!taker.boolean("header", false).unwrap());
        let error = taker.finish().unwrap_err();
        assert_eq!(error.message(), "source \"s\" has no option \"heder\"");
        assert_eq!(error.hint_text(), Some("Perhaps you meant \"header\"."));
    }
}
