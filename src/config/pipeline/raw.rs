//! The shape of a pipeline file. Objects may be a mapping by name or a list of mappings with a `name`.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use crate::config::{
    RawConfig,
    yaml::{PathStep, Scalar},
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPipeline {
    pub server: Option<RawConfig>,
    pub sources: Option<NamedDefinition>,
    pub tables: Option<NamedDefinition>,
    pub streams: Option<NamedDefinition>,
    pub views: Option<NamedDefinition>,
    pub sinks: Option<NamedDefinition>,
    pub sql: Option<RawSql>,
}

/// Objects in the order of the file, each with its YAML path step.
#[derive(Debug, Default)]
pub struct NamedDefinition(pub Vec<(PathStep, RawObject)>);

/// One source, table, stream, view or sink: the keys that SQL has a clause for; all others are its `WITH (…)` options.
#[derive(Debug, Default)]
pub struct RawObject {
    pub name: Option<Scalar>,
    pub columns: Option<RawColumns>,
    pub primary_key: Option<Words>,
    pub append_only: Option<Scalar>,
    pub watermark: Option<RawWatermark>,
    pub query: Option<Scalar>,
    pub from: Option<Scalar>,
    pub emit: Option<Scalar>,
    pub options: Vec<(String, RawValue)>,
}

/// `name: TYPE` in order, or a list of [`RawColumn`].
#[derive(Debug)]
pub enum RawColumns {
    Map(Vec<(String, Scalar)>),
    List(Vec<RawColumn>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawColumn {
    pub name: Scalar,
    #[serde(rename = "type")]
    pub data_type: Scalar,
    pub not_null: Option<bool>,
    pub default: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWatermark {
    pub column: Scalar,
    pub delay: Option<Scalar>,
    pub policy: Option<Scalar>,
    pub idle_timeout: Option<Scalar>,
    pub max_ahead: Option<Scalar>,
}

/// One word or a list of them.
#[derive(Debug)]
pub struct Words(pub Vec<Scalar>);

/// The value of an option: a mapping is flattened, with a dot per level in the option's name.
#[derive(Debug)]
pub enum RawValue {
    Scalar(Scalar),
    Map(Vec<(String, RawValue)>),
    /// Not valid for an option: a list, or null.
    Other(&'static str),
}

/// SQL text, `file: path`, or a list of them.
#[derive(Debug)]
pub enum RawSql {
    Text(Scalar),
    File(Scalar),
    List(Vec<RawSql>),
}

impl<'de> Deserialize<'de> for NamedDefinition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByName;
        impl<'de> Visitor<'de> for ByName {
            type Value = NamedDefinition;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a mapping by name, or a list of mappings with a name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NamedDefinition, A::Error> {
                let mut all: Vec<(PathStep, RawObject)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let step = PathStep::Key(name.clone());
                    if all.iter().any(|(s, _)| *s == step) {
                        return Err(A::Error::custom(format!("\"{name}\" is there twice")));
                    }
                    let mut object = map.next_value::<RawObject>()?;
                    if object.name.is_some() {
                        return Err(A::Error::custom(format!("\"{name}\" has a name already: leave \"name\" out")));
                    }
                    object.name = Some(Scalar(name));
                    all.push((step, object));
                }
                Ok(NamedDefinition(all))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NamedDefinition, A::Error> {
                let mut all = Vec::new();
                while let Some(object) = seq.next_element::<RawObject>()? {
                    all.push((PathStep::Index(all.len()), object));
                }
                Ok(NamedDefinition(all))
            }
        }
        deserializer.deserialize_any(ByName)
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = RawObject;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a mapping of keys")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut object = RawObject::default();
                let mut seen: Vec<String> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if seen.contains(&key) {
                        return Err(A::Error::custom(format!("key \"{key}\" is there twice")));
                    }
                    match key.as_str() {
                        "name" => object.name = map.next_value()?,
                        "columns" => object.columns = map.next_value()?,
                        "primary_key" => object.primary_key = map.next_value()?,
                        "append_only" => object.append_only = map.next_value()?,
                        "watermark" => object.watermark = map.next_value()?,
                        "query" => object.query = map.next_value()?,
                        "from" => object.from = map.next_value()?,
                        "emit" => object.emit = map.next_value()?,
                        _ => object.options.push((key.clone(), map.next_value()?)),
                    }
                    seen.push(key);
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

impl<'de> Deserialize<'de> for RawColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = RawColumns;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a mapping from column to type, or a list of columns")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawColumns, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = map.next_entry()? {
                    columns.push(column);
                }
                Ok(RawColumns::Map(columns))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawColumns, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = seq.next_element()? {
                    columns.push(column);
                }
                Ok(RawColumns::List(columns))
            }
        }
        deserializer.deserialize_any(InOrder)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Words;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a word or a list of words")
            }
            fn visit_str<E>(self, word: &str) -> Result<Words, E> {
                Ok(Words(vec![Scalar(word.to_string())]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = seq.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = RawValue;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a single value, or a mapping of options")
            }
            fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
                Ok(RawValue::Scalar(Scalar(value.to_string())))
            }
            fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
                Ok(RawValue::Scalar(Scalar(value.to_string())))
            }
            fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
                Ok(RawValue::Scalar(Scalar(value.to_string())))
            }
            fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
                Ok(RawValue::Scalar(Scalar(value.to_string())))
            }
            fn visit_str<E>(self, value: &str) -> Result<RawValue, E> {
                Ok(RawValue::Scalar(Scalar(value.to_string())))
            }
            fn visit_unit<E>(self) -> Result<RawValue, E> {
                Ok(RawValue::Other("nothing"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawValue, A::Error> {
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(RawValue::Other("a list"))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(RawValue::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for RawSql {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrFile;
        impl<'de> Visitor<'de> for TextOrFile {
            type Value = RawSql;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("SQL text, \"file: path\", or a list of them")
            }
            fn visit_str<E>(self, text: &str) -> Result<RawSql, E> {
                Ok(RawSql::Text(Scalar(text.to_string())))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawSql, A::Error> {
                let mut file = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "file" if file.is_none() => file = Some(map.next_value()?),
                        "file" => return Err(A::Error::duplicate_field("file")),
                        _ => return Err(A::Error::unknown_field(&key, &["file"])),
                    }
                }
                file.map(RawSql::File).ok_or_else(|| A::Error::missing_field("file"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawSql, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = seq.next_element()? {
                    parts.push(part);
                }
                Ok(RawSql::List(parts))
            }
        }
        deserializer.deserialize_any(TextOrFile)
    }
}
