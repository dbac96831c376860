//! What of a message is included beside its value, and the columns that it makes:
//! `INCLUDE key, header 'trace' TEXT, offset AS at`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::error::{Error, ErrorKind, Result};

/// The zone of a TIMESTAMPTZ.
pub(super) const UTC: &str = "+00:00";

/// One of these columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    pub what: IncludedField,
    /// The name of the column.
    pub name: String,
}

/// What it holds. Bytes may be asked for as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IncludedField {
    Key {
        text: bool,
    },
    /// The last header of a name.
    Header {
        name: String,
        text: bool,
    },
    /// All headers, in order.
    Headers,
    Partition,
    Offset,
    Timestamp,
    Topic,
}

impl Include {
    /// Reads a list such as `key TEXT AS k, header 'x', offset`.
    pub fn parse(text: &str) -> Result<Vec<Include>> {
        let mut all: Vec<Include> = Vec::new();
        for item in split(text, |c| c == ',') {
            let include = Include::item(&split(&item, char::is_whitespace), &item)?;
            if all.iter().any(|other| other.name == include.name) {
                return Err(twice(&include.name));
            }
            all.push(include);
        }
        Ok(all)
    }

    fn item(words: &[String], item: &str) -> Result<Include> {
        let refused = || {
            let message = format!("INCLUDE does not take \"{}\"", item.trim());
            Error::new(ErrorKind::InvalidParameterValue, message).hint(
                "Write INCLUDE key, headers, header 'name', partition, offset, timestamp or topic; key and header may \
                 be followed by TEXT or BYTEA, and each by AS and a name.",
            )
        };
        let mut words = words.iter().map(String::as_str).peekable();
        let word = words.next().ok_or_else(refused)?.to_lowercase();
        let header = words.next_if(|next| next.starts_with('\'')).map(unquoted);
        let kind = words.next_if(|next| !next.eq_ignore_ascii_case("as")).map(str::to_lowercase);
        let text = match kind.as_deref() {
            None => None,
            Some("text" | "varchar" | "string") => Some(true),
            Some("bytea" | "bytes") => Some(false),
            Some(_) => return Err(refused()),
        };
        let what = match (word.as_str(), &header, text) {
            ("key", None, text) => IncludedField::Key { text: text == Some(true) },
            ("header", Some(name), text) => IncludedField::Header { name: name.clone(), text: text == Some(true) },
            ("header" | "headers", None, None) => IncludedField::Headers,
            ("partition", None, None) => IncludedField::Partition,
            ("offset", None, None) => IncludedField::Offset,
            ("timestamp", None, None) => IncludedField::Timestamp,
            ("topic", None, None) => IncludedField::Topic,
            _ => return Err(refused()),
        };
        let name = match (words.next(), words.next(), words.next()) {
            (None, ..) => header.unwrap_or(word),
            (Some(r#as), Some(name), None) if r#as.eq_ignore_ascii_case("as") => match name.starts_with('"') {
                true => unquoted(name),
                false => name.to_lowercase(),
            },
            _ => return Err(refused()),
        };
        Ok(Include { what, name })
    }

    fn field(&self) -> Field {
        let data_type = match &self.what {
            IncludedField::Key { text } | IncludedField::Header { text, .. } => bytes(*text),
            IncludedField::Headers => DataType::List(Arc::new(header_item())),
            IncludedField::Partition => DataType::Int32,
            IncludedField::Offset => DataType::Int64,
            IncludedField::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            IncludedField::Topic => DataType::Utf8,
        };
        // Of a row that is removed by its key nothing else may be required.
        Field::new(&self.name, data_type, true)
    }
}

fn bytes(text: bool) -> DataType {
    if text { DataType::Utf8 } else { DataType::Binary }
}

pub(super) fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)])
}

pub(super) fn header_item() -> Field {
    Field::new_list_field(DataType::Struct(header_fields()), true)
}

fn twice(name: &str) -> Error {
    Error::new(ErrorKind::DuplicateColumn, format!("column \"{name}\" specified more than once"))
}

/// Splits where `at` says and no quotes are open; gives no empty pieces.
fn split(text: &str, at: impl Fn(char) -> bool) -> Vec<String> {
    let (mut pieces, mut quote) = (vec![String::new()], None);
    for c in text.chars() {
        match quote {
            None if at(c) => {
                pieces.push(String::new());
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(c);
        }
    }
    pieces.retain(|piece| !piece.trim().is_empty());
    pieces
}

/// `'it''s'` means it's.
fn unquoted(word: &str) -> String {
    let quote = if word.starts_with('"') { "\"" } else { "'" };
    let inner = word.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)).unwrap_or(word);
    inner.replace(&quote.repeat(2), quote)
}

/// The columns of a source: those that are decoded, and then those that are included.
pub(super) fn with_included(decoded: &SchemaRef, include: &[Include]) -> Result<SchemaRef> {
    let mut fields: Vec<_> = decoded.fields().iter().cloned().collect();
    for include in include {
        if fields.iter().any(|field| *field.name() == include.name) {
            return Err(twice(&include.name));
        }
        fields.push(Arc::new(include.field()));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The decoded columns of a source that has these: [`with_included`] undone, where it was done.
pub(super) fn without_included(schema: &SchemaRef, include: &[Include]) -> SchemaRef {
    let included = |field: &&Arc<Field>| include.iter().any(|include| ***field == include.field());
    Arc::new(Schema::new(schema.fields().iter().filter(|field| !included(field)).cloned().collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn include_columns_get_names_and_types() {
        let text = r#"key, header 'a, b' TEXT AS "Trace", headers as h, partition, offset AS At, timestamp, topic"#;
        let include = Include::parse(text).unwrap();
        let decoded = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
        let schema = with_included(&decoded, &include).unwrap();
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["v", "key", "Trace", "h", "partition", "at", "timestamp", "topic"]);
        let types: Vec<_> = schema.fields().iter().take(3).map(|f| f.data_type().clone()).collect();
        assert_eq!(types, [DataType::Int64, DataType::Binary, DataType::Utf8]);
        assert_eq!(without_included(&schema, &include), decoded);
        assert_eq!(without_included(&decoded, &include), decoded);
    }

    #[test]
    fn include_malformed_or_duplicate_columns_are_refused() {
        for text in ["value", "key AS", "offset TEXT", "key AS a b", "partition 'x'", "header 'x' JSON"] {
            assert_eq!(Include::parse(text).unwrap_err().kind(), ErrorKind::InvalidParameterValue, "{text}");
        }
        assert_eq!(Include::parse("key, key").unwrap_err().kind(), ErrorKind::DuplicateColumn);
        let decoded = Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, true)]));
        let include = Include::parse("key").unwrap();
        assert_eq!(with_included(&decoded, &include).unwrap_err().kind(), ErrorKind::DuplicateColumn);
    }
}
