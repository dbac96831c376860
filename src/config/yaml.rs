//! A YAML file: parsed by serde, with the line and column of any part of it.
//!
//! Whatever the bytes are, reading returns a value or an error `file:line:column: why`. Never panics, never reads a
//! file larger than [`Document::BYTES_MAX`].

use std::{collections::HashSet, fmt, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{
    error::{Error, ErrorKind, Result},
    options::nearest,
};

/// A YAML file and its name, as errors show it.
#[derive(Debug, Clone)]
pub struct Document {
    pub file: String,
    pub text: String,
}

/// A position in a text file: line and column from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextPosition {
    pub line: usize,
    pub column: usize,
}

/// One step from a YAML node to a node inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathStep {
    Key(String),
    Index(usize),
}

/// The key or the value of a mapping's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathPart {
    Key,
    Value,
}

/// The path of `"sessions.max"`.
pub fn steps(dotted: &str) -> Vec<PathStep> {
    dotted.split('.').map(|key| PathStep::Key(key.to_string())).collect()
}

impl Document {
    /// The largest file read: more than is written by hand, so that a data file is refused.
    pub const BYTES_MAX: u64 = 4 << 20;

    pub fn new(file: impl Into<String>, text: impl Into<String>) -> Self {
        Document { file: file.into(), text: text.into() }
    }

    /// Reads a file. A missing one is `UndefinedFile`, one that is too large or not UTF-8 is `Config`.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let size = std::fs::metadata(path).map_err(|e| Error::from(e).context(&file))?.len();
        if size > Self::BYTES_MAX {
            let most = Self::BYTES_MAX >> 20;
            return Err(Error::new(ErrorKind::Config, format!("{file}: a text of at most {most} MB is expected here")));
        }
        let bytes = std::fs::read(path).map_err(|e| Error::from(e).context(&file))?;
        match String::from_utf8(bytes) {
            // Some editors begin a file with a byte order mark.
            Ok(text) => Ok(Document { file, text: text.strip_prefix('\u{feff}').unwrap_or(&text).to_string() }),
            Err(e) => Err(Error::new(ErrorKind::Config, format!("{file}: is not UTF-8 text")).caused_by(e)),
        }
    }

    /// The document parsed as `T`; `None` if it has only comments.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        if self.text.lines().all(|line| matches!(line.trim_start().chars().next(), None | Some('#'))) {
            return Ok(None);
        }
        serde_yaml::from_str::<Option<T>>(&self.text).map_err(|e| self.misshapen(&e))
    }

    /// Fails if the text is not valid YAML, or a mapping has a duplicate key.
    pub fn check(&self) -> Result<()> {
        self.parse::<Sound>().map(|_| ())
    }

    /// The position of a node. For a path that does not exist, that of the last node on it that does.
    pub fn place(&self, path: &[PathStep], part: PathPart) -> TextPosition {
        let mut path = path;
        loop {
            let finder = PositionFinder { path, part };
            let refusal = finder.deserialize(serde_yaml::Deserializer::from_str(&self.text)).err();
            match refusal.filter(|e| e.to_string().contains(FOUND)).and_then(|e| e.location()) {
                Some(at) => return TextPosition { line: at.line(), column: at.column() },
                None if path.is_empty() => return TextPosition { line: 1, column: 1 },
                None => path = &path[..path.len() - 1],
            }
        }
    }

    /// `file:line:column: message`
    pub fn error(&self, at: TextPosition, message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Config, format!("{}:{}:{}: {message}", self.file, at.line, at.column))
    }

    /// [`Document::error`] at the value that `path` leads to.
    pub fn error_at(&self, path: &[PathStep], message: impl fmt::Display) -> Error {
        self.error(self.place(path, PathPart::Value), message)
    }

    /// The position of the first `---` after any content. serde_yaml only reports that there is one.
    fn second_document(&self) -> TextPosition {
        let empty = |line: &str| matches!(line.trim_start().chars().next(), None | Some('#' | '%'));
        let mut lines = self.text.lines().enumerate().filter(|(_, line)| !empty(line)).skip(1);
        let line = lines.find(|(_, line)| line.starts_with("---")).map_or(1, |(n, _)| n + 1);
        TextPosition { line, column: 1 }
    }

    /// serde's error reworded: `unknown key "sesions"`, with the nearest key as hint.
    fn misshapen(&self, e: &serde_yaml::Error) -> Error {
        let shown = e.to_string();
        let at = match e.location() {
            Some(at) => TextPosition { line: at.line(), column: at.column() },
            None if shown.contains("more than one document") => {
                return self.error(self.second_document(), "a second document begins here, and a file has one");
            }
            None => TextPosition { line: 1, column: 1 },
        };
        let text = shown.split(" at line ").next().unwrap_or(&shown);
        let Some((before, after)) = text.split_once("unknown field `") else {
            return self.error(at, text);
        };
        let mut quoted = after.split('`');
        let key = quoted.next().unwrap_or_default();
        let known: Vec<String> = quoted.skip(1).step_by(2).map(str::to_string).collect();
        let group = before.trim_end_matches(": ");
        let place = if group.is_empty() { String::new() } else { format!(" in \"{group}\"") };
        let error = self.error(at, format!("unknown key \"{key}\"{place}"));
        match nearest(key, &known) {
            Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
            None => error.hint(format!("Known keys are: {}.", known.join(", "))),
        }
    }
}

impl From<(usize, usize)> for TextPosition {
    /// A line and a column, as [`crate::sql::line_column`] gives them.
    fn from((line, column): (usize, usize)) -> Self {
        TextPosition { line, column }
    }
}

/// A scalar exactly as written, such as `10`, `true`, `1.50` or `'text'`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsWritten;
        impl Visitor<'_> for AsWritten {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a single value")
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_string()))
            }
        }
        deserializer.deserialize_str(AsWritten)
    }
}

/// A list of scalars as written; a single scalar is a list of one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Scalars(pub Vec<String>);

impl<'de> Deserialize<'de> for Scalars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Scalars;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a value or a list of values")
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalars, E> {
                Ok(Scalars(vec![text.to_string()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalars, A::Error> {
                let mut all = Vec::new();
                while let Some(Scalar(item)) = items.next_element()? {
                    all.push(item);
                }
                Ok(Scalars(all))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// Any YAML without duplicate keys: serde_yaml itself reports where such a mapping begins, not which key.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Node;
        impl<'de> Visitor<'de> for Node {
            type Value = Sound;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a value, a list or a mapping")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_str<E>(self, _: &str) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_unit<E>(self) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sound, A::Error> {
                while seq.next_element::<Sound>()?.is_some() {}
                Ok(Sound)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sound, A::Error> {
                let mut seen = HashSet::new();
                while map.next_key_seed(NewKey(&mut seen))?.is_some() {
                    map.next_value::<Sound>()?;
                }
                Ok(Sound)
            }
        }
        deserializer.deserialize_any(Node)
    }
}

/// Fails at a key that occurred before, for the position of the error.
struct NewKey<'a>(&'a mut HashSet<String>);

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NewKey<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        match self.0.insert(key.to_string()) {
            true => Ok(()),
            false => Err(E::custom(format!("key \"{key}\" is there twice"))),
        }
    }
}

const FOUND: &str = "here is the node that was looked for";

/// Walks to a node and fails there: the position of the error is that of the node. serde_yaml reports positions of
/// errors only, and this needs no second YAML parser.
struct PositionFinder<'a> {
    path: &'a [PathStep],
    part: PathPart,
}

impl<'de> DeserializeSeed<'de> for PositionFinder<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.path.first() {
            None => deserializer.deserialize_any(Refusal),
            Some(PathStep::Key(_)) => deserializer.deserialize_map(self),
            Some(PathStep::Index(_)) => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for PositionFinder<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the node on the path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((PathStep::Key(wanted), rest)) = self.path.split_first() else { return Ok(()) };
        let refuse = rest.is_empty() && self.part == PathPart::Key;
        while let Some(hit) = map.next_key_seed(KeyIs { wanted, refuse })? {
            if hit {
                return map.next_value_seed(PositionFinder { path: rest, part: self.part });
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((PathStep::Index(wanted), rest)) = self.path.split_first() else { return Ok(()) };
        for _ in 0..*wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(PositionFinder { path: rest, part: self.part }).map(|_| ())
    }
}

/// Whether a mapping's key is the wanted one; if so and `refuse`, fails at it.
struct KeyIs<'a> {
    wanted: &'a str,
    refuse: bool,
}

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        let hit = key == self.wanted;
        if hit && self.refuse { Err(E::custom(FOUND)) } else { Ok(hit) }
    }
}

/// Fails at any node: a scalar, a mapping or a list.
struct Refusal;

impl<'de> Visitor<'de> for Refusal {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(FOUND)
    }
    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(FOUND))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(FOUND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment\na: 1\nb:\n  c: [x, y]\n  d: |\n    select 1\n";

    fn at(path: &[PathStep], part: PathPart) -> (usize, usize) {
        let place = Document::new("f.yaml", TEXT).place(path, part);
        (place.line, place.column)
    }

    #[test]
    fn yaml_path_is_located_by_line_and_column() {
        assert_eq!(at(&steps("a"), PathPart::Key), (2, 1));
        assert_eq!(at(&steps("a"), PathPart::Value), (2, 4));
        assert_eq!(at(&steps("b.c"), PathPart::Key), (4, 3));
        assert_eq!(
            at(&[PathStep::Key("b".into()), PathStep::Key("c".into()), PathStep::Index(1)], PathPart::Value),
            (4, 10)
        );
        assert_eq!(at(&steps("b.d"), PathPart::Value), (5, 6));
        assert_eq!(
            at(&steps("b.nowhere"), PathPart::Value),
            at(&steps("b"), PathPart::Value),
            "the nearest that exists"
        );
        assert_eq!(at(&steps("nowhere.at.all"), PathPart::Value).0, 2);
    }
}
