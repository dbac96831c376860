//! What comes with a message beside its value, made into columns as `INCLUDE` says.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, StringBuilder, StructBuilder,
    TimestampMicrosecondBuilder,
};

use super::{
    cursor::ConsumedMessage,
    include::{Include, IncludedField, UTC, header_fields, header_item},
    place::TopicPartition,
};
use crate::time::{Micros, TIMESTAMPS};

/// Collects such a column, message by message.
pub(super) struct Builder {
    what: IncludedField,
    values: IncludedValues,
}

enum IncludedValues {
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Headers(ListBuilder<StructBuilder>),
    Int(Int32Builder),
    Long(Int64Builder),
    Time(TimestampMicrosecondBuilder),
}

impl Builder {
    pub fn new(include: &Include) -> Builder {
        let values = match &include.what {
            IncludedField::Key { text: true } | IncludedField::Header { text: true, .. } | IncludedField::Topic => {
                IncludedValues::Text(StringBuilder::new())
            }
            IncludedField::Key { .. } | IncludedField::Header { .. } => IncludedValues::Bytes(BinaryBuilder::new()),
            IncludedField::Headers => {
                let fields = StructBuilder::from_fields(header_fields(), 0);
                IncludedValues::Headers(ListBuilder::new(fields).with_field(header_item()))
            }
            IncludedField::Partition => IncludedValues::Int(Int32Builder::new()),
            IncludedField::Offset => IncludedValues::Long(Int64Builder::new()),
            IncludedField::Timestamp => IncludedValues::Time(TimestampMicrosecondBuilder::new().with_timezone(UTC)),
        };
        Builder { what: include.what.clone(), values }
    }

    /// Whether this column can hold what a message has; otherwise the reason.
    pub fn check(&self, message: &ConsumedMessage) -> Result<(), String> {
        let text = |value: Option<&[u8]>, what: String| match value.map(str::from_utf8) {
            Some(Err(_)) => Err(format!("{what} is not UTF-8")),
            _ => Ok(()),
        };
        match &self.what {
            IncludedField::Key { text: true } => text(message.key(), "the key".to_string()),
            IncludedField::Header { name, text: true } => {
                let mut found = Ok(());
                message.headers(|key, value| {
                    if key == name {
                        found = text(value, format!("header '{name}'"));
                    }
                });
                found
            }
            IncludedField::Timestamp => match message.timestamp() {
                Some(ms) if micros(ms).is_none() => Err(format!("its timestamp {ms} is out of range")),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    pub fn push(&mut self, partition: &TopicPartition, message: &ConsumedMessage) {
        match (&mut self.values, &self.what) {
            (IncludedValues::Text(values), IncludedField::Topic) => values.append_value(&partition.topic),
            (IncludedValues::Text(values), IncludedField::Header { name, .. }) => with_header(message, name, |value| {
                values.append_option(value.and_then(|value| str::from_utf8(value).ok()));
            }),
            (IncludedValues::Text(values), _) => {
                values.append_option(message.key().and_then(|key| str::from_utf8(key).ok()));
            }
            (IncludedValues::Bytes(values), IncludedField::Header { name, .. }) => {
                with_header(message, name, |value| values.append_option(value));
            }
            (IncludedValues::Bytes(values), _) => values.append_option(message.key()),
            (IncludedValues::Int(values), _) => values.append_value(partition.number),
            (IncludedValues::Long(values), _) => values.append_value(message.offset() as i64),
            (IncludedValues::Time(values), _) => values.append_option(message.timestamp().and_then(micros)),
            (IncludedValues::Headers(values), _) => {
                message.headers(|key, value| {
                    let header = values.values();
                    if let Some(keys) = header.field_builder::<StringBuilder>(0) {
                        keys.append_value(key);
                    }
                    if let Some(values) = header.field_builder::<BinaryBuilder>(1) {
                        values.append_option(value);
                    }
                    header.append(true);
                });
                values.append(true);
            }
        }
    }

    /// The values since the last time.
    pub fn finish(&mut self) -> ArrayRef {
        match &mut self.values {
            IncludedValues::Text(values) => Arc::new(values.finish()),
            IncludedValues::Bytes(values) => Arc::new(values.finish()),
            IncludedValues::Headers(values) => Arc::new(values.finish()) as Arc<dyn Array>,
            IncludedValues::Int(values) => Arc::new(values.finish()),
            IncludedValues::Long(values) => Arc::new(values.finish()),
            IncludedValues::Time(values) => Arc::new(values.finish()),
        }
    }
}

/// The timestamp of so many milliseconds, where it is one.
fn micros(ms: i64) -> Option<Micros> {
    ms.checked_mul(1_000).filter(|us| TIMESTAMPS.contains(us))
}

/// Gives the last header of a name, of which there may be several.
fn with_header(message: &ConsumedMessage, name: &str, give: impl FnOnce(Option<&[u8]>)) {
    let mut last: Option<Vec<u8>> = None;
    message.headers(|key, value| {
        if key == name {
            last = value.map(<[u8]>::to_vec);
        }
    });
    give(last.as_deref());
}
